"""The labels of filaments -> the lines of some of them: skeletons, spines, branches and outlines.

Each filament is measured alone, so that the processes of a run can share them. What they measure travels as arrays.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from bigsf.arrays import BoolArray, Float64Array
from bigsf.filaments.branches import BranchGroup, branch_group
from bigsf.filaments.outlines import contours, simplified, with_holes
from bigsf.filaments.photometry import Box
from bigsf.filaments.spine import Pixels, Points, Spine, measure_spine, skeleton_of

Arrays = Mapping[str, npt.NDArray[Any]]
"""Arrays by name."""

_LENGTHS = "_lengths"  # the ending of the array that holds the length of each part of a joined array


class FilamentPixels(NamedTuple):
    """The pixels of filaments, which are numbered from 0."""

    labels: npt.NDArray[np.int32]
    """The number of the filament of each pixel plus 1, and 0 elsewhere, `(ny, nx)`."""
    boxes: list[Box]
    """The rows and columns of each filament."""

    def mask(self, number: int) -> BoolArray:
        """Return the mask of one filament in its box."""
        mask: BoolArray = self.labels[self.boxes[number]] == number + 1
        return mask

    def pixels(self, number: int) -> Pixels:
        """Return the pixels (y, x) of one filament, on the map."""
        return self.on_map(number, self.mask(number))

    def skeleton(self, number: int) -> Pixels:
        """Return the pixels (y, x) of the skeleton of one filament, on the map."""
        return self.on_map(number, skeleton_of(self.mask(number)))

    def on_map(self, number: int, mask: BoolArray) -> Pixels:
        """Return the pixels (y, x) on the map of a mask in the box of a filament."""
        pixels: Pixels = np.argwhere(mask) + self.corner(number)
        return pixels

    def corner(self, number: int) -> Pixels:
        """Return the first row and column of the box of a filament."""
        y, x = self.boxes[number]
        return np.array([y.start, x.start])


class SkeletonLines(NamedTuple):
    """What is measured on the skeletons of some filaments."""

    skeletons: list[Pixels]
    """The pixels (y, x) of each skeleton, on the map."""
    spines: list[Spine]
    """The longest path through each."""
    branches: BranchGroup
    """Their branches and hubs."""

    @classmethod
    def measure(cls, filaments: FilamentPixels, numbers: range) -> Self:
        """Measure the filaments of some numbers."""
        skeletons = [filaments.skeleton(number) for number in numbers]
        spines = [
            measure_spine(filaments.pixels(number), skeleton)
            for number, skeleton in zip(numbers, skeletons, strict=True)
        ]
        half_widths = [
            _half_width(filaments, number, skeleton) for number, skeleton in zip(numbers, skeletons, strict=True)
        ]
        return cls(skeletons, spines, branch_group(skeletons, half_widths, spines, numbers.start))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is measured as arrays of numbers."""
        branches = self.branches._asdict()
        paths = branches.pop("paths")
        return {
            **arrays_of_parts("skeletons", self.skeletons),
            **arrays_of_parts("spine_paths", [spine.path for spine in self.spines]),
            **arrays_of_parts("spine_chains", [spine.chain for spine in self.spines]),
            "spine_lengths": np.array([spine.length_px for spine in self.spines], np.float64),
            **arrays_of_parts("paths", paths),
            **branches,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return what `arrays` has returned."""
        paths, chains = (parts_of_arrays(arrays, f"spine_{name}") for name in ("paths", "chains"))
        spines = zip(paths, arrays["spine_lengths"].tolist(), chains, strict=True)
        branches = {name: arrays[name] for name in BranchGroup._fields if name != "paths"}
        return cls(
            parts_of_arrays(arrays, "skeletons"),
            [Spine(*each) for each in spines],
            BranchGroup(paths=parts_of_arrays(arrays, "paths"), **branches),
        )


def measure_outlines(filaments: FilamentPixels, numbers: range) -> list[Points]:
    """Return the outlines of the filaments of some numbers, see `Filaments.outlines`."""
    borders = [contours(np.pad(filaments.mask(number), 1)) for number in numbers]
    lines = iter(simplified([border for each in borders for border in each]))
    outlines = [with_holes([next(lines) for _ in each]) for each in borders]
    return [filaments.corner(number) - 1 + outline for number, outline in zip(numbers, outlines, strict=True)]


def _half_width(filaments: FilamentPixels, number: int, skeleton: Pixels) -> Float64Array:
    """Return the distance of each pixel of a skeleton from the nearest pixel outside of its filament, `(n,)`."""
    distance = distance_transform_edt(np.pad(filaments.mask(number), 1))
    half_width: Float64Array = distance[tuple((skeleton - filaments.corner(number) + 1).T)]
    return half_width


def arrays_of_parts(name: str, parts: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return arrays of different lengths as one, and how long each is."""
    lengths = np.array([len(part) for part in parts], np.int64)
    return {name: np.concatenate(parts) if len(parts) else np.empty((0, 2)), f"{name}{_LENGTHS}": lengths}


def parts_of_arrays(arrays: Arrays, name: str) -> list[npt.NDArray[Any]]:
    """Return the arrays that `arrays_of_parts` has joined."""
    lengths = arrays[f"{name}{_LENGTHS}"]
    return np.split(arrays[name], np.cumsum(lengths))[: len(lengths)]
