#!/usr/bin/env bash
# The step "Gate" of action.yml: runs the gate, writes the job's summary, and leaves the exit code to the steps after it.
# Ends with the code of 'rnncore gate', but with 0 where that is unclear (3) and the input fail-on-unclear is not true.
set -euo pipefail

refuse() {
    echo "::error title=rnncore::$1"
    exit 2
}

[[ $GATE_NAME =~ ^[A-Za-z0-9._-]+$ ]] || refuse "The input name may have letters, digits, dots, dashes and underscores."
for input in ISOLATED FAIL_ON_UNCLEAR COMMENT; do
    value=GATE_$input
    [[ ${!value} == true || ${!value} == false ]] || refuse "The input ${input,,} is neither true nor false."
done
[[ $GATE_BASE != origin/ ]] || refuse "This is no pull request, so that it has no base: give the input base."

folder=$RUNNER_TEMP/rnncore-$GATE_NAME
verdict=$folder/verdict.md
mkdir -p "$folder"
rm -f "$verdict"

# The commit, not the folder, in which this job may have built or restored what the base has not.
options=(--base="$GATE_BASE" --head=HEAD --budget="$GATE_BUDGET" --out="$folder" --markdown="$verdict")
options+=(--junit="$folder/junit.xml" --github)
[[ -z $GATE_PREPARE ]] || options+=(--prepare="$GATE_PREPARE")
[[ $GATE_ISOLATED == false ]] || options+=(--isolated)
read -r -d '' -a paths <<<"$GATE_PATHS" || true
unclear_fails=$GATE_FAIL_ON_UNCLEAR

# What is known of the benchmarks is known for one environment, which must not hold what changes with every pull request.
unset "${!GATE_@}"

code=0
rnncore gate "${options[@]}" ${paths[@]+"${paths[@]}"} || code=$?
echo "code=$code" >>"$GITHUB_OUTPUT"

if [[ ! -s $verdict ]]; then
    printf '## No verdict\n\nThe gate ended with exit code %s; the log of the job says why.\n' "$code" >"$verdict"
fi
cat "$verdict" >>"$GITHUB_STEP_SUMMARY"

if [[ $code -eq 3 && $unclear_fails == false ]]; then
    echo "::warning title=rnncore::The gate could not decide everything; the job's summary says what."
    exit 0
fi
exit "$code"
