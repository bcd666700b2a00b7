"""How fast is preprocess, and does its memory grow with the map?

python tests/benchmarks/preprocess.py --size 16000 1800
"""

import tempfile
from pathlib import Path

from measuring import command, machine, parser, show, write_map

from bigsf.patches.patch_file import PatchFile


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (16000, 1800))
    options.add_argument("--patch-size", type=int, default=64)
    options.add_argument("--stride", type=int, default=16)
    arguments = options.parse_args()
    nx, ny = arguments.size
    print(machine())
    imports, base = command("preprocess", "--help")
    rows = []
    for part in (4, 2, 1):
        with tempfile.TemporaryDirectory() as folder:
            map_path, output = Path(folder) / "map.fits", Path(folder) / "map.h5"
            write_map(map_path, nx // part, ny)
            words = ["--patch-size", arguments.patch_size, "--stride", arguments.stride, "-o", output]
            seconds, memory = command("preprocess", map_path, *words)
            pixels = nx // part * ny
            rows.append(
                [
                    f"{nx // part} x {ny}",
                    f"{len(PatchFile(output)):,}",
                    f"{seconds - imports:.2f}",
                    f"{pixels / (seconds - imports) / 1e6:.0f}",
                    f"{memory / 1e6:.0f}",
                    f"{output.stat().st_size / (4 * pixels):.2f}",
                ]
            )
    show(["map", "patches kept", "s", "Mpixel/s", "peak MB", "file / float32 map"], rows)
    print(
        f"Python and its imports ({imports:.2f} s, {base / 1e6:.0f} MB) are subtracted from the time, but not from the "
        "memory."
    )


if __name__ == "__main__":
    main()
