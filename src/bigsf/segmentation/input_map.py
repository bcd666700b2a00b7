"""A FITS map or a patch file -> the map to segment."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from astropy.io import fits

from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning
from bigsf.files import sha256
from bigsf.maps.fits_image import FitsImage, find_planes
from bigsf.maps.planes import FitsPlanes, Planes
from bigsf.patches.patch_file import PatchFile
from bigsf.training.snapshot import Snapshot


def raw_rows(planes: Planes, y0: int, y1: int) -> FloatArray:
    """Return rows of the first channel that the engine has just read."""
    rows = planes.held_rows(y0, y1) if isinstance(planes, FitsPlanes) else planes.read_rows(y0, y1)
    first: FloatArray = rows[0]
    return first


def open_map(
    image: Path,
    hdu: str | int | None,
    valid: str | Path | None,
    blank: float | None,
    channels: Sequence[str | Path],
    stack: ExitStack,
) -> tuple[PatchFile | FitsPlanes, fits.Header]:
    """Open a FITS map or a patch file, and return it with the header for its output."""
    if image.suffix in (".h5", ".hdf5"):
        file = PatchFile(image)
        header = file.header.copy()
        header.remove("BUNIT", ignore_missing=True)
        return file, header
    images = [stack.enter_context(FitsImage(image, hdu, blank))]
    images += [stack.enter_context(FitsImage(channel, blank=blank)) for channel in channels]
    inside = find_planes(image).get("valid")
    mask = FitsImage(valid) if valid else FitsImage(image, inside) if inside else None
    if mask:
        stack.enter_context(mask)
    return FitsPlanes(images, mask), images[0].output_header()


def warn_if_trained_on(image: Path, planes: Planes, snapshots: Sequence[Snapshot]) -> None:
    """Warn when the map is the one that the models were trained on."""
    here = planes.image_sha256 if isinstance(planes, PatchFile) else sha256(image)
    if any(snapshot.image_sha256 == here for snapshot in snapshots):
        warnings.warn(
            f"{image.name} is the map that the model was trained on: it has seen the labels there. For a map whose "
            "every pixel is predicted by a model that never saw it, use out_of_fold.fits of bigsf kfold.",
            BigsfWarning,
            stacklevel=3,
        )
