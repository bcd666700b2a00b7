"""Files of several HDUs: which of them holds the map, and which its masks."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.maps.fits_image import FitsImage, open_planes
from bigsf.maps.hdus import find_planes, mask_hdu, split_hdu

PLANE = np.arange(15, dtype=np.float32).reshape(3, 5)
CUBE = np.stack([PLANE] * 2)


def written(path: Path, *hdus: Any, primary: Any = None) -> Path:
    fits.HDUList([fits.PrimaryHDU(primary), *hdus]).writeto(path)
    return path


def empty_primary(path: Path, *hdus: Any) -> Path:
    """Write a file whose primary HDU is an image of 0 x 0 pixels."""
    written(path, *hdus)
    cards = {"SIMPLE": "T", "BITPIX": "8", "NAXIS": "2", "NAXIS1": "0", "NAXIS2": "0", "EXTEND": "T"}
    header = "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items()) + "END"
    path.write_bytes(header.ljust(2880).encode() + path.read_bytes()[2880:])
    return path


def test_an_empty_primary_hides_no_image(tmp_path: Path) -> None:
    with FitsImage(empty_primary(tmp_path / "a.fits", fits.ImageHDU(PLANE, name="SCI"))) as image:
        assert image.name == "a.fits[1]"
        np.testing.assert_array_equal(image.read(), PLANE)
    with FitsImage(empty_primary(tmp_path / "mask.fits", fits.ImageHDU(PLANE, name="TARGET"))) as image:
        assert image.hdu == 1


def test_the_plane_beside_a_cube_is_read_with_a_warning(tmp_path: Path) -> None:
    cubes = [fits.ImageHDU(CUBE, name=name) for name in ("DATA", "STAT")]
    path = written(tmp_path / "muse.fits", *cubes, fits.ImageHDU(PLANE, name="white"))
    message = r"muse.fits: HDU 3 is read, .* 1 DATA \(2, 3, 5\), 2 STAT \(2, 3, 5\), 3 WHITE \(3, 5\); 'hdu' chooses"
    with pytest.warns(BigsfWarning, match=message), FitsImage(path) as image:
        np.testing.assert_array_equal(image.read(), PLANE)
    with pytest.raises(DataError, match=r"muse.fits\[1\] holds an array of 2 x 3 x 5 pixels"):
        FitsImage(path, hdu="DATA")


def test_a_mask_never_stands_for_the_map(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits", fits.ImageHDU(PLANE, name="TARGET"), primary=CUBE)
    with pytest.raises(DataError, match=r"a.fits holds an array of 2 x 3 x 5 pixels"):
        FitsImage(path)


@pytest.mark.parametrize(("hdu", "factor"), [("SCI", 1), ("SCI,1", 1), ("SCI,2", 2), ("sci, 2", 2), ("2", 2), (2, 2)])
def test_an_hdu_is_chosen_by_name_and_version(tmp_path: Path, hdu: str | int, factor: int) -> None:
    hdus = [fits.ImageHDU(version * PLANE, name="SCI", ver=version) for version in (1, 2)]
    path = written(tmp_path / "hst.fits", *hdus)
    with FitsImage(path, hdu=hdu) as image:
        np.testing.assert_array_equal(image.read(), factor * PLANE)
    with pytest.raises(DataError, match=r"no HDU 'SCI,3'; it has 0 PRIMARY \(\), 1 SCI \(3, 5\), 2 SCI,2 \(3, 5\)"):
        FitsImage(path, hdu="SCI,3")
    with pytest.raises(DataError, match="has no HDU '--1'; it has 0 PRIMARY"):
        FitsImage(path, hdu="--1")


def test_a_table_is_no_mask(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.ones(3))], name="MASK")
    labels = fits.ImageHDU(np.ones((4, 5), np.int32), name="LABELS")
    fits.HDUList([fits.PrimaryHDU(np.ones((4, 5))), table]).writeto(tmp_path / "table.fits")
    fits.HDUList([fits.PrimaryHDU(np.ones((4, 5))), table, labels]).writeto(tmp_path / "both.fits")
    assert mask_hdu(tmp_path / "table.fits") is None
    assert mask_hdu(tmp_path / "both.fits") == "LABELS"


def test_a_number_that_is_no_index_is_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "bands.fits", *(fits.ImageHDU(n * PLANE, name=str(n)) for n in (250, 350, 1)))
    with FitsImage(path, hdu="350") as image:
        np.testing.assert_array_equal(image.read(), 350 * PLANE)
    with FitsImage(path, hdu=1) as image:
        np.testing.assert_array_equal(image.read(), 250 * PLANE)
    with pytest.raises(DataError, match="has no HDU '500'"):
        FitsImage(path, hdu="500")


def test_masks_in_extensions_are_found_by_name(tmp_path: Path) -> None:
    names = ("Spines", "BACKGROUND", "missing", "OTHER")
    path = written(tmp_path / "a.fits", *(fits.ImageHDU(PLANE, name=name) for name in names), primary=PLANE)
    assert find_planes(path) == {"target": 1, "background": 2, "valid": 3}
    path = written(tmp_path / "b.fits", *(fits.ImageHDU(PLANE, name=name) for name in ("VALID", "TARGET", "TRUTH")))
    assert find_planes(path) == {"valid": 1, "target": 2, "truth": 3}
    assert find_planes(path, ["valid", "background"]) == {"valid": 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("TARGET", "SPINES"), "holds the target twice: its HDUs 1 TARGET and 2 SPINES. .* pass 'target'"),
        (("MISSING", "VALID"), "holds the valid twice: its HDUs 1 MISSING and 2 VALID. .* pass 'valid'"),
        (("TRUTH", "TRUTH"), "holds the truth twice: its HDUs 1 TRUTH and 2 TRUTH"),
    ],
)
def test_two_extensions_for_one_mask_are_refused(tmp_path: Path, names: tuple[str, str], message: str) -> None:
    path = written(tmp_path / "two.fits", *(fits.ImageHDU(PLANE, name=name) for name in names), primary=PLANE)
    with pytest.raises(DataError, match=message):
        find_planes(path)
    assert find_planes(path, ["background"]) == {}


def test_a_file_of_masks_gives_each_role_its_own_extension(tmp_path: Path) -> None:
    image = written(tmp_path / "map.fits", primary=PLANE)
    spines, background = np.zeros((3, 5), np.uint8), np.zeros((3, 5), np.uint8)
    spines[0, 1] = background[0, 2] = 1
    masks = [fits.ImageHDU(spines, name="SPINES"), fits.ImageHDU(background, name="BACKGROUND")]
    labels = written(tmp_path / "labels.fits", *masks)
    with ExitStack() as stack:
        _, opened = open_planes([image], {"target": labels, "background": labels, "truth": None}, stack)
        assert {role: np.argwhere(plane.read()).tolist() for role, plane in opened.items()} == {
            "target": [[0, 1]],
            "background": [[0, 2]],
        }


def test_the_file_of_a_mask_decides_over_two_extensions_of_the_map(tmp_path: Path) -> None:
    both = [fits.ImageHDU(PLANE, name=name) for name in ("TARGET", "SPINES")]
    image, mask = written(tmp_path / "two.fits", *both, primary=PLANE), written(tmp_path / "mask.fits", primary=PLANE)
    with ExitStack() as stack:
        _, opened = open_planes([image], {"target": mask}, stack)
        assert opened["target"].path == mask
        with pytest.raises(DataError, match="holds the target twice"):
            open_planes([image], {"target": None}, stack)


@pytest.mark.parametrize(
    ("given", "file", "hdu"),
    [
        ("a/dust.fits", "a/dust.fits", None),
        ("a/dust.fits[2]", "a/dust.fits", "2"),
        ("dust[1].fits.gz[SCI,2]", "dust[1].fits.gz", "SCI,2"),
        ("dust[1].fits", "dust[1].fits", None),
        ("dust.fits[]", "dust.fits[]", None),
        ("a/[2]", "a/[2]", None),
    ],
)
def test_a_path_may_name_its_hdu(given: str, file: str, hdu: str | None) -> None:
    assert split_hdu(Path(given)) == (Path(file), hdu)


def test_masks_and_channels_are_read_from_the_hdu_that_their_path_names(tmp_path: Path) -> None:
    planes = [fits.ImageHDU(np.full((4, 5), n, np.float32), name=name, ver=n) for n, name in ((1, "VALID"), (2, "SCI"))]
    path = written(tmp_path / "all.fits", *planes, primary=np.zeros((4, 5), np.float32))
    named = {each: Path(f"{path}[{each}]") for each in ("0", "1", "sci,2")}
    with ExitStack() as stack:
        channels, masks = open_planes([path, named["sci,2"], named["1"]], {"valid": named["0"], "target": path}, stack)
        assert [float(plane.read()[0, 0]) for plane in channels] == [0, 2, 1]
        assert {role: float(mask.read()[0, 0]) for role, mask in masks.items()} == {"valid": 0, "target": 0}
        assert [plane.path for plane in channels] == [path] * 3
    with ExitStack() as stack, pytest.raises(DataError, match=r"all\.fits has no HDU 'T'; it has 0 PRIMARY"):
        open_planes([path], {"valid": Path(f"{path}[T]")}, stack)
    path.rename(tmp_path / "all.fits[1]")
    with FitsImage(tmp_path / "all.fits[1]") as image:
        assert (image.hdu, image.path.name) == (0, "all.fits[1]")


def test_the_masks_of_a_file_are_found_where_its_path_names_an_hdu(tmp_path: Path) -> None:
    mask = fits.ImageHDU(np.zeros((4, 5), np.uint8), name="VALID")
    path = written(tmp_path / "all.fits", mask, primary=np.ones((4, 5), np.float32))
    with ExitStack() as stack:
        (plane,), masks = open_planes([Path(f"{path}[0]")], {"valid": None}, stack)
        assert (plane.hdu, masks["valid"].hdu) == (0, 1)
    with pytest.raises(UsageError, match=r"all\.fits\[0\] names its HDU, and 'hdu' 0 names one too"):
        FitsImage(f"{path}[0]", 0)
