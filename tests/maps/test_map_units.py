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


@pytest.mark.parametrize("text", ["H2/cm2", "H2 cm-2", "H_2 / cm2", "H2 cm**-2"])
def test_molecules_are_counted_and_not_taken_for_henry(text: str) -> None:
    assert is_column_density(parse_unit(text))
    assert value_label(text, fits.Header(), logarithm=False) == r"$N(\mathrm{H}_2)$ [$\mathrm{cm^{-2}}$]"


def test_atoms_are_not_taken_for_henry_either() -> None:
    assert parse_unit("H/cm2") is parse_unit("N(H2) cm-2") is None
    assert value_label("H/cm2", fits.Header(), logarithm=False) == "map [H/cm2]"


def test_a_map_without_dimension_has_no_empty_brackets() -> None:
    assert value_label("1", fits.Header(), logarithm=False) == "map"
