"""How large the loads of a zone are: the unit that scales and fits are worked out in, and where belief in a load ends.

A file in kW must give the forecasts of the same file in MW, a thousandfold. Powers of ten are no powers of two, so that
loads of the two files differ in their last bits, and a training in float32 makes other weights of that. So loads are first
divided by a power of ten of their own size and rounded to thirteen decimals: what is left is equal to the bit in either
unit, as long as the file has no more digits than that.
"""

import math

import numpy as np

from rnncore.forecast.series import FloatArray

# Of absolute loads, in percent: what their power of ten is taken of. Spikes lie above it, and nights without load below.
SIZE_PCT = 95.0

# Decimals of a load in its unit.
DECIMALS = 13

# The usual range of a load lies between these percentiles.
USUAL_PCT = (0.5, 99.5)

# Usual ranges beyond the usual range in which a load is believed: nothing real is as far off.
BELIEVED_RANGES = 3.0


def unit_of(load_mw: FloatArray) -> float:
    """Return the power of ten, in MW, that loads are written in with one digit before the point.

    Args:
        load_mw: Loads. Shape (N,).
    """
    size = np.abs(load_mw)
    size_mw = float(np.percentile(size, SIZE_PCT)) or float(size.max())
    # Rounding must not put loads of just 1000 MW below their power of ten.
    return float(f"1e{math.floor(math.log10(size_mw) + 1e-9)}") if size_mw > 0 else 1.0


def in_units(load_mw: FloatArray, unit_mw: float) -> FloatArray:
    """Return loads in a unit of `unit_of`, rounded to thirteen decimals. Shape (N,)."""
    steps_per_unit = 10.0**DECIMALS
    load: FloatArray = np.rint(load_mw / unit_mw * steps_per_unit) / steps_per_unit
    return load


def usual_range(load: FloatArray) -> float:
    """Return how far apart the ends of the usual range are, in the unit of the loads."""
    low, high = np.percentile(load, USUAL_PCT)
    return float(high - low)


def believed_between(load: FloatArray) -> tuple[float, float]:
    """Return the smallest and the largest load that is believed, in the unit of the loads.

    Args:
        load: Loads. Shape (N,). Where nearly all are equal, none is beyond belief.
    """
    low, high = map(float, np.percentile(load, USUAL_PCT))
    far = BELIEVED_RANGES * (high - low)
    return (low - far, high + far) if far else (float(load.min()), float(load.max()))
