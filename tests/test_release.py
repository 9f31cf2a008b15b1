"""A release: what its tag may be, what the changelog must tell, and where the version goes."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / ".github" / "release.py"

CHANGELOG = """# Changelog

## Unreleased

## 1.2.3 - 2026-12-01

### Added

- A thing.

## 1.2.2 - 2026-11-01

- Another.
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with the changelog above and our own package's first file."""
    (tmp_path / "rnncore").mkdir()
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    text = (REPOSITORY / "rnncore" / "__init__.py").read_text(encoding="utf-8")
    (tmp_path / "rnncore" / "__init__.py").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("version", ["1.2.3", "1.2.3rc1", "10.0.12", "0.2.0b2"])
def test_the_tag_names_the_version_of_the_package(version: str, release: ModuleType, repository: Path) -> None:
    text = CHANGELOG.replace("1.2.3", version)
    (repository / "CHANGELOG.md").write_text(text, encoding="utf-8")
    before = (repository / "rnncore" / "__init__.py").read_text(encoding="utf-8")
    assert release.release(repository, f"v{version}") == version
    after = (repository / "rnncore" / "__init__.py").read_text(encoding="utf-8")
    assert after == re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', before)


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "v1.2.3-rc1", "v1.2.3.post1", 'v1.2.3"', "v1.2.3\n", ""])
def test_a_tag_of_another_form_is_refused(tag: str, release: ModuleType, repository: Path) -> None:
    with pytest.raises(ValueError, match=r"^the tag is .*; allowed: v1\.2\.3, and .* Tag the commit anew\.$"):
        release.release(repository, tag)


@pytest.mark.parametrize(
    ("wrong", "right", "why"),
    [
        ("## 1.2.3 - 2026-12-01", "## 1.2.4 - 2026-12-01", "newest section is '1.2.4 - 2026-12-01'; it should be '1.2.3"),
        ("## 1.2.3 - 2026-12-01", "## 1.2.3", "the newest section is '1.2.3'; it should be '1.2.3 - YYYY-MM-DD'"),
        ("\n- A thing.\n", "", "the section '1.2.3 - 2026-12-01' names no change"),
        ("## Unreleased\n", "## Unreleased\n\n- Late.\n", 'changes lie under "Unreleased"'),
        (CHANGELOG, "# Changelog\n", "the newest section is ''"),
    ],
)
def test_a_changelog_that_does_not_tell_of_the_version_is_refused(
    wrong: str, right: str, why: str, release: ModuleType, repository: Path
) -> None:
    assert wrong in CHANGELOG
    (repository / "CHANGELOG.md").write_text(CHANGELOG.replace(wrong, right), encoding="utf-8")
    before = (repository / "rnncore" / "__init__.py").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(why)):
        release.release(repository, "v1.2.3")
    assert (repository / "rnncore" / "__init__.py").read_text(encoding="utf-8") == before


def test_the_command_ends_with_the_reason() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "1.2"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("the tag is '1.2'; allowed: ")
