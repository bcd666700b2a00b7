import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

import make_galaxy
from bigsf.errors import UsageError
from bigsf.patches.preprocess import PreprocessConfig, preprocess

Galaxy = make_galaxy.Galaxy
NX, NY, SEED = 700, 300, 1  # borders of the map lie inside tiles


@pytest.fixture(scope="module")
def galaxy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("galaxy") / "galaxy.fits"
    make_galaxy.main(["--size", str(NX), str(NY), "--seed", str(SEED), "-o", str(path)])
    return path


@pytest.fixture(scope="module")
def planes(galaxy_path: Path) -> dict[str, npt.NDArray[np.float64]]:
    with fits.open(galaxy_path) as hdus:
        return {name: np.array(hdus[name].data) for name in make_galaxy.PLANES}


@pytest.mark.parametrize("piece", [(97, 211), (500, 90)])
def test_a_window_does_not_depend_on_the_chunks_it_is_made_of(piece: tuple[int, int]) -> None:
    rows, columns = range(-60, 200), range(-150, 150)
    whole = Galaxy(5).window(rows, columns)
    galaxy = Galaxy(5)
    for y in range(rows.start, rows.stop, piece[0]):
        for x in range(columns.start, columns.stop, piece[1]):
            part = galaxy.window(range(y, min(y + piece[0], rows.stop)), range(x, min(x + piece[1], columns.stop)))
            for name, plane in part.items():
                y0, x0 = y - rows.start, x - columns.start
                expected = whole[name][y0 : y0 + plane.shape[0], x0 : x0 + plane.shape[1]]
                np.testing.assert_array_equal(plane, expected, err_msg=name)


def test_clouds_have_no_seam_at_the_border_of_tiles() -> None:
    clouds = Galaxy(2).window(range(226, 286), range(226, 286))["PRIMARY"].astype(np.float64)
    steps = np.abs(np.diff(np.log(clouds), axis=1))
    assert np.nanmedian(steps[:, 29]) < 1.5 * np.nanmedian(steps)


def test_the_border_does_not_depend_on_the_chunks() -> None:
    footprint = range(-20, 140), range(0, 400)
    whole = Galaxy(3).inside_border(*footprint, footprint)
    part = Galaxy(3).inside_border(range(50, 140), range(300, 400), footprint)
    np.testing.assert_array_equal(part, whole[70:, 300:])
    assert not whole.all()
    assert whole[12:-12, 12:-12].all()


def test_a_seed_makes_one_sky_and_another_seed_another() -> None:
    window = range(100, 160), range(-30, 30)
    image = Galaxy(1).window(*window)["PRIMARY"]
    np.testing.assert_array_equal(image, Galaxy(1).window(*window)["PRIMARY"])
    other = Galaxy(2).window(*window)["PRIMARY"]
    assert not np.isclose(image, other).any()


def test_the_file_shows_the_sky(planes: dict[str, npt.NDArray[np.float64]]) -> None:
    y0 = make_galaxy.EQUATOR_PX - NY // 2
    sky = Galaxy(SEED).window(range(y0, y0 + NY), range(-(NX // 2), NX - NX // 2))
    np.testing.assert_array_equal(planes["TRUTH_ID"], sky["TRUTH_ID"])
    inside = np.s_[20:-20, 20:-20]
    np.testing.assert_array_equal(planes["PRIMARY"][inside], sky["PRIMARY"][inside])


def test_masks(planes: dict[str, npt.NDArray[np.float64]]) -> None:
    target, background, valid, truth = (planes[name] > 0 for name in ("TARGET", "BACKGROUND", "MISSING", "TRUTH"))
    np.testing.assert_array_equal(valid, np.isfinite(planes["PRIMARY"]))
    np.testing.assert_array_equal(truth, planes["TRUTH_ID"] > 0)
    assert not (target & ~truth).any()
    assert not (background & truth).any()
    assert not ((target | background) & ~valid).any()
    assert 0.85 < valid.mean() < 0.99


def test_fractions() -> None:
    skies = [Galaxy(seed).window(range(256), range(-512, 512)) for seed in (1, 2, 3)]
    fraction = {name: np.mean([sky[name] for sky in skies]) for name in ("TARGET", "BACKGROUND", "TRUTH")}
    assert 0.08 < fraction["TRUTH"] < 0.12
    assert 0.08 < fraction["BACKGROUND"] < 0.095
    assert 0.25 < fraction["TARGET"] / fraction["TRUTH"] < 0.55


def test_background_is_the_lowest_tenth_of_a_tile_off_the_truth() -> None:
    galaxy = Galaxy(4, replace(make_galaxy.BENCHMARK, noise=0, holes_per_tile=0))
    tile = galaxy.tile(0, 0)
    relative = tile["PRIMARY"] / galaxy.latitude_profile(np.arange(256))[:, None]
    off_truth, background = ~tile["TRUTH"], tile["BACKGROUND"]
    assert background.sum() == pytest.approx(0.1 * off_truth.sum(), abs=1)
    assert relative[background].max() < relative[off_truth & ~background].min()


def test_header_and_units(galaxy_path: Path) -> None:
    with fits.open(galaxy_path) as hdus:
        assert [hdu.name for hdu in hdus] == [*make_galaxy.PLANES, "FILAMENTS"]
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


def test_column_density_follows_the_latitude_profile() -> None:
    profile = Galaxy().latitude_profile(make_galaxy.EQUATOR_PX + np.array([0, 900, -900]))
    assert profile[0] == pytest.approx(2e22)
    assert profile[1] == profile[2] < 2.1e21


def test_clouds_have_a_power_spectrum_of_index_3() -> None:
    n = 512
    window = np.hanning(n)[:, None] * np.hanning(n)
    wavenumber = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))
    beam_power = np.exp(-((2 * np.pi * wavenumber * 2 / math.sqrt(8 * math.log(2))) ** 2))
    edges = np.geomspace(4 / n, 1 / 8, 11)
    spectra = []
    for seed in range(6):
        y = np.arange(n)
        density = Galaxy(seed).clouds(y, y) / Galaxy(seed).latitude_profile(y)[:, None]
        power = np.abs(np.fft.fft2(window * (density / density.mean() - 1))) ** 2 / beam_power
        ring = np.digitize(wavenumber, edges)
        spectra.append([np.log(power[ring == number].mean()) for number in range(1, len(edges))])
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.mean(spectra, axis=0), 1)[0]
    assert slope == pytest.approx(-3, abs=0.2)


def test_noise_is_one_percent() -> None:
    y, x = np.arange(256), np.arange(256)
    galaxy = Galaxy(6, replace(make_galaxy.BENCHMARK, filaments_per_tile=0, holes_per_tile=0))
    assert np.std(galaxy.tile(0, 0)["PRIMARY"] / galaxy.clouds(y, x) - 1) == pytest.approx(0.01, rel=0.05)


def test_contrast_is_the_peak_excess_over_the_local_background() -> None:
    recipe = replace(
        make_galaxy.BENCHMARK, noise=0, holes_per_tile=0, hub_chance=0, filaments_per_tile=1.5, width_px=(4.0, 4.0)
    )
    rows, columns = range(0, 512), range(0, 768)
    galaxy = Galaxy(8, recipe)
    density = galaxy.window(rows, columns)
    excess = density["PRIMARY"] / galaxy.clouds(np.arange(512), np.arange(768)) - 1
    checked = 0
    for filament in galaxy.filaments(rows, columns):
        here = density["TRUTH_ID"] == filament.id
        points = np.concatenate([filament.pieces.start, filament.pieces.end])
        others = [f for f in galaxy.filaments(rows, columns) if f.id != filament.id]
        distances = [np.hypot(*(points[:, None] - other.pieces.start).T).min() for other in others]
        if points.min() < 12 or (points.max(axis=0) > [500, 756]).any() or min(distances) < 22:
            continue  # at the border, or with another filament in its wings
        # The brightest point of a spine falls between pixels.
        assert 0.85 * filament.contrast < excess[here].max() < 1.001 * filament.contrast
        area_px = np.pi * 4 + 4 * filament.length_px  # of the main spine; branches and bends change it
        assert 0.7 * area_px < here.sum() < 4 * area_px
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("width_px", [2.0, 6.0])
def test_profile_has_the_width_it_says(width_px: float) -> None:
    profile = make_galaxy.plummer(np.array([0, width_px / 2, 2.5 * width_px, 9 * width_px]) ** 2, width_px)
    assert profile == pytest.approx([1, 0.5, 0, 0], abs=0.01)


def test_filaments_have_the_contrasts_of_the_benchmark() -> None:
    filaments = list(Galaxy(9).filaments(range(256, 1280), range(256, 1280)))
    contrast = np.array([filament.contrast for filament in filaments])
    bright = [filament for filament in filaments if filament.contrast > 0.4]
    assert contrast.min() > 0.05
    assert contrast.max() < 3
    quartiles = np.quantile(np.log(contrast), [0.25, 0.5, 0.75])
    assert quartiles == pytest.approx(np.log(0.05) + np.log(60) * np.array([0.25, 0.5, 0.75]), abs=0.4)
    assert not any(filament.in_target for filament in filaments if filament.contrast <= 0.4)
    assert np.mean([filament.in_target for filament in bright]) == pytest.approx(0.8, abs=0.1)
    assert all(2 <= f.width_px <= 6 and 20 <= f.length_px <= 200 for f in filaments)


def test_table_lists_every_filament_of_the_map(galaxy_path: Path, planes: dict[str, npt.NDArray[np.float64]]) -> None:
    table = fits.getdata(galaxy_path, "FILAMENTS")
    assert len(set(table["ID"])) == len(table) > 30
    shown = set(np.unique(planes["TRUTH_ID"])) - {0}
    assert shown <= set(table["ID"])
    assert len(shown) > 0.9 * len(table)  # the others lie under brighter ones
    catalogued = np.isin(planes["TRUTH_ID"], table["ID"][table["IN_TARGET"]])
    valid = planes["MISSING"] > 0
    assert (planes["TARGET"] > 0)[catalogued & valid].all()


def test_a_place_outside_the_sky() -> None:
    with pytest.raises(ValueError, match="outside the sky"):
        Galaxy().tile(100, 0)


def test_preprocess_reads_the_file(galaxy_path: Path, tmp_path: Path) -> None:
    report = preprocess(PreprocessConfig(image=galaxy_path, patch_size=32), tmp_path / "galaxy.h5")
    assert report.shape == (NY, NX)
    assert report.unit == "cm-2"
    assert report.has_wcs
    assert set(report.sources) >= {"target", "background"}
    assert report.kept > 500


def test_an_existing_file_stays(galaxy_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "galaxy.fits"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        make_galaxy.write_galaxy(path, 32, 32)
    with pytest.raises(SystemExit, match="2"):
        make_galaxy.main(["--size", "32", "32", "-o", str(path)])
    assert "--overwrite" in capsys.readouterr().err
    assert path.read_text() == "precious"
    make_galaxy.main(["--size", "33", "20", "-o", str(path), "--overwrite"])
    assert fits.getdata(path).shape == (20, 33)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        make_galaxy.main(["--help"])
    assert "example: make_galaxy.py" in capsys.readouterr().out
