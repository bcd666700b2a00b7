"""FITS planes -> patch file."""

import json
import resource
import sys
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import override

from bigsf import console
from bigsf.config import ConfigPath
from bigsf.errors import DataError, UsageError
from bigsf.files import sha256
from bigsf.maps.config import MapConfig
from bigsf.maps.file_kinds import has_patch_file_name
from bigsf.maps.fits_image import stem_of
from bigsf.maps.hdus import files_of
from bigsf.maps.planes import FitsMap
from bigsf.maps.shapes.region_cutout import cutout_of
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks
from bigsf.option_names import option
from bigsf.outputs import Outputs
from bigsf.patches.labelled_map import LabelledMap, PixelStatistics
from bigsf.patches.patch_writer import PatchFileWriter
from bigsf.patches.report import PreprocessReport, check_counts, warn_of_values
from bigsf.patches.selection import PatchSelection

__all__ = ["PreprocessConfig", "PreprocessReport", "preprocess"]


class PreprocessConfig(MapConfig):
    """The planes of a map, and the patches to take from it.

    Examples
    --------
    >>> bigsf.PreprocessConfig(image="galaxy.fits", patch_size=32).stride_px
    8
    """

    image: ConfigPath
    """FITS file of the map, e.g. H2 column density in cm^-2."""

    target: ConfigPath | None = None
    """Known structures (spines): a FITS mask that is 1 on them, or holds their identifiers; or a file that is drawn on
    the map: DS9 or CRTF regions (.reg, .crtf), a MOC (.fits, .json), or points along spines (.ecsv, .csv, .vot)."""

    background: ConfigPath | None = None
    """Sure background, in the same forms. Without it every valid pixel off the target is background."""

    truth: ConfigPath | None = None
    """The ground truth of a simulated map, every structure, in the same forms. Only scores use it, never the
    training."""

    line_width: PositiveFloat | None = None
    """Width in pixels of the lines of regions and of spines that are drawn; by default 3."""

    patch_size: PositiveInt = 64
    """Side of a patch in pixels."""

    stride: PositiveInt | None = None
    """Pixels from one patch to the next; by default a quarter of the patch size."""

    target_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Images of target, background and truth are 1 above this value; by default they hold 0, 1 or identifiers."""

    min_valid: float = Field(default=0.0, ge=0, le=1)
    """Keep patches with at least this fraction of valid pixels (and always at least one)."""

    keep: Literal["labelled", "valid"] = "labelled"
    """`labelled`: keep patches with at least one labelled pixel; `valid`: all with a valid pixel."""

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride_px > self.patch_size:
            raise ValueError(
                f"stride is {self.stride} but patches have {self.patch_size} pixels: the map between them would be "
                "lost. Use at most the patch size."
            )
        return self

    @property
    @override
    def inputs(self) -> list[Path]:
        return [*files_of((self.image, self.target, self.background, self.truth)), *super().inputs]

    @property
    def stride_px(self) -> int:
        """The stride in pixels, with its default filled in."""
        return self.stride or max(1, self.patch_size // 4)


def preprocess(
    config: PreprocessConfig | str | Path,
    output: str | Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    *,
    binary_labels: Collection[str] = (),
    chunk_pixels: int = CHUNK_PIXELS,
) -> PreprocessReport:
    """Write the planes of a map and the positions of its patches into one HDF5 file, by bands of rows.

    Parameters
    ----------
    config
        The planes and the patches; or the FITS file of the map alone, with the default of all else.
    output
        The patch file; by default the image's name with `.h5` in the current folder.
    overwrite
        Replace an existing output.
    dry_run
        Read and check everything, write nothing.
    binary_labels
        The labels that hold 0 and 1 whatever `target_threshold` is, as those of a mosaic that was made with it.
    chunk_pixels
        Pixels of a plane to hold in memory at a time. The result does not depend on it.

    Returns
    -------
    PreprocessReport
        The counts of pixels, and of patches: `kept` of `windows`.

    Raises
    ------
    DataError
        Where the planes do not fit together, or no patch would be kept.
    UsageError
        Where the output exists, or an option does nothing for these planes.

    Examples
    --------
    >>> config = bigsf.PreprocessConfig(image="galaxy.fits", patch_size=32)
    >>> report = bigsf.preprocess(config, "patches.h5")
    >>> report.kept > 0
    True
    """
    if not isinstance(config, PreprocessConfig):
        config = PreprocessConfig(image=Path(config))
    output = Path(output) if output else Path(f"{stem_of(config.image)}.h5")
    if not has_patch_file_name(output):
        raise UsageError(f"The output {output} is a patch file (HDF5): name it *.h5.")
    outputs = Outputs(output)
    with ExitStack() as stack:
        planes = _open_planes(config, stack, binary_labels)
        outputs.check(config.inputs, overwrite)
        source = planes.source
        report = PreprocessReport(
            output=output,
            shape=source.shape,
            channels=source.channels,
            unit=source.unit,
            sources={role: str(path) for role, path in planes.sources.items()},
            has_wcs=source.wcs is not None,
        )
        if dry_run:
            _convert(planes, config, report, None, chunk_pixels)
            return report
        attributes = _attributes(config, planes)  # now, before a file of the map can be removed
        with (
            outputs.writing() as files,
            PatchFileWriter(files[output], source.shape, source.channels, planes.mask_names) as writer,
        ):
            positions = _convert(planes, config, report, writer, chunk_pixels)
            report.identity = writer.finish(positions, _header_with_unit(source), attributes)
    return report


def _open_planes(config: PreprocessConfig, stack: ExitStack, binary_labels: Collection[str]) -> LabelledMap:
    """Open the planes of a configuration; the stack closes them."""
    masks = {
        "target": config.target,
        "background": config.background,
        "valid": config.valid,
        "truth": config.truth,
    }
    images = [config.image, *config.channels]
    how = config.hdu, config.blank, config.target_threshold, config.line_width, cutout_of(config)
    planes = LabelledMap.open(images, masks, stack, *how, binary=binary_labels)
    if config.keep == "labelled" and "keep" in config.model_fields_set and not planes.has_labels:
        raise UsageError(
            f"{option('keep', 'labelled')} would do nothing: there is no target. Pass {option('target')}, or "
            f"{option('keep', 'valid')}."
        )
    ny, nx = planes.source.shape
    if min(ny, nx) < config.patch_size:
        raise DataError(
            f"{planes.source.name} has {nx} x {ny} pixels (x, y), too few for a patch of {config.patch_size}. Use a "
            f"smaller {option('patch_size')}."
        )
    return planes


def _convert(
    planes: LabelledMap,
    config: PreprocessConfig,
    report: PreprocessReport,
    writer: PatchFileWriter | None,
    chunk_pixels: int,
) -> npt.NDArray[np.int32]:
    """Read all rows once, write them where there is a writer, fill and check the report; return the kept patches."""
    shape = planes.source.shape
    needs_labels = planes.has_labels and config.keep == "labelled"
    selection = PatchSelection(shape, config.patch_size, config.stride_px, config.min_valid, needs_labels)
    statistics = PixelStatistics(planes.source.channels)
    started = time.monotonic()
    with console.progress("preprocess", shape[0], "rows") as advance:
        for y0, y1 in row_chunks(shape, chunk_pixels, least_rows=config.patch_size):
            rows = planes.read(y0, y1)
            masks = rows.masks()
            statistics.add(rows)
            if writer:
                writer.write(y0, rows.map.image, masks)
            selection.add(rows.map.valid, masks.get("labelled"))
            advance(y1 - y0)
    positions = selection.positions()
    report.windows, report.kept = selection.total, len(positions)
    report.without_valid, report.without_labels = selection.without_valid, selection.without_labels
    report.counts, report.contents = statistics.counts, planes.contents
    report.minimum, report.maximum = statistics.censuses[0].minimum, statistics.censuses[0].maximum
    report.seconds = time.monotonic() - started
    unit = 1 if sys.platform == "darwin" else 1024
    report.memory_bytes = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_counts(report, planes, config.patch_size)
    warn_of_values(planes, statistics)
    return positions


def _attributes(config: PreprocessConfig, planes: LabelledMap) -> dict[str, Any]:
    """Return the attributes that say how the patch file was made."""
    source = planes.source
    digests = {path: sha256(path) for path in set(planes.sources.values())}
    files = {role: {"path": str(path.absolute()), "sha256": digests[path]} for role, path in planes.sources.items()}
    return {
        "patch_size_px": config.patch_size,
        "stride_px": config.stride_px,
        "unit": source.unit,
        "wcs": source.wcs.to_header_string() if source.wcs is not None else "",
        "keep": config.keep,
        "min_valid": config.min_valid,
        "sources": json.dumps(files),
    }


def _header_with_unit(source: FitsMap) -> fits.Header:
    """Return the header to keep with the planes: that of the input, with its BUNIT."""
    header = source.output_header()
    if source.unit:
        header["BUNIT"] = source.unit
    return header
