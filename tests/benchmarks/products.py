"""How much time and memory does each product of filaments take, and how good is the estimate of its memory?

python tests/benchmarks/products.py --size 20000 1800
"""

import tempfile
from pathlib import Path

from measuring import command, machine, parser, show

from bigsf.segmentation.segment import segment
from bigsf.simulation.galaxy import simulate_galaxy

PLANE_PX = 114000 * 1800
PYTHON_BYTES = 600e6  # what the help of --memory allows for Python, its libraries and the figure
PRODUCTS = ("skeleton", "labels", "regions", "catalog", "votable", "mrt", "spines", "moc")


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (4000, 1800))
    options.add_argument("--model", default="higal-small", help="a snapshot, or the name of a model")
    arguments = options.parse_args()
    nx, ny = arguments.size
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "map.fits", Path(name) / "out.fits"
        simulate_galaxy(source, nx, ny, seed=3)
        reference = 0.0
        for products in ("mask", *PRODUCTS, ",".join(PRODUCTS)):
            words = ("segment", arguments.model, source, "-o", output, "--products", products, "--overwrite", "--quiet")
            seconds, memory = command(*words)
            reference = reference or seconds
            more = (seconds - reference) / reference
            what = products if len(products) < 20 else "all of these"
            rows.append([what, f"{seconds:.1f}", f"{more:+.2f}", f"{memory / 1e6:.0f}"])
            estimate = segment(arguments.model, source, output, products=products, overwrite=True, dry_run=True)
            rows[-1].append(f"{(PYTHON_BYTES + estimate.memory_bytes) / memory:.2f}")
            rows[-1].append(f"{seconds * PLANE_PX / (nx * ny) / 60:.0f}")
            print(rows[-1], flush=True)
    headings = ["products", "s", "more time, of mask alone", "peak MB", "estimate / peak"]
    headings += ["minutes for 114000 x 1800, extrapolated"]
    show(headings, rows)


if __name__ == "__main__":
    main()
