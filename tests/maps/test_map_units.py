import pytest
from astropy.io import fits
from matplotlib.mathtext import MathTextParser

from bigsf.maps.map_units import is_column_density, parse_unit, value_label


@pytest.mark.parametrize(
    ("unit", "btype", "logarithm", "label"),
    [
        ("cm-2", "", True, r"$\log_{10}$ $N(\mathrm{H}_2)$ [$\mathrm{cm^{-2}}$]"),
        ("K km s-1", "Intensity", False, r"Intensity [$\mathrm{K\,km\,s^{-1}}$]"),
        ("", "", False, "map"),
        ("", "", True, r"$\log_{10}$ map"),
        ("K (T_MB)", "", False, "map [K (T_MB)]"),  # no unit of astropy: as it is
        ("US$", "", False, r"map [US\$]"),
    ],
)
def test_values_have_name_and_unit(unit: str, btype: str, logarithm: bool, label: str) -> None:
    header = fits.Header({"BTYPE": btype} if btype else {})
    assert value_label(unit, header, logarithm) == label
    MathTextParser("agg").parse(label)  # raises what matplotlib would raise as it draws


@pytest.mark.parametrize("text", ["dex(cm-2)", "dB(K)", "mag(AB)", "no unit at all"])
def test_logarithmic_units_are_no_units_to_compute_with(text: str) -> None:
    assert parse_unit(text) is None
    assert not is_column_density(parse_unit(text))
