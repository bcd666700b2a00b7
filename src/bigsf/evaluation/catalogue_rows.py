"""The labelled components of an out-of-fold mask, and planes of the map -> what each component holds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, maximum_filter, minimum_filter

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray
from bigsf.evaluation.seams import ensemble_of_fold
from bigsf.filaments.cleaning import chosen_components
from bigsf.filaments.shapes import band_width
from bigsf.folds.folds import Folds
from bigsf.maps.tiling import row_chunks

Labels = npt.NDArray[np.int32]
"""The number of the component of each pixel from 1, and 0 elsewhere, `(ny, nx)`."""

PlaneOrMaskRows = Callable[[int, int], FloatArray | BoolArray]
"""A function from rows (y0, y1) to a plane there, `(y1 - y0, nx)`, NaN where missing."""

REACH_PX = 2
"""How far from a component another one may lie and still be the same structure."""


@dataclass
class Components:
    """Connected components of a mask.

    Parameters
    ----------
    labels
        The number of the component of each pixel, from 1.
    number
        How many components there are.
    """

    labels: Labels
    number: int

    @cached_property
    def pixels(self) -> IntArray:
        """How many pixels each component has, `(components,)`."""
        number = np.zeros(self.number, np.int64)
        for y0, y1 in row_chunks(self.labels.shape):
            number += np.bincount(self.labels[y0:y1].ravel(), minlength=self.number + 1)[1:]
        return number

    def mask(self, chosen: BoolArray) -> BoolArray:
        """Return a mask `(ny, nx)` of the components that are chosen, `(components,)`."""
        return chosen_components(self.labels, np.append(False, chosen))

    def sums(self, plane: npt.NDArray[np.number | np.bool_], y0: int, y1: int) -> Float64Array:
        """Return the sum over each component of rows y0 to y1 of a plane without NaN, `(components,)`."""
        labels = self.labels[y0:y1]
        on = labels > 0
        return np.asarray(np.bincount(labels[on], plane[on].astype(np.float64), self.number + 1)[1:], np.float64)

    def beside(self, mask: npt.NDArray[np.integer]) -> BoolArray:
        """Return which components have a pixel where a mask `(ny, nx)` is above 0 within `REACH_PX` pixels."""
        found = np.zeros(self.number)
        for y0, y1 in row_chunks(self.labels.shape):
            top, bottom = max(0, y0 - REACH_PX), y1 + REACH_PX
            near = maximum_filter((mask[top:bottom] > 0).view(np.uint8), 2 * REACH_PX + 1)
            found += self.sums(near[y0 - top : y0 - top + y1 - y0], y0, y1)
        return found > 0

    def folds(self, folds: Folds) -> IntArray:
        """Return the fold that holds most pixels of each component, `(components,)`."""
        most = int(folds.grid.max()) + 1
        pixels = np.zeros((self.number, most), np.int64)
        for y0, y1 in row_chunks(self.labels.shape):
            labels = self.labels[y0:y1]
            on = labels > 0
            place = (labels[on].astype(np.int64) - 1) * most + folds.rows(y0, y1)[on]
            pixels += np.bincount(place, minlength=pixels.size).reshape(pixels.shape)
        return np.asarray(pixels.argmax(axis=1))

    def on_seams(self, folds: Folds) -> BoolArray:
        """Return which components touch a seam: a border between areas that different models predicted."""
        ensembles, ny = ensemble_of_fold(folds), len(self.labels)
        found = np.zeros(self.number)
        for y0, y1 in row_chunks(self.labels.shape):
            top = max(0, y0 - 1)
            ensemble = ensembles[folds.rows(top, min(ny, y1 + 1))]
            seam = maximum_filter(ensemble, 3) != minimum_filter(ensemble, 3)
            found += self.sums(seam[y0 - top : y0 - top + y1 - y0], y0, y1)
        return found > 0

    def mean(self, rows: PlaneOrMaskRows) -> Float64Array:
        """Return the mean over each component of the finite values of a plane, `(components,)`, NaN without any.

        Parameters
        ----------
        rows
            A function from rows (y0, y1) to the plane there, `(y1 - y0, nx)`.
        """
        total, pixels = np.zeros((2, self.number))
        for y0, y1 in row_chunks(self.labels.shape):
            values = rows(y0, y1)
            finite = np.isfinite(values)
            total += self.sums(np.where(finite, values, 0), y0, y1)
            pixels += self.sums(finite, y0, y1)
        return np.asarray(np.divide(total, pixels, out=np.full(self.number, np.nan), where=pixels > 0))

    def widths(self, skeleton: npt.NDArray[np.integer]) -> Float64Array:
        """Return the mean width of each component in pixels, `(components,)`.

        It is that of a band along the skeleton which has the area of the component and ends half a width beyond the
        skeleton: w (length + w) = area.

        Parameters
        ----------
        skeleton
            A plane `(ny, nx)` that is above 0 on the skeletons, lines one pixel wide.
        """
        length = np.zeros(self.number)
        for number, box in enumerate(find_objects(self.labels, self.number)):
            spine = (self.labels[box] == number + 1) & (skeleton[box] > 0)
            length[number] = _length_of_links(spine)
        return band_width(self.pixels, length)


def _length_of_links(spine: BoolArray) -> float:
    """Return the length of all links between neighbouring pixels; diagonal ones count where no pixel is beside them."""
    along = (spine[1:] & spine[:-1]).sum() + (spine[:, 1:] & spine[:, :-1]).sum()
    a, b, c, d = spine[:-1, :-1], spine[:-1, 1:], spine[1:, :-1], spine[1:, 1:]
    across = (a & d & ~b & ~c).sum() + (b & c & ~a & ~d).sum()
    return float(along + np.sqrt(2) * across)
