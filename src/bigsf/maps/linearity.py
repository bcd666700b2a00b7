"""Values of a map -> whether an excess relative to its local mean makes sense on it."""

import numpy as np

from bigsf.arrays import Float64Array

_BOTH_SIGNS = 0.1  # part of the pixels on either side of zero above which a map is not mostly of one sign


def is_of_logarithm(unit: str) -> bool:
    """Tell whether a BUNIT is that of a logarithm, by its words."""
    return "log" in unit.lower() or "dex" in unit.lower()


def why_not_linear(values: Float64Array, unit: str, contrast: float = 0.05) -> str:
    """Return why a map is no linear map of mostly one sign, or an empty string.

    Parameters
    ----------
    values
        Valid values of the map, `(n,)`.
    unit
        Its BUNIT.
    contrast
        The lowest excess, in units of the local mean, that is to make sense on the map.
    """
    if not len(values):
        return ""
    below, above = float((values < 0).mean()), float((values > 0).mean())
    if min(below, above) > _BOTH_SIGNS and not is_of_logarithm(unit):
        return f"{below:.0%} of the valid pixels of this map are negative and {above:.0%} are positive"
    return why_logarithm(values, unit, contrast)


def why_logarithm(values: Float64Array, unit: str, contrast: float = 0.05) -> str:
    """Return why a map seems to be a logarithm, or an empty string. The parameters are those of `why_not_linear`."""
    if not len(values):
        return ""
    low, median, high = np.quantile(values, (0.16, 0.5, 0.84))
    spread = (high - low) / 2
    if is_of_logarithm(unit):
        return f"the unit of this map is {unit}"
    if contrast * abs(median) > spread:
        return f"the values of this map vary by only {spread:.3g} around {median:.4g}, as those of a logarithm do"
    return ""
