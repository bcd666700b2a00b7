"""Found mask and true mask -> scores of their skeletons, pooled over parts of a map."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt

from bigsf.arrays import BoolArray, IntArray
from bigsf.filaments.spine import skeleton_of


class SkeletonScore:
    """Scores that compare the skeleton (Lee et al. 1994) of a found mask with that of the true mask.

    Parameters
    ----------
    radii_px
        Distances in pixels within which two skeletons count as the same.

    Attributes
    ----------
    inside
        Pixels of (found skeleton inside the true mask, true skeleton inside the found mask).
    length
        Pixels of (found skeleton, true skeleton).
    near
        Pixels of (found skeleton near the true one, true skeleton near the found one); one row per radius.
    """

    def __init__(self, radii_px: Sequence[float] = (1, 2, 3)) -> None:
        self.radii_px = tuple(radii_px)
        self.reset()

    def reset(self) -> None:
        """Forget all pixels that were added."""
        self.inside = np.zeros(2, np.int64)
        self.length = np.zeros(2, np.int64)
        self.near = np.zeros((len(self.radii_px), 2), np.int64)

    def update(
        self, found: BoolArray, true: BoolArray, predicted: BoolArray, true_line: BoolArray | None = None
    ) -> None:
        """Add a part of the two masks.

        Parameters
        ----------
        found, true
            The masks, `(ny, nx)`. Their skeletons are computed from the whole part.
        predicted
            True on the pixels whose skeletons count, `(ny, nx)`.
        true_line
            The skeleton of the true mask, if known: it is the same for all found masks that are compared with it.
        """
        lines = skeleton_of(found), skeleton_of(true) if true_line is None else true_line
        for side, (line, other, mask) in enumerate(zip(lines, lines[::-1], (true, found), strict=True)):
            counted = line & predicted
            self.length[side] += counted.sum()
            self.inside[side] += (counted & mask).sum()
            if self.radii_px and other.any() and counted.any():
                distance = distance_transform_edt(~other)[counted]
                self.near[:, side] += [(distance <= radius).sum() for radius in self.radii_px]

    def state(self) -> dict[str, IntArray]:
        """Return the counts by name."""
        return {"inside": self.inside, "length": self.length, "near": self.near}

    def merge(self, state: Mapping[str, IntArray]) -> None:
        """Add the counts of another score with the same radii, as its `state` returns them."""
        self.inside += state["inside"]
        self.length += state["length"]
        self.near += state["near"]

    @property
    def cldice(self) -> float:
        """Centreline Dice (Shit et al. 2021): harmonic mean of the fractions of each skeleton inside the other mask.

        It is NaN where there is no skeleton at all.
        """
        found, true = map(float, self.length)
        if not found or not true:
            return float("nan") if not found and not true else 0.0
        precision, sensitivity = self.inside / self.length
        return float(2 * precision * sensitivity / (precision + sensitivity)) if precision + sensitivity else 0.0

    def table(self) -> dict[str, float]:
        """Return clDice, and the purity and completeness of the skeletons within each radius; NaN where not defined."""
        with np.errstate(invalid="ignore"):
            fractions = self.near / self.length
        scores = {"cldice": self.cldice}
        for radius, (purity, completeness) in zip(self.radii_px, fractions.tolist(), strict=True):
            scores |= {f"completeness_{radius:g}px": completeness, f"purity_{radius:g}px": purity}
        return scores
