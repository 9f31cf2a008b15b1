"""Machine and data, and the most that the machine gave."""

from collections.abc import Sequence
from typing import Any

from rnncore.report.section import Section, Shown
from rnncore.report.table import markdown_table
from rnncore.report.words import bytes_text, lettered_names, run_names, significant
from rnncore.runfile.record import Run

_YES_NO = {"True": "yes", "False": "no"}


def machine_table(runs: Sequence[Run]) -> str:
    """Put the machines of runs side by side; facts that differ are bold."""
    facts = [machine_facts(run) for run in runs]
    rows = []
    for name in facts[0]:
        values = [fact[name] for fact in facts]
        differ = len(set(values)) > 1
        rows.append([name, *[f"**{value}**" if differ else value for value in values]])
    names = lettered_names(runs) if len(runs) > 1 else run_names(runs)
    return markdown_table(["Fact", *names], rows, left=1 + len(runs))


def machine_facts(run: Run) -> dict[str, str]:
    """Return what a reader wants to know of the machine, as text."""
    fingerprint = run.fingerprint
    gpu = fingerprint.get("gpu")
    packages = fingerprint.get("packages", {})
    return {
        "CPU": str(fingerprint.get("cpu")),
        "Vector instructions": ", ".join(name for name, there in (fingerprint.get("isa") or {}).items() if there) or "–",
        "CPUs, threads used": f"{fingerprint.get('cpus')}, {fingerprint.get('threads')}",
        "Governor": str(fingerprint.get("governor") or "–"),
        "Virtual machine": _YES_NO.get(str(fingerprint.get("virtual_machine")), "–"),
        "Memory": bytes_text(fingerprint.get("memory_bytes")),
        "GPU": _gpu_text(gpu),
        "System": f"{fingerprint.get('system')}, Python {fingerprint.get('python')}",
        "Packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
        "Data": f"{run.data['name']} ({run.data['digest'][:12]})" if run.data else "none",
        "Commit": run.commit or "not in git",
    }


def _gpu_text(gpu: dict[str, Any] | None) -> str:
    if gpu is None:
        return "none"
    software = (("cuda", "CUDA"), ("cudnn", "cuDNN"), ("driver", "driver"))
    known = [f"{name} {gpu[key]}" for key, name in software if gpu.get(key)]
    return ", ".join([gpu["name"], bytes_text(gpu.get("memory_bytes")), *known])


def ceilings_table(run: Run) -> str | None:
    """Show the ceilings that the session measured; None where it has none."""
    ceilings = run.ceilings
    if not ceilings:
        return None
    rows = []
    for entry in ceilings.get("gemm", ()):
        unit = "GOP/s" if entry["precision"] == "int8" else "GFLOP/s"
        rows.append(_ceiling_row(f"square product, {entry['precision']}", entry, unit))
    for entry in ceilings.get("recurrent", ()):
        shape = f"({entry['batch_size']:,}, {entry['hidden_size']}) x ({entry['hidden_size']}, "
        shape += f"{entry['gates']} x {entry['hidden_size']})"
        rows.append(_ceiling_row(f"chain of products {shape}, {entry['precision']}", entry, "GFLOP/s"))
    rows += [_ceiling_row("copying memory", entry, "GB/s") for entry in ceilings.get("copy", ())]
    return markdown_table(["Ceiling", "on", "reached by", "best rate"], rows, left=3)


def _ceiling_row(what: str, entry: dict[str, Any], unit: str) -> list[str]:
    threads = f", {entry['threads']} threads" if entry.get("threads") else ""
    on = f"CPU{threads}" if entry["device"] == "cpu" else "CUDA"
    if entry["per_s"] is None:
        return [what, on, str(entry.get("per_s_why", "–")), "–"]
    return [what, on, str(entry.get("by", "–")), f"{significant(entry['per_s'] / 1e9)} {unit}"]


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    run = runs[0]
    parts = ["## Machine and data\n", machine_table([run])]
    if ceilings := ceilings_table(run):
        parts += ["The most that this machine gave in this session, with the same threads:\n", ceilings]
    return parts


def _lines_of_several(runs: Sequence[Run], shown: Shown) -> list[str]:
    return ["## Machines and data\n", machine_table(runs)]


SECTION = Section(_lines)
SECTION_OF_SEVERAL = Section(_lines_of_several)
