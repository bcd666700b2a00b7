"""Counts of a preprocessing -> its report, and errors and warnings about planes that do not look right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from typing_extensions import override

from bigsf.described import Described
from bigsf.errors import DataError, warn
from bigsf.maps.masks import check_not_inverted
from bigsf.maps.odd_values import check_range, warn_of_absent_blank, warn_of_odd_values
from bigsf.option_names import option
from bigsf.patches.labelled_map import LabelledMap, PixelStatistics

_FEW = 100  # labelled pixels; the mean of fewer says little


@dataclass(repr=False)
class PreprocessReport(Described):
    """What the planes hold and which patches are kept. Counts are pixels unless their description says otherwise."""

    output: Path
    """The patch file."""
    shape: tuple[int, int]
    """(ny, nx) of the map in pixels."""
    channels: int
    """Number of image planes."""
    unit: str
    """BUNIT of the map, or an empty string."""
    sources: dict[str, str]
    """The files of the planes, by role."""
    has_wcs: bool
    """Whether the map has a celestial WCS."""
    contents: dict[str, str] = field(default_factory=dict)
    """What the files of labels were taken for, by role, where they are no masks of 0 and 1."""
    windows: int = 0
    """Patches of the whole map."""
    kept: int = 0
    """Patches that are kept."""
    without_valid: int = 0
    """Patches with too few valid pixels."""
    without_labels: int = 0
    """Patches with enough valid pixels but without a labelled one."""
    counts: dict[str, int] = field(default_factory=dict)
    """Pixels by kind: pixels, finite, valid, labelled, target, background, and three kinds of contradictions."""
    minimum: float = np.inf
    """Least valid value of the first channel, in the unit of the map."""
    maximum: float = -np.inf
    """Greatest valid value of the first channel, in the unit of the map."""
    seconds: float = 0.0
    """Time that reading and counting the planes took."""
    memory_bytes: int = 0
    """The most memory that the process has held so far."""
    identity: str = ""
    """SHA-256 of the data in the patch file; empty where none was written."""

    @override
    def facts(self) -> Mapping[str, object]:
        ny, nx = self.shape
        planes = ", ".join(f"{role} {Path(path).name}" for role, path in self.sources.items())
        labelled = f"{self.counts.get('labelled', 0):,} of {self.counts.get('valid', 0):,} valid pixels"
        patches = f"{self.kept:,} of {self.windows:,}"
        return {"map": f"{nx} x {ny} pixels (x, y)", "planes": planes, "labelled": labelled, "patches": patches}

    @property
    def bytes(self) -> int:
        """Size of the patch file, without its header and attributes."""
        pixels = self.shape[0] * self.shape[1]
        masks = 2 * ("target" in self.sources) + ("truth" in self.sources)
        return pixels * (4 * self.channels + masks) + 8 * self.kept


def check_counts(report: PreprocessReport, planes: LabelledMap, patch_size: int) -> None:
    """Refuse a map that leaves nothing to learn from; warn where its planes contradict each other.

    Raises
    ------
    DataError
        Where no pixel is finite, all values are too large, the mask of valid pixels looks inverted, no pixel is
        labelled, the target is empty, or no patch is kept.
    """
    counts, name = report.counts, planes.source.name
    check_range(planes.source.images, counts["finite"])
    warn_of_absent_blank(planes.source.images)
    if counts["finite"] == 0:
        raise DataError(
            f"{name} holds no finite pixel (of {counts['pixels']:,}). Check {option('hdu')} and {option('blank')}."
        )
    if planes.source.valid:
        check_not_inverted(planes.source.valid, counts["finite"], counts["declared missing"])
    if planes.has_labels and counts["labelled"] == 0:
        raise DataError(f"No valid pixel of {name} is labelled: the target and background planes are 0 there.")
    if planes.has_labels and counts["target"] == 0:
        raise DataError("The target plane is 0 on every valid pixel: there is nothing to learn.")
    if report.kept == 0:
        raise DataError(
            f"None of {report.windows:,} patches of {patch_size} pixels would be kept: {report.without_valid:,} "
            f"hold too few valid pixels, {report.without_labels:,} no labelled one. Lower "
            f"{option('min_valid')} or {option('patch_size')}."
        )
    if counts["declared valid but not finite"]:
        warn(
            f"{counts['declared valid but not finite']:,} pixels are marked valid but hold no finite value; they are "
            "taken as missing."
        )
    if counts["target and background"]:
        warn(f"{counts['target and background']:,} pixels are both target and background; they are taken as target.")


def warn_of_values(planes: LabelledMap, statistics: PixelStatistics) -> None:
    """Warn of values that stand apart from all others, and of label planes that look inverted or swapped."""
    for image, census in zip(planes.source.images, statistics.censuses, strict=True):
        warn_of_odd_values(image, census)
    if planes.has_labels:
        _warn_if_mixed_up(planes, statistics)


def _warn_if_mixed_up(planes: LabelledMap, statistics: PixelStatistics) -> None:
    counts = statistics.counts
    if counts["target"] > counts["valid"] / 2:
        warn(
            f"The target is 1 on {counts['target'] / counts['valid']:.0%} of the valid pixels. Structures are rare: is "
            "it inverted?"
        )
        return
    target, background = statistics.mean("target"), statistics.mean("background")
    if target < background and min(counts["target"], counts["background"]) >= _FEW:
        doubt = "Are the two planes swapped" if planes.has_background else "Does the target belong to this map"
        warn(
            f"The map is {target:.4g} on the target and {background:.4g} on the background in the mean. {doubt}, or "
            "are the structures darker than their surroundings?"
        )
