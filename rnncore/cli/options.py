"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rnncore.errors import ConfigError
from rnncore.files import require_writable
from rnncore.forecast.cells import Cell

# Where pytest-benchmark keeps runs, and rnncore what it knows of machines.
STORE = Path(".benchmarks")

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="CSV or Parquet file, folder of such files, or 'synthetic'. Default: $RNNCORE_DATA, else data/pjm if fetched, "
        "else synthetic.",
    ),
]
CellOption = Annotated[Cell, typer.Option("--cell", help="Recurrent cell.")]
CleanOption = Annotated[
    bool,
    typer.Option(
        "--clean",
        help="Leave out rows without a value, merge rows of equal stamp to their mean, drop windows that straddle a gap.",
    ),
]
FillOption = Annotated[
    int, typer.Option("--fill", metavar="HOURS", min=0, help="With --clean: fill gaps of up to so many hours.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME", help="Column of loads; again for a zone each; 'all' makes each column one."),
]
DateFormatOption = Annotated[
    str | None,
    typer.Option("--date-format", metavar="FORMAT", help="dmy, mdy or a pattern such as '%d.%m.%Y %H:%M' [default: seen]"),
]
DecimalOption = Annotated[
    Literal[".", ","] | None, typer.Option("--decimal", metavar="MARK", help="Decimal mark [default: seen]")
]
ResampleOption = Annotated[
    Literal["1h", "1h-sum"] | None,
    typer.Option("--resample", help="Hours of shorter steps: 1h their mean, as of power; 1h-sum their sum, as of energy."),
]
SplitOption = Annotated[
    Literal["article", "date"],
    typer.Option("--split", help="Test the last tenth of each zone (article), or all hours after one date (date)."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="Where to run: auto, cpu, cuda, cuda:1, mps, xpu (docs/runtimes.md).")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of initial weights, shuffling and dropout.")]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training windows [default: the preset's]")
]
MaxStepsOption = Annotated[int | None, typer.Option("--max-steps", help="Stop after N steps; the schedule spans them.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs the model, such as rnncore or openvino (docs/runtimes.md) [default: torch, or onnxruntime for an "
        ".onnx file]",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Where saved runs are looked up, such as s3://bucket/runs [default: .benchmarks]"
    ),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run file, or number of a saved run, like 0007.")]
VerdictJsonOption = Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON on standard output.")]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", help="Write them as Markdown too, for a pull request or job summary.")
]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write them as JUnit XML too: slower is a failed case.")]
GithubOption = Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions too.")]


def require_output(path: Path, *suffixes: str, option: str = "--out") -> None:
    """Make sure, before any work, that a file of one of these suffixes can be written.

    Raises:
        ConfigError: If not.
    """
    if path.suffix not in suffixes:
        raise ConfigError(f"{option} is {path}; give a file name that ends in {' or '.join(suffixes)}.")
    require_writable(path)


PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATHS...] [-- ARGUMENT...]",
        help="Suites; else those of [tool.rnncore] suites, of bench/, benchmarks/ or tests/benchmarks/, or any file with "
        "one. Then further arguments of pytest.",
    ),
]
KeywordOption = Annotated[str, typer.Option("-k", metavar="EXPRESSION", help="Only these benchmarks, as pytest's -k.")]
PrepareOption = Annotated[
    str | None,
    typer.Option("--prepare", metavar="COMMAND", help="Run it in each revision before its suites, such as a build."),
]
IsolatedOption = Annotated[
    bool,
    typer.Option(
        "--isolated",
        help="Give each revision an environment of its own, with the project installed there, or what --prepare installs.",
    ),
]
