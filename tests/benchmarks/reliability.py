"""Do the purity and the completeness in the catalogue of a k-fold mean what they say, on maps with a ground truth?

    python tests/benchmarks/science.py --skies 101 102 103 --no-papers --recipe examples/config.yaml -o science
    python tests/benchmarks/reliability.py science/sky_*/config_*/

The folders are finished k-folds on maps with a ground truth. Their rows are pooled. Each table has bins of rows:

- purity: the fraction of a row's pixels that are true (or target) by its probability, expected by `catalog.ecsv` and
  measured;
- completeness: the marked fraction of true filaments by their contrast, expected of injected filaments of that contrast
  and width, as `catalog.ecsv` does, and measured. A filament is a component of the ground truth.

Errors are standard errors: the mean of those that the catalogue states, and that of the measured mean. The last line
of each table is about all rows.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from bigsf.arrays import Float64Array
from bigsf.evaluation.catalogue import measure_filaments
from bigsf.evaluation.records import KFoldSummary
from bigsf.evaluation.reliability import binomial_error, expected_completeness
from bigsf.filaments.catalogue import Filaments
from bigsf.maps.fits_image import FitsImage
from bigsf.patches.patch_file import PatchFile

BINS = 5


class Compared(NamedTuple):
    """What was expected and measured of each row, `(rows,)` each."""

    by: Float64Array
    """The quantity of the bins."""
    expected: Float64Array
    error: Float64Array
    """Standard error of the expected value."""
    measured: Float64Array

    def bins(self) -> list[list[float]]:
        """Return by, rows, expected, its error, measured and its error of each bin, and then of all rows."""
        known = np.flatnonzero(np.isfinite(self.expected) & np.isfinite(self.measured))
        order = known[np.argsort(self.by[known], kind="stable")]
        found = []
        for rows in [*np.array_split(order, min(BINS, max(1, len(order)))), order]:
            by, expected, error, measured = (float(column[rows].mean()) if len(rows) else np.nan for column in self)
            found.append([by, len(rows), expected, error, measured, float(binomial_error(measured, len(rows)))])
        return found


def compare(folder: Path) -> dict[str, Compared]:
    """Return what the catalogue of a k-fold expects of purity and completeness, and what is true."""
    table, summary = Table.read(folder / "catalog.ecsv"), KFoldSummary.load(folder / "summary.json")
    file = PatchFile(summary.data)
    if file.truth is None:
        raise SystemExit(f"{file.path} holds no ground truth. Give k-folds of simulated maps.")
    found = {}
    for name, fraction in (("expected_purity", "truth_fraction"), ("expected_purity_catalogue", "target_fraction")):
        columns = ("probability", name, f"{name}_error", fraction)
        found[name] = Compared(*(np.asarray(table[column], np.float64) for column in columns))
    families = [family for family in (summary.injected, summary.injected_plummer) if family is not None]
    with (
        FitsImage(folder / "out_of_fold.fits") as probability,
        FitsImage(folder / "out_of_fold.fits", "MASK") as marked,
    ):
        predicted = np.isfinite(probability.read())
        true = measure_filaments(Filaments((file.truth > 0) & predicted), file, probability)
        expected = expected_completeness(true.spine_contrast, true.width_px, families)
        measured = true.components.mean(lambda y0, y1: marked.read(y0, y1) > 0)
    return {**found, "completeness": Compared(true.spine_contrast, *expected, measured)}


def print_tables(all_compared: Sequence[dict[str, Compared]]) -> None:
    """Print one table for each quantity, of the rows of all k-folds."""
    for name in all_compared[0]:
        pooled = Compared(*map(np.concatenate, zip(*(compared[name] for compared in all_compared), strict=True)))
        print(f"\n{name}\n{'bin':>8s}{'rows':>6s}{'expected':>18s}{'measured':>18s}")
        for by, rows, expected, error, measured, measured_error in pooled.bins():
            print(f"{by:8.3f}{rows:6.0f}{expected:10.3f} ± {error:.3f}{measured:10.3f} ± {measured_error:.3f}")


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of finished k-folds on simulated maps")
    print_tables([compare(folder) for folder in parser.parse_args().folders])


if __name__ == "__main__":
    main()
