"""A segmentation -> an error or a warning where what it found, or what lies beside it, says nothing about the sky."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from bigsf.arrays import FloatArray
from bigsf.errors import SnapshotError, warn
from bigsf.figures import FigureFormat
from bigsf.option_names import option
from bigsf.segmentation.config import PRODUCTS
from bigsf.segmentation.products import SegmentReport, output_files

_NEARLY_ALL = 0.9
"""Part of the valid pixels. A threshold that as many reach tells no filaments from the rest."""


def check_numbers(mean: FloatArray, planes: FloatArray, name: str, y0: int, y1: int) -> None:
    """Raise `SnapshotError` where a model gives no number for a pixel that is valid in all planes of the map."""
    odd = int((np.isnan(mean) & np.isfinite(planes).all(axis=0)).sum())
    if odd:
        raise SnapshotError(
            f"The probability of {odd} valid pixels of {name} in rows {y0} to {y1} is no number. The weights of the "
            "model are damaged, or its training has failed (use its best.pt), or the values of the map are far from "
            "those of its training."
        )


def warn_of_result(report: SegmentReport, name: str, no_logarithm: int) -> None:
    """Warn where many pixels have no logarithm and the models need it, or nothing was found."""
    if no_logarithm > 0.01 * report.valid:
        warn(
            f"{no_logarithm / report.valid:.0%} of the valid pixels of {name} are 0 or below, and the model "
            f"takes the logarithm of the map. If 0 marks missing data, pass {option('blank', 0)}; for a map that is "
            "negative in places take filaments-small, or train a model with another normalization, e.g. asinh."
        )
    if report.valid == 0:
        warn(f"{name} holds no valid pixel; the output is all NaN.")
    elif report.reached == 0:
        warn(f"No pixel of {name} reaches the threshold {report.threshold:.3g}.")
    elif report.marked == 0:
        remedy = "Weaken its conditions to keep some."
        if report.reached > _NEARLY_ALL * report.valid:
            remedy = f"These are {report.reached / report.valid:.0%} of the map: raise the threshold."
        warn(
            f"MASK is empty: its cleaning ({report.config.cleaning}) leaves out all {report.reached} pixels of {name} "
            f"that reach the threshold {report.threshold:.3g}. {remedy}"
        )


def warn_of_former_products(output: Path, written: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Warn of files that an earlier segmentation wrote beside an output, and that the new one does not replace."""
    every = {path for figures in get_args(FigureFormat) for path in output_files(output, PRODUCTS, figures)}
    former = sorted(path.name for path in every.difference(written, inputs) if path.exists())
    if former:
        warn(
            f"{', '.join(former)} beside {output.name} stay as an earlier segmentation wrote them, and do not describe "
            f"this one. Remove them, or write them anew ({option('products')})."
        )
