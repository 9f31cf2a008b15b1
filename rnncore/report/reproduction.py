"""The reproduced comparison as a page: the article's figures beside ours."""

import json
from pathlib import Path
from typing import Any

from rnncore.files import write_text
from rnncore.report.figure import write_chart
from rnncore.report.sections.forecasts import forecast_panel
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import BASELINE_NAMES, significant
from rnncore.runfile.record import EMULATED, is_emulated

RECORD_NAME, REPORT_NAME, CHART_NAME = "reproduction.json", "reproduction.md", "forecasts.png"


def write_reproduction(record: dict[str, Any], folder: Path) -> Path:
    """Write the record, its page and its figure into *folder*.

    Args:
        record: What `rnncore.measure.reproduction.reproduce` returned, or the same read from JSON.
        folder: Where to; made if missing.

    Returns:
        The path of the page.
    """
    write_text(folder / RECORD_NAME, json.dumps(record, indent=1) + "\n")
    write_chart(forecast_panel(record["panels"]), folder / CHART_NAME)
    page = folder / REPORT_NAME
    write_text(page, render_reproduction(record))
    return page


def render_reproduction(record: dict[str, Any]) -> str:
    """Return the page as Markdown; equal text for equal records."""
    config, machine = record["config"], record["machine"]
    baselines = Table(
        [
            *words("Baseline"),
            *numbers("sMAPE", unit="%", show="{:.3f}".format),
            *numbers("MAE", unit="MW", show=significant),
        ],
        [[BASELINE_NAMES.get(one["name"], one["name"]), one["smape"], one["mae_mw"]] for one in record["baselines"]],
    )
    return "\n".join(
        [
            "# The article's comparison, run again\n",
            paragraph(_what_was_run(record)),
            reproduction_table(record).markdown(),
            "The article measures process CPU time on a machine it does not name: its seconds cannot be set against ours. "
            "Its code divides the sMAPE by 4; its true sMAPE is given too.\n",
            "## Baselines on the same hours\n",
            baselines.markdown(),
            "## Forecast and actual load\n",
            f"![The last test hours of four zones, actual and forecast]({CHART_NAME})\n",
            "## Machine and data\n",
            paragraph(
                f"{machine['cpu']}, {machine['threads']} threads, "
                f"{'GPU ' + machine['gpu']['name'] if machine['gpu'] else 'no GPU'}, torch {machine['packages']['torch']}; "
                f"trained on {config['device']} in {config['precision']}, seed {config['seed']}. "
                f"Data {record['data']['name']} ({record['data']['digest'][:12]})."
            ),
        ]
    )


def _what_was_run(record: dict[str, Any]) -> str:
    config, windows = record["config"], record["windows"]
    is_of_no_device = config["device"] != "cpu" and is_emulated(record["machine"])
    emulated = f" **{EMULATED[0].upper()}{EMULATED[1:]}.**" if is_of_no_device else ""
    shortest = min((ours["training"] for ours in record["cells"].values()), key=lambda training: int(training["steps"]))
    cut = ""
    if shortest["steps"] < shortest["planned_steps"]:
        steps = f"{shortest['steps']:,} of {shortest['planned_steps']:,} steps"
        cut = f" **Cut short after {steps}: the sMAPE is not that of the article's training.**"
    return (
        f"{windows['train']:,} training and {windows['test']:,} test windows of 90 hours, batches of "
        f"{config['batch_size']:,}, {config['epochs']} epochs.{cut}{emulated}"
    )


def reproduction_table(record: dict[str, Any]) -> Table:
    """Return the article's table with its figures beside ours."""
    rows = []
    for cell, ours in record["cells"].items():
        printed = record["article"][cell]
        rows.append(
            [
                cell.upper(),
                printed["training_s"],
                ours["training"]["seconds"],
                ours["training"]["windows_per_s"],
                printed["evaluation_s"],
                ours["evaluation_s"],
                printed["smape_article"],
                ours["score"]["smape_article"],
                4 * printed["smape_article"],
                ours["score"]["smape"],
            ]
        )
    titles = ("training CPU s, article", "training s, ours", "windows/s, ours", "evaluation CPU s, article")
    columns = [
        *words("Cell"),
        *numbers(*titles, "evaluation s, ours", show=significant),
        *numbers("printed sMAPE %, article", "same formula, ours", show="{:.4f}".format),
        *numbers("true sMAPE %, article", "true sMAPE %, ours", show="{:.3f}".format),
    ]
    return Table(columns, rows)
