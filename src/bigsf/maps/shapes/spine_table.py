"""A table of points along the spines of filaments -> the pixels near the spines."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from bigsf.arrays import Float64Array
from bigsf.console import plural
from bigsf.errors import DataError, warn
from bigsf.maps.shapes.canvas import Canvas
from bigsf.option_names import option

SUFFIXES = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".vot": "votable", ".xml": "votable"}
"""From the ending of a table to its format in astropy."""

_SKY = {("l", "b"): "galactic", ("glon", "glat"): "galactic", ("ra", "dec"): "icrs", ("raj2000", "dej2000"): "icrs"}
_PIXELS = ("x", "y")
_LATITUDES = {latitude for _, latitude in _SKY}
_IDS = ("filament", "filament_id", "id", "spine")
_BRANCH = "branch"
_BRANCHES = "branches"  # of a table of hubs


def draw_spines(path: Path, canvas: Canvas, line_width_px: float) -> str:
    """Draw a line along the points of each spine, or of each branch of it, in the order of rows.

    Parameters
    ----------
    path
        A table (ECSV, CSV or VOTable) with an id in a column `filament`, `filament_id`, `id` or `spine`, perhaps with
        a second id in a column `branch`, and with positions in `l` and `b` (or `glon`, `glat`), `ra` and `dec`, or `x`
        and `y`. Positions on the sky are in degrees where a column has no unit; pixels count from 0.
    canvas
        Where they are drawn.
    line_width_px
        Width of the lines in pixels.

    Returns
    -------
    str
        What was drawn, e.g. "213 spines of 4,210 points".

    Raises
    ------
    DataError
        Where the table cannot be read, has not these columns, lacks a number, or holds one point per filament; or where
        no spine lies on the map.
    """
    try:
        table = Table.read(path, format=SUFFIXES[path.suffix.lower()])
    except Exception as error:  # the readers of astropy raise errors of many kinds
        raise DataError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
    columns = {str(name).lower(): table[name] for name in table.colnames}
    key = next((name for name in _IDS if name in columns), None)
    present = [pair for pair in [*_SKY, _PIXELS] if set(pair) <= columns.keys()]
    pair = next((pair for pair in present if not any(_is_empty(columns[axis]) for axis in pair)), (*present, None)[0])
    if key is None or pair is None:
        raise DataError(
            f"{path} has the columns {', '.join(table.colnames)}. Expected points along spines: an id in "
            f"{', '.join(_IDS[:-1])} or {_IDS[-1]}, and l and b, ra and dec, or x and y."
        )
    if not len(table):
        raise DataError(f"{path} has no rows. Expected points along spines.")
    positions = {axis: _numbers(path, axis, columns[axis]) for axis in pair}
    ids = [_identifiers(path, name, columns[name]) for name in (key, _BRANCH) if name in columns]
    order = np.lexsort(ids[::-1])
    begins = np.any([values[order][1:] != values[order][:-1] for values in ids], axis=0)
    spines = np.split(order, np.flatnonzero(begins) + 1)
    if max(map(len, spines)) == 1 or (_BRANCHES in columns and _BRANCH not in columns):
        raise DataError(
            f"{path} is a table of filaments or hubs, and not of points along spines. bigsf segment writes that with "
            f"{option('products', 'spines')}: MAP_segmented_spines.ecsv."
        )
    drawn = points_drawn = 0
    for rows in spines:
        if pair == _PIXELS:
            points: Float64Array = np.stack([positions[axis][rows] for axis in "yx"], axis=1) - canvas.origin
        else:
            lon, lat = (units.Quantity(positions[axis][rows], columns[axis].unit or units.deg) for axis in pair)
            points = canvas.path_to_pixels(SkyCoord(lon, lat, frame=_SKY[pair]))
        if canvas.draw_line(points, line_width_px):
            drawn, points_drawn = drawn + 1, points_drawn + len(rows)
    if not drawn:
        raise DataError(f"{path} holds {len(spines)} spines, and none of them lies on {canvas.name}.")
    if drawn < len(spines):
        warn(f"{path.name}: {drawn} of {plural(len(spines), 'spine')} drawn, the others are off {canvas.name}.")
    return f"{plural(drawn, 'spine')} of {plural(points_drawn, 'point')}"


def _is_empty(column: Any) -> bool:
    """Tell whether no row of a column has a value, as of `l` and `b` for a map without a WCS."""
    values = np.ma.masked_invalid(column) if column.dtype.kind == "f" else np.ma.asarray(column)
    return len(values) > 0 and values.count() == 0


def _identifiers(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    """Return the identifiers of a column, one for each row; a row without one is refused with `DataError`."""
    blank = np.ma.getmaskarray(np.ma.asarray(column))
    if blank.any():
        raise DataError(f"{path}: row {int(blank.argmax()) + 1} has nothing in {name}; expected an identifier.")
    return np.asarray(column)


def _numbers(path: Path, name: str, column: Any) -> Float64Array:
    """Return the numbers of a column of positions, one for each row.

    Raises
    ------
    DataError
        Where a row has no number, or one that is no latitude.
    """
    for row, value in enumerate(np.ma.asarray(column).tolist(), 1):
        try:
            found = f"{value!r}" if value is not None else "nothing"
            good = value is not None and np.isfinite(float(value))
        except (TypeError, ValueError):
            good = False
        if not good:
            sky = "" if name in _PIXELS else ", in degrees where the column has no unit"
            raise DataError(f"{path}: row {row} has {found} in {name}; expected a number{sky}.")
    numbers = np.asarray(column, np.float64)
    if name not in _PIXELS and column.unit and not units.Unit(column.unit).is_equivalent(units.deg):
        raise DataError(f"{path}: the column {name} is in {column.unit}; expected an angle.")
    if name in _LATITUDES and (far := np.abs(units.Quantity(numbers, column.unit or units.deg)) > 90 * units.deg).any():
        row = int(far.argmax())
        raise DataError(f"{path}: row {row + 1} has {numbers[row]:g} in {name}, which is no latitude.")
    return numbers
