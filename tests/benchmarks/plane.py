"""How much time and memory does each command need for a map of the whole Galactic plane?

python tests/benchmarks/plane.py --size 114000 1800
"""

import tempfile
from pathlib import Path

import yaml
from astropy.io import fits
from measuring import command, machine, parser, show, write_map


def config(folder: Path, samples: int) -> Path:
    """Write the configuration of a training for one epoch on a sample of patches, and return its path."""
    path = folder / "config.yaml"
    trainer = {
        "output_dir": str(folder),
        "epochs": 1,
        "model": {"features": 16, "normalization": {"type": "log"}},
        "loss": {"type": "bce", "unlabelled_weight": 0.3},
    }
    data = {"path": str(folder / "map.h5"), "samples_per_epoch": samples}
    path.write_text(yaml.safe_dump({"data": data, "split": {"k": 4}, "trainer": trainer}))
    return path


def write_band(source: Path, output: Path, rows: int) -> None:
    """Write the first rows of a map into a file of their own."""
    with fits.open(source, memmap=True) as hdus:
        fits.writeto(output, hdus[0].section[:rows], hdus[0].header)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (114000, 1800))
    options.add_argument("--samples", type=int, default=2000, help="patches of the epoch")
    options.add_argument("--rows", nargs="+", type=int, default=[64, 128], help="heights of the bands to segment")
    options.add_argument(
        "--validate",
        action="store_true",
        help="also train one epoch, and predict the validation folds of the whole map",
    )
    arguments = options.parse_args()
    nx, ny = arguments.size
    print(machine())
    rows = []

    def timed(what: str, *words: object) -> float:
        seconds, memory = command(*words)
        rows.append([what, f"{seconds:.1f}", f"{memory / 1e6:.0f}"])
        print(rows[-1], flush=True)
        return seconds

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, patches = folder / "map.fits", folder / "map.h5"
        write_map(source, nx, ny)
        timed("preprocess", "preprocess", source, "--patch-size", 64, "--stride", 16, "-o", patches)
        rows[-1][0] += f" (patch 64, stride 16; file {patches.stat().st_size / (4 * nx * ny):.2f} of the float32 map)"
        timed("split, k = 4", "split", patches, "-k", 4)
        small = folder / "small.fits"
        write_map(small, 512, 256)
        command("preprocess", small, "--stride", 8, "-o", folder / "small.h5")
        command(
            "train", config(folder, 200), "--set", f"data.path={folder / 'small.h5'}", "--set", "trainer.run_name=s"
        )
        if arguments.validate:
            timed("train, one epoch", "train", config(folder, arguments.samples), "--set", "trainer.run_name=plane")
        seconds = []
        for height in arguments.rows:
            band = folder / f"band_{height}.fits"
            write_band(source, band, height)
            words = ["segment", folder / "s" / "best.pt", band, "-o", folder / f"out_{height}.fits"]
            seconds.append(timed(f"segment {nx} x {height}", *words))
        each = (seconds[-1] - seconds[0]) / (arguments.rows[-1] - arguments.rows[0])
        whole = seconds[0] + each * (ny - arguments.rows[0])
    show([f"{nx} x {ny}", "s", "peak MB"], rows)
    print(f"To segment the whole plane would take {whole / 60:.0f} minutes: {each:.3f} s per row.")


if __name__ == "__main__":
    main()
