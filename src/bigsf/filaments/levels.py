"""Labelled filaments + planes -> the level of the map on each filament and around it, and its probability."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from bigsf.arrays import Float64Array, FloatArray
from bigsf.filaments.cleaning import CONNECTED
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks

Rows = Callable[[int, int], FloatArray]
"""A function from rows (y0, y1) to a plane there, `(y1 - y0, nx)`, NaN where missing."""

Box = tuple[slice, slice]
"""The rows and columns that a filament spans."""

RING_PX = (2, 7)
"""The local background of a filament begins beyond the first distance from it and ends at the second."""


def measure_levels(
    labels: npt.NDArray[np.int32],
    boxes: Sequence[Box],
    image: FloatArray | Rows | None,
    probability: FloatArray | Rows | None,
    chunk_pixels: int = CHUNK_PIXELS,
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the catalogue that are read from the map and the probabilities, each `(filaments,)`.

    Both planes are read once, from top to bottom.

    Parameters
    ----------
    labels
        The number of the filament of each pixel from 1, 0 for none, `(ny, nx)`.
    boxes
        The box of each filament.
    image, probability
        Planes `(ny, nx)`, or functions that return rows of them, NaN where missing. The columns of a plane that is
        None are NaN.
    chunk_pixels
        Bound on the pixels that are held in memory. It does not change the result.

    Returns
    -------
    dict
        `mean`, `median`, `peak`, `background`, `probability` and `contrast`, float32, NaN where undefined; `edge`,
        bool, True within 2 pixels of the border of the map or of missing pixels of the image; and `valid`, the pixels
        of the filament with a value of the image.
    """
    chunks = [_Chunks([], [], [], []) for _ in boxes]
    nx = labels.shape[1]
    start, stop = (np.array([getattr(y, edge) for y, _ in boxes]) for edge in ("start", "stop"))
    for y0, y1 in row_chunks(labels.shape, chunk_pixels):
        absent = np.broadcast_to(np.float32(np.nan), (y1 - y0, nx))
        rows_of_probability, rows_of_map = (
            absent if plane is None else rows_of(plane, y0, y1) for plane in (probability, image)
        )
        for number in np.flatnonzero((start - RING_PX[1] < y1) & (stop + RING_PX[1] > y0)).tolist():
            _gather(chunks[number], labels, number, boxes[number], y0, y1, rows_of_map, rows_of_probability)
    names = ("mean", "median", "peak", "background", "probability")
    columns = np.array([one.levels() for one in chunks], np.float32).reshape(-1, len(names)).T
    values: dict[str, FloatArray] = dict(zip(names, columns, strict=True))
    positive = np.where(values["background"] > 0, values["background"], np.nan)
    values["contrast"] = np.asarray(values["mean"] / positive - 1, np.float32)
    at_border = [_at_border(box, labels.shape) for box in boxes]
    beside_missing = [image is not None and any(one.beside_missing) for one in chunks]
    valid = np.array([sum(np.isfinite(values).sum() for values in one.on) for one in chunks], np.int64)
    return {**values, "edge": np.logical_or(at_border, beside_missing), "valid": valid}


def measure_map(
    labels: npt.NDArray[np.int32], number: int, plane: FloatArray | Rows, chunk_pixels: int = CHUNK_PIXELS
) -> dict[str, FloatArray]:
    """Return `mean`, `median` and `std` of a further map over each filament, float32 `(number,)`.

    In memory are its values in filaments, and no others. Pixels that are NaN do not count; where no other is left, all
    three are NaN. The parameters are those of `measure_levels`.
    """
    values, owners = [np.empty(0, np.float32)], [np.empty(0, np.int32)]
    for y0, y1 in row_chunks(labels.shape, chunk_pixels):
        rows = rows_of(plane, y0, y1)
        on = (labels[y0:y1] > 0) & np.isfinite(rows)
        values.append(rows[on])
        owners.append(labels[y0:y1][on])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=number + 1))
    on_each = np.split(np.concatenate(values)[order], ends[:-1])[1:]
    statistics: dict[str, Callable[[Float64Array], Any]] = {"mean": np.mean, "median": np.median, "std": np.std}
    return {
        name: np.array([_statistic(function, each.astype(np.float64)) for each in on_each], np.float32)
        for name, function in statistics.items()
    }


class _Chunks(NamedTuple):
    """What was gathered for one filament, one array for each chunk of rows."""

    on: list[FloatArray]
    """Values of the map on the filament."""
    ring: list[FloatArray]
    """Values of the map in the ring around it."""
    probability: list[FloatArray]
    """Probabilities on the filament."""
    beside_missing: list[bool]
    """Whether a missing pixel lies within 2 pixels of the filament."""

    def levels(self) -> tuple[float, ...]:
        """Return mean, median and peak of the map, the background, and the mean probability; NaN where undefined."""
        on, ring, probability = (_finite(chunks) for chunks in self[:3])
        return (
            _statistic(np.mean, on),
            _statistic(np.median, on),
            _statistic(np.max, on),
            _statistic(np.median, ring),
            _statistic(np.mean, probability),
        )


def _gather(
    chunks: _Chunks,
    labels: npt.NDArray[np.int32],
    number: int,
    box: Box,
    y0: int,
    y1: int,
    image: FloatArray,
    probability: FloatArray,
) -> None:
    """Add what rows y0 to y1 hold of a filament and of the ring around it; `image` and `probability` are these rows."""
    (y, x), reach = box, RING_PX[1]
    (ny, nx), (low, high) = labels.shape, (max(y.start - reach, y0), min(y.stop + reach, y1))
    top, bottom = max(low - reach, 0), min(high + reach, ny)  # filaments of these rows have their ring in y0 to y1
    columns = slice(max(x.start - reach, 0), min(x.stop + reach, nx))
    around = labels[top:bottom, columns]
    on = around == number + 1
    near = binary_dilation(on, CONNECTED, iterations=RING_PX[0])
    ring = binary_dilation(near, CONNECTED, iterations=reach - RING_PX[0]) & ~near & (around == 0)
    on, near, ring = (mask[low - top : high - top] for mask in (on, near, ring))
    place = np.s_[low - y0 : high - y0, columns]
    chunks.on.append(image[place][on])
    chunks.ring.append(image[place][ring])
    chunks.probability.append(probability[place][on])
    chunks.beside_missing.append(bool(np.isnan(image[place][near]).any()))


def _at_border(box: Box, shape: tuple[int, ...]) -> bool:
    return any(each.start < RING_PX[0] or each.stop > size - RING_PX[0] for each, size in zip(box, shape, strict=True))


def rows_of(plane: FloatArray | Rows, y0: int, y1: int) -> FloatArray:
    """Return rows y0 to y1 (exclusive) of a plane, `(y1 - y0, nx)`."""
    return plane(y0, y1) if callable(plane) else plane[y0:y1]


def _finite(chunks: list[FloatArray]) -> Float64Array:
    values = np.concatenate(chunks).astype(np.float64)
    return values[np.isfinite(values)]


def _statistic(function: Callable[[Float64Array], Any], values: Float64Array) -> float:
    return float(function(values)) if values.size else np.nan
