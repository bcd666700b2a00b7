from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.colors import to_hex

import bigsf
from bigsf.errors import DataError, UsageError
from bigsf.figures import PALETTE
from bigsf.filaments.catalogue import Filaments
from bigsf.maps.wcs import celestial_wcs
from conftest import galactic_header

SHAPE = (40, 60)


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    plt.close("all")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a map and what a segmentation makes of it: probability and MASK, with one filament."""
    header = galactic_header(*SHAPE[::-1])
    image = np.random.default_rng(0).lognormal(np.log(2e22), 1, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[18:21, 10:50] = 1
    fits.PrimaryHDU(image, fits.Header({**header, "BUNIT": "cm-2"})).writeto(tmp_path / "map.fits")
    planes = [fits.PrimaryHDU(mask * np.float32(0.9), header), fits.ImageHDU(mask, header, name="MASK")]
    fits.HDUList(planes).writeto(tmp_path / "found.fits")
    return tmp_path / "map.fits", tmp_path / "found.fits"


def bar_label(axes: Any) -> str:
    (bar,) = [child for child in axes.child_axes if child.get_ylabel()]
    return str(bar.get_ylabel())


def test_a_segmented_file_is_drawn_with_the_outline_of_its_mask(files: tuple[Path, Path]) -> None:
    axes = bigsf.plot.quicklook(str(files[1]))
    assert isinstance(axes, WCSAxes)
    np.testing.assert_array_equal(axes.images[0].get_array(), fits.getdata(files[1]))
    assert axes.images[0].get_clim() == (0, 1)
    assert bar_label(axes) == "probability"
    np.testing.assert_allclose(axes.collections[0].get_paths()[0].get_extents().extents, [9.5, 17.5, 49.5, 20.5])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["MASK"]


def test_what_an_array_masks_is_missing() -> None:
    hidden = np.zeros(SHAPE, np.bool_)
    hidden[:, 40:] = True
    image = np.where(hidden, -999, np.linspace(0.1, 0.9, SHAPE[1]) * np.ones(SHAPE))
    drawn = bigsf.plot.quicklook(np.ma.masked_array(image, hidden)).images[0].get_array()
    assert np.nanmin(np.ma.filled(drawn, np.nan)) > 0
    mask = np.zeros(SHAPE, np.bool_)
    mask[18:21, 10:30] = mask[18:21, 45:55] = True
    axes = bigsf.plot.filaments(image, np.ma.masked_array(mask, hidden))
    assert [text.get_text() for text in axes.texts if text.get_text().isdecimal()] == ["1"]


def test_with_an_image_the_map_is_drawn_with_its_unit(files: tuple[Path, Path]) -> None:
    axes = bigsf.plot.quicklook(files[1], files[0])
    np.testing.assert_allclose(axes.images[0].get_array(), np.log10(fits.getdata(files[0])), rtol=1e-6)
    assert bar_label(axes) == r"$\log_{10}$ $N(\mathrm{H}_2)$ [$\mathrm{cm^{-2}}$]"
    assert to_hex(axes.collections[0].get_edgecolor()[0]) == PALETTE["orange"]
    assert axes.get_title("left") == "map.fits"


def test_axes_of_the_user_are_drawn_on_and_returned() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert bigsf.plot.quicklook(np.zeros(SHAPE), ax=right) is right
    assert not left.images
    assert plt.get_fignums() == [figure.number]


def test_arrays_take_a_wcs(files: tuple[Path, Path]) -> None:
    wcs = celestial_wcs(galactic_header(*SHAPE[::-1]))
    axes = bigsf.plot.quicklook(np.zeros(SHAPE), wcs=wcs)
    assert isinstance(axes, WCSAxes)
    there = axes.wcs.pixel_to_world_values(3, 4)
    np.testing.assert_allclose(there, wcs.pixel_to_world_values(3, 4))  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["file", "array", "filaments"])
def test_filaments_of_a_file_an_array_or_an_object_are_the_same(kind: str, files: tuple[Path, Path]) -> None:
    mask = np.asarray(fits.getdata(files[1], "MASK"))
    found: Any = {"file": files[1], "array": mask, "filaments": Filaments(mask)}[kind]
    axes = bigsf.plot.filaments(files[0], found)
    assert [text.get_text() for text in axes.texts] == ["1"]
    (spine,) = axes.collections[1].get_paths()
    np.testing.assert_allclose(np.asarray(spine.vertices)[:, 1], 19, atol=0.6)
    assert not bigsf.plot.filaments(files[0], found, ids=0).texts


@pytest.mark.parametrize("image", [None, np.ones(SHAPE)])
def test_the_legend_names_what_is_outlined(image: Any) -> None:
    axes = bigsf.plot.quicklook(np.zeros(SHAPE), image, mask=np.eye(*SHAPE), outline="true filaments")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["true filaments"]


@pytest.mark.parametrize(
    "draw", [bigsf.plot.filaments, lambda image, mask: bigsf.plot.quicklook(image, image, mask=mask)]
)
def test_a_mask_of_another_grid_is_refused(draw: Any, files: tuple[Path, Path]) -> None:
    match = r"The mask has 5 x 4 pixels \(x, y\) and the map 60 x 40\. Both must lie on one grid\."
    with pytest.raises(DataError, match=match):
        draw(files[0], np.ones((4, 5)))
    assert not plt.get_fignums()


def test_folds_of_a_patch_file_are_read_and_not_written(patch_path: Path, folds_path: Path) -> None:
    before = folds_path.stat().st_mtime_ns
    axes = bigsf.plot.folds(patch_path, folds_path)
    assert "4 folds" in axes.get_title("left")
    assert folds_path.stat().st_mtime_ns == before


def test_arguments_that_would_do_nothing_are_refused(files: tuple[Path, Path], patch_path: Path) -> None:
    image, segmented = files
    array = np.ones((20, 30))
    draws: list[tuple[Callable[[], object], str]] = [
        (lambda: bigsf.plot.quicklook(array, array), "The probability would not be drawn"),
        (lambda: bigsf.plot.quicklook(array, outline="mine"), "outline='mine' would do nothing: there is no mask"),
        (lambda: bigsf.plot.quicklook(segmented, wcs=celestial_wcs(fits.getheader(image))), "wcs would do nothing"),
        (lambda: bigsf.plot.folds(folds_of(patch_path), "other.json"), "folds_file would do nothing"),
        (lambda: bigsf.plot.filaments(array, array, ids=-1), "ids is -1; expected the number"),
    ]
    for draw, message in draws:
        with pytest.raises(UsageError, match=message):
            draw()


def folds_of(path: Path) -> bigsf.Folds:
    return bigsf.Folds.make(bigsf.PatchFile(path), bigsf.SplitConfig(k=3))


def test_a_file_without_a_mask_is_no_filaments(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "probability.fits", np.full((20, 30), 0.5, np.float32))
    with pytest.raises(DataError, match=r"probability.fits has no extension MASK or LABELS, and is no mask itself"):
        bigsf.plot.filaments(np.ones((20, 30)), tmp_path / "probability.fits")


def test_without_a_mask_the_labels_are_outlined(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[5:9, 3:20], labels[12:15, 3:20] = 1, 2
    hdus = [fits.PrimaryHDU(np.full((20, 30), 0.5, np.float32)), fits.ImageHDU(labels, name="LABELS")]
    fits.HDUList(hdus).writeto(tmp_path / "found.fits")
    assert len(bigsf.plot.filaments(np.ones((20, 30)), tmp_path / "found.fits").texts) == 2
    assert bigsf.plot.quicklook(tmp_path / "found.fits").get_legend() is not None


def test_a_map_is_no_probability() -> None:
    with pytest.raises(DataError, match=r"between 0 and 1, and this plane does not. Pass the map as image"):
        bigsf.plot.quicklook(np.full((20, 30), 1e22))


@pytest.mark.parametrize("shape", [(5,), (2, 5, 5)])
def test_what_is_no_plane_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"cannot be drawn: expected \(ny, nx\)"):
        bigsf.plot.quicklook(np.zeros(shape))


def test_a_list_of_rows_is_a_plane() -> None:
    assert bigsf.plot.quicklook([[0.0, 1.0], [1.0, 0.0]]) is not None  # type: ignore[arg-type]
