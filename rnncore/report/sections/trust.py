"""What the figures rest on: what ran, what held it back, what disturbed it."""

from collections.abc import Sequence
from typing import Any

from rnncore.amounts import counted, time_unit
from rnncore.report.fold import folded
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import bytes_text, share_text, significant
from rnncore.runfile.record import CEILINGS, Record, Run

# Of the rounds: where more were disturbed, a page asks for care.
MOST_DISTURBED_PCT = 10.0

_BOUNDS = {
    "compute": "arithmetic",
    "bandwidth": "memory bandwidth",
    "cache": "reading the weights again",
    "latency": "waiting for the step before",
}


def path_table(records: list[Record]) -> Table:
    """Show by benchmark what ran, what holds it back, how much of the ceilings it reaches, and how right it is."""
    rows = [
        [
            record.short_name,
            "valid" if record.is_valid else strong("invalid"),
            record.kernel or None,
            _BOUNDS.get(str(record.bound)),
            *[share_text(record, ceiling) for ceiling in CEILINGS],
            record.bandwidth_ceiling_pct,
            record.us_per_step,
            record.parity_max_abs,
            _memory_text(record),
            bytes_text(record.model_rss_bytes),
            record.joules_per_1000,
        ]
        for record in records
    ]
    columns = [
        *words("Benchmark", "result", "Kernel", "held back by"),
        *numbers("of product", "of chain", "of cache"),
        *numbers("of copy", show="{:.0f} %".format),
        *numbers("µs per step", show=significant),
        *numbers("error to float64", show="{:.1e}".format),
        *numbers("peak memory", "model's share"),
        *numbers("J per 1,000 windows", show=significant),
    ]
    return Table(columns, rows)


def _memory_text(record: Record) -> str:
    """Return the memory of a process that only serves, on a GPU with that there; else what torch held of the GPU."""
    if record.whole_process_bytes is None and record.peak_device_bytes is not None:
        return f"{bytes_text(record.peak_device_bytes)} by torch"
    return bytes_text(record.whole_process_bytes)


def disturbance_table(records: list[Record]) -> Table:
    """Show by benchmark how many rounds were disturbed, both medians, and whether the halves agree."""
    rows: list[list[Any]] = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        disturbance = record.disturbance or {}
        times_s = (record.median_s, disturbance.get("median_undisturbed_s"), record.first_call_s)
        causes = [f"{count} × {cause}" for cause, count in (disturbance.get("causes") or {}).items()]
        steady = None if record.steady is None else "yes" if record.steady else f"not steady: {record.why('steady')}"
        rows.append(
            [
                record.short_name,
                ", ".join(causes) or None,
                record.rounds,
                record.disturbed_rounds,
                *[None if seconds is None else f"{significant(seconds / scale)} {unit}" for seconds in times_s],
                steady,
            ]
        )
    columns = [
        *words("Benchmark", "Disturbed by"),
        *numbers("rounds", "disturbed", show=str),
        *numbers("median of all", "of the undisturbed", "first call", "steady"),
    ]
    return Table(columns, rows)


def session_sentences(run: Run) -> str:
    """Say whether the machine stayed the same over the session, and what the session cost beside the timed rounds."""
    sentences = []
    if run.session.get("steady") is False:
        why = inert(str(run.session.get("steady_why")))
        sentences.append(
            f"**The session is not steady**: of a small fixed piece of work, {why}; ratios of early and late rows contain "
            "this change too."
        )
    elif run.session.get("steady"):
        sentences.append("A small fixed piece of work took equally long in both halves of the session.")
    overhead = run.session.get("overhead")
    if overhead:
        parts = [f"{seconds:.0f} s {inert(name)}" for name, seconds in overhead["parts_s"].items() if seconds >= 1]
        spent = [f"{overhead['timed_s']:.0f} s were timed rounds"]
        if any(record.has_case for record in run.records):
            spent.append(f"{overhead.get('trainings_s', 0):.0f} s timed trainings")
        sentences.append(
            f"Of the session's {overhead['wall_s']:.0f} s, {', '.join(spent)} and {overhead['overhead_s']:.0f} s overhead: "
            f"{', '.join(parts) or 'each part below 1 s'}."
        )
    return " ".join(sentences)


def trust_sentence(run: Run) -> str:
    """Say in a line whether the figures of a run can be trusted, and why: noise, steadiness, invalid rows."""
    watched = observed(run)
    wrong = sum(not record.is_valid for record in run.records)
    said = [f"{wrong} of {counted(len(run.records), 'row')} wrong, and not ranked"] if wrong else []
    if not watched:
        said.append("the file does not say what disturbed the rounds")
        return f"Can it be trusted? **Not known**: {'; '.join(said)}."
    above = sum(record.is_valid and bool(record.above_ceilings) for record in run.records)
    said += [f"{counted(above, 'row')} above a ceiling of the machine"] if above else []
    unsteady = sum(record.steady is False for record in watched)
    if run.session.get("steady") is False:
        said.append(f"the machine did not keep its speed ({inert(str(run.session.get('steady_why')))})")
    said += [f"{unsteady} of {counted(len(watched), 'row')} not steady"] if unsteady else []
    rounds = sum(record.rounds for record in watched)
    # Of a file that was thinned, rounds are fewer than were disturbed.
    disturbed_pct = 100 * sum(min(record.disturbed_rounds or 0, record.rounds) for record in watched) / rounds
    is_noisy = disturbed_pct > MOST_DISTURBED_PCT
    noise = f"{significant(disturbed_pct, 2)} % of {counted(rounds, 'round')} disturbed"
    answer = "With care" if said or is_noisy else "Yes"
    said.append(noise)
    said += ["the machine kept its speed"] if run.session.get("steady") else []
    said += ["no row is wrong"] if not wrong else []
    return f"Can it be trusted? **{answer}**: {'; '.join(said)}. Ratios are of one process on one machine."


def observed(run: Run) -> list[Record]:
    """Return the rows that were watched for disturbances."""
    return [record for record in run.records if record.disturbance is not None]


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the figures rest on: two tables by benchmark, and sentences on the session."""
    records, sentences = observed(runs[0]), session_sentences(runs[0])
    with_case = [record for record in records if record.has_case]
    of_path = [
        paragraph(
            "The kernel is what a profile of an extra call saw. Shares are of the best products, in registers alone or of "
            "a library; of the recurrent products chained one after another with the others at that rate; of reading again "
            "the weights that each hour needs, from the cache that holds them; and of copying memory, which is slower than "
            "a cache. A share of the others above 100 % stands with what chance explains of it, by how far the looks at the "
            "ceiling and the rounds lie apart; further above, the ceiling is too low or the work is not what was counted."
        ),
        path_table(with_case).markdown(),
    ]
    of_rounds = [
        paragraph(
            "A round is disturbed where others took more than 2 % of its time, made its threads leave their cores often, or "
            "slowed a clock; it is counted and kept. The first call, with the opening of the runtime, is in no other figure."
        ),
        disturbance_table(records).markdown(),
    ]
    return [
        *([paragraph(sentences)] if sentences else []),
        *folded("What ran, what holds it back, how right it is, and its memory, row by row", of_path),
        *folded("What disturbed the rounds, row by row", of_rounds),
    ]


LACKING = "The run file is of a version that did not look for disturbances."
SECTION = Section("## Can it be trusted?", text, needs=observed, lacking=LACKING)
