import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.segment import segment
from bigsf.training.trainer import Trainer
from conftest import Segmented, Settings, Sky, galactic_header, write_patch_file


def test_patch_file_is_a_map(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    header.remove("BUNIT")
    file = write_patch_file(tmp_path / "other.h5", image[None].astype(np.float32), 16, 4, header=header)
    _, out = segmented(file.path)
    np.testing.assert_allclose(out["PRIMARY"], segmented(other_map, name="fits.fits")[1]["PRIMARY"], atol=1e-6)


def test_map_without_a_wcs_gives_the_same_probabilities(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    fits.PrimaryHDU(fits.getdata(other_map)).writeto(tmp_path / "bare.fits")
    report, out = segmented(tmp_path / "bare.fits", name="bare_out.fits")
    np.testing.assert_array_equal(out["PRIMARY"], segmented(other_map)[1]["PRIMARY"])
    assert not WCS(fits.getheader(report.output)).has_celestial


def test_pixels_masked_as_missing_are_nan_and_influence_nothing(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    image, header = fits.getdata(other_map, header=True)
    valid = np.ones(image.shape, np.uint8)
    valid[60:, 100:] = 0
    fits.PrimaryHDU(valid, header).writeto(tmp_path / "valid.fits")
    fits.PrimaryHDU(np.where(valid == 1, image, np.nan), header).writeto(tmp_path / "cut.fits")
    masked = segmented(other_map, valid=tmp_path / "valid.fits")[1]["PRIMARY"]
    np.testing.assert_array_equal(masked, segmented(tmp_path / "cut.fits", name="cut_out.fits")[1]["PRIMARY"])


def test_blank_value_is_missing(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    fits.PrimaryHDU(np.nan_to_num(image, nan=-999), header).writeto(tmp_path / "blank.fits")
    blank = segmented(tmp_path / "blank.fits", name="blank_out.fits", blank=-999)[1]["PRIMARY"]
    np.testing.assert_array_equal(blank, segmented(other_map)[1]["PRIMARY"])


def test_map_of_the_training_warns_and_points_to_the_out_of_fold_map(
    segmented: Segmented, sky: Sky, patch_path: Path
) -> None:
    for number, (image, part) in enumerate([(sky.path("image"), r"9\d%"), (patch_path, "100%")]):
        trained_on = rf"{part} of the pixels of {image.name} are pixels of a map that the model was trained on"
        with pytest.warns(BigsfWarning, match=f"{trained_on}.*out_of_fold") as warned:
            segmented(image, name=f"{number}.fits")
        assert len(warned) == 1


def test_a_cut_of_the_training_map_and_its_sky_in_another_unit_warn(
    segmented: Segmented, sky: Sky, trained_kfold: Path, tmp_path: Path
) -> None:
    fits.PrimaryHDU(sky.image[31:80, 57:140]).writeto(tmp_path / "cut.fits")
    with pytest.warns(BigsfWarning, match=r"100% of the pixels of cut\.fits are pixels of a map") as warned:
        segmented(tmp_path / "cut.fits", trained_kfold)
    assert len(warned) == 1, "four models saw the map, which is said once"
    fits.PrimaryHDU(1.1 * sky.image, sky.header).writeto(tmp_path / "unit.fits")
    with pytest.warns(BigsfWarning, match=r"unit\.fits shows sky of a map .*\(100% of the smaller map\)"):
        segmented(tmp_path / "unit.fits", name="unit_out.fits")


def test_a_snapshot_of_a_former_version_knows_its_map_by_the_file(
    segmented: Segmented, sky: Sky, trained: Path, tmp_path: Path
) -> None:
    data = torch.load(trained / "best.pt", weights_only=True)
    data |= {"FORMAT_VERSION": 2, "IMAGE_SHA256": data.pop("TRAINING_MAPS")[0]["image_sha256"]}
    torch.save(data, tmp_path / "former.pt")
    with pytest.warns(BigsfWarning, match=r"image\.fits is a map that the model was trained on"):
        segmented(sky.path("image"), tmp_path / "former.pt")
    fits.PrimaryHDU(sky.image).writeto(tmp_path / "cut.fits")
    segmented(tmp_path / "cut.fits", tmp_path / "former.pt", name="cut_out.fits")


def test_map_of_the_training_is_recognised_in_other_patches_too(segmented: Segmented, sky: Sky, tmp_path: Path) -> None:
    preprocess(PreprocessConfig(image=sky.path("image"), patch_size=16, stride=16, keep="valid"), tmp_path / "again.h5")
    with pytest.warns(BigsfWarning, match=r"98% of the pixels of again\.h5 are pixels of a map"):
        segmented(tmp_path / "again.h5")


def test_other_maps_do_not_warn(segmented: Segmented, other_map: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmented(other_map)


def test_a_region_is_segmented_as_in_the_whole_map(segmented: Segmented, sky: Sky, tmp_path: Path) -> None:
    image = 1.1 * np.pad(np.tile(sky.image, (2, 2)), 16, constant_values=np.nan)
    ny, nx = image.shape
    header = galactic_header(nx, ny, longitude=40)
    fits.writeto(tmp_path / "large.fits", image, header)
    _, whole = segmented(tmp_path / "large.fits", name="whole.fits")
    report, part = segmented(tmp_path / "large.fits", name="part.fits", region="38.6 38.9 -0.2 0.2")
    assert report.shape == part["PRIMARY"].shape < (ny, nx)
    header_of_part = fits.getheader(report.output)
    x0, y0 = (int(header[f"CRPIX{axis}"] - header_of_part[f"CRPIX{axis}"]) for axis in (1, 2))
    height, width = report.shape
    inner = np.s_[16:-16, 16:-16]  # a window from the border
    np.testing.assert_allclose(
        part["PRIMARY"][inner], whole["PRIMARY"][y0 : y0 + height, x0 : x0 + width][inner], atol=1e-6
    )
    assert np.isfinite(part["PRIMARY"][inner]).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"blank": 0}, "'blank'"),
        ({"hdu": "SCI"}, "'hdu'"),
        ({"region": "0 1 -1 1"}, "'region'"),
        ({"valid": "valid.fits"}, "'valid' or 'missing'"),
        ({"missing": "valid.fits", "channels": ["other.fits"]}, "'valid' or 'missing' and 'channels'"),
    ],
)
def test_an_option_of_fits_planes_is_refused_for_a_patch_file(
    segmented: Segmented, patch_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=rf"sky.h5 is a patch file, .*: {named} would do nothing"):
        segmented(patch_path, **options)


def holding(value: float, image: Path, path: Path) -> Path:
    """Write a copy of a map with a value in 3 x 4 pixels."""
    data, header = fits.getdata(image, header=True)
    data[:3, :4] = value
    fits.PrimaryHDU(data, header).writeto(path)
    return path


@pytest.mark.parametrize("value", [1e28, 1e18, 1e20, -999])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_value_that_stands_apart_is_named_and_the_option_ends_it(
    trained: Path, other_map: Path, tmp_path: Path, value: float, dry_run: bool
) -> None:
    image = holding(value, other_map, tmp_path / "odd.fits")
    with pytest.warns(BigsfWarning) as said:
        segment(trained, image, tmp_path / "out.fits", dry_run=dry_run)
    (message,) = (str(warning.message) for warning in said)
    (option,) = re.findall(r"odd.fits holds .* in 12 of .* pixels, and .* pass blank=(\S+): ", message)
    segment(trained, image, tmp_path / "out.fits", dry_run=dry_run, overwrite=True, blank=float(option))


def test_a_value_below_zero_that_is_named_is_not_warned_of_again(
    trained: Path, other_map: Path, tmp_path: Path
) -> None:
    data, header = fits.getdata(other_map, header=True)
    data[:10] = 0  # a tenth of the map, and the model takes the logarithm
    fits.PrimaryHDU(data, header).writeto(tmp_path / "zeros.fits")
    with pytest.warns(BigsfWarning) as said:
        segment(trained, tmp_path / "zeros.fits", tmp_path / "out.fits")
    assert [str(warning.message).split(" in ")[0] for warning in said] == ["zeros.fits holds 0"]


def test_a_map_beyond_float32_is_refused_with_the_reason(trained: Path, other_map: Path, tmp_path: Path) -> None:
    data, header = fits.getdata(other_map, header=True)
    fits.PrimaryHDU(data.astype(np.float64) * 1e23, header).writeto(tmp_path / "large.fits")
    with pytest.raises(DataError, match=r"large.fits holds .* values beyond 3.4e38, .* no other finite pixel"):
        segment(trained, tmp_path / "large.fits", tmp_path / "out.fits")


@pytest.mark.parametrize(("coordinates", "warned"), [("pixel", True), ("galactic", False)])
def test_pixel_positions_in_a_part_of_a_map_are_warned_of(
    run_dict: Settings, other_map: Path, tmp_path: Path, coordinates: str, warned: bool
) -> None:
    position = {"type": "identity", "coordinates": coordinates}
    model = {"type": "unet", "features": 4, "depth": 2, "position": position}
    trainer = Trainer.from_config(run_dict(epochs=1, model=model))
    trainer.train()
    header = fits.getheader(other_map)
    (l0, b0), (l1, b1) = WCS(header).pixel_to_world_values([[header["NAXIS1"] - 1, 0], [80, 90]])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        segment(trainer.folder.best, other_map, tmp_path / "out.fits", region=f"{l0} {l1} {b0} {b1}")
    said = [str(each.message) for each in found if "first pixel of the region" in str(each.message)]
    assert len(said) == warned
