"""Forward passes and training steps of every runtime beside ours, round by round, from runs that interleaved them.

    pytest bench/bench_interleaved.py --rnn-interleaved --rnn-scale=full --benchmark-json=now.json
    python bench/studies/speed_table.py now.json [--before before.json]

A row is a runtime at one cell and batch size: how long it takes, how many times as long as our kernels in fp32 and as the
quickest of ours, each with its 99 % interval, and its share of the best products of the session. With --before the same of
another run: ratios within each run can be compared, times across runs cannot.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from rnncore.compare.interleaved import interleaved_ratio
from rnncore.errors import RnncoreError
from rnncore.report.rows import valid
from rnncore.report.sections.interleaved import ERROR
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import how, ratio_within, share_text, time_text
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run

# By phase, what a row is of.
PHASES = {"interleaved": "forecast", "interleaved training": "training step"}
OURS = "rnncore"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a run, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args(arguments)
    try:
        print(speed_table(read_run(options.run), read_run(options.before) if options.before else None).markdown())
    except RnncoreError as error:
        sys.exit(str(error))


def speed_table(run: Run, before: Run | None = None) -> Table:
    """Return the table of a run's interleaved rows, beside those of another run.

    Raises:
        RnncoreError: If the run has no valid row of ours in fp32 among interleaved ones.
    """
    earlier = {_key(row): row.of_fp32 for row in _rows(before)} if before else {}
    rows = [
        [
            *(PHASES[str(row.record.phase)], row.record.model_name, row.record.batch_size, how(row.record)),
            *(row.of_fp32, row.of_quickest, share_text(row.record, "gemm"), time_text(row.record.median_s)),
            *([earlier.get(_key(row))] if before else []),
        ]
        for row in _rows(run)
    ]
    if not rows:
        raise RnncoreError(f"{run.path}: no valid interleaved row of {OURS} in fp32; measure as this script's help says.")
    columns = [*words("Of", "Cell", "Batch", "Runtime"), *numbers("beside ours in fp32", "beside our quickest")]
    columns += numbers("of product", "median", *(["before, beside ours in fp32"] if before else []))
    return Table(columns, rows)


class Row(NamedTuple):
    """A record, and how it compares with ours in fp32 and with the quickest of ours."""

    record: Record
    of_fp32: str | None
    of_quickest: str | None


def _key(row: Row) -> tuple[object, ...]:
    return row.record.phase, *_group(row.record), how(row.record)


def _rows(run: Run) -> Iterator[Row]:
    """Yield the rows of a run, the quickest of a group first; none of groups without ours in fp32."""
    for phase in PHASES:
        records = sorted(valid(run.phase(phase)), key=lambda one: [str(part).zfill(8) for part in _group(one)])
        for _, some in groupby(records, key=_group):
            alike = sorted(some, key=lambda one: one.median_s)
            ours = [one for one in alike if one.runtime == OURS]
            base = next((one for one in ours if one.precision == "fp32"), None)
            if base is not None:
                yield from (Row(one, _ratio_text(base, one), _ratio_text(ours[0], one)) for one in alike)


def _group(record: Record) -> tuple[object, ...]:
    return record.axes(("device", "recipe", "cell", "batch_size", "hidden_size", "num_layers", "lookback"))


def _ratio_text(base: Record, record: Record) -> str | None:
    """Return how many times as long as the base a record takes, round by round; None of the base itself."""
    if base is record or len(base.rounds_s) != len(record.rounds_s):
        return None
    found = interleaved_ratio(base.rounds_s, record.rounds_s, ERROR)
    return ratio_within(found.estimate, found.low, found.high)


if __name__ == "__main__":
    main()
