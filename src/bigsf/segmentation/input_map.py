"""A FITS map or a patch file -> the map to segment."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bigsf.errors import BigsfWarning
from bigsf.maps.fingerprint import recognise
from bigsf.maps.fits_image import open_planes
from bigsf.maps.planes import FitsMap, MapSource
from bigsf.patches.patch_file import PatchFile
from bigsf.segmentation.config import SegmentConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.training_maps import fingerprints


@contextmanager
def open_map(path: Path, config: SegmentConfig) -> Iterator[MapSource]:
    """Open a FITS map with its masks and channels, or a patch file, for the time of a `with` block.

    Raises
    ------
    DataError
        Where a file cannot be read, or the planes do not share one grid.
    """
    if path.suffix in (".h5", ".hdf5"):
        yield PatchFile(path)
        return
    with ExitStack() as stack:
        files, masks = [path, *config.channels], {"valid": config.valid_mask}
        images, opened = open_planes(files, masks, stack, config.hdu, config.blank)
        yield FitsMap(images, opened.get("valid"))


def warn_if_trained_on(name: str, source: MapSource, snapshots: Sequence[Snapshot]) -> None:
    """Warn once where a model was trained on this map, on a part of it, or on another map of its sky."""
    known = fingerprints(training_map for snapshot in snapshots for training_map in snapshot.training_maps)
    if found := recognise(name, source, known):
        warnings.warn(
            f"{found}: it has seen the labels there. In out_of_fold.fits of bigsf kfold every pixel is predicted by a "
            "model that was not trained on it.",
            BigsfWarning,
            stacklevel=3,
        )
