"""Sizes of filaments on the sky, their column densities and distances -> lengths, areas and masses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import constants, units

from bigsf.arrays import Float64Array
from bigsf.errors import DataError
from bigsf.maps.map_units import is_column_density, parse_unit

MASS_PER_H2 = 2.8 * 1.00782503 * constants.u
"""Mass of the gas per molecule of hydrogen: 2.8 hydrogen atoms (Kauffmann et al. 2008, A&A 487, 993, appendix A.1)."""


def check_column_density(name: str, unit: str) -> None:
    """Raise `DataError` unless the unit of a map is that of a column density, of which masses can be computed."""
    if not is_column_density(parse_unit(unit)):
        raise DataError(
            f"The unit (BUNIT) of {name} is {unit or 'not given'}. Masses at a distance need a column density, a "
            "number per area such as cm-2. Convert the map, or correct its BUNIT; or leave the distance out."
        )


def at_distance(
    values: Mapping[str, npt.NDArray[Any]], distance_kpc: Float64Array, unit: str
) -> dict[str, Float64Array]:
    """Return the columns of `DISTANCE_COLUMNS`, each `(n,)`; NaN where a distance or a size is undefined.

    Parameters
    ----------
    values
        The columns `length_arcmin`, `width_arcmin`, `area_arcmin2`, `pixel_arcmin2`, `mean` and `excess_arcmin2` of the
        catalogue, and `valid`, the pixels of each filament with a value.
    distance_kpc
        The distance of each filament, `(n,)`.
    unit
        BUNIT of the map: a column density.

    Raises
    ------
    DataError
        Where the unit is not that of a column density.
    """
    check_column_density("the map", unit)
    pc_per_arcmin = 1000 * distance_kpc * units.arcmin.to(units.rad)
    solar = pc_per_arcmin**2 * (units.Quantity(1, parse_unit(unit)) * units.pc**2 * MASS_PER_H2).to_value(units.solMass)
    width, area = values["width_arcmin"] * pc_per_arcmin, values["area_arcmin2"] * pc_per_arcmin**2
    valid_arcmin2 = values["valid"] * values["pixel_arcmin2"]
    mass = values["mean"].astype(np.float64) * valid_arcmin2 * solar
    excess = values["excess_arcmin2"] * solar
    line = width / np.where(valid_arcmin2 > 0, valid_arcmin2 * pc_per_arcmin**2, np.nan)
    return {
        "distance": distance_kpc,
        "length_pc": values["length_arcmin"] * pc_per_arcmin,
        "width_pc": width,
        "area_pc2": area,
        "mass": mass,
        "mass_excess": excess,
        "line_mass": mass * line,
        "line_mass_excess": excess * line,
    }
