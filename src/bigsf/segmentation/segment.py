"""Models + a map -> probability, mask and products on the grid of the map."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from astropy.io import fits
from torch import nn

from bigsf import console
from bigsf.figures import save_figure
from bigsf.files import hidden_name, sha256
from bigsf.interrupts import stopping
from bigsf.maps.fits_image import FitsImage, stem_of
from bigsf.maps.fits_writer import FitsWriter, check_fits_name
from bigsf.maps.hdus import files_of
from bigsf.maps.hips import check_hips, write_hips
from bigsf.maps.odd_values import OddValue
from bigsf.maps.planes import MapSource
from bigsf.maps.quicklook import quicklook_figure
from bigsf.maps.shapes.moc_file import check_moc
from bigsf.models.device import Precision, pick_device
from bigsf.models.measured_time import seconds_of_prediction
from bigsf.models.positions import warn_if_beyond_training
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.stored_prediction import StoredPrediction, largest_tile
from bigsf.outputs import Outputs
from bigsf.provenance import provenance
from bigsf.segmentation.comparison import resolve_scales, warn_if_unlike
from bigsf.segmentation.config import AUTO, SegmentConfig
from bigsf.segmentation.ensemble import Ensemble
from bigsf.segmentation.found import Found, find_filaments
from bigsf.segmentation.further_maps import FurtherMaps
from bigsf.segmentation.input_map import open_map, warn_if_trained_on
from bigsf.segmentation.memory import check_memory
from bigsf.segmentation.planes_writer import write_bands
from bigsf.segmentation.products import (
    SegmentReport,
    output_folders,
    resolve_products,
    segmentation_outputs,
    write_filaments,
)
from bigsf.segmentation.result_checks import warn_of_former_products, warn_of_result
from bigsf.training.checks import takes_logarithm
from bigsf.training.distributed import World
from bigsf.training.shared_prediction import predicted_by
from bigsf.version import __version__

_PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


def segment(
    models: str | Path | Sequence[str | Path],
    image: str | Path,
    output: str | Path | None = None,
    config: SegmentConfig | None = None,
    *,
    network: nn.Module | None = None,
    device: str | None = None,
    trust: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    world: World | None = None,
    time_limit_s: float | None = None,
    **options: Any,
) -> SegmentReport:
    """Write the probability of filaments on the grid and WCS of a map, a mask, and the products that are asked for.

    Parameters
    ----------
    models
        A snapshot, a run folder or the folder of a k-fold, or several of them: the result is the mean of all models.
    image
        A FITS map or a patch file.
    output
        The FITS file to write; by default `<map>_segmented.fits` in the current folder.
    config
        How to segment; by default as `SegmentConfig()` says.
    network
        The network of the models, where it was handed to the trainer as an object.
    device
        Name of the device; by default the GPU where there is one.
    trust
        Import and run the custom targets that the snapshots name.
    overwrite
        Replace existing outputs.
    dry_run
        Read and check everything, measure how long the prediction takes, write nothing.
    world
        The processes that predict the map together; the first writes. By default this one alone.
    time_limit_s
        Stop once this many seconds have passed; the same call then goes on.
    **options
        Keys of `SegmentConfig`, e.g. `tta=True`; they override those of `config`.

    Returns
    -------
    SegmentReport
        The FITS file holds, as `config.products` says, the probability (float32, NaN where data are missing), MASK
        (uint8, 1 where the probability reaches the threshold, without the components that the cleaning leaves out), STD
        (float32, the standard deviation over the models, or over the views of test-time augmentation of one model, as
        its BTYPE says), SCALE (uint8, the factor by which the map was binned where the
        probability was taken from, see `SlidingWindowPredictor.predict_tile`), SKELETON (int32, the id of the
        filament on the skeleton of MASK), LABELS (int32, the id on all pixels of MASK), and the table PROVENANCE. The
        catalogue has one row per filament with the columns of `bigsf.filaments.columns`: in `<output>.ecsv`, `.vot` or
        `.mrt`, and in the table CATALOG. `<output>.reg` has the outlines for DS9, `<output>_spines.ecsv` the points
        along the filaments, `<output>.moc.fits` the MOC of MASK, the folder `<output>_hips` the tiles of the
        probability (HiPS), and `<output>.png` is a quicklook; with `figures="pdf"` or "svg" it is in that format
        too.

    Raises
    ------
    ConfigError
        Where an option makes no sense.
    SnapshotError
        Where a model cannot be loaded.
    DataError
        Where the map cannot be read, or has other image planes than the models take.
    UsageError
        Where an output exists already or cannot be written.
    InterruptedRunError
        At the time limit. What is predicted is kept beside the output, as it is where the process is killed.

    Examples
    --------
    >>> report = segment("best.pt", "map.fits", "found.fits", tta=True)  # doctest: +SKIP
    """
    config, world = _with_options(config, options), world or World()
    ensemble = Ensemble.load(models)
    threshold = ensemble.threshold(config.threshold)
    config.cleaning.check(threshold)
    image = Path(image)
    output = Path(output) if output else Path(f"{stem_of(image)}_segmented.fits")
    check_fits_name(output, "output")
    several_scales = config.scales == AUTO or len(config.scales or ensemble.scales) > 1
    products = resolve_products(config.products, len(ensemble), config.tta, several_scales)
    outputs = segmentation_outputs(output, products, config.figures)
    files = [*files_of([image]), *config.inputs]
    outputs.check([*files, *ensemble.paths], overwrite)
    warn_of_former_products(output, outputs.named, files)
    inputs = _stamps(files)
    torch_device = pick_device(device, world.gpu if world.size > 1 else None)
    with open_map(image, config) as (source, odd_values, further):
        ensemble.check_channels(image.name, source.channels)
        if "moc" in products:
            check_moc(image.name, source.wcs)
        if "hips" in products:
            check_hips(image.name, source.wcs)
        warn_if_trained_on(image.name, source, ensemble.snapshots)
        scales = resolve_scales(config.scales, image.name, source, ensemble)
        part = largest_tile(source.shape)
        predictor = ensemble.predictor(source, config, torch_device, scales, network, trust, part)
        warn_if_beyond_training(predictor.models, source.shape, source.wcs, image.name)
        warn_if_unlike(image.name, source, ensemble, scales[0], sum(value.pixels for value in odd_values))
        resolved = config.model_copy(
            update={
                "products": products,
                "stride": predictor.stride,
                "scales": predictor.scales,
                "batch_size": predictor.batch_size,
                "precision": _PRECISIONS[predictor.dtype],
            }
        )
        _explain_threshold(resolved, ensemble, predictor.scales)
        report = SegmentReport(output, source.shape, ensemble.paths, threshold, resolved)
        check_memory(report.config, report.shape)
        if dry_run:
            report.seconds = seconds_of_prediction(predictor, source.shape, source.channels) / world.size
            return report
        identity = _identity(inputs, report, predictor, [config.batch_size, config.memory])
        prediction = StoredPrediction(hidden_name(output, ".parts"), identity, predictor, source)
        with (
            stopping(time_limit_s, prediction.what_is_kept),
            predicted_by(world, {f"segment {image.name}": prediction}),
        ):
            found = find_filaments(world, report, image.name, source, prediction)
            world.first(lambda: _write_outputs(outputs, report, image, source, further, prediction, found, ensemble))
    if world.is_first:
        _warn(report, image.name, odd_values, ensemble)
    return report


def _warn(report: SegmentReport, name: str, odd_values: Sequence[OddValue], ensemble: Ensemble) -> None:
    known = sum(value.pixels for value in odd_values if value.high <= 0)  # the user was told of them
    logarithm = any(map(takes_logarithm, ensemble.model_configs))
    warn_of_result(report, name, report.not_positive - known if logarithm else 0)


def _with_options(config: SegmentConfig | None, options: Mapping[str, Any]) -> SegmentConfig:
    given = config.model_dump(exclude_unset=True) if config else {}
    return SegmentConfig.from_dict({**given, **options})


def _write_outputs(
    outputs: Outputs,
    report: SegmentReport,
    image: Path,
    source: MapSource,
    further: FurtherMaps,
    prediction: StoredPrediction,
    found: Found,
    ensemble: Ensemble,
) -> None:
    """Write all outputs of a map that is predicted; they appear together, once the last one is written."""
    header, table = _provenance(report, image, source, ensemble)
    with outputs.writing() as files:
        with FitsWriter(files[report.output], report.shape, header, report.planes, kinds=report.kinds) as writer:
            subsampled = write_bands(report, image.name, source, prediction, found.mask, writer)
            if found.filaments is not None:
                write_filaments(found.filaments, found.moc, report, source, further, writer, files)
            writer.append(table)  # behind the catalogue: some programs open the first table alone
        _write_hips(report, source, files)
        title, threshold = image.name, report.threshold
        outlines = found.filaments.outlines() if found.filaments is not None else []
        for path in report.figures:
            save_figure(
                lambda: quicklook_figure(
                    subsampled, source.output_header(), source.unit, title, threshold, outlines=outlines
                ),
                files[path],
                path,
            )
        prediction.remove()  # before the outputs appear: a killed command leaves none of it beside them


def _stamps(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of modification of the files that exist."""
    statuses = {path: path.stat() for path in paths if path.exists()}
    return [(str(path), status.st_size, status.st_mtime_ns) for path, status in statuses.items()]


def _identity(
    inputs: Sequence[tuple[str, int, int]], report: SegmentReport, predictor: SlidingWindowPredictor, batch: list[Any]
) -> str:
    """Return a text that changes with all that changes the prediction; `batch` is what was asked for its batches.

    How many windows fit into a GPU may differ the next time, and makes no difference but that of rounding.
    """
    entries = {
        "versions": [__version__, torch.__version__],
        "inputs": inputs,
        "models": [sha256(path) for path in report.models],
        "predicted": report.config.of_prediction(),
        "batch": batch,
        "views": predictor.views,
        "device": predictor.device.type,
    }
    return json.dumps(entries)


def _write_hips(report: SegmentReport, source: MapSource, files: Mapping[Path, Path]) -> None:
    """Write the HiPS of the probability, where it is a product, in the place of its temporary file."""
    for folder in output_folders(report.output, report.products):
        files[folder].unlink()
        with FitsImage(files[report.output]) as probability:
            write_hips(files[folder], probability, source.wcs, folder.name)


def _explain_threshold(config: SegmentConfig, ensemble: Ensemble, scales: list[int]) -> None:
    """Print how a threshold of validation was found, where this map is predicted in another way."""

    def way(stride: int | None, scales: list[int], tta: bool) -> str:
        binned = f", scales {','.join(map(str, scales))}" if scales != [1] else ""
        return f"stride {stride}{binned}{' with tta' if tta else ''}"

    found = way(max(1, ensemble.window // 2), ensemble.scales, False)
    here = way(config.stride, scales, config.tta)
    if isinstance(config.threshold, str) and here != found:
        console.logger.info(
            "The threshold %s was found at %s; at %s another one may be better.", config.threshold, found, here
        )


def _provenance(
    report: SegmentReport, image: Path, source: MapSource, ensemble: Ensemble
) -> tuple[fits.Header, fits.BinTableHDU]:
    """Return the header of the output and its table PROVENANCE."""
    entries = {f"model {i}": f"{path} SHA-256 {sha256(path)}" for i, path in enumerate(ensemble.paths, 1)}
    entries |= {"map": str(image), "threshold": f"{report.threshold:.6g} ({report.config.threshold})"}
    if report.config.cleaning:
        entries["cleaning"] = str(report.config.cleaning)
    entries["segment config"] = report.config.model_dump_json()
    entries["config"] = json.dumps(ensemble.snapshots[0].global_config)
    return provenance(source.output_header(), "Probability of a filament", entries)
