"""Tests of the house: which room may import which, what is never used, and what lies at the top of the repository."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.matrix import environments, path_of

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "rnncore"
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    """Return the syntax of a source, which many tests look through."""
    return ast.parse(path.read_text(encoding="utf-8"))


# Room to rooms that it may import.
ARROWS = {
    "runfile": set(),
    "kernels": set(),
    "forecast": {"kernels"},
    "runtimes": {"forecast", "kernels"},
    "measure": {"runtimes", "forecast", "kernels", "runfile"},
    "compare": {"runfile"},
    "drive": {"compare", "runfile"},
    "report": {"compare", "runfile"},
    "__main__": {"cli"},
    "cli": {"forecast", "runtimes", "measure", "compare", "drive", "report", "runfile"},
    # At the top of the package: every room may import these, and they import no room.
    "": set(),
    "amounts": set(),
    "errors": set(),
    "files": set(),
    "screen": set(),
}
FOR_ALL = {"", "amounts", "errors", "files", "screen"}

# What an option may be is said once, where the noun lives; a module that imports nothing of the package costs no time.
CHOICES = {"rnncore.forecast.cells.Cell"}

# Rooms of the reading half, and the command: a laptop without a GPU makes reports.
WITHOUT_TORCH = (
    *(
        "rnncore.report.page",
        "rnncore.report.reproduction",
        "rnncore.report.verdict.text",
        "rnncore.report.verdict.github",
        "rnncore.report.trackers",
    ),
    *("rnncore.report.trend", "rnncore.runfile.read", "rnncore.compare.ranks", "rnncore.compare.history"),
    *("rnncore.drive.process", "rnncore.cli"),
)

TOP = {"bench", "rnncore", "data", "tests", "reports"}
TOP |= {"docs", "pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile", "constraints.txt", "LICENSE", "CHANGELOG.md"}
TOP |= {"hatch_build.py"}

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _room(path: Path) -> str:
    """Return the room of a file: its folder below the package, or its own name at the top."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def _imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield the dotted name, line and laziness of every import: lazy in a function or under TYPE_CHECKING."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: relative import"
                yield from ((f"{child.module}.{alias.name}", child.lineno, lazy) for alias in child.names)
            else:
                is_lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                is_lazy |= isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from walk(child, lazy or is_lazy)

    yield from walk(_tree(path), lazy=False)


def _room_of_import(name: str) -> str | None:
    """Return the room that a dotted name lies in; None outside the package."""
    package, *rest = name.split(".")
    if package != "rnncore":
        return None
    return rest[0] if rest and ((PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file()) else ""


def _here(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"


def test_every_room_is_known() -> None:
    assert {_room(path) for path in FILES} <= set(ARROWS)


def test_rooms_import_only_where_an_arrow_points() -> None:
    wrong = [
        f"{_here(path, line)}: {_room(path)} imports {name}"
        for path in FILES
        for name, line, _ in _imports(path)
        if (room := _room_of_import(name)) is not None
        and room not in FOR_ALL | {_room(path)}
        and room not in ARROWS[_room(path)]
    ]
    assert wrong == []


def test_the_command_imports_rooms_only_when_a_verb_runs() -> None:
    eager = [
        f"{_here(path, line)}: {name}"
        for path in sorted((PACKAGE / "cli").glob("*.py"))
        for name, line, lazy in _imports(path)
        if not lazy and name not in CHOICES and _room_of_import(name) not in FOR_ALL | {"cli", None}
    ]
    assert eager == []
    for name in CHOICES:
        module = PACKAGE.joinpath(*name.split(".")[1:-1]).with_suffix(".py")
        assert [found for found, _, _ in _imports(module) if _room_of_import(found) is not None] == [], name


def test_nothing_imports_benchmarks_or_tests() -> None:
    wrong = [
        f"{_here(path, line)}: {name}"
        for path in FILES
        for name, line, _ in _imports(path)
        if name.split(".")[0] in ("bench", "tests", "conftest")
    ]
    assert wrong == []


def test_modules_are_named_by_what_they_say() -> None:
    vague = {"util", "utils", "common", "helper", "helpers", "misc"}
    assert [path for path in FILES if path.stem in vague or path.parent.name in vague] == []


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_reading_and_starting_leave_torch_unloaded(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('torch', 'onnxruntime', 'onnx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What a process that serves imports, and what it must not: each takes tens to hundreds of MiB, and up to seconds.
SERVING = {
    "rnncore.runtimes.catalog": ("torch", "pandas", "onnxruntime", "onnx"),
    "rnncore.runtimes.onnx": ("torch", "pandas", "onnx"),
    "rnncore.runtimes.openvino": ("torch", "pandas", "onnxruntime", "onnx"),
    "rnncore.kernels.forward": ("pandas", "onnxruntime", "onnx"),
    "rnncore.runtimes.native": ("pandas", "onnxruntime", "onnx"),
    "rnncore.runtimes.torch": ("pandas", "onnxruntime", "onnx"),
    "rnncore.measure.served": ("torch", "pandas", "onnxruntime", "onnx"),
}


@pytest.mark.parametrize(("module", "needless"), SERVING.items(), ids=SERVING)
def test_serving_loads_nothing_that_it_does_not_need(module: str, needless: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {needless} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_pickled() -> None:
    pickling = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    wrong = [_here(path, line) for path in FILES for name, line, _ in _imports(path) if name.split(".")[0] in pickling]
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "torch.save",
                "torch.load",
                "numpy.load",
                "np.load",
            ):
                wrong.append(_here(path, node.lineno))
    assert wrong == []


def test_things_are_counted_in_words_in_one_place() -> None:
    plural = re.compile(r"""\{(["'])s\1 if |if \w+ == 1 else (["'])s\2""")
    homes = [path.name for path in FILES if plural.search(path.read_text(encoding="utf-8"))]
    assert homes == ["amounts.py"]


def test_only_texts_on_our_own_suites_name_their_folder() -> None:
    naming = {str(path.relative_to(PACKAGE)) for path in FILES if "pytest bench/ " in path.read_text(encoding="utf-8")}
    # A choice of runtimes, profiles of rows, and a revision of rnncore itself.
    assert naming == {"compare/choices.py", "compare/profile.py", "drive/process.py"}


def test_where_a_benchmark_records_is_named_where_run_files_are_known() -> None:
    # Of pytest-benchmark's own objects it is an attribute.
    known = {PACKAGE / "measure" / "harness.py", *(PACKAGE / "runfile").glob("*.py")}
    wrong = [
        _here(path, node.lineno)
        for path in FILES
        for node in ast.walk(_tree(path))
        if path not in known and isinstance(node, ast.Constant) and node.value == "extra_info"
    ]
    assert wrong == []


# Where a type of device may be named by torch's word for it, beside the home of devices.
NAMING_DEVICES = {"rnncore/forecast/device.py"}


def test_devices_beside_the_cpu_are_named_in_their_home_alone() -> None:
    from rnncore.forecast.device import CPU, TYPES

    wrong = []
    for path in [*FILES, *sorted((REPOSITORY / "bench").rglob("*.py"))]:
        if str(path.relative_to(REPOSITORY)) in NAMING_DEVICES:
            continue
        for node in ast.walk(_tree(path)):
            name = node.value if isinstance(node, ast.Constant) else None
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch":
                name = node.attr
            if isinstance(name, str) and name.partition(":")[0] in {*TYPES} - {CPU}:
                wrong.append(f"{_here(path, node.lineno)}: {ast.unparse(node)}")
    assert wrong == []


def test_a_regular_expression_has_one_home() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(_tree(path)):
            is_one = isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"
            if is_one and isinstance(node.args[0], ast.Constant):
                homes.setdefault(repr(node.args[0].value), []).append(_here(path, node.lineno))
    assert [places for places in homes.values() if len(places) > 1] == []


def test_what_a_caller_can_cause_is_raised_and_never_asserted() -> None:
    wrong = [_here(path, node.lineno) for path in FILES for node in ast.walk(_tree(path)) if isinstance(node, ast.Assert)]
    assert wrong == []


def test_no_broad_except_hides_an_error() -> None:
    wrong = [
        _here(path, node.lineno)
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & set(re.findall(r"\w+", ast.unparse(node.type))))
    ]
    assert wrong == []


def test_only_known_entries_lie_at_the_top_of_the_repository() -> None:
    try:
        done = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode != 0:
        pytest.skip("not a git repository")
    entries = {line.split("/")[0] for line in done.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} - TOP == set()


def _requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def _pins() -> dict[str, Version]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin) for pin in pins if pin), "constraints.txt holds exact pins alone"
    return {canonicalize_name(pin.split("==")[0]): Version(pin.split("==")[1]) for pin in pins if pin}


@pytest.mark.parametrize("requirement", _requirements(), ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = _pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
    assert requirement.specifier.contains(pin)
    assert requirement.specifier


def test_every_dependency_says_why_it_is_there() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    names = [requirement.name for requirement in _requirements()]
    without = [
        name for name in names if not re.search(rf'^    "{re.escape(name)}[\[><=!~][^"]*",\s+# \S', text, re.MULTILINE)
    ]
    assert without == []


def test_the_matrix_has_every_python_that_is_supported_and_names_test_files_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MATRIX_PYTHONS", raising=False)
    every = environments(tmp_path)
    classifiers = "\n".join(PROJECT["classifiers"])
    pythons = [one.name for one in every if one.name.startswith("Python ")]
    assert pythons == [f"Python {version}" for version in re.findall(r":: (3\.\d+)", classifiers)]
    assert all(one.missing for one in every if one.name in pythons and sys.executable != one.python)
    touched = {name for one in every for name in one.touches}
    assert {name for name in touched if not (REPOSITORY / path_of(name)).is_file()} == set()
    assert len({one.name for one in every}) == len(every)


TESTED_ELSEWHERE = {"bench"}


def test_tests_mirror_the_rooms() -> None:
    """A file of tests lies in the folder of its room and begins with the name of one of its modules."""
    wrong = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        room = path.parent.name
        if path.parent == REPOSITORY / "tests" or room in TESTED_ELSEWHERE:
            continue
        modules = {module.stem for module in (PACKAGE / room).iterdir() if module.name != "__init__.py"} | {room}
        name = path.stem.removeprefix("test_")
        if not any(name == module or name.startswith(f"{module}_") for module in modules):
            wrong.append(str(path.relative_to(REPOSITORY)))
    assert wrong == []


def test_make_help_lists_what_can_be_made_and_no_notes_between_the_rules() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True
    )
    *targets, last = done.stdout.splitlines()
    assert all(line.startswith("make ") for line in targets)
    assert last.startswith("Each works by itself")
