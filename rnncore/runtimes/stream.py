"""Forecasts hour by hour with the state carried on: what a recurrent model can do and a window cannot.

A window forgets what came before its hours, and asks for all of them again for every new one. A stream keeps the state and
takes the new hour alone. Its forecasts differ a little from a window's, as the state has seen more than the window's hours.
"""

import numpy as np

from rnncore.forecast.series import FloatArray
from rnncore.forecast.windows import Windows
from rnncore.runtimes.base import Stream


def stream_test_hours(stream: Stream, windows: Windows) -> dict[str, FloatArray]:
    """Forecast every test hour by a stream of all zones together, each from its first tested window on.

    Args:
        stream: New, of as many series as there are zones with test hours.
        windows: The windows.

    Returns:
        Forecasts in MW by zone, in order of time, as `rnncore.forecast.scoring.forecast_test_hours` gives them.
    """
    zones = [zone for zone in windows.zones if zone.test.stop > zone.test.start]
    starts = [windows.test_start[zone.test] for zone in zones]
    hours = max(len(start) for start in starts) + windows.config.lookback - 1
    # A zone whose hours have ended repeats its last one; nobody looks at what it forecasts then.
    rows = [np.minimum(start[0] + np.arange(hours), start[-1] + windows.config.lookback - 1) for start in starts]
    outputs = np.stack([stream.step(windows.features[of_hour]).copy() for of_hour in np.stack(rows, axis=1)])
    forecasts = {}
    for place, (zone, start) in enumerate(zip(zones, starts, strict=True)):
        # After the window's last hour.
        made = outputs[start - start[0] + windows.config.lookback - 1, place]
        forecasts[zone.name] = windows.to_mw(zone, start, made)
    return forecasts
