"""The out-of-fold map of a k-fold -> its figures: the map with its probability, and the gallery of its filaments."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bigsf.evaluation.catalogue import cleaned_mask
from bigsf.evaluation.records import KFoldSummary
from bigsf.evaluation.summary import FIGURES
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.figure import DrawnFilaments, filaments_figure
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.quicklook import quicklook_figure
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.maps.tiling import row_chunks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def map_figures(out_of_fold: Path, summary: KFoldSummary, folds: Folds) -> dict[str, Callable[[], "Figure"]]:
    """Return the functions that draw the out-of-fold map and its filaments, by the names of `FIGURES`.

    Parameters
    ----------
    out_of_fold
        The FITS file.
    summary
        The numbers of the k-fold.
    folds
        The folds of a patch file with labels.
    """
    file = folds.patch_file
    planes = SubsampledPlanes(file.shape)
    with FitsImage(out_of_fold) as probability, FitsImage(out_of_fold, "MASK") as mask:
        for y0, y1 in row_chunks(file.shape):
            planes.add(y0, image=file.read_rows(y0, y1)[0], probability=probability.read(y0, y1))
            planes.add_masks(y0, target=file.labels()[0][y0:y1], MASK=mask.read(y0, y1))
    header, name = file.header, file.path.name
    thresholds = [each.whole for each in summary.mask_thresholds.values()]
    mean = float(np.mean(thresholds)) if thresholds else None

    def quicklook() -> "Figure":
        return quicklook_figure(planes, header, file.unit, name, mean, "out-of-fold probability")

    @cache
    def lines() -> DrawnFilaments:
        return DrawnFilaments(Filaments(cleaned_mask(out_of_fold)))

    def gallery() -> "Figure":
        return filaments_figure(lines(), planes.plane("image"), header, file.unit, f"Filaments of {name}", planes.step)

    return dict(zip(FIGURES, (quicklook, gallery), strict=True))
