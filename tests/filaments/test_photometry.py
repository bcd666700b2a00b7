import numpy as np
import pytest
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from scipy.ndimage import find_objects, label

from bigsf.filaments.catalogue import COLUMNS, Filaments, MeasuredMap
from bigsf.filaments.photometry import measure_photometry
from conftest import galactic_header
from drawn_lines import bar


def test_photometry_is_of_the_filament_and_of_the_annulus_around_it() -> None:
    mask, image = bar()
    image[12, 30] = 9
    image[5, 25] = np.nan  # 5 pixels away
    image[:, 48:] = 100  # 9 pixels away
    image[8, 25] = 50  # 2 pixels away: still the wings of the filament
    table = Filaments(mask).catalog(image, np.full(image.shape, 0.75, np.float32), unit="cm-2")
    row = table[0]
    assert row["mean"] == pytest.approx(3.06)
    assert row["peak"] == 9
    assert row["background"] == 2
    assert row["contrast"] == pytest.approx(0.53)
    assert row["probability"] == 0.75
    assert row["area_px"] == 100
    assert (row["x"], row["y"]) == pytest.approx((29.5, 12), abs=1)
    assert str(table["mean"].unit) == "1 / cm2"


def test_another_filament_is_no_background() -> None:
    mask, image = bar()
    mask[18:26, 15:45] = 1
    image[18:26, 15:45] = 70
    assert Filaments(mask).catalog(image)["background"][0] == 2


def test_chunks_do_not_change_the_catalogue() -> None:
    generator = np.random.default_rng(5)
    image = generator.normal(10, 1, (60, 50)).astype(np.float32)
    mask = generator.uniform(size=image.shape) < 0.1
    mask[5:50, 20:23] = True
    whole = Filaments(mask).catalog(image, image)
    in_chunks = Filaments(mask).catalog(lambda y0, y1: image[y0:y1], image, chunk_pixels=3 * 50)
    for name in COLUMNS:
        np.testing.assert_array_equal(in_chunks[name], whole[name])


def test_a_plane_that_is_absent_gives_nan() -> None:
    mask, image = bar()
    labels, number = label(mask)
    levels = measure_photometry(labels, find_objects(labels, number), image, None)
    assert levels["mean"] == 3
    assert levels["background"] == 2
    assert levels["contrast"] == 0.5
    assert np.isnan(levels["probability"]).all()


@pytest.mark.parametrize(
    ("distance", "touches"),
    [(1, True), (2, True), (3, False)],
    ids=["beside it", "two pixels away", "three pixels away"],
)
def test_a_filament_beside_missing_data_or_the_border_is_told(distance: int, touches: bool) -> None:
    mask, image = bar()
    y, x = np.argwhere(mask).max(axis=0)
    gap = image.copy()
    gap[y + distance, x] = np.nan
    assert Filaments(mask).catalog(image)["edge"].tolist() == [False]
    assert Filaments(mask).catalog(gap)["edge"].tolist() == [touches]
    assert Filaments(mask).catalog(gap, chunk_pixels=1)["edge"].tolist() == [touches]
    cut = np.s_[: y + distance, :]  # the border is where the missing pixel was
    assert Filaments(mask[cut]).catalog(image[cut])["edge"].tolist() == [touches]
    assert Filaments(mask[cut]).catalog()["edge"].tolist() == [touches]


@pytest.mark.parametrize("kind", ["infinite", "masked", "masked by astropy"])
def test_what_is_infinite_or_masked_is_missing(kind: str) -> None:
    mask, image = bar()
    missing = np.zeros(mask.shape, np.bool_)
    missing[12, 30] = True
    images = {
        "infinite": np.where(missing, np.inf, image),
        "masked": np.ma.masked_array(image, missing),
        "masked by astropy": Masked(image, missing),
    }
    expected = Filaments(mask).catalog(np.where(missing, np.nan, image))[0]
    assert expected["edge"]
    row = Filaments(mask).catalog(images[kind])[0]
    assert [row[name] for name in ("edge", "mean", "peak", "excess_px")] == [
        expected[name] for name in ("edge", "mean", "peak", "excess_px")
    ]


def test_excess_and_median_are_of_the_valid_pixels() -> None:
    mask, image = bar()
    image[10, 20:25] = 103  # five pixels of 100
    image[14, 20] = np.nan
    table = Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit="K")
    row = table[0]
    assert row["median"] == 3
    assert row["background"] == 2
    assert row["excess_px"] == pytest.approx(94 * 1 + 5 * 101)
    assert row["excess_arcmin2"] == pytest.approx(0.36 * row["excess_px"], rel=1e-3)
    assert (str(table["excess_px"].unit), str(table["excess_arcmin2"].unit)) == ("pix2 K", "arcmin2 K")


@pytest.mark.parametrize("chunk_pixels", [60, 1000, 10**6])
def test_further_maps_are_measured_over_each_filament(chunk_pixels: int) -> None:
    mask, _ = bar()
    mask[30, :4] = mask[35, :4] = 1
    further = np.zeros(mask.shape, np.float32)
    further[10:15] = np.arange(60)  # columns 20 to 39 on the bar
    further[30, :4] = [1, 2, 6, np.nan]
    further[35] = np.nan
    table = Filaments(mask).catalog(measured={"T": MeasuredMap(further, "K")}, chunk_pixels=chunk_pixels)
    assert table.colnames[-3:] == ["T_mean", "T_median", "T_std"]
    np.testing.assert_allclose(table["T_mean"], [29.5, 3, np.nan])
    np.testing.assert_allclose(table["T_median"], [29.5, 2, np.nan])
    np.testing.assert_allclose(table["T_std"], [np.sqrt(399 / 12), np.sqrt(14 / 3), np.nan])
    assert str(table["T_std"].unit) == "K"
    assert table["T_std"].description == "standard deviation of T over the filament"
