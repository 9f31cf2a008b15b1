"""The verdict on several runs, what is not alike, and what changed."""

from collections.abc import Callable, Sequence

from rnncore.amounts import counted
from rnncore.compare.choices import fastest_first, rankable
from rnncore.compare.judge import Side, judge
from rnncore.compare.thresholds import Thresholds
from rnncore.report.fold import folded
from rnncore.report.rows import by_batch_size, by_recipe, valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.sections.ordinary.origin import fact_title
from rnncore.report.sections.ratios import CaseRatio, case_ratios
from rnncore.report.sections.verdict import batch_words, bullets, recipe_words
from rnncore.report.table import inert, paragraph, strong
from rnncore.report.verdict.markdown import judgement_table
from rnncore.report.words import letter, lettered_names, machine_name, significant, time_text, times
from rnncore.runfile.machine import differences, same_machine
from rnncore.runfile.record import Record, Run


def sentences_of_several(runs: Sequence[Run]) -> list[str]:
    """Return the verdict on several runs as plain sentences."""
    of_recipe = by_recipe(record for run in runs for record in rankable(run.phase("infer")))
    found = [
        _fastest_of_several(runs, recipe, batch_size, recipe_words(recipe, of_recipe))
        for recipe, records_of in of_recipe.items()
        for batch_size, _ in by_batch_size(records_of)
    ]
    apart = [sentence for index, run in enumerate(runs) for sentence in of_differences(runs[0], run, letter(index))]
    return [*found, *against_first(runs), *apart, *of_noise(runs)]


def against_first(runs: Sequence[Run]) -> list[str]:
    """Say of each run after the first how many benchmarks are faster and slower, and what one of the two lacks."""
    ratios = case_ratios(runs)
    return [
        _against_first(letter(index), [one for one in ratios if one.run == letter(index)])
        + _lacking(runs[0], run, letter(index))
        for index, run in enumerate(runs[1:], 1)
    ]


def of_differences(first: Run, run: Run, letter: str) -> list[str]:
    """Say in which facts of machine, settings and software a run differs from the first, where it does."""
    facts = [fact_title(one.fact) for one in differences(first.fingerprint, run.fingerprint)]
    if not facts:
        return []
    listed = ", ".join(map(inert, facts[:3])) + (f" and {len(facts) - 3} more" if len(facts) > 3 else "")
    return [f"**A and {letter} differ in {listed}**: their ratios are not of the code alone."]


def of_noise(runs: Sequence[Run]) -> list[str]:
    """Say what two runs of one machine do not tell."""
    if not any(same_machine(run.fingerprint, runs[0].fingerprint) for run in runs[1:]):
        return []
    return [
        "Runs of one machine differ by noise between processes too; `rnncore compare` and `rnncore gate` tell a change from "
        "it by several processes a side."
    ]


def _fastest_of_several(runs: Sequence[Run], recipe: str | None, batch_size: int, of_recipe: str) -> str:
    """Say which run has the fastest choice of one recipe at one batch size, and by how much, of what no run left out."""
    asked = recipe, batch_size
    rows_of = {
        letter(index): [one for one in rankable(run.phase("infer")) if (one.recipe, one.batch_size) == asked]
        for index, run in enumerate(runs)
    }
    every = [one for rows in rows_of.values() for one in rows]
    # What a run could not measure counts against it; where it was asked for none of the rows, it takes no part.
    tried = {name: has for name, has in zip(rows_of, map(_tried, runs), strict=True) if any(map(has, every))}
    shared = {name: [one for one in rows_of[name] if all(has(one) for has in tried.values())] for name in tried}
    compared = {name: rows for name, rows in shared.items() if rows}
    what = f"For {batch_words(batch_size)}{of_recipe}"
    if len(tried) == 1:
        return f"{what}, only {next(iter(tried))} has rows: nothing is compared."
    if not compared:
        return f"{what}, no row is in all runs: nothing is compared."
    bests = [(fastest_first(rows)[0], name) for name, rows in compared.items()]
    bests.sort(key=lambda best: (best[0].median_s, best[1]))
    (best, where), *others = bests
    sentence = f"{what}, {strong(f'{way(best)} on {where}')} is fastest: {time_text(best.median_s)} per call"
    for other, there in others[:1]:
        ratio = times(other.median_s / best.median_s)
        sentence += f"; the best on {there}, {inert(way(other))}, is {ratio}"
    left_out = {one.fullname for one in every} - {one.fullname for rows in shared.values() for one in rows}
    if left_out:
        sentence += f"; {counted(len(left_out), 'row')} that only some runs have left out"
    without = [name for name in rows_of if name not in tried]
    if without:
        sentence += f"; {' and '.join(without)} {'has' if len(without) == 1 else 'have'} none of these rows"
    return f"{sentence}."


def _tried(run: Run) -> Callable[[Record], bool]:
    """Return what says whether a run measured a row of another, or why it could not; else it was not asked for it."""
    has_gpu = bool(run.fingerprint.get("gpu"))
    names = {*(one.fullname for one in run.records), *(name for name, _ in run.skipped), *(name for name, *_ in run.failed)}
    return lambda record: record.fullname in names or (record.is_beside_cpu and not has_gpu)


def _lacking(first: Run, run: Run, letter: str) -> str:
    """Say what one of two runs was not asked for and the other measured."""
    said = []
    for lacking, of, without, other in ((run, first, letter, "A"), (first, run, "A", letter)):
        tried = _tried(lacking)
        names = [one.short_name for one in valid(of.records) if not tried(one)]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said.append(f"{without} lacks {len(names)} of {other}'s rows ({inert(names[0])}{more})")
    return f" {'; '.join(said)}." if said else ""


def _against_first(name: str, ratios: Sequence[CaseRatio]) -> str:
    """Count what is faster and slower than in the first run, beyond the intervals."""
    if not ratios:
        return f"{name} has no benchmark in common with A."
    slower = [one for one in ratios if one.is_sure and one.ratio > 1]
    faster = [one for one in ratios if one.is_sure and one.ratio < 1]
    said = []
    for what, some in (("faster", faster), ("slower", slower)):
        if some:
            span = sorted(max(one.ratio, 1 / one.ratio) for one in some)
            reach = f"{significant(span[0])}x" + ("" if len(some) == 1 else f" to {significant(span[-1])}x")
            said.append(f"{len(some):,} {what} ({reach})")
    unbounded = sum(one.low is None or one.high is None for one in ratios)
    untold = len(ratios) - len(slower) - len(faster) - unbounded
    said += [f"{untold:,} within the interval of the rounds"] if untold else []
    said += [f"{unbounded:,} of too few rounds for an interval"] if unbounded else []
    return f"{name} against A, of {counted(len(ratios), 'benchmark')} in both: {', '.join(said)}."


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the letters stand for, and the verdict in sentences."""
    return [named_runs(runs), bullets(sentences_of_several(runs))]


def named_runs(runs: Sequence[Run]) -> str:
    """Return a paragraph that says which run each letter stands for, when it was measured, and where if all were there."""
    when = [f"{name} ({run.datetime[:10]})" for name, run in zip(lettered_names(runs), runs, strict=True)]
    machines = {machine_name(run) for run in runs}
    where = f"All on {inert(machines.pop())}: " if len(machines) == 1 and runs[0].fingerprint.get("cpu") else ""
    return paragraph(where + "; ".join(map(inert, when)) + ".")


def text_of_differences(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return a warning of what makes ratios say less than they seem to."""
    digests = {run.data["digest"] if run.data else None for run in runs}
    threads = {run.fingerprint.get("threads") for run in runs} - {None}
    warnings = ["The data differ: sMAPE and the data path cannot be compared."] if len(digests) > 1 else []
    warnings += ["The threads differ: ratios on the CPU hold both."] if len(threads) > 1 else []
    return [f"**{' '.join(warnings)}**\n"] if warnings else []


def text_of_changes(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return verdicts where two runs are of one machine, software and data."""
    if len(runs) != 2:
        return []
    comparison = judge(Side("A", (runs[0],)), Side("B", (runs[1],)), Thresholds())
    if comparison.differences:
        return []
    notes = [paragraph(inert(note)) for note in comparison.notes]
    return folded("The verdict on each benchmark", [*notes, judgement_table(comparison.judgements).markdown()])


VERDICT = Section("## Verdict", text)
NOT_ALIKE = Section("", text_of_differences)
CHANGED = Section("", text_of_changes)
