"""Machine and data, and the most that the machine gave."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnncore.amounts import counted
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import bytes_text, lettered_names, run_names, significant
from rnncore.runfile.record import Run

_YES_NO = {"True": "yes", "False": "no"}
_GPU_SOFTWARE = {"cuda": "CUDA", "cudnn": "cuDNN", "driver": "driver"}


def machine_facts(run: Run) -> dict[str, str]:
    """Return what a reader wants to know of the machine, as text."""
    fingerprint = run.fingerprint
    packages, gpu = fingerprint.get("packages", {}), fingerprint.get("gpu") or {}
    software = [f"{name} {gpu[key]}" for key, name in _GPU_SOFTWARE.items() if gpu.get(key)]
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


def ceilings_table(run: Run) -> Table:
    """Show the ceilings that the session measured; of chains of products those alone that somebody computed."""
    rows = []
    for kind, named in _NAMED.items():
        for entry in (run.ceilings or {}).get(kind, ()):
            if entry["per_s"] is None and kind == "recurrent":
                continue
            what, unit = named(entry)
            threads = f", {counted(entry['threads'], 'thread')}" if entry.get("threads") else ""
            on = f"CPU{threads}" if entry["device"] == "cpu" else "CUDA"
            rate = None if entry["per_s"] is None else f"{significant(entry['per_s'] / 1e9)} {unit}"
            rows.append([what, on, entry.get("by" if rate else "per_s_why"), rate])
    return Table([*words("Ceiling", "on", "reached by"), *numbers("best rate")], rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the machines side by side, facts that differ bold; and the ceilings of one."""
    facts = [machine_facts(run) for run in runs]
    rows = []
    for name in facts[0]:
        values = [fact[name] for fact in facts]
        differ = len(set(values)) > 1
        rows.append([name, *[f"**{value}**" if differ else value for value in values]])
    names = lettered_names(runs) if len(runs) > 1 else run_names(runs)
    parts = [Table(words("Fact", *names), rows).markdown()]
    if len(runs) == 1 and runs[0].ceilings:
        parts += ["The most that this machine gave in this session, with the same threads:\n"]
        parts += [ceilings_table(runs[0]).markdown()]
    return parts


SECTION = Section("## Machine and data", text)
SECTION_OF_SEVERAL = Section("## Machines and data", text)
