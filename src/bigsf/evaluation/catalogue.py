"""The out-of-fold map of a k-fold -> catalogue of its filaments, and how far each row can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.table import Table

from bigsf.arrays import BoolArray, Float64Array, IntArray, MaskArray
from bigsf.evaluation.catalogue_rows import Components
from bigsf.evaluation.records import Completeness, Reliability
from bigsf.evaluation.reliability import LEAST_ROWS, Expected, expected_completeness, expected_purity, reliability
from bigsf.evaluation.seams import models_of_fold
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.cleaning import BORDER_PX, MIN_SKELETON_PX, Cleaning
from bigsf.filaments.columns import Field, column
from bigsf.filaments.photometry import where_predicted
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import row_chunks
from bigsf.patches.patch_file import PatchFile

CLEANING = Cleaning(min_skeleton=MIN_SKELETON_PX, border=BORDER_PX)
"""How the mask is cleaned: as `bigsf segment` does by default."""

_FRACTION = "fraction of the pixels that are"
_OTHERS = f"learnt from rows of other folds, at least {LEAST_ROWS}"

COLUMNS = {
    "probability_std": Field(
        None,
        "standard deviation of the models, mean over the pixels that several models predicted",
        "stat.stdev;stat.probability",
    ),
    "spine_contrast": Field(None, "mean of the map on the skeleton / background - 1", "stat.value;arith.ratio"),
    "mask_width_px": Field(
        "pix",
        "mean width: that of a band of this area along the skeleton",
        "phys.size;stat.mean",
    ),
    "completeness": Field(
        None,
        "marked fraction of injected filaments that have this spine_contrast, mean over their widths; NaN beyond them",
        "stat.probability",
    ),
    "completeness_error": Field(
        None,
        "standard error of completeness: binomial over injected filaments, and how far their profiles differ",
        "stat.error;stat.probability",
    ),
    "target_fraction": Field(None, f"{_FRACTION} target", "stat.value;arith.ratio"),
    "expected_purity_catalogue": Field(
        None,
        f"expected target_fraction at this probability, {_OTHERS}; a lower limit of purity, as labels are incomplete",
        "stat.probability",
    ),
    "expected_purity_catalogue_error": Field(
        None,
        "standard error of expected_purity_catalogue, binomial over rows",
        "stat.error;stat.probability",
    ),
    "truth_fraction": Field(None, f"{_FRACTION} true; NaN without a ground truth", "stat.value;arith.ratio"),
    "expected_purity": Field(None, f"expected truth_fraction at this probability, {_OTHERS}", "stat.probability"),
    "expected_purity_error": Field(
        None,
        "standard error of expected_purity, binomial over rows",
        "stat.error;stat.probability",
    ),
    "area_border": Field(
        None, "whether it touches a border between areas that different models predicted", "meta.code"
    ),
}
"""The columns that the catalogue of a k-fold has besides those of every catalogue. NaN is undefined."""


_NOTES = {
    "calibration": "Expected purities of the rows of a fold come from rows of all other folds, in bins of probability "
    f"that hold at least {LEAST_ROWS} rows and are pooled until they rise, interpolated between the bins. A row "
    "belongs to the fold of most of its pixels. Errors are those of the mean; a single row scatters more.",
    "injected": "The completeness is that of filaments that were injected into this map, interpolated over the "
    "logarithm of their contrast, and averaged over the families of profiles that have the width. It is NaN beyond the "
    "contrasts and widths that were injected. The mask was not cleaned for it. Injected filaments have one contrast "
    "all along and lie away from known structures: of clumpy or crowded filaments of the same mean contrast, less is "
    "marked.",
}
"""What the meta of the table says about its columns."""


class KFoldCatalogue(NamedTuple):
    """The filaments of an out-of-fold map."""

    table: Table
    """One row per filament, with the columns of every catalogue and `COLUMNS`."""
    components: Components
    """The filaments on the map, in the order of the rows."""
    fold: IntArray
    """The fold that holds most pixels of each filament, `(rows,)`."""

    def reliability(self) -> dict[str, Reliability]:
        """Return how well the expected purity agrees with the target, and with the ground truth where it is known."""
        kinds = {
            "whole": ("expected_purity_catalogue", "target_fraction"),
            "truth": ("expected_purity", "truth_fraction"),
        }
        found = {
            kind: reliability(
                _column(self.table, "probability"),
                Expected(_column(self.table, purity), _column(self.table, f"{purity}_error")),
                _column(self.table, fraction),
            )
            for kind, (purity, fraction) in kinds.items()
        }
        return {kind: values for kind, values in found.items() if values is not None}


class Measured(NamedTuple):
    """What is measured of filaments."""

    table: Table
    """The catalogue that `bigsf.Filaments` makes."""
    components: Components
    """The filaments on the map, in the order of the rows."""
    width_px: Float64Array
    """Mean width of each, `(rows,)`."""
    spine_contrast: Float64Array
    """Mean excess of the map on the skeleton of each over its background, `(rows,)`; NaN without a positive one."""


def measure_filaments(filaments: Filaments, file: PatchFile, probability: FitsImage) -> Measured:
    """Measure filaments, also the width and the contrast by which injected filaments are told apart.

    Parameters
    ----------
    filaments
        The filaments.
    file
        The map.
    probability
        The out-of-fold map. Pixels without a probability count as missing.
    """
    image = where_predicted(lambda y0, y1: file.read_rows(y0, y1)[0], probability.read)
    table = filaments.catalog(image, probability.read, file.wcs, file.unit)
    components, skeleton = Components(filaments.labels, len(filaments)), filaments.skeleton()
    spine = components.mean(lambda y0, y1: np.where(skeleton[y0:y1] > 0, image(y0, y1), np.float32(np.nan)))
    background = _column(table, "background")
    contrast = spine / np.where(background > 0, background, np.nan) - 1
    return Measured(table, components, components.widths(skeleton), contrast)


def make_catalogue(
    folds: Folds, out_of_fold: Path, families: Sequence[Completeness], filaments: Filaments
) -> KFoldCatalogue:
    """Return the catalogue of an out-of-fold map.

    Parameters
    ----------
    folds
        The folds of the k-fold.
    out_of_fold
        The FITS file, see `write_out_of_fold`.
    families
        Completeness of injected filaments against contrast.
    filaments
        Those of its MASK, see `cleaned_mask`.
    """
    file = folds.patch_file
    with FitsImage(out_of_fold) as probability:
        table, components, width_px, contrast = measure_filaments(filaments, file, probability)
    fold = components.folds(folds)
    values: dict[str, npt.NDArray[Any]] = {
        "probability_std": _spread(components, folds, out_of_fold),
        "spine_contrast": contrast,
        "mask_width_px": width_px,
        "area_border": components.on_seams(folds),
    }
    completeness = expected_completeness(contrast, width_px, families)
    values["completeness"], values["completeness_error"] = completeness
    for name, plane, purity in (
        ("target_fraction", file.labels()[0], "expected_purity_catalogue"),
        ("truth_fraction", file.truth, "expected_purity"),
    ):
        values[name] = _fraction(components, plane)
        values[purity], values[f"{purity}_error"] = expected_purity(_column(table, "probability"), values[name], fold)
    for name, field in COLUMNS.items():
        rounded = values[name] if values[name].dtype == np.bool_ else values[name].round(6)
        table[name] = column(name, field, rounded)
    table.meta |= {"data": str(file.path), "data identity": file.identity, "cleaning": str(CLEANING), **_NOTES}
    return KFoldCatalogue(table, components, fold)


def cleaned_mask(out_of_fold: Path) -> BoolArray:
    """Return MASK of an out-of-fold map without the components that `CLEANING` leaves out, `(ny, nx)`.

    The mask, its valid pixels and the numbers of its components are in memory, about 10 bytes per pixel of the map.
    """
    with FitsImage(out_of_fold) as probability, FitsImage(out_of_fold, "MASK") as marked:
        mask, valid = np.zeros((2, *marked.shape), np.bool_)
        for y0, y1 in row_chunks(marked.shape):
            mask[y0:y1] = marked.read(y0, y1) > 0
            valid[y0:y1] = np.isfinite(probability.read(y0, y1))
    return CLEANING(mask, valid=valid)


def _spread(components: Components, folds: Folds, out_of_fold: Path) -> Float64Array:
    """Return the mean STD of the pixels of each component that several models predicted; NaN where none did."""
    models = models_of_fold(folds)
    if models.max() < 2:
        return np.full(components.number, np.nan)
    with FitsImage(out_of_fold, "STD") as std:
        return components.mean(
            lambda y0, y1: np.where(models[folds.rows(y0, y1)] > 1, std.read(y0, y1), np.float32(np.nan))
        )


def _fraction(components: Components, plane: MaskArray | None) -> Float64Array:
    """Return the fraction of each component's pixels that are above 0 in a plane; NaN without a plane."""
    if plane is None:
        return np.full(components.number, np.nan)
    return components.mean(lambda y0, y1: plane[y0:y1] > 0)


def _column(table: Table, name: str) -> Float64Array:
    return np.asarray(table[name], np.float64)
