"""The fingerprints of the maps that a model was trained on <-> plain data and tensors in its snapshot."""

from collections.abc import Iterable

import torch
from typing_extensions import TypedDict

from bigsf.maps.fingerprint import MapFingerprint
from bigsf.maps.footprint import Footprint


class TrainingMap(TypedDict):
    """The fingerprint of a map, as a snapshot holds it."""

    image_sha256: str
    """SHA-256 of the FITS file of the map."""
    pixels: torch.Tensor
    """Keys of windows of pixels, int64 `(n,)`; none in snapshots of format 1 and 2."""
    wcs: str
    """Its celestial WCS as FITS cards, or nothing."""
    shape: tuple[int, int]
    """(ny, nx) in pixels."""
    covered: torch.Tensor
    """Blocks of the map that hold data, bool `(by, bx)`."""


def as_training_map(fingerprint: MapFingerprint) -> TrainingMap:
    """Return a fingerprint as a snapshot holds it."""
    footprint = fingerprint.footprint
    return {
        "image_sha256": fingerprint.image_sha256,
        "pixels": torch.from_numpy(fingerprint.pixels),
        "wcs": footprint.cards,
        "shape": footprint.shape,
        "covered": torch.from_numpy(footprint.covered),
    }


def known_by_file(image_sha256: str) -> TrainingMap:
    """Return what a snapshot of a former version knows of its map."""
    empty = torch.zeros((0, 0), dtype=torch.bool)
    pixels = torch.zeros(0, dtype=torch.int64)
    return {"image_sha256": image_sha256, "pixels": pixels, "wcs": "", "shape": (0, 0), "covered": empty}


def is_sound(training_map: TrainingMap) -> bool:
    """Tell whether the tensors are such as `as_training_map` makes."""
    pixels, covered = training_map["pixels"], training_map["covered"]
    if (pixels.dtype, pixels.ndim, covered.dtype, covered.ndim) != (torch.int64, 1, torch.bool, 2):
        return False
    return not training_map["wcs"] or (min(training_map["shape"]) > 0 and covered.numel() > 0)


def fingerprints(maps: Iterable[TrainingMap]) -> list[MapFingerprint]:
    """Return the fingerprints of the maps of one snapshot or more, each map once."""
    distinct = {(m["image_sha256"], m["pixels"].numpy().tobytes()): m for m in maps}
    return [
        MapFingerprint(m["image_sha256"], m["pixels"].numpy(), Footprint(m["wcs"], m["shape"], m["covered"].numpy()))
        for m in distinct.values()
    ]
