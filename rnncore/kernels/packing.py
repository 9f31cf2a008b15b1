"""Weights as the register tile takes them: by groups of units, in fp32, in pairs of bf16 values or in quads of bytes.

A group has as many units as a vector has lanes; units that are missing in the last one are zeros. H hidden, G gates.
"""

import numpy as np
import torch

from rnncore.kernels.arguments import Floats

# Bytes in an element of four bytes, and the byte that is 1, or the largest weight.
QUAD, LARGEST_BYTE = 4, 127


def grouped(weight: Floats, gates: int, hidden: int, lanes: int) -> Floats:
    """Return weights by groups of units.

    Args:
        weight: Of all gates side by side. Shape (rows, gates * hidden).
        gates: How many.
        hidden: Units.
        lanes: Of a vector.

    Returns:
        Shape (groups, rows, gates, lanes).
    """
    rows, groups = len(weight), -(-hidden // lanes)
    whole = np.zeros((rows, gates, groups * lanes), dtype=np.float32)
    whole[:, :, :hidden] = weight.reshape(rows, gates, hidden)
    return whole.reshape(rows, gates, groups, lanes).transpose(2, 0, 1, 3)


def rounded(values: Floats) -> Floats:
    """Return values in bf16, to nearest, two to a float. The last axis is of even length, and half as long after."""
    halves = torch.from_numpy(np.ascontiguousarray(values)).bfloat16().view(torch.int16).numpy()
    return halves.view(np.float32)


def paired(weight: Floats, block_rows: int) -> Floats:
    """Return weights in bf16, two to a float: by group, block of rows, gate, pair of rows, unit and row of the pair.

    Args:
        weight: As `grouped` returns it.
        block_rows: Rows of a block, even.

    Returns:
        Shape (groups, values).
    """
    groups, rows, gates, lanes = weight.shape
    whole = np.zeros((groups, -(-rows // block_rows) * block_rows, gates, lanes), dtype=np.float32)
    whole[:, :rows] = weight
    by_two = whole.reshape(groups, -1, block_rows // 2, 2, gates, lanes).transpose(0, 1, 4, 2, 5, 3)
    return rounded(by_two).reshape(groups, -1)


def in_bytes(weight: Floats, zero_byte: int) -> Floats:
    """Return weights in int8, four to a float, after their scales and first sums, as `int8.h` has them.

    Args:
        weight: As `grouped` returns it. A unit has a scale for each gate, by which its largest is 127.
        zero_byte: What a byte of a state has added.

    Returns:
        Shape (groups, values).
    """
    groups, rows, gates, lanes = weight.shape
    scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True) / LARGEST_BYTE, np.finfo(np.float32).tiny)
    # What is not finite has no bytes: it makes the scale, and so the forecasts, no number.
    is_finite = np.isfinite(scale)
    whole_numbers = np.rint(np.where(is_finite, weight, 0) / np.where(is_finite, scale, 1)).astype(np.int8)
    whole = np.zeros((groups, -(-rows // QUAD) * QUAD, gates, lanes), dtype=np.int8)
    whole[:, :rows] = whole_numbers
    quads = np.ascontiguousarray(whole.reshape(groups, -1, QUAD, gates, lanes).transpose(0, 1, 3, 4, 2))
    # Bytes of states are as many parts of 1.
    of_sums = np.where(is_finite, scale / LARGEST_BYTE, np.float32(np.nan))
    first_sums = -zero_byte * whole_numbers.sum(axis=1, dtype=np.int32)
    parts = (part.reshape(groups, -1).view(np.int32) for part in (of_sums, first_sums, quads))
    return np.concatenate(list(parts), axis=1).view(np.float32)
