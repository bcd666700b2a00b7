from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.utils.masked import Masked
from astropy.wcs import WCS

import bigsf
from bigsf.errors import ConfigError, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.segmentation.model import ImageInMemory
from conftest import Segmented, Sky


@pytest.fixture(scope="module")
def model(trained: Path) -> bigsf.Model:
    return bigsf.load(trained, device="cpu")


def test_an_image_in_memory_gets_what_segment_writes(model: bigsf.Model, segmented: Segmented, other_map: Path) -> None:
    report, planes = segmented(other_map)
    image = fits.getdata(other_map)
    probability = model(image, precision="fp32")
    assert probability.dtype == np.float32
    np.testing.assert_array_equal(probability, planes["PRIMARY"])
    assert model.threshold == report.threshold
    binned = model(image, scales=[2], tta=True, precision="fp32")
    assert np.nanmax(np.abs(binned - probability)) > 0.01


@pytest.mark.parametrize("kind", ["quantity", "ccd", "hdu", "masked", "astropy_masked", "planes", "list"])
def test_images_of_many_kinds_are_one_image(model: bigsf.Model, sky: Sky, kind: str) -> None:
    image = np.where(np.isfinite(sky.image), sky.image, 1e30)
    missing = ~np.isfinite(sky.image)
    with_nan = sky.image
    images: dict[str, Any] = {
        "quantity": with_nan * units.cm**-2,
        "ccd": CCDData(image, mask=missing, unit=units.cm**-2),
        "hdu": fits.ImageHDU(with_nan, sky.header),
        "masked": np.ma.masked_array(image, missing),
        "astropy_masked": Masked(image * units.cm**-2, missing),
        "planes": with_nan[None],
        "list": with_nan.tolist(),
    }
    np.testing.assert_array_equal(model(images[kind], precision="fp32"), model(with_nan, precision="fp32"))


def test_the_image_is_not_changed(model: bigsf.Model) -> None:
    image = np.full((20, 30), np.inf, np.float32)
    assert np.isnan(model(image)).all()
    assert np.isinf(image).all()


def test_several_models_give_their_mean_and_each(trained_kfold: Path, sky: Sky) -> None:
    model = bigsf.load(trained_kfold, device="cpu")
    each = model.each(sky.image, precision="fp32")
    assert each.shape == (len(model.ensemble), *sky.image.shape)
    np.testing.assert_array_equal(model(sky.image, precision="fp32"), each.mean(axis=0))
    assert repr(model).startswith(f"<bigsf.Model: models {len(each)}, network unet, windows 16 px, threshold 0.")


def test_the_spread_is_that_of_the_plane_std(
    model: bigsf.Model, trained_kfold: Path, segmented: Segmented, other_map: Path
) -> None:
    image = fits.getdata(other_map)
    _, planes = segmented(other_map, products="std", tta=True, scales=[1, 2])
    np.testing.assert_array_equal(model.spread(image, tta=True, scales=[1, 2], precision="fp32"), planes["STD"])
    several = bigsf.load(trained_kfold, device="cpu")
    expected = several.each(image, precision="fp32").std(axis=0)
    np.testing.assert_array_equal(several.spread(image, precision="fp32"), expected)
    with pytest.raises(ConfigError, match=r"The spread of one model .*: pass tta=True, or load several models"):
        model.spread(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("map.fits", "str is no image: expected an array of numbers"),
        (np.ones(5), r"The image has the shape \(5,\); expected \(ny, nx\)"),
        (NDData(np.ones((2, 20, 20))), "The model takes 1 image planes, the image gives 2"),
    ],
)
def test_what_is_no_image_is_refused(model: bigsf.Model, image: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model(image)


def test_the_wcs_of_an_image_is_that_of_its_plane(sky: Sky) -> None:
    header = WCS(sky.header).to_header()
    header.update(WCSAXES=3, CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1.0, CRPIX3=1.0)
    cube = ImageInMemory(CCDData(sky.image[None], wcs=WCS(header), unit="K"))
    assert cube.wcs is not None
    np.testing.assert_allclose(cube.wcs.wcs_pix2world([[3, 4]], 0), WCS(sky.header).wcs_pix2world([[3, 4]], 0))
    flat = WCS(sky.header)
    assert ImageInMemory(CCDData(sky.image, wcs=flat, unit="K")).wcs is flat
    solar = WCS({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CDELT1": 0.001, "CDELT2": 0.001})
    assert ImageInMemory(CCDData(sky.image, wcs=solar, unit="K")).wcs is None


def test_options_of_files_are_refused(model: bigsf.Model) -> None:
    with pytest.raises(ConfigError, match=r"products: no option of a prediction\. There are stride, scales"):
        model(np.ones((20, 20)), products=["mask"])


def test_objects_are_short_in_print(trained: Path) -> None:
    assert len(repr(bigsf.Snapshot.load(trained / "best.pt"))) < 100


def test_dir_lists_the_public_names() -> None:
    assert set(bigsf.__all__) <= set(dir(bigsf))


def test_the_memory_of_an_image_that_is_predicted_as_a_whole_is_bounded(model: bigsf.Model) -> None:
    """A map in a file is predicted by tiles; a band of this image, three times as wide as a tile, takes 2.3 MB."""
    image = np.full((20, 6000), 1e22, np.float32)
    with pytest.raises(ConfigError, match=r"'memory' \(1\.0 MB\) is too little: a band of the map takes 2\.3 MB"):
        model(image, memory="1MB")
    assert model(image, memory="3MB").shape == image.shape


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(
    ("dtype", "zero", "blank"), [("i2", 0, 0), ("i2", 0, -999), ("u2", 32768, -32768), ("i4", 0, 0)]
)
def test_blank_pixels_of_an_hdu_are_missing(
    tmp_path: Path, dtype: str, zero: int, blank: int, read_before: bool
) -> None:
    values = np.arange(100, 700, dtype=dtype).reshape(20, 30)
    values[3:6, 4:9] = blank + zero
    hdu = fits.PrimaryHDU(values)
    hdu.header["BLANK"] = blank
    hdu.writeto(tmp_path / "map.fits")
    with fits.open(tmp_path / "map.fits") as hdus:
        if read_before:
            hdus[0].data  # noqa: B018
        found = ImageInMemory(hdus[0]).read_rows(0, 20)
    with FitsImage(tmp_path / "map.fits") as image:
        np.testing.assert_array_equal(found[0], image.read())
    assert np.isnan(found).sum() == 15


@pytest.mark.parametrize("unscaled", [False, True])
def test_blank_pixels_of_a_scaled_hdu_are_missing(tmp_path: Path, unscaled: bool) -> None:
    hdu = fits.PrimaryHDU(np.array([[0, 1, 2, 7], [3, 4, 5, 6]], np.int16))
    hdu.writeto(tmp_path / "map.fits")
    for key, value in (("BSCALE", 0.5), ("BZERO", 1.0), ("BLANK", 0)):
        fits.setval(tmp_path / "map.fits", key, value=value)
    with fits.open(tmp_path / "map.fits", do_not_scale_image_data=unscaled) as hdus:
        found = ImageInMemory(hdus[0]).read_rows(0, 2)[0]
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0]]
    assert found[0, 1] == (1 if unscaled else 1.5)
