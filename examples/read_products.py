"""Every product of `bigsf segment`, read with the readers of others: astropy for tables and FITS, plain text for DS9.

python examples/read_products.py

It simulates a map in the current folder and segments it with a model of the package. Then it joins what belongs to the
longest filament by its id, which is the same in the catalogue, in LABELS, in SKELETON, among the branches and hubs, and
in the texts of the regions.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

import bigsf

PRODUCTS = ["mask", "skeleton", "labels", "catalog", "votable", "mrt", "regions", "spines"]


def main(folder: Path = Path()) -> dict[str, Any]:
    """Segment a simulated map, read all products, and return what they hold of the longest filament."""
    image = bigsf.simulate_galaxy(folder / "map.fits", 512, 256, seed=5, overwrite=True)
    found = bigsf.segment("filaments-small", image, folder / "found.fits", products=PRODUCTS, overwrite=True).output

    catalogue = Table.read(found.with_suffix(".ecsv"))  # with units and descriptions
    votable = parse_single_table(found.with_suffix(".vot")).to_table()  # the same rows for Aladin and TOPCAT
    mrt = Table.read(found.with_suffix(".mrt"), format="ascii.mrt")  # and for journals
    branches = Table.read(folder / "found_branches.ecsv")
    hubs = Table.read(folder / "found_hubs.ecsv")
    points = Table.read(folder / "found_spines.ecsv")
    regions = found.with_suffix(".reg").read_text().splitlines()
    with fits.open(found) as hdus:
        labels, skeleton, probability = hdus["LABELS"].data, hdus["SKELETON"].data, hdus[0].data
        in_fits = Table(hdus["CATALOG"].data)
        made = {name.strip(): value.strip() for name, value in hdus["PROVENANCE"].data}
    print(f"{len(catalogue)} filaments; threshold {made['threshold']}, model {made['model 1'].split()[0]}")

    row = catalogue[np.argmax(catalogue["length_px"])]
    number = int(row["id"])
    longest = {
        "designation": str(row["designation"]),
        "ids": [int(table["id"][number - 1]) for table in (votable, mrt, in_fits)],
        "pixels": int((labels == number).sum()),
        "mean probability": float(probability[labels == number].mean()),
        "pixels of the skeleton": int((skeleton == number).sum()),
        "branches": len(branches[branches["filament"] == number]),
        "hubs": len(hubs[hubs["filament"] == number]),
        "points of the spine": len(points[points["filament"] == number]),
        "outlines": sum(re.search(rf"text=\{{{number}\}}", line) is not None for line in regions),
    }
    length = row["length_arcmin"] * catalogue["length_arcmin"].unit
    print(f"The longest filament is number {number}, of {length:.1f}:")
    for name, value in longest.items():
        print(f"  {name}: {value}")
    return {"catalogue": row, **longest}


if __name__ == "__main__":
    main()
