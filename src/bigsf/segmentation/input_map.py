"""A FITS map or a patch file -> the map to segment."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bigsf.config.messages import field_names
from bigsf.errors import UsageError, warn
from bigsf.maps.config import MapConfig
from bigsf.maps.file_kinds import has_patch_file_name
from bigsf.maps.fingerprint import recognise
from bigsf.maps.fits_image import FitsImage, open_planes
from bigsf.maps.odd_values import OddValue, check_map, warn_of_absent_blank
from bigsf.maps.planes import FitsMap, MapSource
from bigsf.maps.shapes.region_cutout import cutout_of
from bigsf.option_names import option
from bigsf.patches.patch_file import PatchFile
from bigsf.segmentation.config import SegmentConfig
from bigsf.segmentation.further_maps import FurtherMaps, further_maps
from bigsf.training.snapshot import Snapshot
from bigsf.training.training_maps import fingerprints


class InputMap(NamedTuple):
    """A map to segment."""

    source: MapSource
    """The map."""
    odd_values: list[OddValue]
    """Values of the first channel that stand apart from all others, of which there was a warning."""
    further: FurtherMaps
    """What the catalogue measures besides the map and its probability."""


@contextmanager
def open_map(path: Path, config: SegmentConfig) -> Iterator[InputMap]:
    """Open a FITS map with its masks and channels, or a patch file, for the time of a `with` block.

    A FITS map is read once, to check its values and its mask before the long work begins. `bigsf preprocess` has
    checked those of a patch file.

    Raises
    ------
    DataError
        Where a file cannot be read, the planes do not share one grid, or the values cannot be used.
    UsageError
        Where an option says how to read the planes of a patch file, which holds them as they were read.
    """
    if has_patch_file_name(path):
        _refuse_options_of_planes(path, config)
        with ExitStack() as stack:
            opened = {role: stack.enter_context(FitsImage(file)) for role, file in config.further_maps.items()}
            patches = PatchFile(path)
            yield InputMap(patches, [], further_maps(path.name, patches, opened, config))
        return
    with ExitStack() as stack:
        files, masks = [path, *config.channels], {"valid": config.valid, **config.further_maps}
        cutout = cutout_of(config)
        images, opened = open_planes(files, masks, stack, config.hdu, config.blank, cutout)
        source = FitsMap(images, opened.get("valid"))
        further = further_maps(source.name, source, opened, config)
        odd_values = check_map(source)
        warn_of_absent_blank(images)
        yield InputMap(source, odd_values, further)


def _refuse_options_of_planes(path: Path, config: SegmentConfig) -> None:
    given = {key: field for key, field in MapConfig.model_fields.items() if getattr(config, key) not in (None, [])}
    if given:
        names = (sorted(field_names(key, field), reverse=True) for key, field in given.items())
        options = " and ".join(" or ".join(map(option, each)) for each in names)
        raise UsageError(
            f"{path.name} is a patch file, which holds its planes as bigsf preprocess read them: {options} would do "
            "nothing. Give that to bigsf preprocess instead."
        )


def warn_if_trained_on(name: str, source: MapSource, snapshots: Sequence[Snapshot]) -> None:
    """Warn once where a model was trained on this map, on a part of it, or on another map of its sky."""
    known = fingerprints(training_map for snapshot in snapshots for training_map in snapshot.training_maps)
    if found := recognise(name, source, known):
        warn(
            f"{found}: it has seen the labels there. In out_of_fold.fits of bigsf kfold every pixel is predicted by a "
            "model that was not trained on it."
        )
