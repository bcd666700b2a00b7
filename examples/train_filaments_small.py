"""Train `filaments-small`, the model that comes with the package.

    python examples/train_filaments_small.py path/to/higal -o filaments-small.pt

The folder holds the four planes of the Hi-GAL sample (`*_image.fits*`, `*_target`, `*_background`, `*_missing`). The
network learns from one map of many parts, with missing pixels between them:

- the sample, as it is and binned by 2: its background is real, its catalogue is incomplete;
- simulated maps (`bigsf.simulate_galaxy`), in which every filament is known: one as in the science benchmark, as it is
  and binned by 2 and 4, one of wider filaments on rougher clouds, and one that is zero where it is faint, as maps of
  emission lines are;
- maps that hold nothing: a part of the sample with random phases, and a strip that is flat or noise.

If the network is shown one after the other, it forgets the first. The augmentations add to each patch what real maps
bring: noise, stripes, filaments of other widths, sources, borders and gaps. The output holds the weights, in half
precision, and what `bigsf segment` needs beside them. The training takes about an hour on one core.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.ndimage import distance_transform_edt, gaussian_filter

import bigsf
from train_higal_small import MapRows, make, simulated_map

ROUGH = 12, 384, bigsf.Recipe(cloud_index=2.4, width_px=(3, 12), noise=0.02)
EMISSION = 14, 256, bigsf.Recipe(cloud_index=2.8, cloud_rms_64px=0.4, width_px=(2, 9))
"""Seed, side and recipe of simulated maps. The seeds are none of the science benchmark (1 to 3, 101 to 103)."""

WITHOUT_STRUCTURE_PX = 192
PATCH_PX = 128
AREA_PX = 128

RUN: dict[str, dict[str, Any]] = {
    "data": {"samples_per_epoch": 6000},
    "split": {"k": 1, "area_size": AREA_PX},
    "trainer": {
        "run_name": "filaments-small",
        "epochs": 10,
        "batch_size": 5,
        "model": {"type": "unet", "features": 16, "depth": 4, "normalization": {"type": "robust"}},
        "optimizer": {"type": "adamw", "lr": 0.003},
        "scheduler": {"type": "onecycle"},
        "loss": {"type": "bce", "unlabelled_weight": 0.3},
        "augmentations": [
            {"type": "flip"},
            {"type": "rotate90"},
            {"type": "beam_noise", "probability": 0.5},
            {"type": "stripes", "probability": 0.1},
            {"type": "filaments", "number": 6, "width_px": [2.0, 16.0]},
            {"type": "sources", "probability": 0.25, "number": 5},
            {"type": "borders", "probability": 0.2},
            {"type": "gaps"},
        ],
    },
}


AGAIN = {"epochs": 7, "optimizer": {"type": "adamw", "lr": 0.0015}}
"""Keys of a second training, which starts from the weights of the first."""


def labelled(image: npt.NDArray[Any], valid: npt.NDArray[Any], truth: npt.NDArray[Any]) -> MapRows:
    """Return the planes of a map of which every valid pixel is known."""
    return {"image": image, "missing": valid, "target": truth, "background": 1 - truth}


def simulated(seed: int, size: int, recipe: bigsf.Recipe, folder: Path) -> MapRows:
    """Simulate a map in which every filament is known."""
    path = bigsf.simulate_galaxy(folder / f"simulated_{seed}.fits", size, size, seed, recipe)
    with fits.open(path) as hdus:
        return labelled(*(np.array(hdus[name].data) for name in ("PRIMARY", "MISSING", "TRUTH")))


def emission(planes: MapRows) -> MapRows:
    """Subtract most of the median and set faint parts to zero, as in maps of emission lines."""
    level = np.nanmedian(planes["image"])
    faint = gaussian_filter(np.nan_to_num(planes["image"], nan=level), 2) < level
    image = np.where(faint, 0, planes["image"] - 0.8 * level)
    return labelled(image, planes["missing"], planes["target"] * ~faint)


def binned(planes: MapRows) -> MapRows:
    """Bin planes by 2: means of the image, and a mask is 1 where half of its pixels are."""
    blocks = {name: plane.reshape(len(plane) // 2, 2, -1, 2).mean(axis=(1, 3)) for name, plane in planes.items()}
    return {name: mean if name == "image" else (mean >= 0.5).astype(np.uint8) for name, mean in blocks.items()}


def without_structure(planes: MapRows) -> MapRows:
    """Return a map of the same power spectrum of log10 and the same values, with random phases: all background."""
    valid = np.isfinite(planes["image"]) & (planes["missing"] > 0)
    y, x = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    image = planes["image"][y, x].astype(np.float64)
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=image.shape))
    field = np.fft.ifft2(np.abs(np.fft.fft2(np.log10(image))) * noise / np.abs(noise)).real
    shuffled = np.empty(image.size)
    shuffled[np.argsort(field, axis=None)] = np.sort(image, axis=None)
    part = shuffled.reshape(image.shape)[:WITHOUT_STRUCTURE_PX, :WITHOUT_STRUCTURE_PX]
    ones = np.ones(part.shape, np.uint8)
    return labelled(part, ones, 0 * ones)


def nothing() -> MapRows:
    """Make a strip that is flat in its left quarter and noise as wide as the beam elsewhere: all background."""
    image = np.full((AREA_PX, 3 * AREA_PX), 1e22)
    noise = gaussian_filter(np.random.default_rng(1).normal(size=image.shape), 1.0)
    noise[:, : 3 * AREA_PX // 4] = 0
    ones = np.ones(image.shape, np.uint8)
    return labelled(image * (1 + 0.05 * noise / noise.std()), ones, 0 * ones)


def mosaic(parts: list[MapRows]) -> MapRows:
    """Put maps side by side into one, with at least a patch of missing pixels between them."""
    rooms = [-(-planes["image"].shape[1] // AREA_PX) * AREA_PX + PATCH_PX for planes in parts]
    starts = np.cumsum([0, *rooms])
    shape = max(len(planes["image"]) for planes in parts), starts[-1]
    whole: MapRows = {name: np.zeros(shape, np.uint8) for name in ("missing", "target", "background")}
    whole["image"] = np.full(shape, np.nan, np.float32)
    for planes, x in zip(parts, starts[:-1], strict=True):
        for name, plane in planes.items():
            whole[name][: len(plane), x : x + plane.shape[1]] = plane
    return whole


def training_map(higal: MapRows, folder: Path) -> MapRows:
    """Put all parts into one map."""
    benchmark = simulated_map(folder)
    halved = binned(benchmark)
    rough, lines = simulated(*ROUGH, folder), emission(simulated(*EMISSION, folder))
    known = [benchmark, halved, binned(halved), rough, lines]
    return mosaic([higal, binned(higal), *known, without_structure(higal), nothing()])


if __name__ == "__main__":
    make(__doc__, training_map, RUN, PATCH_PX, AGAIN)
