"""Labels that are no masks: regions of DS9, a table of points along spines, and an image of identifiers.

python examples/labels_from_ds9.py

It simulates a map in the current folder, and writes its true filaments in these three forms, as other programs do. Each
becomes the target of a patch file. DS9 regions need `pip install '.[shapes]'`.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import bigsf

DS9 = "# Region file format: DS9\nglobal color=green\ngalactic"


def write_labels(folder: Path) -> tuple[Path, list[Path]]:
    """Write a map without labels, and its filaments in three forms; return their files."""
    simulated = bigsf.simulate_galaxy(folder / "simulated.fits", 384, 256, seed=1, overwrite=True)
    with fits.open(simulated) as hdus:
        image, header, truth = hdus[0].data, hdus[0].header, hdus["TRUTH"].data
    fits.writeto(folder / "map.fits", image, header, overwrite=True)

    filaments = bigsf.Filaments(truth)
    identifiers = folder / "identifiers.fits"  # e.g. of FilFinder or getsf: the number of the filament in each pixel
    fits.writeto(identifiers, filaments.labels, header, overwrite=True)

    spines = folder / "spines.ecsv"  # e.g. of DisPerSE: one row per point, in order along each filament
    points = filaments.branches.points(WCS(header))
    points.write(spines, overwrite=True)

    drawn = folder / "drawn.reg"  # the ten longest branches as DS9 saves a segment, and a circle
    lengths = np.bincount(points["branch"])
    lines = [_segment(points[points["branch"] == branch]) for branch in lengths.argsort()[-10:]]
    drawn.write_text("\n".join([DS9, *lines, 'circle(0.1,0,30")']) + "\n")
    return folder / "map.fits", [drawn, spines, identifiers]


def _segment(points: Table) -> str:
    """Return points as a segment of DS9."""
    return "# segment(" + ",".join(f"{point['l']:.6f},{point['b']:.6f}" for point in points) + ")"


def main(folder: Path = Path()) -> list[bigsf.PatchFile]:
    """Make a patch file of each form, and print what was understood."""
    image, labels = write_labels(folder)
    files = []
    for target in labels:
        width = None if target.suffix == ".fits" else 3  # pixels; an image has no lines to draw
        config = bigsf.PreprocessConfig(image=image, target=target, line_width=width, patch_size=32)
        report = bigsf.preprocess(config, folder / f"{target.stem}.h5", overwrite=True)
        print(f"{target.name}: {report.contents['target']}, {report.counts['target']} pixels of the target")
        files.append(bigsf.PatchFile(report.output))
    return files


if __name__ == "__main__":
    main()
