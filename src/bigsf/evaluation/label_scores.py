"""Maps of filaments by any tools, and labels -> scores of all of them on the same pixels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError, warn
from bigsf.filaments.cleaning import CONNECTED
from bigsf.filaments.spine import skeleton_of
from bigsf.maps.config import MapConfig
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import mask_hdu, split_hdu
from bigsf.maps.shapes.region_cutout import cutout_of
from bigsf.metrics.skeleton_score import SkeletonScore
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.option_names import option
from bigsf.patches.labelled_map import LabelledMap

RADIUS_PX = 2.0
"""Two skeletons count as the same within this distance, in pixels."""

_FOUND = 0.5  # an object is found where at least this part of its pixels is marked


@dataclass(frozen=True)
class MapScore:
    """Scores of one map against one kind of labels; NaN where a score is not defined."""

    name: str
    """The map."""
    against: str
    """`labelled`: pixels with a label; `whole`: all pixels, where those without a label count as background; `truth`:
    all pixels against the ground truth."""
    pixels: int
    """Pixels that are scored: valid, and with a value in all maps that are compared."""
    average_precision: float
    """Area under the curve of precision against recall; NaN for a mask, which has one point of it."""
    best_dice: float
    """Dice at the threshold that is best on these pixels: an upper bound."""
    dice: float
    """Dice of the mask."""
    cldice: float
    """Centreline Dice of the mask (Shit et al. 2021); NaN for `labelled`, whose lines are in parts."""
    completeness: float
    """Part of the true skeleton within 2 pixels of the skeleton of the mask; NaN for `labelled`."""
    purity: float
    """Part of the skeleton of the mask within 2 pixels of the true one; NaN for `labelled`."""
    object_completeness: float
    """Part of the true objects of which at least half of the pixels are marked; NaN for `labelled`."""
    object_purity: float
    """Part of the objects of the mask of which at least half of the pixels are true; NaN for `labelled`."""
    marked: float
    """Part of the pixels that the mask marks."""


def score(
    maps: Mapping[str, str | Path] | Sequence[str | Path] | str | Path,
    image: str | Path,
    against: str | Path | None = None,
    background: str | Path | None = None,
    truth: str | Path | None = None,
    threshold: float | None = None,
    config: MapConfig | None = None,
) -> list[MapScore]:
    """Score maps of filaments by any tools against labels, all on the same pixels.

    A map is a probability, another score, a mask or a label image. What it marks is its extension MASK, or else LABELS,
    as in the files of `bigsf segment`; else the positive values of a mask or a label image; else the values from
    `threshold` on. Whole numbers from 0 are a mask or a label image, with a warning where a threshold above 1 says that
    they may be a score, such as a count. All planes are held in memory.

    Parameters
    ----------
    maps
        FITS files on the grid of the image, or one; with names for the table or without.
    image
        The FITS map in which the filaments were found. Pixels without data in it are not scored.
    against, background, truth
        The labels, in the forms that `bigsf preprocess` takes; at least one of `against` and `truth`. Without a
        background there are no scores of labelled pixels.
    threshold
        The value from which on a map without a mask counts as marked. By default 0.5 for values between 0 and 1;
        otherwise nothing is known of what it marks, and the scores of masks are NaN.
    config
        How the image is read: its HDU, missing data, region. A `blank` is of the image alone.

    Returns
    -------
    list of MapScore
        Of each map, against each kind of labels; none of labelled pixels where there is no such pixel.

    Raises
    ------
    DataError
        Where a file cannot be read, or lies on another grid, or no pixel is left to be scored.

    Examples
    --------
    >>> for row in bigsf.score({"getsf": "getsf_mask.fits"}, "map.fits", "catalogue.reg"):  # doctest: +SKIP
    ...     print(row.name, row.against, row.dice)
    """
    config = config or MapConfig()
    paths = dict(maps) if isinstance(maps, Mapping) else by_name([maps] if isinstance(maps, str | Path) else maps)
    with ExitStack() as stack:
        planes = open_compared(paths, image, against, background, truth, config, stack)
        rows = planes.read(0, planes.source.shape[0])
        values = rows.map.image[1:]
        masks = [
            _mask_of(path, plane, found, threshold)
            for path, plane, found in zip(paths.values(), planes.source.images[1:], values, strict=True)
        ]
    where = rows.map.valid
    kinds: dict[str, tuple[BoolArray, BoolArray]] = {}
    if rows.target is not None and rows.background is not None:
        if planes.has_background and (labelled := rows.target | rows.background).any():
            kinds["labelled"] = labelled, rows.target
        kinds["whole"] = where, rows.target
    if rows.truth is not None:
        kinds["truth"] = where, rows.truth
    if not kinds:
        raise DataError(f"{image}: there is nothing to score against. Give a target, or a truth.")
    if not where.any():
        raise DataError(f"No pixel of {image} has a value in all maps that are compared.")
    lines = {kind: skeleton_of(true & counted) for kind, (counted, true) in kinds.items() if kind != "labelled"}
    return [
        _scores(name, kind, each, mask, counted, true, lines.get(kind))
        for name, each, mask in zip(paths, values, masks, strict=True)
        for kind, (counted, true) in kinds.items()
    ]


def by_name(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Return maps by the names of their files, or by their paths where several have one name."""
    maps = [Path(path) for path in paths]
    times = Counter(path.name for path in maps)
    return {path.name if times[path.name] == 1 else str(path): path for path in maps}


def open_compared(
    maps: Mapping[str, str | Path],
    image: str | Path,
    against: str | Path | None,
    background: str | Path | None,
    truth: str | Path | None,
    config: MapConfig,
    stack: ExitStack,
) -> LabelledMap:
    """Open an image with its labels, and the maps that are compared as further channels; the stack closes them.

    Parameters and errors are those of `score`.
    """
    masks = {"target": against, "background": background, "valid": config.valid, "truth": truth}
    opened = LabelledMap.open(
        [Path(image), *map(Path, maps.values())],
        {role: Path(path) if path else None for role, path in masks.items()},
        stack,
        config.hdu,
        config.blank,
        find_cutout=cutout_of(config),
    )
    for compared in opened.source.images[1:]:
        compared.blank = None  # what marks missing data in the image is an answer in a mask
    return opened


def _mask_of(given: str | Path, plane: FitsImage, values: FloatArray, threshold: float | None) -> BoolArray | None:
    """Return what a map marks, `(ny, nx)`; None where nothing says so. A path that names an HDU means that alone."""
    if split_hdu(Path(given))[1] is None and (hdu := mask_hdu(plane.path)):
        with FitsImage(plane.path, hdu, cutout=plane.cutout) as mask:
            return np.asarray(mask.read() > 0)
    finite = values[np.isfinite(values)]
    if _is_mask(finite):
        if threshold is not None and threshold > 1 and (finite > 1).any():
            warn(
                f"{plane.name} holds whole numbers, which are taken for identifiers: {option('threshold', threshold)} "
                "does nothing there. If they are a score, write them as fractions of their maximum."
            )
        return values > 0
    if threshold is None and finite.size and finite.min() >= 0 and finite.max() <= 1:
        threshold = 0.5
    return None if threshold is None else values >= threshold


def _is_mask(values: FloatArray) -> bool:
    """Tell whether values are those of a mask or a label image: integers from 0."""
    return bool((values >= 0).all() and (values == np.floor(values)).all())


def _scores(
    name: str,
    kind: str,
    values: FloatArray,
    mask: BoolArray | None,
    where: BoolArray,
    true: BoolArray,
    true_line: BoolArray | None,
) -> MapScore:
    """Return the scores of one map; without the skeleton of what is true, those of lines and objects are NaN."""
    several = not _is_mask(values[np.isfinite(values)])
    values = values if several else (values > 0).astype(np.float32)
    curve = ThresholdCurve(quantile_edges(values[where]))
    curve.update(values[where], true[where])
    scores = dict.fromkeys(
        ("dice", "cldice", "completeness", "purity", "object_completeness", "object_purity", "marked"), float("nan")
    )
    if mask is not None:
        scores["dice"] = _ratio(2 * (mask & true & where).sum(), (mask & where).sum() + (true & where).sum())
        scores["marked"] = _ratio((mask & where).sum(), where.sum())
        if true_line is not None:
            skeletons = SkeletonScore([RADIUS_PX])
            skeletons.update(mask & where, true & where, where, true_line)
            table = skeletons.table()
            scores |= {part: table[f"{part}_{RADIUS_PX:g}px"] for part in ("completeness", "purity")}
            scores["cldice"] = table["cldice"]
            scores["object_completeness"] = _found_part(true & where, mask)
            scores["object_purity"] = _found_part(mask & where, true)
    return MapScore(
        name,
        kind,
        int(where.sum()),
        curve.average_precision() if several else float("nan"),
        curve.best_dice().dice,
        **scores,
    )


def _ratio(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else float("nan")


def _found_part(objects: BoolArray, mask: BoolArray) -> float:
    """Return the part of the 8-connected objects of which at least half of the pixels are in a mask."""
    labels, number = label(objects, CONNECTED)
    if not number:
        return float("nan")
    size = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    found = np.bincount(labels[mask].ravel(), minlength=number + 1)[1:]
    return float((found >= _FOUND * size).mean())


def as_records(scores: Sequence[MapScore]) -> list[dict[str, str | int | float | None]]:
    """Return scores as JSON takes them: NaN becomes None."""
    return [{key: None if value != value else value for key, value in asdict(row).items()} for row in scores]
