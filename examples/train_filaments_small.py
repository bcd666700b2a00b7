"""Train `filaments-small`, the model that comes with the package.

    python examples/train_filaments_small.py path/to/higal -o filaments-small.pt

The folder holds the four planes of the Hi-GAL sample (`*_image.fits*`, `*_target`, `*_background`, `*_missing`). The
network learns from one map of many parts, with missing pixels between them:

- the sample, as it is and binned by 2: its background is real, its catalogue is incomplete;
- a simulated map (`bigsf.simulate_galaxy`), in which every filament is known;
- maps that hold nothing: a part of the sample with random phases, and a strip that is flat or noise.

If the network is shown one after the other, it forgets the first. The augmentations add to each patch what real maps
bring: noise, filaments of other widths, sources, borders and gaps. The output holds the weights, in half precision, and
what `bigsf segment` needs beside them.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.ndimage import distance_transform_edt, gaussian_filter

import bigsf
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges

Planes = dict[str, npt.NDArray[Any]]

SIMULATION_SEED = 11
"""Not a seed of the science benchmark, which has 1 to 3 and 101 to 103."""

SIMULATED_PX = 768
WITHOUT_STRUCTURE_PX = 192
PATCH_PX = 128
AREA_PX = 128

RUN = {
    "data": {"samples_per_epoch": 2000},
    "split": {"k": 1, "area_size": AREA_PX},
    "trainer": {
        "run_name": "filaments-small",
        "epochs": 14,
        "batch_size": 5,
        "model": {"type": "unet", "features": 16, "depth": 4, "normalization": {"type": "robust"}},
        "scheduler": {"type": "onecycle"},
        "loss": {"type": "bce", "unlabelled_weight": 0.3},
        "augmentations": [
            {"type": "flip"},
            {"type": "rotate90"},
            {"type": "beam_noise", "probability": 0.4},
            {"type": "filaments", "number": 6, "width_px": [2.0, 12.0]},
            {"type": "sources", "probability": 0.25, "number": 5},
            {"type": "borders", "probability": 0.2},
            {"type": "gaps"},
        ],
    },
}


def labelled(image: npt.NDArray[Any], valid: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Planes:
    """Return the planes of a map of which every valid pixel is known."""
    return {"image": image, "missing": valid, "target": truth, "background": 1 - truth}


def simulated_map(folder: Path) -> Planes:
    """Simulate a map in which every filament is known."""
    path = bigsf.simulate_galaxy(folder / "simulated.fits", SIMULATED_PX, SIMULATED_PX, SIMULATION_SEED)
    with fits.open(path) as hdus:
        return labelled(*(np.array(hdus[name].data) for name in ("PRIMARY", "MISSING", "TRUTH")))


def sample(folder: Path) -> Planes:
    """Read the planes of the Hi-GAL sample."""
    names = ("image", "missing", "target", "background")
    return {name: fits.getdata(next(folder.glob(f"*_{name}.fits*"))) for name in names}


def binned(planes: Planes) -> Planes:
    """Bin planes by 2: means of the image, and a mask is 1 where half of its pixels are."""
    blocks = {name: plane.reshape(len(plane) // 2, 2, -1, 2).mean(axis=(1, 3)) for name, plane in planes.items()}
    return {name: mean if name == "image" else (mean >= 0.5).astype(np.uint8) for name, mean in blocks.items()}


def without_structure(planes: Planes) -> Planes:
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


def nothing() -> Planes:
    """Make a strip that is flat in its left quarter and noise as wide as the beam elsewhere: all background."""
    image = np.full((AREA_PX, 3 * AREA_PX), 1e22)
    noise = gaussian_filter(np.random.default_rng(1).normal(size=image.shape), 1.0)
    noise[:, : 3 * AREA_PX // 4] = 0
    ones = np.ones(image.shape, np.uint8)
    return labelled(image * (1 + 0.05 * noise / noise.std()), ones, 0 * ones)


def mosaic(parts: list[Planes]) -> Planes:
    """Put maps side by side into one, with at least a patch of missing pixels between them."""
    rooms = [-(-planes["image"].shape[1] // AREA_PX) * AREA_PX + PATCH_PX for planes in parts]
    starts = np.cumsum([0, *rooms])
    shape = max(len(planes["image"]) for planes in parts), starts[-1]
    whole: Planes = {name: np.zeros(shape, np.uint8) for name in ("missing", "target", "background")}
    whole["image"] = np.full(shape, np.nan, np.float32)
    for planes, x in zip(parts, starts[:-1], strict=True):
        for name, plane in planes.items():
            whole[name][: len(plane), x : x + plane.shape[1]] = plane
    return whole


def train(planes: Planes, folder: Path) -> bigsf.Trainer:
    """Train the network on eight of ten folds of a map."""
    files = {name: folder / f"{name}.fits" for name in planes}
    for name, path in files.items():
        fits.writeto(path, planes[name])
    bigsf.preprocess(bigsf.PreprocessConfig(**files, patch_size=PATCH_PX, stride=8), folder / "map.h5")  # type: ignore[arg-type]
    run: dict[str, Any] = json.loads(json.dumps(RUN))
    run["data"]["path"] = str(folder / "map.h5")
    run["trainer"]["output_dir"] = str(folder)
    trainer = bigsf.Trainer.from_config(run)
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


def main() -> None:
    """Train, and write the snapshot and its scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="FOLDER", help="the four planes of the Hi-GAL sample")
    parser.add_argument("-o", "--output", type=Path, default=Path("filaments-small.pt"), help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        higal = sample(options.data)
        parts = [higal, binned(higal), simulated_map(folder), without_structure(higal), nothing()]
        run = train(mosaic(parts), folder)
        snapshot = slim(run.folder.path / "best.pt", options.output)
        print(json.dumps(held_out(options.output, folder, run, higal["image"].shape), indent=2))
    print(f"Wrote {options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    print(snapshot.thresholds)


if __name__ == "__main__":
    main()
