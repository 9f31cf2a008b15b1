"""Machine and data, and the most that the machine gave."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnncore.amounts import counted
from rnncore.report.fold import folded
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import bytes_text, lettered_names, significant
from rnncore.runfile.record import Run

_YES_NO = {"True": "yes", "False": "no"}
# What drives a GPU; its fact is called the same, in small letters.
_GPU_SOFTWARE = ("CUDA", "cuDNN", "ROCm", "MIOpen", "oneAPI", "macOS", "driver")


def machine_facts(run: Run) -> dict[str, str]:
    """Return what a reader wants to know of the machine, as text."""
    fingerprint = run.fingerprint
    packages, gpu = fingerprint.get("packages", {}), fingerprint.get("gpu") or {}
    software = [f"{name} {gpu[name.lower()]}" for name in _GPU_SOFTWARE if gpu.get(name.lower())]
    # A file that the plugin took no part in does not say whether there is a GPU.
    no_gpu = "none" if run.session else "–"
    return {
        "CPU": _or_dash(fingerprint.get("cpu")),
        "Vector instructions": ", ".join(name for name, there in (fingerprint.get("isa") or {}).items() if there) or "–",
        "CPUs, threads used": f"{_or_dash(fingerprint.get('cpus'))}, {_or_dash(fingerprint.get('threads'))}",
        "Governor": str(fingerprint.get("governor") or "–"),
        "Virtual machine": _YES_NO.get(str(fingerprint.get("virtual_machine")), "–"),
        "Memory": bytes_text(fingerprint.get("memory_bytes")),
        "GPU": ", ".join([gpu["name"], bytes_text(gpu.get("memory_bytes")), *software]) if gpu else no_gpu,
        "System": f"{_or_dash(fingerprint.get('system'))}, Python {_or_dash(fingerprint.get('python'))}",
        "Packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version) or "–",
        "Data": f"{run.data['name']} ({run.data['digest'][:12]})" if run.data else "none",
        "Commit": run.commit or "not in git",
    }


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _product(entry: Mapping[str, Any], what: str) -> tuple[str, str]:
    return f"{what}, {entry['precision']}", "GOP/s" if entry["precision"] == "int8" else "GFLOP/s"


def _chain(entry: Mapping[str, Any]) -> tuple[str, str]:
    hidden_size = entry["hidden_size"]
    shape = f"({entry['batch_size']:,}, {hidden_size}) x ({hidden_size}, {entry['gates']} x {hidden_size})"
    return f"chain of products {shape}, {entry['precision']}", "GFLOP/s"


# By the kind of a ceiling: what it is called, and its unit.
_NAMED: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "peak": lambda entry: _product(entry, "products in registers alone"),
    "gemm": lambda entry: _product(entry, "square product of a library"),
    "recurrent": _chain,
    "read": lambda entry: (f"reading {entry['bytes'] / 2**10:,.0f} KiB again and again", "GB/s"),
    "copy": lambda entry: ("copying memory", "GB/s"),
}


def all_ceilings_table(run: Run) -> Table:
    """Show every ceiling that the session measured."""
    entries = [
        (kind, entry) for kind in _NAMED for entry in (run.ceilings or {}).get(kind, ()) if entry["per_s"] is not None
    ]
    return _table(entries)


def peaks_table(run: Run) -> Table:
    """Show the best rate of products in each precision, and of copying memory, once each."""
    best: dict[tuple[object, ...], tuple[str, Mapping[str, Any]]] = {}
    for kind in ("peak", "gemm", "copy"):
        for entry in (run.ceilings or {}).get(kind, ()):
            what = kind == "copy", entry["device"], entry.get("precision")
            if entry["per_s"] is not None and (what not in best or best[what][1]["per_s"] < entry["per_s"]):
                best[what] = kind, entry
    return _table(list(best.values()))


def _table(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    rows = []
    for kind, entry in entries:
        what, unit = _NAMED[kind](entry)
        threads = f", {counted(entry['threads'], 'thread')}" if entry.get("threads") else ""
        on = str(entry["device"]).upper() + (threads if entry["device"] == "cpu" else "")
        rows.append([what, on, entry.get("by"), f"{significant(entry['per_s'] / 1e9)} {unit}{_looks_text(entry)}"])
    return Table([*words("Ceiling", "on", "reached by"), *numbers("best rate")], rows)


def _looks_text(entry: Mapping[str, Any]) -> str:
    """Return how often a ceiling was looked at, and the lowest that was seen; nothing of one look."""
    lowest = entry.get("lowest_per_s")
    return "" if lowest is None else f" ({entry.get('looks')} looks, from {significant(lowest / 1e9)})"


def unmeasured_ceilings(run: Run) -> dict[str, int]:
    """Return why ceilings of the session were not measured, and of how many that is so."""
    entries = [entry for kind in _NAMED for entry in (run.ceilings or {}).get(kind, ()) if entry["per_s"] is None]
    return dict(Counter(str(entry.get("per_s_why") or "for no known reason") for entry in entries))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the facts of a machine, folded; of several side by side, those that differ bold and in the open."""
    facts = [machine_facts(run) for run in runs]
    rows = [[name, *[fact[name] for fact in facts]] for name in facts[0]]
    if len(runs) == 1:
        return [
            _brief(runs[0]),
            *folded("The machine, its software and the data", [Table(words("Fact", "this run"), rows).markdown()]),
        ]
    columns = words("Fact", *lettered_names(runs))
    differing = [[name, *map(strong, values)] for name, *values in rows if len(set(values)) > 1]
    alike = [row for row in rows if len(set(row[1:])) == 1]
    return [
        Table(columns, differing or rows).markdown(),
        *folded("What is alike", [Table(columns, alike).markdown()] if differing and alike else []),
    ]


def _brief(run: Run) -> str:
    """Say in a line what a run was measured on, and from which commit."""
    facts = machine_facts(run)
    said = [facts["CPU"], f"GPU: {facts['GPU']}", facts["System"], f"data: {facts['Data']}", f"commit: {facts['Commit']}"]
    return paragraph(inert(f"{'; '.join(said)}."))


SECTION = Section("## Machine and data", text)
SECTION_OF_SEVERAL = Section("## Machines and data", text)
