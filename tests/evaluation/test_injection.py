from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import distance_transform_edt

from bigsf.errors import BigsfWarning
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.injection import (
    InjectedFilament,
    Profile,
    gaussian_profile,
    inject,
    plummer_profile,
    random_path,
)
from bigsf.evaluation.predictions import most_tiles_to_inject
from bigsf.maps.tiling import Tile
from bigsf.patches.patch_file import PatchFile
from conftest import ArrayMap, write_patch_file


def straight(y: float, contrast: float = 0.5, width_px: float = 4.0) -> InjectedFilament:
    x = np.arange(20, 80.1, 0.5)
    return InjectedFilament(np.stack([np.full_like(x, y), x], axis=1), contrast, width_px, 60.0)


def flat(shape: tuple[int, int] = (100, 100), level: float = 2e22) -> npt.NDArray[np.float32]:
    return np.full(shape, level, np.float32)


def test_peak_width_and_pixels_are_those_asked_for() -> None:
    image, ids = inject(flat(), [straight(30), straight(70, contrast=-0.2, width_px=6)])
    excess = image[:, 50] / 2e22 - 1
    assert excess[30] == pytest.approx(0.5, rel=1e-6)
    assert excess[28] == excess[32] == pytest.approx(0.25, rel=1e-5)
    assert excess[70] == pytest.approx(-0.2, rel=1e-5)
    assert not excess[40:60].any()
    assert np.flatnonzero(ids[:, 50]).tolist() == [28, 29, 30, 31, 32, 67, 68, 69, 70, 71, 72, 73]
    assert set(np.unique(ids)) == {0, 1, 2}


def test_a_plummer_profile_has_the_wings_of_a_filament_and_ends_at_three_widths() -> None:
    """With W = 2 sqrt(3) R, the column density of index p = 2 is 1 / sqrt(1 + 12 (r / W)^2): 1 / 7 at 2 widths."""
    end = 1 / np.sqrt(1 + 12 * 9)
    width_px, r = 4.0, np.array([0, 2, 8, 12, 13, np.inf])
    expected = (np.array([1, 1 / 2, 1 / 7, end, end, end]) - end) / (1 - end)
    np.testing.assert_allclose(plummer_profile(r, width_px), expected, atol=1e-12)
    np.testing.assert_allclose(gaussian_profile(r[:3], width_px), [1, 1 / 2, 2.0**-16], rtol=1e-9)
    image, ids = inject(flat(), [straight(50)._replace(profile="plummer")])
    excess = image[50:, 50] / 2e22 - 1
    np.testing.assert_allclose(excess[[0, 2, 8, 12, 13]], 0.5 * expected[:5], atol=1e-6)
    assert np.flatnonzero(ids[:, 50]).tolist() == [48, 49, 50, 51, 52]


def test_contrast_is_in_units_of_the_local_background() -> None:
    sky = flat()
    sky[:, 50:] *= 3
    excess = inject(sky, [straight(50)])[0] - sky
    assert excess[50, 75] == pytest.approx(3 * excess[50, 25], rel=0.1)


def test_missing_pixels_stay_missing_and_do_not_count_as_background() -> None:
    sky = flat()
    sky[:, 60:] = np.nan
    image, _ = inject(sky, [straight(50)])
    assert np.isnan(image[:, 60:]).all()
    assert image[50, 59] == pytest.approx(3e22, rel=1e-5)
    assert np.isnan(inject(np.full((40, 40), np.nan, np.float32), [straight(20)])[0]).all()


def test_filaments_may_leave_the_map() -> None:
    whole, part = inject(flat(), [straight(30)]), inject(flat((100, 50)), [straight(30)])
    np.testing.assert_array_equal(whole[1][:, :50], part[1])
    assert not inject(flat((20, 20)), [straight(60)])[1].any()


def test_paths_are_as_long_as_asked_for_and_centred() -> None:
    path = random_path(np.random.default_rng(0), (30, 40), 25.0)
    assert np.hypot(*np.diff(path, axis=0).T).sum() == pytest.approx(25)
    assert path[len(path) // 2].tolist() == [30, 40]


def rows(y0: int, y1: int, nx: int = 400) -> Tile:
    return Tile(y0, y1, 0, nx)


@pytest.fixture(scope="module", params=["gaussian", "plummer"])
def injected(request: pytest.FixtureRequest) -> InjectedPlanes:
    profile: Profile = request.param
    sky = np.random.default_rng(1).lognormal(50, 0.1, (1, 300, 400)).astype(np.float32)
    sky[:, 100:130, 200:260] = np.nan
    known = np.zeros((300, 400), np.uint8)
    known[180:200, 50:350] = 1
    return InjectedPlanes(ArrayMap(sky), known, seed=3, profile=profile)


def test_filaments_keep_clear_of_missing_known_and_each_other(injected: InjectedPlanes) -> None:
    ids = injected.ids(rows(0, 300))
    assert injected.known is not None
    bad = np.isnan(injected.planes.read_rows(0, 300)[0]) | (injected.known > 0)
    clear = distance_transform_edt(~bad)
    assert len(injected.filaments) > 30
    assert set(np.unique(ids)) == set(range(len(injected.filaments) + 1))
    for number, filament in enumerate(injected.filaments, 1):
        assert clear[ids == number].min() > filament.width_px / 2
        away = distance_transform_edt(ids != number)[(ids > 0) & (ids != number)]
        assert away.min() > filament.width_px / 2
        assert 0.05 <= filament.contrast <= 3
        assert 2 <= filament.width_px <= 6
        assert 15 <= filament.length_px <= 60
        assert filament.profile == injected.profile


def test_bands_are_parts_of_the_whole(injected: InjectedPlanes) -> None:
    image, ids = injected.read_rows(0, 300), injected.ids(rows(0, 300))
    for y0, y1 in ((0, 1), (127, 129), (5, 290), (299, 300)):
        np.testing.assert_array_equal(injected.read_rows(y0, y1), image[:, y0:y1])
        np.testing.assert_array_equal(injected.ids(rows(y0, y1)), ids[y0:y1])
    for tile in (Tile(0, 300, 100, 140), Tile(100, 200, 127, 257), Tile(250, 251, 399, 400)):
        np.testing.assert_array_equal(injected.read_tile(tile), image[:, tile.rows, tile.columns])
        np.testing.assert_array_equal(injected.ids(tile), ids[tile.rows, tile.columns])
    away = distance_transform_edt(ids == 0) > 3 * 6
    np.testing.assert_array_equal(image[0, away], injected.planes.read_rows(0, 300)[0, away])


@pytest.mark.parametrize("profile", ["gaussian", "plummer"])  # the wings of the latter reach across the border
def test_the_map_does_not_depend_on_the_rows_of_tiles(profile: Profile) -> None:
    """The level of the map changes next to the border between two rows of tiles, at row 128."""
    sky = np.full((1, 300, 300), 100, np.float32)
    sky[:, 120:200, :] = 300
    sky[:, 128:140, 200:220] = np.nan
    injected = InjectedPlanes(ArrayMap(sky), seed=2, profile=profile)
    expected, ids = inject(sky[0], injected.filaments)
    assert ids[100:128].any()
    assert ids[128:156].any()
    np.testing.assert_allclose(injected.read_rows(0, 300)[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(injected.ids(rows(0, 300, 300)), ids)


def test_the_same_seed_gives_the_same_filaments(injected: InjectedPlanes) -> None:
    again, other = (InjectedPlanes(injected.planes, injected.known, seed, profile=injected.profile) for seed in (3, 4))
    np.testing.assert_array_equal(again.read_rows(0, 300), injected.read_rows(0, 300))
    assert not np.array_equal(other.ids(rows(0, 300)), injected.ids(rows(0, 300)))


def test_work_is_bounded_on_large_maps(injected: InjectedPlanes) -> None:
    whole = injected.ids(rows(0, 300))
    for row, (y0, y1) in enumerate(pairwise(injected.y_edges)):
        for tile in injected.tiles(row):
            whole[tile.rows, tile.columns] = 0
            assert (tile.y0, tile.y1) == (y0, y1)
    assert not whole.any(), "the tiles hold all filaments"
    few = InjectedPlanes(injected.planes, injected.known, seed=3, most_tiles=2)
    assert 0 < len(few.filaments) <= 12
    assert not few.ids(rows(129, 255)).any()


def test_a_map_without_room_gets_none(patch_file: PatchFile) -> None:
    full = InjectedPlanes(patch_file, np.ones(patch_file.shape, np.uint8))
    assert full.filaments == []
    np.testing.assert_array_equal(full.read_rows(0, 96), patch_file.read_rows(0, 96))


def test_filaments_whose_wings_would_be_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="reach beyond the tiles beside their own"):
        InjectedPlanes(ArrayMap(np.ones((1, 200, 200), np.float32)), width_px=(2, 50), profile="plummer")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"profile": "lorentz"}, r"There is no profile 'lorentz'; expected gaussian or plummer"),
        ({"contrast": (0, 3)}, r"contrast is \(0, 3\); expected a range above 0"),
        ({"width_px": (6, 2)}, r"width_px is \(6, 2\); expected a range above 0"),
        ({"known": np.zeros((20, 30))}, r"known has the shape \(20, 30\); the map has \(200, 200\)"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_cannot_be_injected_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InjectedPlanes(ArrayMap(np.ones((1, 200, 200), np.float32)), **wrong)


def test_nothing_is_injected_where_a_contrast_makes_no_sense(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(21.5, 0.2, (1, 64, 96)).astype(np.float32)
    with pytest.warns(BigsfWarning, match="No filaments are injected to measure the completeness, as the values"):
        assert most_tiles_to_inject(write_patch_file(tmp_path / "log.h5", image, 16, 8)) == 0
    assert most_tiles_to_inject(write_patch_file(tmp_path / "linear.h5", 10 ** (image - 21), 16, 8)) > 0
