"""Train `higal-small`, the model that comes with the package.

    python examples/train_higal_small.py path/to/higal -o higal-small.pt

The folder holds the four planes of the Hi-GAL sample (`*_image.fits*`, `*_target`, `*_background`, `*_missing`). First
the network learns from a made sky of make_galaxy.py, of which every filament is known; then it goes over to the sample,
whose catalogue is incomplete. Faint filaments are added to the patches of both, as is the default. What is kept: the
weights, in half precision, and what `bigsf segment` needs beside them. About fifteen minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from astropy.io import fits

from bigsf.preprocessing import PreprocessConfig, preprocess
from bigsf.run_config import RunConfig
from bigsf.run_folder import to_json
from bigsf.snapshot import Snapshot
from bigsf.trainer import Trainer
from make_galaxy import write_galaxy

SKY_SEED = 11
"""A sky of its own: 1 to 3 and 101 to 103 are those of the science benchmark."""

MODEL = {"type": "unet", "features": 16, "depth": 4, "normalization": {"type": "log"}}
COMMON = {"model": MODEL, "scheduler": {"type": "onecycle"}}
FIRST = COMMON | {"run_name": "sky", "epochs": 8, "loss": {"type": "bce", "unlabelled_weight": 1.0}}
THEN = COMMON | {
    "run_name": "higal-small",
    "epochs": 6,
    "optimizer": {"type": "adamw", "lr": 1e-3},
    "loss": {"type": "bce", "unlabelled_weight": 0.3},
}


def made_sky(folder: Path) -> dict[str, Path]:
    """Make a sky whose target is the whole truth, and return its file."""
    path = folder / "sky.fits"
    write_galaxy(path, 1536, 768, SKY_SEED)
    with fits.open(path, mode="update") as hdus:
        hdus["TARGET"].data[:] = hdus["TRUTH"].data
    return {"image": path}


def sample(folder: Path) -> dict[str, Path]:
    """Return the planes of the Hi-GAL sample."""
    return {name: next(folder.glob(f"*_{name}.fits*")) for name in ("image", "target", "background", "missing")}


def trained(name: str, planes: dict[str, Path], stride: int, trainer: dict[str, Any], folder: Path) -> Path:
    """Train a network on a map, and return its run folder."""
    file = folder / f"{name}.h5"
    given: dict[str, Any] = {**planes, "patch_size": 64, "stride": stride}
    preprocess(PreprocessConfig(**given), file)
    settings = {**trainer, "output_dir": folder}
    run = Trainer(
        RunConfig.from_dict({"data": {"path": file, "straddle": False}, "split": {"k": 1}, "trainer": settings})
    )
    run.train()
    return run.folder.path


def slim(path: Path, output: Path) -> Snapshot:
    """Write the weights of a snapshot in half precision, without what only a resumed run needs."""
    snapshot = Snapshot.load(path)
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


def main() -> None:
    """Train, and write the snapshot and its scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="FOLDER", help="the four planes of the Hi-GAL sample")
    parser.add_argument("-o", "--output", type=Path, default=Path("higal-small.pt"), help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sky = trained("sky", made_sky(folder), 16, FIRST, folder)
        run = trained("higal", sample(options.data), 8, THEN | {"start_from": sky / "best.pt"}, folder)
        snapshot = slim(run / "best.pt", options.output)
        print((run / "scores.json").read_text())
    print(f"Wrote {options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    print(to_json(snapshot.thresholds))


if __name__ == "__main__":
    main()
