"""Tests of the picture of a forecast: what is drawn, in which unit, and that it is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rnncore.report.figure import write_chart
from rnncore.report.next_hours import next_hours_chart


def _rows(zone: str, hours: range, load_mw: float, **more: float | None) -> list[dict[str, Any]]:
    return [{"zone": zone, "time": f"2017-06-01 {hour:02}:00:00", "load_mw": load_mw + hour, **more} for hour in hours]


PAST = [*_rows("A", range(5), 5000.0), *_rows("B", range(5), 7000.0)]
BOUNDS = {"low_50_mw": 4000.0, "high_50_mw": 6000.0, "low_90_mw": None, "high_90_mw": None}
FORECAST = [*_rows("A", range(5, 8), 5000.0, **BOUNDS), *_rows("B", range(5, 8), 7000.0, **BOUNDS)]


def _drawn(*rows: Sequence[dict[str, Any]], zone: int = 0) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Return the layers of a zone's panel, and the values that each draws."""
    spec = next_hours_chart(*rows).to_dict()
    layers = spec["vconcat"][zone]["layer"]
    data = [layer["data"] for layer in layers]
    return layers, [one["values"] if "values" in one else spec["datasets"][one["name"]] for one in data]


def _layers(zone: int, filled: Sequence[dict[str, Any]] = ()) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the marks of a zone's panel and what each draws."""
    layers, values = _drawn(PAST, FORECAST, filled, zone=zone)
    return [(layer["mark"]["type"], of_layer) for layer, of_layer in zip(layers, values, strict=True)]


def test_each_zone_has_the_past_the_forecast_and_the_bounds_that_are_known() -> None:
    for zone, level_mw in enumerate((5000, 7000)):
        layers = _layers(zone)
        assert [mark for mark, _ in layers] == ["area", "rule", "area", "rule", "line", "line", "point"]
        assert [len(values) for _, values in layers] == [3, 3, 0, 0, 5, 4, 0]
        assert layers[0][1][0] == {"time": "2017-06-01T05:00:00Z", "low": 4000, "high": 6000}
        # The forecast goes on where the past ends.
        assert layers[5][1][0] == layers[4][1][-1] == {"time": "2017-06-01T04:00:00Z", "load": level_mw + 4}
        assert [point["load"] for point in layers[5][1][1:]] == [level_mw + hour for hour in (5, 6, 7)]


def test_hours_that_were_filled_have_a_dot() -> None:
    filled = (PAST[2],)
    assert _layers(0, filled)[-1] == ("point", [{"time": "2017-06-01T02:00:00Z", "load": 5002}])
    assert _layers(1, filled)[-1] == ("point", [])


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "MW"), (1e-6, "kW"), (1e3, "GW")])
def test_loads_are_drawn_in_the_unit_that_tables_choose(scale: float, unit: str) -> None:
    parts = [_rows("A", hours, 5000.0) for hours in (range(2), range(2, 4))]
    rows = [[{**row, "load_mw": row["load_mw"] * scale} for row in part] for part in parts]
    layers, values = _drawn(*rows)
    assert {layer["encoding"]["y"]["title"] for layer in layers} == {unit}
    assert values[0][0]["load"] == pytest.approx(5 if unit == "kW" else 5000)


@pytest.mark.parametrize(("suffix", "begins"), [(".svg", b"<svg"), (".png", b"\x89PNG")])
def test_the_picture_is_drawn(suffix: str, begins: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"next{suffix}"
    write_chart(next_hours_chart(PAST, FORECAST, PAST[:1]), path)
    assert path.read_bytes().startswith(begins)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
