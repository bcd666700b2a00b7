"""Train `higal-small`, the model that comes with the package.

    python examples/train_higal_small.py path/to/higal -o higal-small.pt

The folder holds the four planes of the Hi-GAL sample (`*_image.fits*`, `*_target`, `*_background`, `*_missing`). The
network learns from one map in which a simulated map (`bigsf.simulate_galaxy`) lies beside the sample. In the simulated
map every filament is known, the faint ones too. In the sample the background is real and the catalogue incomplete. If
the network is shown one after the other, it forgets the first. A third part of the map is flat or noise, so that the
network learns to find nothing there. The output holds the weights, in half precision, and what `bigsf segment` needs
beside them. The training takes about fifteen minutes on one core.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import bigsf
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges

MapRows = dict[str, npt.NDArray[Any]]

SIMULATION_SEED = 11
"""Not a seed of the science benchmark, which has 1 to 3 and 101 to 103."""

SIMULATION_PX = 768
PATCH_PX = 64
AREA_PX = 2 * PATCH_PX
ASIDE_PX = 5 * AREA_PX
"""Where the other parts of the map begin: beyond the sample by more than a patch, and at the edge of an area."""

RUN: dict[str, dict[str, Any]] = {
    "data": {},
    "split": {"k": 1, "area_size": AREA_PX},
    "trainer": {
        "run_name": "higal-small",
        "epochs": 8,
        "model": {"type": "unet", "features": 16, "depth": 4, "normalization": {"type": "log"}},
        "optimizer": {"type": "adamw", "lr": 0.003},
        "scheduler": {"type": "onecycle"},
        "loss": {"type": "bce", "unlabelled_weight": 0.3},
        "augmentations": [{"type": "flip"}, {"type": "rotate90"}, {"type": "filaments", "number": 3}],
    },
}


def simulated_map(folder: Path) -> MapRows:
    """Simulate a map of which every valid pixel is labelled."""
    path = bigsf.simulate_galaxy(folder / "simulated.fits", SIMULATION_PX, SIMULATION_PX, SIMULATION_SEED)
    with fits.open(path) as hdus:
        image, valid, truth = (hdus[name].data for name in ("PRIMARY", "MISSING", "TRUTH"))
        return {"image": image, "missing": valid, "target": truth, "background": 1 - truth}


def sample(folder: Path) -> MapRows:
    """Read the planes of the Hi-GAL sample."""
    names = ("image", "missing", "target", "background")
    return {name: fits.getdata(next(folder.glob(f"*_{name}.fits*"))) for name in names}


def nothing() -> MapRows:
    """Make a strip that is flat in its left half and noise as wide as the beam in its right half: all background."""
    image = np.full((AREA_PX, 4 * AREA_PX), 1e22)
    noise = gaussian_filter(np.random.default_rng(SIMULATION_SEED).normal(size=(AREA_PX, 2 * AREA_PX)), 1.0)
    image[:, 2 * AREA_PX :] *= 1 + 0.05 * noise / noise.std()
    ones = np.ones(image.shape, np.uint8)
    return {"image": image, "missing": ones, "target": 0 * ones, "background": ones}


def mosaic(parts: dict[tuple[int, int], MapRows]) -> MapRows:
    """Put maps at their `(y, x)` into one, missing between them."""
    spans = {
        place: tuple(slice(zero, zero + n) for zero, n in zip(place, planes["image"].shape, strict=True))
        for place, planes in parts.items()
    }
    shape = tuple(max(span[axis].stop for span in spans.values()) for axis in (0, 1))
    whole: MapRows = {name: np.zeros(shape, np.uint8) for name in ("missing", "target", "background")}
    whole["image"] = np.full(shape, np.nan, np.float32)
    for place, planes in parts.items():
        for name, plane in planes.items():
            whole[name][spans[place]] = plane
    return whole


def training_map(higal: MapRows, folder: Path) -> MapRows:
    """Put the sample, the simulated map and the strip into one map."""
    return mosaic({(0, 0): higal, (0, ASIDE_PX): simulated_map(folder), (ASIDE_PX, 0): nothing()})


def train(
    planes: MapRows, folder: Path, run: Mapping[str, dict[str, Any]], patch_px: int, again: Mapping[str, Any]
) -> bigsf.Trainer:
    """Train the network on eight of ten folds of a map; where there are keys `again`, once more with these."""
    files = {name: folder / f"{name}.fits" for name in planes}
    for name, path in files.items():
        fits.writeto(path, planes[name])
    bigsf.preprocess(bigsf.PreprocessConfig(**files, patch_size=patch_px, stride=8), folder / "map.h5")  # type: ignore[arg-type]
    places = {"data": {"path": folder / "map.h5"}, "trainer": {"output_dir": folder}}
    config: dict[str, dict[str, Any]] = {block: keys | places.get(block, {}) for block, keys in run.items()}
    trainer = bigsf.Trainer.from_config(config)
    trainer.train()
    if again:
        start = {"run_name": "again", "start_from": trainer.folder.path / "best.pt"}
        trainer = bigsf.Trainer.from_config({**config, "trainer": {**config["trainer"], **again, **start}})
        trainer.train()
    return trainer


def slim(path: Path, output: Path) -> bigsf.Snapshot:
    """Write the weights of a snapshot in half precision, without what only a resumed run needs."""
    snapshot = bigsf.Snapshot.load(path)
    snapshot.model_state = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in snapshot.model_state.items()
    }
    snapshot.optimizer_state = {}
    places: dict[str, dict[str, Any]] = {
        "data": {"path": "higal.h5"},
        "split": {"path": None},
        "trainer": {"output_dir": "results", "start_from": None},
    }
    for block, keys in places.items():
        snapshot.global_config[block] |= keys
    snapshot.save(output)
    return snapshot


def held_out(model: Path, folder: Path, trainer: bigsf.Trainer, shape: tuple[int, int]) -> dict[str, float]:
    """Score a model in the test areas of the sample, against its catalogue: all valid pixels."""
    report = bigsf.segment(model, folder / "image.fits", folder / "segmented.fits", tta=True)
    ny, nx = shape
    score, target = (fits.getdata(path)[:ny, :nx] for path in (report.output, folder / "target.fits"))
    predicted = np.isfinite(score) & np.isin(trainer.run.folds.rows(0, ny)[:, :nx], trainer.run.split.test)
    curve = ThresholdCurve(quantile_edges(score[predicted]))
    curve.update(score[predicted], target[predicted] > 0)
    return {
        "pixels": int(predicted.sum()),
        "average_precision": curve.average_precision(),
        "dice": curve.best_dice().dice,
    }


def make(
    description: str | None,
    make_map: Callable[[MapRows, Path], MapRows],
    run: Mapping[str, dict[str, Any]],
    patch_px: int,
    again: Mapping[str, Any] | None = None,
) -> None:
    """Read the options, train on the map that is made of the sample, and write the snapshot and its scores."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="FOLDER", help="the four planes of the Hi-GAL sample")
    default = Path(f"{run['trainer']['run_name']}.pt")
    parser.add_argument("-o", "--output", type=Path, default=default, help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        higal = sample(options.data)
        trainer = train(make_map(higal, folder), folder, run, patch_px, again or {})
        snapshot = slim(trainer.folder.path / "best.pt", options.output)
        print(json.dumps(held_out(options.output, folder, trainer, higal["image"].shape), indent=2))
    print(f"Wrote {options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    print(snapshot.thresholds)


if __name__ == "__main__":
    make(__doc__, training_map, RUN, PATCH_PX)
