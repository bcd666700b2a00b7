"""Valid and labelled masks by bands of rows -> positions of the patches to keep."""

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, IntArray, MaskArray
from bigsf.maps.tiling import count_in_windows, window_starts


class PatchSelection:
    """Finds the patches to keep while bands of rows go by, from top to bottom.

    Parameters
    ----------
    shape
        (ny, nx) of the map in pixels.
    patch_size, stride
        Side of a patch, and the step from one patch to the next, in pixels.
    min_valid
        Least fraction of valid pixels in a patch; it always needs at least one.
    needs_labels
        Keep only patches with at least one labelled pixel.

    Attributes
    ----------
    total, without_valid, without_labels
        Patches in all, those with too few valid pixels, and those with enough of them but without a label.
    """

    def __init__(
        self, shape: tuple[int, int], patch_size: int, stride: int, min_valid: float, needs_labels: bool
    ) -> None:
        self.patch_size, self.needs_labels = patch_size, needs_labels
        self.y, self.x = (window_starts(length, patch_size, stride) for length in shape)
        self.total = len(self.y) * len(self.x)
        self.least_valid = max(1, int(np.ceil(min_valid * patch_size**2 - 1e-6)))
        self.without_valid = self.without_labels = 0
        self._kept: list[npt.NDArray[np.int32]] = []
        self._rows: dict[str, list[BoolArray]] = {"valid": [], "labelled": []}
        self._top = self._bottom = self._next = 0  # rows held, and the next row of patches to look at

    def add(self, valid: BoolArray, labelled: MaskArray | None) -> None:
        """Take the next band of rows `(rows, nx)` and select the patches that end in it."""
        self._rows["valid"].append(valid)
        self._rows["labelled"].append(valid if labelled is None else labelled.view(np.bool_))
        self._bottom += len(valid)
        end = int(np.searchsorted(self.y, self._bottom - self.patch_size, side="right"))
        if end == self._next:
            return
        y = self.y[self._next : end]
        masks = {name: np.concatenate(rows) for name, rows in self._rows.items()}
        enough = self._counts(masks["valid"], y) >= self.least_valid
        useful = enough & (self._counts(masks["labelled"], y) > 0) if self.needs_labels else enough
        self.without_valid += int((~enough).sum())
        self.without_labels += int((enough & ~useful).sum())
        row, column = np.nonzero(useful)
        self._kept.append(np.stack([y[row], self.x[column]], axis=1).astype(np.int32))
        self._next = end
        top = min(int(self.y[end]), self._bottom) if end < len(self.y) else self._bottom
        self._rows = {name: [mask[top - self._top :]] for name, mask in masks.items()}
        self._top = top

    def _counts(self, mask: BoolArray, y: IntArray) -> npt.NDArray[np.int32]:
        return count_in_windows(mask, self.patch_size, y - self._top, self.x)

    def positions(self) -> npt.NDArray[np.int32]:
        """Return the top-left pixels (y, x) of the patches selected so far, `(n, 2)`."""
        return np.concatenate([np.empty((0, 2), np.int32), *self._kept])
