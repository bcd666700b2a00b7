"""How many patches per second are read from a patch file, compared with reading them one by one with h5py?

python tests/benchmarks/read.py
"""

import tempfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from measuring import alternating, machine, parser, show, write_map

from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess


def in_batches(file: PatchFile, chosen: npt.NDArray[np.int64]) -> None:
    """Read patches as training does."""
    for start in range(0, len(chosen), 256):
        file.read(chosen[start : start + 256])


def one_by_one(planes: h5py.File, file: PatchFile, chosen: npt.NDArray[np.int64]) -> None:
    """Read patches one after another with plain h5py."""
    for y, x in file.positions[chosen]:
        for name in ("image", "target", "labelled"):
            planes[name][..., y : y + file.patch_size, x : x + file.patch_size]


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__, (500, 500)).parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        map_path, path = Path(folder) / "map.fits", Path(folder) / "map.h5"
        write_map(map_path, *arguments.size)
        rows = []
        for size, stride in ((32, 1), (64, 8)):
            preprocess(PreprocessConfig(image=map_path, patch_size=size, stride=stride), path, overwrite=True)
            file = PatchFile(path)
            chosen = np.random.default_rng(0).permutation(len(file))[:2048]
            with h5py.File(path) as planes:
                times = alternating(
                    {"ours": partial(in_batches, file, chosen), "h5py": partial(one_by_one, planes, file, chosen[:256])}
                )
            ours, theirs = len(chosen) / times["ours"], 256 / times["h5py"]
            rows.append([size, f"{len(file):,}", f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.0f}"])
    show(["patch size", "patches", "patches/s, batches of 256", "patches/s, h5py one by one", "ratio"], rows)


if __name__ == "__main__":
    main()
