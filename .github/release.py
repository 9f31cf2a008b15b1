"""Check a release's tag against the changelog, and write its version into the package.

    python .github/release.py v1.2.3

The tag is the one place that names the version. CHANGELOG.md must have its section, dated and not empty, above all earlier
ones, and nothing left under "Unreleased".
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

TAG = re.compile(r"v(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)")
VERSION = re.compile(r'^__version__ = ".*"$', re.MULTILINE)
# A section's heading, and what is below it up to the next.
SECTION = re.compile(r"^## (.+)\n((?:(?!## ).*\n?)*)", re.MULTILINE)


def version_of(tag: str) -> str:
    """Return the version that a tag names.

    Raises:
        ValueError: If the tag is of another form than v1.2.3 or v1.2.3rc1.
    """
    found = TAG.fullmatch(tag)
    if not found:
        raise ValueError(f"the tag is {tag!r}; allowed: v1.2.3, and v1.2.3a1, v1.2.3b1 or v1.2.3rc1. Tag the commit anew.")
    return found[1]


def check_changelog(text: str, version: str) -> None:
    """Refuse a changelog that does not tell of a version what its users should know.

    Raises:
        ValueError: If its section is missing, undated, empty or not the newest, or a change lies under "Unreleased".
    """
    sections = [(heading, body) for heading, body in SECTION.findall(text) if heading != "Unreleased"]
    unreleased = dict(SECTION.findall(text)).get("Unreleased", "")
    if "\n- " in unreleased:
        raise ValueError(f'CHANGELOG.md: changes lie under "Unreleased". Move them under "## {version} - YYYY-MM-DD".')
    heading, body = sections[0] if sections else ("", "")
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", heading):
        raise ValueError(f"CHANGELOG.md: the newest section is {heading!r}; it should be '{version} - YYYY-MM-DD'.")
    if "\n- " not in body:
        raise ValueError(f"CHANGELOG.md: the section {heading!r} names no change. Name those that users should know.")


def release(repository: Path, tag: str) -> str:
    """Check a tag, write its version into the package, and return it."""
    version = version_of(tag)
    check_changelog((repository / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    module = repository / "rnncore" / "__init__.py"
    text, count = VERSION.subn(f'__version__ = "{version}"', module.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{module}: {count} lines set __version__; there should be one.")
    module.write_text(text, encoding="utf-8")
    return version


if __name__ == "__main__":
    try:
        print(release(REPOSITORY, sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
