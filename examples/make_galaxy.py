"""Write a simulated map of the Galactic plane with known filaments, by `bigsf.simulate_galaxy`.

python examples/make_galaxy.py --size 114000 1800 --seed 3 -o plane.fits
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import bigsf


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a synthetic strip of the Galactic plane with known filaments: column density in cm^-2, NaN "
        "where missing, and the planes TARGET, BACKGROUND, MISSING (1 = VALID), TRUTH, TRUTH_ID and FILAMENTS.",
        epilog="example: make_galaxy.py --size 4000 1800 --seed 3 -o galaxy.fits; bigsf preprocess galaxy.fits",
    )
    parser.add_argument(
        "--size", nargs=2, type=_positive, default=(1024, 256), metavar=("NX", "NY"), help='pixels of 11.5" (1024 256)'
    )
    parser.add_argument("--seed", type=int, default=0, help="which sky: an integer from 0 on (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("galaxy.fits"), help="FITS file (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error("--seed must not be negative")
    try:
        nx, ny = options.size
        print(bigsf.simulate_galaxy(options.output, nx, ny, options.seed, overwrite=options.overwrite))
    except bigsf.BigsfError as error:
        parser.error(str(error))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
