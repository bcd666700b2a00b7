"""FITS planes of a map, and its labels -> rows of both together, and counts of their pixels."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from bigsf.arrays import BoolArray, MaskArray
from bigsf.errors import DataError, UsageError
from bigsf.maps.fits_image import FitsImage, open_planes
from bigsf.maps.masks import MaskPlane, to_mask
from bigsf.maps.odd_values import ValueCensus
from bigsf.maps.planes import FitsMap, MapRead, check_same_grid
from bigsf.maps.shapes.drawn_mask import LINE_WIDTH_PX, DrawnMask, has_lines, is_drawn
from bigsf.maps.tiling import Tile
from bigsf.option_names import option


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a map with its labels, each mask `(rows, nx)`."""

    map: MapRead
    """The rows of the map."""
    target: BoolArray | None = None
    """Valid pixels on known structures; None where there is no target plane."""
    background: BoolArray | None = None
    """Valid pixels of sure background, none of them on the target; None where there is no target plane."""
    in_both: BoolArray | None = None
    """Pixels, valid or not, that the target and the background plane both mark; None without both planes."""
    truth: BoolArray | None = None
    """Valid pixels on every structure (ground truth); None where it is not known."""

    def masks(self) -> dict[str, MaskArray]:
        """Return the masks that the patch file stores, by their names there."""
        masks = {"truth": self.truth} if self.truth is not None else {}
        if self.target is not None and self.background is not None:
            masks |= {"target": self.target, "labelled": self.target | self.background}
        return {name: mask.view(np.uint8) for name, mask in masks.items()}


class LabelledMap:
    """A map and its labels on one grid, read together by rows.

    Parameters
    ----------
    source
        The map with its mask of valid pixels.
    labels
        The masks of the map: any of target, background and truth.
    threshold
        A label is 1 above this value; by default where it is 1 or another identifier, a positive integer.
    binary
        The labels that hold 0 and 1, which the threshold is not for.

    Raises
    ------
    DataError
        Where a mask lies on another grid, or there is a background but no target.
    UsageError
        Where there is a threshold but no label that it could be for.
    """

    def __init__(
        self,
        source: FitsMap,
        labels: Mapping[str, MaskPlane],
        threshold: float | None = None,
        binary: Collection[str] = (),
    ) -> None:
        for mask in labels.values():
            check_same_grid(source, mask)
        self.source = source
        self.has_labels, self.has_background = "target" in labels, "background" in labels
        if self.has_background and not self.has_labels:
            raise DataError("There is a background and no plane of the structures that it surrounds. Pass that too.")
        images = [role for role, mask in labels.items() if not isinstance(mask, DrawnMask)]
        if threshold is not None and not images:
            raise UsageError(
                f"{option('target_threshold')} would do nothing: there is no image of target, background or truth."
            )
        self._labels, self._thresholds = labels, dict.fromkeys(set(images) - set(binary), threshold)
        self._ids: dict[str, set[float]] = {role: set() for role in labels}

    @classmethod
    def open(
        cls,
        images: Sequence[Path],
        masks: Mapping[str, Path | None],
        stack: ExitStack,
        hdu: str | int | None = None,
        blank: float | None = None,
        threshold: float | None = None,
        line_width_px: float | None = None,
        find_cutout: Callable[[FitsImage], Tile] | None = None,
        binary: Collection[str] = (),
    ) -> Self:
        """Open the planes; the stack closes them.

        Parameters
        ----------
        images, stack, hdu, blank, find_cutout
            As for `open_planes`.
        masks
            Files of target, background, valid and truth, any of them. All but that of valid may be regions, spines or
            a MOC, which are drawn on the grid of the map.
        threshold, binary
            As for the class.
        line_width_px
            Width of lines that are drawn.
        """
        drawn = {role: path for role, path in masks.items() if path and role != "valid" and is_drawn(path)}
        if line_width_px is not None and not any(map(has_lines, drawn.values())):
            raise UsageError(
                f"{option('line_width')} would do nothing: no target, background or truth is drawn with lines."
            )
        images_of_masks = {role: path for role, path in masks.items() if role not in drawn}
        planes, opened = open_planes(images, images_of_masks, stack, hdu, blank, find_cutout)
        source = FitsMap(planes, opened.pop("valid", None))
        width = LINE_WIDTH_PX if line_width_px is None else line_width_px
        labels = opened | {role: DrawnMask(path, planes[0], width) for role, path in drawn.items()}
        return cls(source, labels, threshold, binary)

    @property
    def mask_names(self) -> list[str]:
        """The masks that the patch file stores."""
        return ["target", "labelled"] * self.has_labels + ["truth"] * ("truth" in self._labels)

    @property
    def sources(self) -> dict[str, Path]:
        """The files of the planes, by role: image, channel 1 and so on, target, background, valid, truth."""
        images = {f"channel {i}" if i else "image": plane.path for i, plane in enumerate(self.source.images)}
        valid = {"valid": self.source.valid} if self.source.valid else {}
        masks = {**self._labels, **valid}
        roles = ("target", "background", "valid", "truth")
        return images | {role: masks[role].path for role in roles if role in masks}

    @property
    def contents(self) -> dict[str, str]:
        """What the files of the labels were taken for, by role, where they are no masks of 0 and 1.

        Identifiers are counted in the rows that were read.
        """
        drawn = {role: mask.contents for role, mask in self._labels.items() if isinstance(mask, DrawnMask)}
        return drawn | {role: f"{len(ids):,} identifiers" for role, ids in self._ids.items() if ids - {1}}

    def read(self, y0: int, y1: int) -> LabelledRows:
        """Read rows y0 to y1 (exclusive). Without a background plane every valid pixel off the target is background."""
        rows = self.source.read(y0, y1)
        valid, labels = rows.valid, {role: self._read_label(role, y0, y1) for role in self._labels}
        truth = labels["truth"] & valid if "truth" in labels else None
        if "target" not in labels:
            return LabelledRows(rows, truth=truth)
        target, in_both = labels["target"], None
        if "background" in labels:
            background = labels["background"]
            in_both = target & background
        else:
            background = ~target
        return LabelledRows(rows, target & valid, background & valid & ~target, in_both, truth)

    def _read_label(self, role: str, y0: int, y1: int) -> BoolArray:
        plane = self._labels[role]
        rows = plane.read(y0, y1)
        threshold = self._thresholds.get(role)
        mask = to_mask(rows, plane, role, threshold)
        if threshold is None:
            self._ids[role] |= set(np.unique(rows[mask]).tolist())
        return mask


class PixelStatistics:
    """Counts of pixels and the range of the map, summed over the rows read so far.

    Attributes
    ----------
    counts
        Numbers of pixels by kind.
    censuses
        The values of the valid pixels, by channel.
    """

    def __init__(self, channels: int) -> None:
        names = ["pixels", "finite", "valid", "labelled", "target", "background"]
        names += ["declared missing", "declared valid but not finite", "target and background"]
        self.counts = dict.fromkeys(names, 0)
        self.censuses = [ValueCensus() for _ in range(channels)]
        self._sums = {"target": 0.0, "background": 0.0}

    def add(self, rows: LabelledRows) -> None:
        """Count the pixels of some rows."""
        finite, valid, declared = rows.map.finite, rows.map.valid, rows.map.declared
        self.counts["pixels"] += finite.size
        self._count({"finite": finite, "valid": valid})
        if declared is not None:
            self._count({"declared missing": finite & ~declared, "declared valid but not finite": declared & ~finite})
        for census, plane in zip(self.censuses, rows.map.image, strict=True):
            census.add(plane)
        if rows.in_both is not None:
            self._count({"target and background": rows.in_both})
        if rows.target is None or rows.background is None:
            return
        masks = {"target": rows.target, "background": rows.background}
        self._count({**masks, "labelled": rows.target | rows.background})
        for role, mask in masks.items():
            self._sums[role] += float(rows.map.image[0].sum(where=mask, dtype=np.float64))

    def _count(self, masks: dict[str, BoolArray]) -> None:
        for name, mask in masks.items():
            self.counts[name] += int(np.count_nonzero(mask))

    def mean(self, role: str) -> float:
        """Return the mean of the first channel on the `target` or on the `background`, in the unit of the map."""
        return self._sums[role] / max(self.counts[role], 1)
