import numpy as np
import pytest
from astropy import units
from astropy.io.votable.ucd import parse_ucd

from bigsf.filaments import columns
from bigsf.filaments.columns import Field, column

TABLES = {name: fields for name, fields in vars(columns).items() if name.endswith("COLUMNS") or name == "STATISTICS"}


@pytest.mark.parametrize("map_unit", ["cm-2", "K km/s", "", "N(H2) per beam"])
@pytest.mark.parametrize("table", TABLES)
def test_every_ucd_has_words_of_the_list(table: str, map_unit: str) -> None:
    for name, field in TABLES[table].items():
        found = column(name, field, np.zeros(1), map_unit)
        assert parse_ucd(found.meta["ucd"], check_controlled_vocabulary=True)
        assert found.description


def test_only_column_densities_are_said_to_be_such() -> None:
    field = Field("map", "mean", "map;stat.mean")
    ucds = {unit: column("mean", field, np.zeros(1), unit).meta["ucd"] for unit in ("cm-2", "1e22 m-2", "K", "", "?")}
    assert {unit for unit, ucd in ucds.items() if ucd == "phys.columnDensity;stat.mean"} == {"cm-2", "1e22 m-2"}
    assert {ucds["K"], ucds[""], ucds["?"]} == {"phys;stat.mean"}


def test_the_unit_of_the_map_is_multiplied_by_an_area() -> None:
    field = Field("map arcmin2", "sum", "map;arith.sum")
    assert column("excess", field, np.zeros(1), "cm-2").unit == units.Unit("arcmin2 / cm2")
    assert column("excess", field, np.zeros(1), "unknown").unit is None
    assert column("excess", field, np.zeros(1)).unit is None


def test_a_longitude_below_a_turn_stays_below_it() -> None:
    assert column("l", columns.COLUMNS["l"], np.array([359.9999999999, 0.1]))[:].tolist() == [0.0, 0.1]


def test_numbers_are_rounded_far_below_pixels_of_a_few_milliarcseconds() -> None:
    pixel_deg = 0.005 / 3600
    places = 30 + pixel_deg * np.arange(1000)
    assert column("l", columns.COLUMNS["l"], places)[:] == pytest.approx(places, abs=1e-3 * pixel_deg)
    for name, pixel in (("area_arcmin2", (60 * pixel_deg) ** 2), ("length_arcmin", 60 * pixel_deg)):
        sizes = pixel * np.array([0.0, 1.0, 3.5, 1e6, np.nan])
        assert column(name, columns.COLUMNS[name], sizes)[:] == pytest.approx(sizes, rel=1e-5, nan_ok=True)
