"""Valid and labelled masks -> positions of the patches to keep."""

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, MaskArray
from bigsf.maps.tiling import count_in_windows, window_starts
from bigsf.patches.preprocess import PreprocessConfig


class PatchSelection:
    """Finds the patches to keep while bands of rows go by."""

    def __init__(self, config: PreprocessConfig, shape: tuple[int, int], has_labels: bool) -> None:
        self.size = config.patch_size
        self.y = window_starts(shape[0], self.size, config.stride_px)
        self.x = window_starts(shape[1], self.size, config.stride_px)
        self.total = len(self.y) * len(self.x)
        self.least_valid = max(1, int(np.ceil(config.min_valid * self.size**2 - 1e-6)))
        self.needs_labels = has_labels and config.keep == "labelled"
        self.without_valid = self.without_labels = 0
        self._kept: list[npt.NDArray[np.int32]] = []
        self._rows: dict[str, list[BoolArray]] = {"valid": [], "labelled": []}
        self._top = self._bottom = self._next = 0  # rows held, and the next window row to judge

    def add(self, valid: BoolArray, labelled: MaskArray | None) -> None:
        self._rows["valid"].append(valid)
        self._rows["labelled"].append(valid if labelled is None else labelled.view(np.bool_))
        self._bottom += len(valid)
        end = int(np.searchsorted(self.y, self._bottom - self.size, side="right"))
        if end == self._next:
            return
        y = self.y[self._next : end]
        masks = {name: np.concatenate(rows) for name, rows in self._rows.items()}
        enough = count_in_windows(masks["valid"], self.size, y - self._top, self.x) >= self.least_valid
        useful = enough
        if self.needs_labels:
            useful = enough & (count_in_windows(masks["labelled"], self.size, y - self._top, self.x) > 0)
        self.without_valid += int((~enough).sum())
        self.without_labels += int((enough & ~useful).sum())
        row, column = np.nonzero(useful)
        self._kept.append(np.stack([y[row], self.x[column]], axis=1).astype(np.int32))
        self._next = end
        top = min(int(self.y[end]), self._bottom) if end < len(self.y) else self._bottom
        self._rows = {name: [mask[top - self._top :]] for name, mask in masks.items()}
        self._top = top

    def positions(self) -> npt.NDArray[np.int32]:
        return np.concatenate([np.empty((0, 2), np.int32), *self._kept])
