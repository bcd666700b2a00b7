from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

import bigsf
from bigsf.errors import UsageError
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.simulation.galaxy import PLANES, Galaxy, simulate_galaxy
from bigsf.simulation.random_fields import EQUATOR_PX, latitude_profile
from bigsf.simulation.recipe import BENCHMARK

NX, NY, SEED = 700, 300, 1  # borders of the map lie inside tiles


@pytest.fixture(scope="module")
def galaxy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigsf.simulate_galaxy(tmp_path_factory.mktemp("galaxy") / "galaxy.fits", NX, NY, SEED)


@pytest.fixture(scope="module")
def planes(galaxy_path: Path) -> dict[str, npt.NDArray[np.float64]]:
    with fits.open(galaxy_path) as hdus:
        return {name: np.array(hdus[name].data) for name in PLANES}


@pytest.mark.parametrize("chunk", [(97, 211), (500, 90)])
def test_a_window_does_not_depend_on_the_chunks_it_is_made_of(chunk: tuple[int, int]) -> None:
    rows, columns = range(-60, 200), range(-150, 150)
    whole = Galaxy(5).window(rows, columns)
    galaxy = Galaxy(5)
    for y in range(rows.start, rows.stop, chunk[0]):
        for x in range(columns.start, columns.stop, chunk[1]):
            part = galaxy.window(range(y, min(y + chunk[0], rows.stop)), range(x, min(x + chunk[1], columns.stop)))
            for name, plane in part.items():
                y0, x0 = y - rows.start, x - columns.start
                expected = whole[name][y0 : y0 + plane.shape[0], x0 : x0 + plane.shape[1]]
                np.testing.assert_array_equal(plane, expected, err_msg=name)


def test_clouds_have_no_seam_at_the_border_of_tiles() -> None:
    clouds = Galaxy(2).window(range(226, 286), range(226, 286))["PRIMARY"].astype(np.float64)
    steps = np.abs(np.diff(np.log(clouds), axis=1))
    assert np.nanmedian(steps[:, 29]) < 1.5 * np.nanmedian(steps)


def test_a_seed_makes_one_map_and_another_seed_another() -> None:
    window = range(100, 160), range(-30, 30)
    image = Galaxy(1).window(*window)["PRIMARY"]
    np.testing.assert_array_equal(image, Galaxy(1).window(*window)["PRIMARY"])
    other = Galaxy(2).window(*window)["PRIMARY"]
    assert not np.isclose(image, other).any()


def test_the_file_shows_the_simulated_plane(planes: dict[str, npt.NDArray[np.float64]]) -> None:
    y0 = EQUATOR_PX - NY // 2
    window = Galaxy(SEED).window(range(y0, y0 + NY), range(-(NX // 2), NX - NX // 2))
    np.testing.assert_array_equal(planes["TRUTH_ID"], window["TRUTH_ID"])
    inside = np.s_[20:-20, 20:-20]
    np.testing.assert_array_equal(planes["PRIMARY"][inside], window["PRIMARY"][inside])


def test_masks(planes: dict[str, npt.NDArray[np.float64]]) -> None:
    target, background, valid, truth = (planes[name] > 0 for name in ("TARGET", "BACKGROUND", "MISSING", "TRUTH"))
    np.testing.assert_array_equal(valid, np.isfinite(planes["PRIMARY"]))
    np.testing.assert_array_equal(truth, planes["TRUTH_ID"] > 0)
    assert not (target & ~truth).any()
    assert not (background & truth).any()
    assert not ((target | background) & ~valid).any()
    assert 0.85 < valid.mean() < 0.99


def test_fractions() -> None:
    windows = [Galaxy(seed).window(range(256), range(-512, 512)) for seed in (1, 2, 3)]
    fraction = {name: np.mean([window[name] for window in windows]) for name in ("TARGET", "BACKGROUND", "TRUTH")}
    assert 0.08 < fraction["TRUTH"] < 0.12
    assert 0.08 < fraction["BACKGROUND"] < 0.095
    assert 0.25 < fraction["TARGET"] / fraction["TRUTH"] < 0.55


def test_background_is_the_lowest_tenth_of_a_tile_off_the_truth() -> None:
    recipe = replace(BENCHMARK, noise=0, holes_per_tile=0)
    tile = Galaxy(4, recipe).tile(0, 0)
    relative = tile["PRIMARY"] / latitude_profile(np.arange(256), recipe)[:, None]
    off_truth, background = ~tile["TRUTH"], tile["BACKGROUND"]
    assert background.sum() == pytest.approx(0.1 * off_truth.sum(), abs=1)
    assert relative[background].max() < relative[off_truth & ~background].min()


def test_header_and_units(galaxy_path: Path) -> None:
    with fits.open(galaxy_path) as hdus:
        assert [hdu.name for hdu in hdus] == [*PLANES, "FILAMENTS"]
        assert units.Unit(hdus[0].header["BUNIT"]) == units.cm**-2
        assert [hdu.data.dtype.newbyteorder("=") for hdu in hdus[:6]] == ["f4", "u1", "u1", "u1", "u1", "i4"]
        assert not any("BUNIT" in hdu.header for hdu in hdus[1:6])
        wcs = WCS(hdus[0].header)
        assert all(WCS(hdu.header).wcs.compare(wcs.wcs) for hdu in hdus[1:6])
    longitude, latitude = wcs.pixel_to_world_values([0, NX // 2, NX - 1], [NY // 2] * 3)
    step_deg = 11.5 / 3600
    assert (longitude + 180) % 360 - 180 == pytest.approx([NX // 2 * step_deg, 0, -(NX / 2 - 1) * step_deg], abs=1e-9)
    assert latitude == pytest.approx(0, abs=1e-9)
    assert wcs.wcs.ctype[0] == "GLON-CAR"


def test_table_lists_every_filament_of_the_map(galaxy_path: Path, planes: dict[str, npt.NDArray[np.float64]]) -> None:
    table = fits.getdata(galaxy_path, "FILAMENTS")
    assert len(set(table["ID"])) == len(table) > 30
    shown = set(np.unique(planes["TRUTH_ID"])) - {0}
    assert shown <= set(table["ID"])
    assert len(shown) > 0.9 * len(table)  # the others lie under brighter ones
    catalogued = np.isin(planes["TRUTH_ID"], table["ID"][table["IN_TARGET"]])
    valid = planes["MISSING"] > 0
    assert (planes["TARGET"] > 0)[catalogued & valid].all()


def test_a_filament_that_grazes_the_border_is_listed() -> None:
    """Of one of the filaments, the ends of segments lie outside of this window, and only middles inside."""
    galaxy, window = Galaxy(4), (range(127, 134), range(75, 117))
    drawn = set(np.unique(galaxy.window(*window)["TRUTH_ID"])) - {0}
    assert drawn <= {filament.id for filament in galaxy.filaments(*window)}


def test_a_place_outside_the_simulated_plane() -> None:
    with pytest.raises(ValueError, match="outside the simulated plane"):
        Galaxy().tile(100, 0)


def test_preprocess_reads_the_file(galaxy_path: Path, tmp_path: Path) -> None:
    report = preprocess(PreprocessConfig(image=galaxy_path, patch_size=32), tmp_path / "galaxy.h5")
    assert report.shape == (NY, NX)
    assert report.unit == "cm-2"
    assert report.has_wcs
    assert set(report.sources) >= {"target", "background"}
    assert report.kept > 500


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "galaxy.fits"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        simulate_galaxy(path, 32, 32)
    assert path.read_text() == "precious"
    assert simulate_galaxy(str(path), 33, 20, overwrite=True) == path
    assert fits.getdata(path).shape == (20, 33)


@pytest.mark.parametrize("wrong", [{"nx": 0}, {"ny": 0}, {"seed": -1}])
def test_sizes_and_seeds_that_make_no_map(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        simulate_galaxy(tmp_path / "galaxy.fits", **wrong)
    assert not list(tmp_path.iterdir())
