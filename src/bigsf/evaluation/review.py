"""The catalogue of a k-fold and its target -> the structures worth a visual inspection, as table and regions.

There are three kinds of candidates:

- `unlabelled`: one of the surer half of the catalogue's filaments, with no target pixel within 2 pixels;
- `missed`: a component of the target whose probability is below the threshold, with no filament within 2 pixels;
- `uncertain`: one of the less sure half of the catalogue's filaments, whose probabilities are near the threshold.

Filaments are ordered by how far their mean probability p is above the threshold t, (p - t) / (1 - t). With q, the
fraction of the filaments that are less sure, the score is the number of pixels times q, 1 - p / t or 1 - 2 q for the
three kinds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS
from scipy.ndimage import label
from scipy.stats import rankdata

from bigsf.arrays import BoolArray, Float64Array
from bigsf.evaluation.catalogue import KFoldCatalogue
from bigsf.evaluation.catalogue_rows import REACH_PX, Components
from bigsf.evaluation.seams import models_of_fold
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.cleaning import CONNECTED
from bigsf.filaments.columns import COLUMNS as OF_FILAMENTS
from bigsf.filaments.columns import Field, make_table
from bigsf.filaments.ds9_regions import write_regions
from bigsf.filaments.photometry import PlaneRows
from bigsf.filaments.spine import Points
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage

MOST_CANDIDATES = 200

COLUMNS = {
    "rank": Field(None, "place in the list, from 1: the highest score is the first", "meta.id;meta.main"),
    "kind": Field(
        None, f"unlabelled: no target within {REACH_PX} px; missed: target, not found; uncertain", "meta.code"
    ),
    "id": Field(
        None,
        "id of the filament in catalog.ecsv; of missed: number of the target component",
        "meta.id",
    ),
    **{name: OF_FILAMENTS[name] for name in ("x", "y", "l", "b", "ra", "dec")},
    "probability": Field(None, "mean probability out of fold", "stat.probability;stat.mean"),
    "area_px": Field("pix2", "pixels", "phys.area"),
    "score": Field(
        "pix2",
        "pixels times the strength of the case, from 0 to 1: the priority of its inspection",
        "stat.rank",
    ),
}
"""The columns of the table of candidates."""

_COLOURS = {"unlabelled": "green", "missed": "red", "uncertain": "yellow"}


def make_review(
    folds: Folds, out_of_fold: Path, catalogue: KFoldCatalogue, thresholds: Sequence[float]
) -> tuple[Table, list[Points]]:
    """Return the candidates, at most `MOST_CANDIDATES`, ranked by their score, and the outline of each.

    Parameters
    ----------
    folds
        The folds of the k-fold.
    out_of_fold
        The FITS file of the out-of-fold map.
    catalogue
        Its filaments.
    thresholds
        The threshold of the model of each split.

    Returns
    -------
    table : Table
        One row per candidate with the columns of `COLUMNS`.
    outlines : list of ndarray
        Closed polygons of points (y, x) in pixels from 0, `(n, 2)` each, in the order of the rows.
    """
    target, of_fold = folds.patch_file.labels()[0], _threshold_of_fold(folds, thresholds)
    found, labelled = catalogue.components, Components(*label(target > 0, CONNECTED))
    threshold = of_fold[catalogue.fold]
    certainty = (np.asarray(catalogue.table["probability"], np.float64) - threshold) / (1 - threshold)
    less_sure = (rankdata(certainty) - 0.5) / max(1, len(certainty))
    unlabelled = (less_sure >= 0.5) & ~found.beside(target)
    with FitsImage(out_of_fold) as plane:
        missing = 1 - labelled.mean(plane.read) / of_fold[labelled.folds(folds)]
        missed = (missing > 0) & ~labelled.beside(found.labels)
        scores = {
            "unlabelled": found.pixels * np.where(unlabelled, less_sure, 0),
            "missed": labelled.pixels * np.where(missed, missing, 0),
            "uncertain": found.pixels * np.clip(1 - 2 * less_sure, 0, None),
        }
        least = np.sort(np.concatenate([*scores.values(), np.zeros(MOST_CANDIDATES)]))[-MOST_CANDIDATES]
        chosen = {kind: (score > 0) & (score >= least) for kind, score in scores.items()}
        missed_mask = labelled.mask(chosen["missed"])
        del labelled  # as large as the map, as is what follows
        parts = []
        for kind in scores:
            mask = missed_mask if kind == "missed" else found.mask(chosen[kind])
            part, outlines = _candidates(mask, plane.read, folds.patch_file.wcs)
            part["id"], part["kind"] = np.flatnonzero(chosen[kind]) + 1, kind
            part["score"] = scores[kind][chosen[kind]].round(3)
            parts.append((part, outlines))
    outlines = [outline for _, outlines in parts for outline in outlines]
    table = vstack([part for part, _ in parts], metadata_conflicts="silent")
    order = np.argsort(-table["score"], kind="stable")[:MOST_CANDIDATES]
    table = table[order]
    table["rank"] = np.arange(1, len(table) + 1)
    values = {name: np.asarray(table[name]) for name in COLUMNS}
    return make_table(values, COLUMNS), [outlines[number] for number in order]


def _candidates(mask: BoolArray, probability: PlaneRows, wcs: WCS | None) -> tuple[Table, list[Points]]:
    """Return the catalogue of the filaments of a mask, and their outlines; what else they take is let go here."""
    filaments = Filaments(mask)
    return filaments.catalog(probability=probability, wcs=wcs), filaments.outlines()


def _threshold_of_fold(folds: Folds, thresholds: Sequence[float]) -> Float64Array:
    """Return the mean threshold of the models that predict each fold, `(256,)`; NaN where none does."""
    tested = np.array([np.isin(np.arange(256), split.test) for split in folds.splits])
    models = models_of_fold(folds)
    return np.asarray(np.divide(np.array(thresholds) @ tested, models, out=np.full(256, np.nan), where=models > 0))


def write_candidates(path: Path, table: Table, outlines: Sequence[Points], wcs: WCS | None = None) -> None:
    """Write the outlines of candidates as a region file for SAOImage DS9; the text of each is its rank and kind.

    Parameters
    ----------
    path
        The file.
    table, outlines
        What `make_review` returns.
    wcs
        A celestial WCS: the polygons are written in Galactic coordinates in degrees. Without one they are written in
        the image coordinates of DS9, whose first pixel is 1.
    """
    properties = [f"color={_COLOURS[row['kind']]} text={{{row['rank']} {row['kind']}}}" for row in table]
    write_regions(path, outlines, wcs, properties)
