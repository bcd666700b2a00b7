from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits

from bigsf.errors import BigsfWarning, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.masks import read_mask
from bigsf.maps.planes import FitsMap, check_same_grid
from bigsf.maps.tiling import Tile
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from conftest import galactic_header

NY, NX = 6, 9
IMAGE = np.arange(1.0, NY * NX + 1).reshape(NY, NX)


class Planes:
    """Writes planes into a folder and opens a map of them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack

    def write(self, name: str, data: npt.ArrayLike) -> Path:
        path = self.folder / f"{name}.fits"
        fits.PrimaryHDU(np.asarray(data)).writeto(path, overwrite=True)
        return path

    def map(self, *channels: npt.ArrayLike, valid: npt.ArrayLike | None = None) -> FitsMap:
        images = [self.stack.enter_context(FitsImage(self.write(f"c{i}", data))) for i, data in enumerate(channels)]
        mask = None if valid is None else self.stack.enter_context(FitsImage(self.write("valid", valid)))
        return FitsMap(images, mask)


@pytest.fixture
def planes(tmp_path: Path) -> Iterator[Planes]:
    with ExitStack() as stack:
        yield Planes(tmp_path, stack)


def holes() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Return two channels and a mask of valid pixels, each with a hole of its own."""
    image, temperature, valid = IMAGE.copy(), 10 * IMAGE, np.ones((NY, NX), np.uint8)
    image[0, 0], temperature[4, 4], valid[2, 3] = np.nan, np.inf, 0
    valid[0, 0] = 0
    return image, temperature, valid


def test_a_pixel_that_is_missing_in_one_channel_or_in_the_mask_is_missing_in_all(planes: Planes) -> None:
    image, temperature, valid = holes()
    rows = planes.map(image, temperature, valid=valid).read(0, NY)
    missing = [[0, 0], [2, 3], [4, 4]]
    for channel in rows.image:
        np.testing.assert_array_equal(np.argwhere(np.isnan(channel)), missing)
    np.testing.assert_array_equal(np.argwhere(~rows.finite), [[0, 0], [4, 4]])
    assert rows.declared is not None
    np.testing.assert_array_equal(np.argwhere(~rows.declared), [[0, 0], [2, 3]])
    np.testing.assert_array_equal(np.argwhere(~rows.valid), missing)
    assert rows.image[:, 5, 8].tolist() == [54, 540]


def test_without_a_mask_the_finite_pixels_are_valid(planes: Planes) -> None:
    image, temperature, _ = holes()
    rows = planes.map(image, temperature).read(0, NY)
    assert rows.declared is None
    np.testing.assert_array_equal(rows.valid, rows.finite)


def test_parts_are_those_of_the_map_in_whatever_order_they_are_read(planes: Planes) -> None:
    image, temperature, valid = holes()
    source = planes.map(image, temperature, valid=valid)
    whole = source.read(0, NY).image
    parts = [Tile(0, 3, 2, 5), Tile(2, 5, 2, 5), Tile(4, 5, 2, 5), Tile(1, 3, 2, 5), Tile(1, 4, 0, 3), Tile(5, 6, 0, 3)]
    for part in [*parts, Tile(0, 2, 0, NX), Tile(0, 1, 0, NX), Tile(4, 6, 0, NX)]:
        np.testing.assert_array_equal(source.read_tile(part), whole[:, part.rows, part.columns])
    np.testing.assert_array_equal(source.read_rows(1, 4), whole[:, 1:4])


def test_of_overlapping_bands_each_row_is_read_once(planes: Planes, monkeypatch: pytest.MonkeyPatch) -> None:
    source = planes.map(IMAGE)
    monkeypatch.setattr(source, "read", read := Mock(wraps=source.read))
    for y0, y1 in ((0, 3), (1, 4), (3, 6)):
        source.read_tile(Tile(y0, y1, 1, 4))
    assert [call.args[:2] for call in read.call_args_list] == [(0, 3), (3, 4), (4, 6)]


def test_the_map_and_its_patch_file_hold_the_same_rows(planes: Planes, tmp_path: Path) -> None:
    image, temperature, valid = holes()
    source = planes.map(image, temperature, valid=valid)
    first, second, mask = (tmp_path / f"{name}.fits" for name in ("c0", "c1", "valid"))
    config = PreprocessConfig(image=first, channels=[second], valid=mask, patch_size=3)
    with pytest.warns(BigsfWarning, match="1 pixels are marked valid but hold no finite value"):
        file = PatchFile(preprocess(config, tmp_path / "map.h5").output)
    np.testing.assert_array_equal(source.read_rows(0, NY), file.read_rows(0, NY))


def test_part_of_the_rows_and_columns_is_a_slice(planes: Planes) -> None:
    image, temperature, valid = holes()
    source = planes.map(image, temperature, valid=valid)
    whole, part = source.read(0, NY), source.read(1, 5, slice(2, 6))
    np.testing.assert_array_equal(part.image, whole.image[:, 1:5, 2:6])
    np.testing.assert_array_equal(part.valid, whole.valid[1:5, 2:6])


@pytest.mark.parametrize("bands", [[(0, 2), (1, 4), (3, 6)], [(0, 6), (2, 3)], [(3, 5), (0, 2), (0, 6)]])
def test_overlapping_rows_are_read_in_any_order(planes: Planes, bands: list[tuple[int, int]]) -> None:
    image, temperature, valid = holes()
    source = planes.map(image, temperature, valid=valid)
    whole = source.read(0, NY).image
    for y0, y1 in bands:
        np.testing.assert_array_equal(source.read_rows(y0, y1), whole[:, y0:y1])


def test_channels_of_another_shape_are_refused(planes: Planes) -> None:
    with pytest.raises(DataError, match=r"c1.fits has 6 x 9 pixels .x, y. but c0.fits has 9 x 6"):
        planes.map(IMAGE, IMAGE.T)


def test_a_mask_is_one_or_above_a_threshold(planes: Planes) -> None:
    with FitsImage(planes.write("mask", np.array([[0, 1, np.nan], [1, 0, 0]]))) as plane:
        assert read_mask(plane, "target", 0, 2).tolist() == [[False, True, False], [True, False, False]]
        assert read_mask(plane, "target", 1, 2, columns=slice(0, 2)).tolist() == [[True, False]]
    with FitsImage(planes.write("mask", np.array([[0.2, 0.7, np.nan]]))) as plane:
        assert read_mask(plane, "target", 0, 1, threshold=0.5).tolist() == [[False, True, False]]
        with pytest.raises(DataError, match=r"mask.fits is the target mask but .*: 0.2, 0.7. Pass a 'target_th"):
            read_mask(plane, "target", 0, 1)


@pytest.mark.parametrize(("turned", "same"), [(180, True), (179, False)])
def test_one_grid_may_have_its_reference_anywhere_along_the_equator(turned: int, same: bool, tmp_path: Path) -> None:
    with ExitStack() as stack:
        planes = []
        for longitude, column in ((0.0, 5.0), (float(turned), 5.0 - 180 / 40)):  # 40 degrees per pixel
            header = galactic_header(NX, NY, 40.0)
            header.update(CRVAL1=longitude, CRPIX1=column, CDELT2=1.0)
            path = tmp_path / f"{longitude}.fits"
            fits.PrimaryHDU(IMAGE, header).writeto(path)
            planes.append(stack.enter_context(FitsImage(path)))
        if same:
            check_same_grid(*planes)
        else:
            with pytest.raises(DataError, match=r"179.0.fits has another WCS than 0.0.fits: pixel \(x=0, y=0\)"):
                check_same_grid(*planes)
