from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.errors import BigsfWarning, DataError
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from conftest import Sky, galactic_header, preprocess_config
from label_maps import IMAGE, NX, NY, LabelMaps, mask


@pytest.fixture
def maps(tmp_path: Path) -> LabelMaps:
    return LabelMaps(tmp_path)


def test_planes_are_combined_by_hand(maps: LabelMaps) -> None:
    image = IMAGE.copy()
    image[0, 0] = np.nan
    valid = np.ones((NY, NX), np.uint8)
    valid[0, :2] = 0
    target, background = mask((0, 1), (2, 2), (3, 3)), mask((0, 0), (3, 3), (5, 8))
    with pytest.warns(BigsfWarning, match=r"1 pixels are both target and background; they are taken as target"):
        report, file = maps.run(image, valid=valid, target=target, background=background)
    assert np.argwhere(np.isnan(file.image[0])).tolist() == [[0, 0], [0, 1]]
    assert np.argwhere(file.labels()[0]).tolist() == [[2, 2], [3, 3]]
    assert np.argwhere(file.labels()[1]).tolist() == [[2, 2], [3, 3], [5, 8]]
    assert report.counts == {
        "pixels": 54,
        "finite": 53,
        "valid": 52,
        "labelled": 3,
        "target": 2,
        "background": 1,
        "declared missing": 1,
        "declared valid but not finite": 0,
        "target and background": 1,
    }
    assert (report.minimum, report.maximum) == (3, 54)
    assert (report.shape, report.channels, report.has_wcs) == ((NY, NX), 1, False)
    assert report.identity == file.identity


def test_ground_truth_is_kept_for_scores_and_does_not_change_the_identity(maps: LabelMaps) -> None:
    target, valid = mask((1, 1)), np.ones((NY, NX), np.uint8)
    valid[5] = 0
    without, _ = maps.run(IMAGE, target=target, valid=valid)
    report, file = maps.run(IMAGE, target=target, valid=valid, truth=mask((1, 1), (4, 4), (5, 5)))
    assert file.truth is not None
    assert np.argwhere(file.truth).tolist() == [[1, 1], [4, 4]]
    assert report.identity == without.identity


def test_without_background_every_valid_pixel_is_labelled(maps: LabelMaps) -> None:
    image = IMAGE.copy()
    image[2, 2] = np.nan
    _, file = maps.run(image, target=mask((3, 3)))
    np.testing.assert_array_equal(file.labels()[1], np.isfinite(image))
    assert file.labels()[0].sum() == 1


def test_channels_are_planes_of_the_image_and_missing_in_one_is_missing_in_all(maps: LabelMaps) -> None:
    temperature = 10 * IMAGE
    temperature[4, 4] = np.inf
    _, file = maps.run(channels=[maps.write("temperature", temperature)])
    assert file.channels == 2
    np.testing.assert_array_equal(np.argwhere(np.isnan(file.image)), [[0, 4, 4], [1, 4, 4]])
    assert file.image[:, 5, 8].tolist() == [54, 540]


def test_blank_value_is_missing(maps: LabelMaps) -> None:
    _, file = maps.run(blank=54)
    assert np.argwhere(np.isnan(file.image[0])).tolist() == [[5, 8]]


def test_missing_and_valid_have_one_sense(maps: LabelMaps) -> None:
    valid = 1 - mask((0, 0))
    assert maps.run(missing=valid)[0].identity == maps.run(valid=valid)[0].identity


def test_mask_with_other_values_is_refused_or_binarised(maps: LabelMaps) -> None:
    target = np.where(mask((1, 1), (2, 2)), 0.7, 0.2)
    target[0, 0] = 1
    with pytest.raises(DataError, match=r"target.fits is the target mask but .*: 0.2, 0.7. Pass a 'target_threshold'"):
        maps.run(target=target)
    _, file = maps.run(target=target, target_threshold=0.5)
    assert np.argwhere(file.labels()[0]).tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(DataError, match=r"valid.fits is the valid mask but .* other than 0 and 1: 2\. Expected 1"):
        maps.run(valid=1 + mask((1, 1)))


def test_nan_in_a_mask_is_zero(maps: LabelMaps) -> None:
    target = np.where(mask((1, 1)), np.nan, 0)
    target[3, 3] = 1
    assert np.argwhere(maps.run(target=target)[1].labels()[0]).tolist() == [[3, 3]]


def test_background_without_target_is_refused(maps: LabelMaps) -> None:
    with pytest.raises(DataError, match=r"There is a background and no plane of the structures that it surrounds"):
        maps.run(background=mask((1, 1)))


def test_planes_of_another_shape_are_refused(maps: LabelMaps) -> None:
    with pytest.raises(
        DataError, match=r"target.fits has 6 x 9 pixels .x, y. but image.fits has 9 x 6. All planes must sha"
    ):
        maps.run(target=mask().T)


def test_planes_of_another_wcs_are_refused(sky: Sky, tmp_path: Path) -> None:
    shifted = galactic_header(160, 96, longitude=0.31)
    fits.PrimaryHDU(sky.target, shifted).writeto(tmp_path / "target.fits")
    with pytest.raises(
        DataError, match=r"target.fits has another WCS than image.fits: pixel \(x=0, y=0\) lies at 0.31"
    ):
        preprocess(preprocess_config(sky, target=tmp_path / "target.fits"), tmp_path / "out.h5")
    fits.PrimaryHDU(sky.target).writeto(tmp_path / "bare.fits")
    assert preprocess(preprocess_config(sky, target=tmp_path / "bare.fits"), tmp_path / "out.h5").has_wcs


def test_all_sky_maps_of_one_wcs_fit_together(maps: LabelMaps) -> None:
    header = galactic_header(NX, NY, step_deg=45.0, longitude=180.0)
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT")
    other = header.copy()
    other["CRVAL1"] = 90.0
    image = maps.write("image", IMAGE, header)
    target = maps.write("target", mask((3, 3)), header)
    assert preprocess(PreprocessConfig(image=image, target=target, patch_size=3), maps.folder / "out.h5").kept > 0
    maps.write("target", mask((3, 3)), other)
    with pytest.raises(DataError, match=r"target.fits has another WCS"):
        preprocess(PreprocessConfig(image=image, target=target, patch_size=3), maps.folder / "other.h5")


def test_multi_extension_file_brings_its_own_planes(sky: Sky, patch_path: Path, tmp_path: Path) -> None:
    planes = [("SPINES", sky.target), ("BACKGROUND", sky.background), ("MISSING", sky.valid)]
    hdus = [fits.ImageHDU(plane, sky.header, name=name) for name, plane in planes]
    image = fits.ImageHDU(sky.image, sky.header, name="NH2")
    fits.HDUList([fits.PrimaryHDU(), image, *hdus]).writeto(tmp_path / "all.fits")
    config = PreprocessConfig(image=tmp_path / "all.fits", patch_size=16, stride=4)
    assert preprocess(config, tmp_path / "all.h5").identity == PatchFile(patch_path).identity
    own = config.model_copy(update={"target": sky.path("background")})
    with pytest.warns(BigsfWarning, match=r"pixels are both target and background"):
        preprocess(own, tmp_path / "own.h5")
    np.testing.assert_array_equal(PatchFile(tmp_path / "own.h5").labels()[0], sky.background * sky.valid)


def test_identifiers_are_counted_alike_in_bands_of_any_height(maps: LabelMaps) -> None:
    target = np.zeros((NY, NX), np.int16)
    target[0, 0], target[2, 1], target[4, 2] = 1, 2, 3
    path, config = maps.write("ids", target), maps.write("map", IMAGE)
    settings = PreprocessConfig(image=config, target=path, patch_size=3)
    counted = [
        preprocess(settings, config.with_suffix(f".{pixels}.h5"), chunk_pixels=pixels).contents["target"]
        for pixels in (NX, 10**6)
    ]
    assert counted == ["3 identifiers"] * 2
