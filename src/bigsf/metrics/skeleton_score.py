"""Predicted and true mask -> agreement of their skeletons, pooled over chunks of a map."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.ndimage import distance_transform_edt

from bigsf.arrays import BoolArray
from bigsf.filaments.spine import skeleton_of


class SkeletonScore:
    """Compares the skeleton (Lee et al. 1994) of a predicted mask with that of the ground truth.

    Parameters
    ----------
    radii_px
        Distances in pixels within which two lines count as the same.

    Attributes
    ----------
    inside
        Number of pixels of (predicted skeleton in the true mask, true skeleton in the predicted mask).
    length
        Number of pixels of (predicted skeleton, true skeleton).
    near
        Number of pixels of (predicted skeleton near the true one, true skeleton near the predicted one), `(radii, 2)`.
    """

    def __init__(self, radii_px: Sequence[float] = (1, 2, 3)) -> None:
        self.radii_px = tuple(radii_px)
        self.reset()

    def reset(self) -> None:
        """Drop all counts."""
        self.inside = np.zeros(2, np.int64)
        self.length = np.zeros(2, np.int64)
        self.near = np.zeros((len(self.radii_px), 2), np.int64)

    def update(
        self, found: BoolArray, true: BoolArray, predicted: BoolArray, true_line: BoolArray | None = None
    ) -> None:
        """Compare a chunk of two masks.

        Parameters
        ----------
        found
            The predicted mask, `(ny, nx)`.
        true
            The true mask, `(ny, nx)`.
        predicted
            The pixels `(ny, nx)` that count. Skeletons are computed on the whole chunk all the same.
        true_line
            The skeleton of the true mask, `(ny, nx)`. Give it where several masks are compared with the same truth, so
            that it is computed only once.
        """
        lines = skeleton_of(found), skeleton_of(true) if true_line is None else true_line
        for side, (line, other, mask) in enumerate(zip(lines, lines[::-1], (true, found), strict=True)):
            counted = line & predicted
            self.length[side] += counted.sum()
            self.inside[side] += (counted & mask).sum()
            if self.radii_px and other.any() and counted.any():
                distance = distance_transform_edt(~other)[counted]
                self.near[:, side] += [(distance <= radius).sum() for radius in self.radii_px]

    def merge(self, other: Self) -> None:
        """Add the counts of another score."""
        self.inside += other.inside
        self.length += other.length
        self.near += other.near

    @property
    def cldice(self) -> float:
        """Centreline Dice (Shit et al. 2021): the harmonic mean of the fractions of each skeleton in the other mask."""
        found, true = map(float, self.length)
        if not found or not true:
            return float("nan") if not found and not true else 0.0
        precision, sensitivity = self.inside / self.length
        return float(2 * precision * sensitivity / (precision + sensitivity)) if precision + sensitivity else 0.0

    def table(self) -> dict[str, float]:
        """Return clDice, and the purity and completeness of skeletons within each radius; NaN where not defined."""
        with np.errstate(invalid="ignore"):
            shares = self.near / self.length
        scores = {"cldice": self.cldice}
        for radius, (purity, completeness) in zip(self.radii_px, shares.tolist(), strict=True):
            scores |= {f"completeness_{radius:g}px": completeness, f"purity_{radius:g}px": purity}
        return scores
