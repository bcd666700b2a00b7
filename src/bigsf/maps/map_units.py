"""BUNIT -> a unit that astropy knows, and the name of the values of a map for figures."""

from astropy import units
from astropy.io import fits


def parse_unit(text: str) -> units.UnitBase | None:
    """Return a unit of a header; None where there is none, astropy does not know it, or it is that of a logarithm."""
    try:
        unit = units.Unit(text) if text else None
    except ValueError:
        return None
    return None if isinstance(unit, units.function.FunctionUnitBase) else unit


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
    text = f"{name} [{symbol}]" if symbol.strip("$") else name
    return rf"$\log_{{10}}$ {text}" if logarithm else text


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
