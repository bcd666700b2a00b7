"""BUNIT -> a unit that astropy knows, and the name of the values of a map for figures."""

import re

from astropy import units
from astropy.io import fits

_MOLECULES = re.compile(r"(?<![A-Za-z(])H_?2(?![A-Za-z0-9)])")


def parse_unit(text: str) -> units.UnitBase | None:
    """Return a unit of a header; None where there is none, astropy does not know it, or it is that of a logarithm.

    H2 in it, as in H2/cm2, counts molecules. Other letters H, of atoms, are not taken for the unit henry.
    """
    try:
        unit = units.Unit(_MOLECULES.sub("1", text)) if text else None
    except ValueError:
        return None
    of_current = unit is not None and units.H in getattr(unit, "bases", ())
    return None if of_current or isinstance(unit, units.function.FunctionUnitBase) else unit


def is_column_density(unit: units.UnitBase | None) -> bool:
    """Tell whether a unit is that of a number per area, such as 1/cm2."""
    return unit is not None and unit.is_equivalent(units.Unit("cm-2"))


def value_label(unit: str, header: fits.Header, logarithm: bool) -> str:
    """Return the name and unit of the values of a map, as text of matplotlib.

    A number per area is a column density of H2, as in the masses of the catalogue. Other maps have the name that BTYPE
    gives them.

    Parameters
    ----------
    unit
        BUNIT of the map, or an empty string. It is written as it is where astropy does not know it.
    header
        The header of the map.
    logarithm
        Whether log10 of the values is drawn.
    """
    known = parse_unit(unit)
    name = r"$N(\mathrm{H}_2)$" if is_column_density(known) else _plain(str(header.get("BTYPE", "")).strip()) or "map"
    symbol = known.to_string("latex_inline") if known else _plain(unit)
    text = f"{name} [{symbol}]" if symbol and known != units.dimensionless_unscaled else name
    return rf"$\log_{{10}}$ {text}" if logarithm else text


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
