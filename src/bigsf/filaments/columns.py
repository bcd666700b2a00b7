"""The columns of the tables of filaments: names, units, meanings and UCDs; values -> tables -> ECSV."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.table import Column, Table

from bigsf.filaments.photometry import ANNULUS_PX
from bigsf.maps.map_units import is_column_density, parse_unit
from bigsf.maps.tiling import bands
from bigsf.version import __version__


class Field(NamedTuple):
    """What a column of a table holds."""

    unit: str | None
    """For astropy; "map" in it is the unit of the map."""
    meaning: str
    """Description of the column."""
    ucd: str
    """Words of the IVOA's list UCD1+; "map" among them is what the map shows."""


_MIDDLE = "of the middle of the spine"
_MAP = "of the map over the filament"
_MASS = "2.8 hydrogen atoms per H2, Kauffmann et al. 2008"

COLUMNS = {
    "id": Field(None, "number of the filament, from 1, in the order of rows of the map", "meta.id;meta.main"),
    "designation": Field(None, f"l and b {_MIDDLE}, truncated to 0.001 deg, as the IAU recommends", "meta.id"),
    "x": Field("pix", "middle of the spine, from 0", "pos.cartesian.x"),
    "y": Field("pix", "middle of the spine, from 0", "pos.cartesian.y"),
    "l": Field("deg", f"Galactic longitude {_MIDDLE}", "pos.galactic.lon"),
    "b": Field("deg", f"Galactic latitude {_MIDDLE}", "pos.galactic.lat"),
    "ra": Field("deg", f"right ascension {_MIDDLE}, ICRS", "pos.eq.ra;meta.main"),
    "dec": Field("deg", f"declination {_MIDDLE}, ICRS", "pos.eq.dec;meta.main"),
    "x0": Field("pix", "first column of the filament, from 0", "pos.cartesian.x;stat.min"),
    "x1": Field("pix", "last column of the filament", "pos.cartesian.x;stat.max"),
    "y0": Field("pix", "first row of the filament, from 0", "pos.cartesian.y;stat.min"),
    "y1": Field("pix", "last row of the filament", "pos.cartesian.y;stat.max"),
    "length_px": Field(
        "pix", "length of the longest path along the spine, without the rounded ends of the mask", "phys.size"
    ),
    "length_arcmin": Field("arcmin", "the same on the sky; its ends, as if pixels were square there", "phys.angSize"),
    "width_px": Field("pix", "mean width of a band of this area along all branches", "phys.size;stat.mean"),
    "width_arcmin": Field("arcmin", "the same on the sky", "phys.angSize;stat.mean"),
    "straightness": Field(
        None,
        "distance between the ends of the longest path / its length; 0 of a ring",
        "phys.size;arith.ratio",
    ),
    "branches": Field(None, "number of branches of the skeleton, without spurs", "meta.number"),
    "hubs": Field(None, "number of places where three or more branches meet", "meta.number"),
    "orientation": Field(
        "deg",
        "of the long axis, from Galactic north towards increasing longitude; no WCS: from +y to -x",
        "pos.posAng",
    ),
    "orientation_px": Field("deg", "of the long axis in pixels, from +y to -x", "pos.posAng;instr.pixel"),
    "mean": Field("map", f"mean {_MAP}", "map;stat.mean"),
    "median": Field("map", f"median {_MAP}", "map;stat.median"),
    "peak": Field("map", "largest value of the map in the filament", "map;stat.max"),
    "background": Field(
        "map",
        f"median of the valid unmarked pixels {ANNULUS_PX[0] + 1} to {ANNULUS_PX[1]} pixels away",
        "map;instr.background;stat.median",
    ),
    "contrast": Field(None, "mean / background - 1", "map;arith.ratio"),
    "excess_px": Field("map pix2", "sum of the map - background over the filament", "map;arith.sum"),
    "excess_arcmin2": Field("map arcmin2", "the same over the area on the sky", "map;arith.sum"),
    "probability": Field(None, "mean probability over the filament", "stat.probability;stat.mean"),
    "edge": Field(
        None, "whether it lies within 2 pixels of the border of the map or of missing data", "meta.code.qual"
    ),
    "ring": Field(None, "whether the longest path is closed", "meta.code"),
    "area_px": Field("pix2", "pixels of the filament", "phys.area"),
    "area_arcmin2": Field("arcmin2", "the same on the sky", "phys.angArea"),
}
"""Each column of the catalogue. NaN is undefined."""

DISTANCE_COLUMNS = {
    "distance": Field("kpc", "distance of the filament; of a map of distances, their median over it", "pos.distance"),
    "length_pc": Field("pc", "length at this distance", "phys.size"),
    "width_pc": Field("pc", "mean width at this distance", "phys.size;stat.mean"),
    "area_pc2": Field("pc2", "area at this distance", "phys.area"),
    "mass": Field("solMass", f"of all column density on the filament; {_MASS}", "phys.mass"),
    "mass_excess": Field("solMass", f"of the column density above the background; {_MASS}", "phys.mass"),
    "line_mass": Field("solMass / pc", "mean mass per area x width_pc", "phys.mass;arith.ratio"),
    "line_mass_excess": Field("solMass / pc", "mean mass_excess per area x width_pc", "phys.mass;arith.ratio"),
}
"""Columns that a catalogue with distances has besides."""

SPINE_COLUMNS = {
    "filament": Field(None, "id of the filament in the catalogue", "meta.id.parent"),
    "branch": Field(None, "id of the branch", "meta.id"),
    "x": Field("pix", "from 0", "pos.cartesian.x"),
    "y": Field("pix", "from 0", "pos.cartesian.y"),
    "l": Field("deg", "Galactic longitude", "pos.galactic.lon"),
    "b": Field("deg", "Galactic latitude", "pos.galactic.lat"),
}
"""Columns of the points along all branches, in order."""

BRANCH_COLUMNS = {
    "id": Field(None, "number of the branch, from 1; in each filament the longest is the first", "meta.id;meta.main"),
    "filament": Field(None, "id of the filament in the catalogue", "meta.id.parent"),
    "length_px": Field("pix", "length from node to node along the skeleton; a ring: circumference", "phys.size"),
    "length_arcmin": Field("arcmin", "the same on the sky", "phys.angSize"),
    "ends": Field(None, "its free ends: 2 without hubs, 1 from a hub, 0 between hubs or of a ring", "meta.number"),
    "main": Field(None, "whether it is a part of the longest path of the filament", "meta.code"),
}
"""Columns of the table of branches."""

HUB_COLUMNS = {
    "id": Field(None, "number of the hub, from 1", "meta.id;meta.main"),
    "filament": SPINE_COLUMNS["filament"],
    "x": SPINE_COLUMNS["x"],
    "y": SPINE_COLUMNS["y"],
    "l": SPINE_COLUMNS["l"],
    "b": SPINE_COLUMNS["b"],
    "branches": Field(None, "ends of branches that meet there, 3 or more", "meta.number"),
}
"""Columns of the table of hubs."""

STATISTICS = {
    "mean": Field("map", "mean of {} over the filament", "map;stat.mean"),
    "median": Field("map", "median of {} over the filament", "map;stat.median"),
    "std": Field("map", "standard deviation of {} over the filament", "map;stat.stdev"),
}
"""The columns of each further map: their endings, and what they hold; {} stands for its name."""

_DECIMALS = {
    "x": 6,
    "y": 6,
    "l": 9,
    "b": 9,
    "ra": 9,
    "dec": 9,
    "length_px": 6,
    "length_arcmin": 9,
    "width_px": 6,
    "width_arcmin": 9,
    "straightness": 6,
    "orientation": 6,
    "orientation_px": 6,
}
"""Decimals of the columns that are rounded: the error is far below a pixel, even one of 0.001 arcsec."""

_SIGNIFICANT = 6  # digits of an area on the sky

_ECSV_ROWS = 20_000

_PERIODS = {"l": 360, "ra": 360, "orientation": 180, "orientation_px": 180}
"""The period of the columns that are angles, in degrees."""


def column(name: str, field: Field, values: npt.NDArray[Any], unit: str = "") -> Column:
    """Return a column with its unit, meaning and UCD.

    Parameters
    ----------
    name, field
        The column.
    values
        One value for each row.
    unit
        BUNIT of the map. Where astropy does not know it, columns in this unit have none.
    """
    map_unit, column_unit = parse_unit(unit), field.unit
    if field.unit and field.unit.startswith("map"):
        area = field.unit.removeprefix("map").strip()
        column_unit = map_unit * units.Unit(area) if map_unit and area else map_unit
    if name in _DECIMALS:
        values = np.round(values, _DECIMALS[name])
    if name == "area_arcmin2":  # of a pixel of 0.001 arcsec it is 3e-10
        values = np.array([float(f"{value:.{_SIGNIFICANT}g}") for value in values])
    if name in _PERIODS:
        values = values % _PERIODS[name]  # 359.9999999999 is rounded to 360
    words = field.ucd.replace("map", "phys.columnDensity" if is_column_density(map_unit) else "phys")
    return Column(values, name, unit=column_unit, description=field.meaning, meta={"ucd": words})


def make_table(values: Mapping[str, npt.NDArray[Any]], fields: Mapping[str, Field], unit: str = "") -> Table:
    """Return the columns in the order of their fields. Columns without values are NaN."""
    undefined = np.full(len(next(iter(values.values()))), np.nan)
    columns = [column(name, field, values.get(name, undefined), unit) for name, field in fields.items()]
    return Table(columns, meta={"bigsf": __version__})


def write_ecsv(path: Path, table: Table) -> None:
    """Write a table as ECSV, which holds all that astropy knows of it.

    Astropy holds the text of all that it writes at a time, about 500 bytes per row. So it is given a part of the rows.
    """

    def text_of(rows: Table) -> str:
        buffer = io.StringIO()
        rows.write(buffer, format="ascii.ecsv")
        return buffer.getvalue()

    header = text_of(table[:0])
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(header)
        for start, stop in bands(len(table), _ECSV_ROWS):
            file.write(text_of(table[start:stop]).removeprefix(header))
