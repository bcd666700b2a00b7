"""Models + a map -> probability, mask and products on the grid of the map."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigsf import console
from bigsf.errors import warn
from bigsf.files import hidden_name, sha256
from bigsf.interrupts import stopping
from bigsf.maps.fits_image import stem_of
from bigsf.maps.fits_writer import check_fits_name
from bigsf.maps.hdus import files_of
from bigsf.maps.hips import check_hips
from bigsf.maps.odd_values import OddValue
from bigsf.maps.planes import MapSource
from bigsf.maps.shapes.moc_file import check_moc
from bigsf.models.device import Precision, pick_device
from bigsf.models.measured_time import seconds_of_prediction
from bigsf.models.positions import warn_if_beyond_training
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.stored_prediction import StoredPrediction, largest_tile
from bigsf.segmentation.comparison import resolve_scales, warn_if_unlike
from bigsf.segmentation.config import AUTO, Product, SegmentConfig
from bigsf.segmentation.ensemble import Ensemble
from bigsf.segmentation.found import find_filaments
from bigsf.segmentation.input_map import open_map, warn_if_trained_on
from bigsf.segmentation.memory import check_memory
from bigsf.segmentation.products import (
    SegmentReport,
    resolve_products,
    segmentation_outputs,
)
from bigsf.segmentation.result_checks import warn_of_former_products, warn_of_result
from bigsf.segmentation.result_writer import write_outputs
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
        The FITS file holds, as `config.products` says,

        - the probability, the primary HDU: float32, NaN where data are missing;
        - MASK: uint8, 1 where the probability reaches the threshold, without the components that the cleaning leaves
          out;
        - STD: float32, the standard deviation over the models, or over the views of test-time augmentation of one
          model, as its BTYPE says;
        - SCALE: uint8, the factor by which the map was binned where the probability was taken from;
        - SKELETON and LABELS: int32, the id of the filament on the skeleton and on all pixels of MASK, 0 elsewhere;
        - the tables PROVENANCE and CATALOG; the latter has one row per filament, with the columns of
          `bigsf.filaments.columns`.

        Beside it are `<output>.ecsv`, `.vot` and `.mrt`, the catalogue; `<output>.reg`, the outlines for DS9;
        `<output>_spines.ecsv`, the points along the filaments; `<output>.moc.fits`, the MOC of MASK; `<output>_hips`,
        the tiles of the probability (HiPS); and `<output>.png`, a quicklook, also as `figures="pdf"` or "svg".

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
        _check_map(image.name, source, ensemble, products, config.region is not None)
        warn_if_trained_on(image.name, source, ensemble.snapshots)
        scales = resolve_scales(config.scales, image.name, source, ensemble)
        part = largest_tile(source.shape)
        predictor = ensemble.predictor(source, config, torch_device, scales, network, trust, part)
        warn_if_beyond_training(predictor.models, source.shape, source.wcs, image.name)
        warn_if_unlike(image.name, source, ensemble, scales[0], sum(value.pixels for value in odd_values))
        resolved = _resolved(config, predictor, products)
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
            world.first(lambda: write_outputs(outputs, report, image, source, further, prediction, found, ensemble))
    if world.is_first:
        _warn(report, image.name, odd_values, ensemble)
    return report


def _check_map(name: str, source: MapSource, ensemble: Ensemble, products: Sequence[Product], in_part: bool) -> None:
    """Refuse a map that the models cannot take, or of which a product cannot be made; warn of positions in a part."""
    ensemble.check_channels(name, source.channels)
    if "moc" in products:
        check_moc(name, source.wcs)
    if "hips" in products:
        check_hips(name, source.wcs)
    if in_part and any(model.position and model.position.coordinates == "pixel" for model in ensemble.model_configs):
        warn(
            f"The model takes positions in pixels of the map, which here count from the first pixel of the region: its "
            f"probabilities are those of the whole map only where it was trained on the same region of {name}."
        )


def _resolved(config: SegmentConfig, predictor: SlidingWindowPredictor, products: Sequence[Product]) -> SegmentConfig:
    """Return the options with their defaults filled in."""
    return config.model_copy(
        update={
            "products": products,
            "stride": predictor.stride,
            "scales": predictor.scales,
            "batch_size": predictor.batch_size,
            "precision": _PRECISIONS[predictor.dtype],
        }
    )


def _warn(report: SegmentReport, name: str, odd_values: Sequence[OddValue], ensemble: Ensemble) -> None:
    known = sum(value.pixels for value in odd_values if value.high <= 0)  # the user was told of them
    logarithm = any(map(takes_logarithm, ensemble.model_configs))
    warn_of_result(report, name, report.not_positive - known if logarithm else 0)


def _with_options(config: SegmentConfig | None, options: Mapping[str, Any]) -> SegmentConfig:
    given = config.model_dump(exclude_unset=True) if config else {}
    return SegmentConfig.from_dict({**given, **options})


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
