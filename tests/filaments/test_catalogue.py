from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, DataError
from bigsf.filaments.catalogue import COLUMNS, Filaments
from bigsf.maps.fits_image import FitsImage
from conftest import galactic_header
from drawn_lines import bar


def test_what_is_undefined_is_nan() -> None:
    mask, image = bar()
    table = Filaments(mask).catalog()
    assert all(
        np.isnan(table[name][0]) for name in ("l", "b", "ra", "dec", "length_arcmin", "mean", "contrast", "probability")
    )
    assert np.isnan(Filaments(mask).catalog(image - 2)["contrast"][0])  # no relation to a background of 0
    assert np.isnan(Filaments(mask).catalog(np.where(mask, image, np.nan))["background"][0])
    assert np.isnan(Filaments(np.ones((4, 4))).catalog()["orientation"][0])


def test_no_filament_is_an_empty_table_with_all_columns(tmp_path: Path) -> None:
    filaments = Filaments(np.zeros((20, 30)))
    table = filaments.catalog(np.ones((20, 30), np.float32), wcs=WCS(galactic_header(30, 20)))
    assert (len(filaments), len(table), table.colnames) == (0, 0, list(COLUMNS))
    assert not filaments.skeleton().any()
    assert filaments.outlines() == []
    table.write(tmp_path / "empty.ecsv")
    assert Table.read(tmp_path / "empty.ecsv")["length_px"].unit == "pix"


def test_table_is_read_back_with_units_and_meanings(tmp_path: Path) -> None:
    mask, image = bar()
    Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit="K km/s").write(tmp_path / "table.ecsv")
    table = Table.read(tmp_path / "table.ecsv")
    assert {name: str(table[name].unit) for name in ("l", "length_arcmin", "peak", "area_px")} == {
        "l": "deg",
        "length_arcmin": "arcmin",
        "peak": "K km / s",
        "area_px": "pix2",
    }
    assert table["b"].description == "Galactic latitude of the middle of the spine"


def test_unit_that_astropy_does_not_know_is_kept_in_the_meta() -> None:
    mask, image = bar()
    table = Filaments(mask).catalog(image, unit="N(H2) per beam")
    assert table["mean"].unit is None
    assert table.meta["BUNIT"] == "N(H2) per beam"


def test_filaments_touching_at_a_corner_are_one_and_are_numbered_by_rows() -> None:
    mask = np.zeros((12, 12))
    mask[2:4, 6:9] = mask[4:6, 9:11] = mask[8, 1:4] = 1
    filaments = Filaments(mask)
    assert len(filaments) == 2
    table = filaments.catalog()
    assert list(table["id"]) == [1, 2]
    assert list(table["area_px"]) == [10, 3]
    assert len(filaments.outlines()[0]) > 6


def test_outline_reaches_round_its_holes() -> None:
    mask = np.zeros((30, 30))
    mask[5:25, 5:25] = 1
    mask[6:24, 6:24:2] = 0  # holes with more border than the outside has
    (outline,) = Filaments(mask).outlines()
    np.testing.assert_allclose(outline.min(axis=0), 4.5)
    np.testing.assert_allclose(outline.max(axis=0), 24.5)


def test_maps_are_read_from_fits(tmp_path: Path) -> None:
    mask, image = bar()
    fits.PrimaryHDU(image, galactic_header(60, 40)).writeto(tmp_path / "map.fits")
    with FitsImage(tmp_path / "map.fits") as file:
        table = Filaments(mask).catalog(file.read, wcs=file.wcs, unit=file.unit)
    assert table["peak"][0] == 3


def test_the_number_of_filaments_at_a_time_does_not_change_the_outlines(monkeypatch: pytest.MonkeyPatch) -> None:
    filaments = Filaments(np.random.default_rng(2).uniform(size=(50, 60)) < 0.3)
    whole = filaments.outlines()
    monkeypatch.setattr("bigsf.filaments.catalogue.AT_A_TIME", 3)
    for outline, expected in zip(filaments.outlines(), whole, strict=True):
        np.testing.assert_array_equal(outline, expected)


def test_masked_pixels_of_a_map_are_missing() -> None:
    mask, image = bar()
    hidden = np.zeros(mask.shape, np.bool_)
    hidden[:, ::3] = True
    with_nan = Filaments(mask).catalog(np.where(hidden, np.nan, image))
    masked = np.ma.masked_array(np.where(hidden, 1e6, image), hidden)
    for name in ("mean", "median", "background"):
        assert Filaments(mask).catalog(masked)[name][0] == pytest.approx(with_nan[name][0])
    assert len(Filaments(np.ma.masked_array(mask, mask > 0))) == 0


def test_filaments_on_sky_that_a_map_shows_again_are_counted() -> None:
    mask = np.zeros((20, 370), np.bool_)
    for x in (0, 200, 358):
        mask[8, x : x + 7] = True
    header = galactic_header(370, 20, step_deg=1.0)
    with pytest.warns(
        BigsfWarning, match="1 of 3 filaments reach into the columns from 360 on, in which the map shows"
    ):
        table = Filaments(mask).catalog(wcs=WCS(header))
    assert table["l"][2] == pytest.approx(table["l"][0] + 2)
    Filaments(mask[:, :360]).catalog(wcs=WCS(header))


def test_planes_that_do_not_fit_are_refused() -> None:
    mask, image = bar()
    filaments, wcs = Filaments(mask), WCS(naxis=3)
    for plane in (image.T, image[:-1], np.tile(image, (2, 2))):
        with pytest.raises(DataError, match=r"image has the shape .*; the mask of the filaments has \(40, 60\)"):
            filaments.catalog(plane)
    with pytest.raises(DataError, match=r"image has the unit K\. Pass its values alone"):
        filaments.catalog(image * units.K)
    with pytest.raises(DataError, match="distance has the unit kpc"):
        filaments.catalog(image, unit="cm-2", distance=3 * units.kpc)
    with pytest.raises(DataError, match="The WCS has 3 axes"):
        filaments.catalog(wcs=wcs)


def test_a_mask_of_other_dimensions_is_refused() -> None:
    with pytest.raises(DataError, match=r"The mask has the shape \(1, 20, 20\); expected \(ny, nx\)\."):
        Filaments(np.zeros((1, 20, 20)))


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_lines_that_processes_measure_are_those_of_one(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.filaments.catalogue.AT_A_TIME", 3)
    alone = Filaments(np.random.default_rng(2).uniform(size=(50, 60)) < 0.3)
    shared = Filaments.from_labels(alone.labels)
    measured = [shared.measure_lines(rank, processes) for rank in range(processes)]
    shared.take_lines({name: values for arrays in measured for name, values in arrays.items()})
    assert len(alone) > 20
    for outline, expected in zip(shared.outlines(), alone.outlines(), strict=True):
        np.testing.assert_array_equal(outline, expected)
    np.testing.assert_array_equal(shared.skeleton(), alone.skeleton())
    for name in ("table", "hubs", "points"):
        assert_same_columns(getattr(shared.branches, name)(), getattr(alone.branches, name)())
    assert_same_columns(shared.catalog(), alone.catalog())


def assert_same_columns(table: Table, expected: Table) -> None:
    assert table.colnames == expected.colnames
    for name in expected.colnames:
        np.testing.assert_array_equal(table[name], expected[name])


def test_no_filament_has_no_lines() -> None:
    filaments = Filaments(np.zeros((9, 9)))
    filaments.take_lines(filaments.measure_lines())
    assert (filaments.outlines(), len(filaments.branches.table())) == ([], 0)


def test_outlines_can_be_shared_without_skeletons() -> None:
    filaments = Filaments(np.eye(20))
    arrays = filaments.measure_lines(skeletons=False)
    assert {name.partition("/")[2] for name in arrays} == {"outlines", "outlines_lengths"}
    filaments.take_lines(arrays)
    assert len(filaments.catalog()) == 1, "what was not shared is measured here"
