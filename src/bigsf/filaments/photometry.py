"""Labelled filaments + planes -> the brightness of the map on each filament and around it, and its probability."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.utils.masked import Masked
from scipy.ndimage import maximum_filter

from bigsf.arrays import BoolArray, Float64Array, FloatArray
from bigsf.errors import DataError
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks

PlaneRows = Callable[[int, int], FloatArray]
"""A function from rows (y0, y1) to a plane there, `(y1 - y0, nx)`, NaN where missing."""

Box = tuple[slice, slice]
"""The rows and columns that a filament spans."""

ANNULUS_PX = (2, 7)
"""The local background of a filament begins beyond the first distance from it and ends at the second."""


def measure_photometry(
    labels: npt.NDArray[np.int32],
    boxes: Sequence[Box],
    image: FloatArray | PlaneRows | None,
    probability: FloatArray | PlaneRows | None,
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
    nx = labels.shape[1]
    start, stop = (np.array([getattr(y, edge) for y, _ in boxes]) for edge in ("start", "stop"))
    columns = np.full((len(boxes), len(_Photometry._fields)), np.nan)
    begun: dict[int, _Surroundings] = {}
    for y0, y1 in row_chunks(labels.shape, chunk_pixels):
        absent = np.broadcast_to(np.float32(np.nan), (y1 - y0, nx))
        rows_of_probability, rows_of_map = (
            absent if plane is None else rows_of(plane, y0, y1) for plane in (probability, image)
        )
        for number in np.flatnonzero((start - ANNULUS_PX[1] < y1) & (stop + ANNULUS_PX[1] > y0)).tolist():
            surroundings = begun.pop(number, None) or _Surroundings(labels, number + 1, boxes[number])
            surroundings.add(y0, y1, rows_of_map, rows_of_probability)
            if surroundings.bottom <= y1:
                columns[number] = surroundings.photometry()
            else:
                begun[number] = surroundings
    photometry = _Photometry(*columns.T)
    values = {name: getattr(photometry, name).astype(np.float32) for name in _Photometry._fields[:5]}
    positive = np.where(values["background"] > 0, values["background"], np.nan)
    values["contrast"] = np.asarray(values["mean"] / positive - 1, np.float32)
    at_border = [_at_border(box, labels.shape) for box in boxes]
    beside_missing = (photometry.beside_missing > 0) & (image is not None)
    return {**values, "edge": np.logical_or(at_border, beside_missing), "valid": photometry.valid.astype(np.int64)}


def measure_map(
    labels: npt.NDArray[np.int32], number: int, plane: FloatArray | PlaneRows, chunk_pixels: int = CHUNK_PIXELS
) -> dict[str, FloatArray]:
    """Return `mean`, `median` and `std` of a further map over each filament, float32 `(number,)`.

    In memory are its values in filaments, and no others. Pixels that are NaN do not count; where no other is left, all
    three are NaN. The parameters are those of `measure_photometry`.
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


class _Photometry(NamedTuple):
    """What is measured of one filament, or of all; NaN where undefined."""

    mean: Any
    median: Any
    peak: Any
    background: Any
    probability: Any
    valid: Any
    """Pixels of the filament with a value of the map."""
    beside_missing: Any
    """Whether a missing pixel lies within 2 pixels of the filament."""


class _Surroundings:
    """The pixels of a filament and of the annulus around it, and the values there, which are added from top to bottom.

    Parameters
    ----------
    labels
        The number of the filament of each pixel, `(ny, nx)`.
    number
        That of this filament.
    box
        The rows and columns that it spans.

    Attributes
    ----------
    bottom
        The last row (exclusive) that it needs.
    """

    def __init__(self, labels: npt.NDArray[np.int32], number: int, box: Box) -> None:
        (y, x), reach = box, ANNULUS_PX[1]
        self._top, self.bottom = max(y.start - reach, 0), min(y.stop + reach, len(labels))
        self._columns = slice(max(x.start - reach, 0), min(x.stop + reach, labels.shape[1]))
        around = labels[self._top : self.bottom, self._columns]
        self._on = around == number
        self._near = _dilated(self._on, ANNULUS_PX[0])
        self._annulus = _dilated(self._on, reach) & ~self._near & (around == 0)
        self._values: tuple[list[FloatArray], ...] = ([], [], [])
        self._beside_missing = False

    def add(self, y0: int, y1: int, image: FloatArray, probability: FloatArray) -> None:
        """Take the values of rows y0 to y1, which are these rows of the map and of the probability."""
        low, high = max(self._top, y0), min(self.bottom, y1)
        rows, place = slice(low - self._top, high - self._top), np.s_[low - y0 : high - y0, self._columns]
        on, near, annulus = (mask[rows] for mask in (self._on, self._near, self._annulus))
        on_map = image[place]
        for values, each in zip(self._values, (on_map[on], on_map[annulus], probability[place][on]), strict=True):
            values.append(each)
        self._beside_missing |= bool((~np.isfinite(on_map[near])).any())

    def photometry(self) -> _Photometry:
        """Return what the values say, once all rows are added."""
        on, annulus, probability = map(_finite, self._values)
        return _Photometry(
            _statistic(np.mean, on),
            _statistic(np.median, on),
            _statistic(np.max, on),
            _statistic(np.median, annulus),
            _statistic(np.mean, probability),
            len(on),
            self._beside_missing,
        )


def _dilated(mask: BoolArray, distance_px: int) -> BoolArray:
    """Return which pixels lie within a distance of a mask along rows, columns and diagonals."""
    dilated: BoolArray = maximum_filter(mask, 2 * distance_px + 1, mode="constant")
    return dilated


def _at_border(box: Box, shape: tuple[int, ...]) -> bool:
    return any(
        each.start < ANNULUS_PX[0] or each.stop > size - ANNULUS_PX[0] for each, size in zip(box, shape, strict=True)
    )


def as_plane(plane: FloatArray | PlaneRows, name: str, shape: tuple[int, ...]) -> FloatArray | PlaneRows:
    """Return a plane whose rows can be read: NaN stands for what an array masks.

    Raises
    ------
    DataError
        Where it is an array of another shape `(ny, nx)`, or has a unit of its own.
    """
    if callable(plane):
        return plane
    if unit := getattr(plane, "unit", None):
        raise DataError(f"{name} has the unit {unit}. Pass its values alone, e.g. {name}.value, and the unit apart.")
    if np.shape(plane) != shape:
        raise DataError(f"{name} has the shape {np.shape(plane)}; the mask of the filaments has {shape}.")
    if isinstance(plane, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(plane.astype(np.float64), np.nan))
    if isinstance(plane, Masked):
        return np.asarray(plane.astype(np.float64).filled(np.nan))
    return plane


def rows_of(plane: FloatArray | PlaneRows, y0: int, y1: int) -> FloatArray:
    """Return rows y0 to y1 (exclusive) of a plane, `(y1 - y0, nx)`."""
    return plane(y0, y1) if callable(plane) else plane[y0:y1]


def where_predicted(image: PlaneRows, probability: PlaneRows) -> PlaneRows:
    """Return an image that is NaN where it has no probability."""

    def rows(y0: int, y1: int) -> FloatArray:
        return np.where(np.isfinite(probability(y0, y1)), image(y0, y1), np.float32(np.nan))

    return rows


def _finite(chunks: list[FloatArray]) -> Float64Array:
    values = np.concatenate(chunks).astype(np.float64)
    return values[np.isfinite(values)]


def _statistic(function: Callable[[Float64Array], Any], values: Float64Array) -> float:
    return float(function(values)) if values.size else np.nan
