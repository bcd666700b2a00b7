"""How much time and memory does each command need for a map of the whole Galactic plane?

One split of the k-fold is trained. The others get its model, as what follows takes the same time with any weights.

python tests/benchmarks/plane.py --size 114000 1800
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from measuring import command, machine, parser, show

from bigsf.simulation.galaxy import simulate_galaxy

EPOCHS = 4
PRODUCTS = "prob,mask,skeleton,labels,catalog,votable,regions,spines"
MASKS = {"target": "TARGET", "background": "BACKGROUND", "missing": "MISSING"}


def write_config(folder: Path, patches: int) -> Path:
    """Write the configuration of a k-fold that sees so many patches, and return its path."""
    path = folder / "config.yaml"
    data = {"path": str(folder / "map.h5"), "samples_per_epoch": patches // EPOCHS}
    trainer = {"output_dir": str(folder), "run_name": "kfold", "epochs": EPOCHS}
    path.write_text(yaml.safe_dump({"data": data, "trainer": trainer}))
    return path


def plan(config: Path) -> str:
    """Return what a dry run says of time, memory and disk."""
    words = [sys.executable, "-m", "bigsf", "kfold", str(config), "--dry-run"]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return output[output.index("# step") :]


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (114000, 1800))
    options.add_argument("--patches", type=int, default=8000, help="patches that each training sees")
    options.add_argument("--folder", type=Path, help="keep all files in this folder")
    arguments = options.parse_args()
    nx, ny = arguments.size
    print(machine())
    rows = []

    def timed(what: str, *words: object) -> None:
        seconds, memory = command(*words)
        rows.append([what, f"{seconds:.0f}", f"{memory / 1e9:.2f}"])
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        source, patches = folder / "map.fits", folder / "map.h5"
        simulate_galaxy(source, nx, ny, seed=3, overwrite=True)
        masks = [word for key, hdu in MASKS.items() for word in (f"--{key}", f"{source}[{hdu}]")]
        timed("preprocess", "preprocess", source, *masks, "-o", patches, "--overwrite")
        rows[-1][0] += f" (file {patches.stat().st_size / (4 * nx * ny):.2f} of the float32 map)"
        timed("split", "split", patches, "--overwrite")
        config = write_config(folder, arguments.patches)
        print(plan(config), flush=True)
        splits = len(yaml.safe_load((folder / "map.folds.json").read_text())["splits"])
        timed(f"train split 1 of {splits}", "kfold", config, "--only", 1)
        for number in range(2, splits + 1):
            shutil.copytree(folder / "kfold" / "split_1", folder / "kfold" / f"split_{number}", dirs_exist_ok=True)
        timed("predict, score, catalogue and report of the k-fold", "kfold", config)
        (folder / "kfold" / "report.html").unlink()
        timed("the report once more", "kfold", config)
        model, output = folder / "kfold" / "split_1", folder / "found.fits"
        timed(f"segment: {PRODUCTS}", "segment", model, source, "-o", output, "--products", PRODUCTS, "--overwrite")
    show([f"{nx} x {ny}", "s", "peak GB"], rows)


if __name__ == "__main__":
    main()
