#!/usr/bin/env bash
# The step "Comment" of action.yml: one comment on the pull request, written at the first gate and changed at each later one.
# It is found by its first line, which nobody sees. A comment that cannot be written is a warning: the summary has it all.
set -euo pipefail

# GitHub takes 65,536 characters.
most_bytes=60000

marker="<!-- rnncore gate: $GATE_NAME -->"
folder=$RUNNER_TEMP/rnncore-$GATE_NAME
comments=repos/$GITHUB_REPOSITORY/issues
run=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID

warn() {
    echo "::warning title=rnncore::The comment could not be written. Give the job 'permissions: pull-requests: write';" \
        "for a pull request from a fork the token may only read. The job's summary has the verdicts."
    exit 0
}

body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
    printf '%s\n' "$marker"
    LC_ALL=C awk -v most="$most_bytes" '
        (size += length($0) + 1) > most { cut = 1; exit }
        { print }
        END { if (cut) print "\nThe rest is in the summary of the job." }
    ' "$folder/verdict.md"
    printf '\n[The job](%s)\n' "$run"
} >"$body"

# Of the service's own comments: anybody may begin one with this line.
mine=".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id"
found=$(gh api --paginate "$comments/$GATE_PULL_REQUEST/comments" --jq "$mine") || warn
if [[ -n $found ]]; then
    gh api --silent --method PATCH "$comments/comments/${found%%$'\n'*}" --field "body=@$body" || warn
else
    gh api --silent --method POST "$comments/$GATE_PULL_REQUEST/comments" --field "body=@$body" || warn
fi
