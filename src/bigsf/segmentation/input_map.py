"""A FITS map or a patch file -> the map to segment."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bigsf.errors import BigsfWarning
from bigsf.maps.fits_image import FitsImage, find_planes
from bigsf.maps.planes import FitsMap, MapSource
from bigsf.patches.patch_file import PatchFile
from bigsf.training.snapshot import Snapshot


def open_map(
    image: Path,
    hdu: str | int | None,
    valid: str | Path | None,
    blank: float | None,
    channels: Sequence[str | Path],
    stack: ExitStack,
) -> MapSource:
    """Open a FITS map or a patch file; the stack closes it."""
    if image.suffix in (".h5", ".hdf5"):
        return PatchFile(image)
    images = [stack.enter_context(FitsImage(image, hdu, blank))]
    images += [stack.enter_context(FitsImage(channel, blank=blank)) for channel in channels]
    inside = find_planes(image).get("valid")
    mask = FitsImage(valid) if valid else FitsImage(image, inside) if inside else None
    if mask:
        stack.enter_context(mask)
    return FitsMap(images, mask)


def warn_if_trained_on(name: str, source: MapSource, snapshots: Sequence[Snapshot]) -> None:
    """Warn when the map is the one that the models were trained on."""
    here = source.image_sha256
    if any(snapshot.image_sha256 == here for snapshot in snapshots):
        warnings.warn(
            f"{name} is the map that the model was trained on: it has seen the labels there. For a map whose "
            "every pixel is predicted by a model that never saw it, use out_of_fold.fits of bigsf kfold.",
            BigsfWarning,
            stacklevel=3,
        )
