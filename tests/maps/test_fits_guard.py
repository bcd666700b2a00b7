import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.errors import DataError
from bigsf.maps.fits_guard import open_fits
from bigsf.maps.fits_image import FitsImage
from conftest import shared_data
from ramp_files import RAMP, read, saved


@pytest.mark.parametrize(("at", "byte"), [(9, 0), (9, 65), (0, 0xDE), (2, 0xFF), (2, 1)])
def test_damaged_hcompress_tiles_do_not_reach_cfitsio(tmp_path: Path, at: int, byte: int) -> None:
    path = saved(
        tmp_path / "a.fits", None, fits.CompImageHDU(np.eye(64, dtype=np.int16), compression_type="HCOMPRESS_1")
    )
    content = bytearray(path.read_bytes())
    tile = content.index(b"\xdd\x99\0\0\0")
    content[tile + at] = byte
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.fits is damaged: tile 0 of HDU 1 has no head"):
        FitsImage(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_file_cut_short_is_refused(tmp_path: Path, compressed: bool) -> None:
    data = np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32)
    path = tmp_path / "a.fits"
    saved(path, None, fits.CompImageHDU(data)) if compressed else saved(path, data)
    content = path.read_bytes()
    for lost in (2880, len(content) // 2):
        path.write_bytes(content[:-lost])
        with pytest.raises(DataError, match=r"is cut short: HDU \d needs \d+ bytes, the file has \d+"):
            FitsImage(path)


def test_file_without_its_last_padding_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", RAMP)
    path.write_bytes(path.read_bytes()[: 2880 + RAMP.nbytes])
    np.testing.assert_array_equal(read(path), RAMP)


def test_cut_archive_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(96, 128))
    content = saved(tmp_path / "plain.fits", noise).read_bytes()
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(content)[:40_000])
    with pytest.raises(DataError, match=r"a.fits.gz (is not a FITS file that can be read|cannot be read at rows)"):
        read(path)
    path.write_bytes(gzip.compress(content[:40_000]))
    with pytest.raises(DataError, match=r"a.fits.gz cannot be read at rows 0 to 96: buffer is too small"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"SIMPLE  =          T", b"\x89HDF\r\n\x1a\n" + bytes(3000)])
def test_what_is_not_fits_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.fits is not a FITS file that can be read"):
        FitsImage(path)


def with_card(path: Path, card: str) -> Path:
    """Put a card into a FITS file, in the place of OBJECT."""
    content = bytearray(path.read_bytes())
    at = content.index(b"OBJECT  =")
    content[at : at + 80] = card.encode().ljust(80)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("NAXIS2  =           1000000000", r"HDU 1 gives its NAXIS2 as \d+ and as 1000000000. Keep one"),
        ("NAXIS   =                    1", r"HDU 1 gives its NAXIS as 1 and as 2. Keep one"),
        ("NAXIS   =                  999", r"a header has no 'NAXIS3'"),
        ("BITPIX  =                  -64", r"HDU 1 gives its BITPIX as -64 and as -32. Keep one"),
        ("NAXIS1  =                    T", r"the lengths \(\d+, True\) of the axes of HDU 1 are no whole numbers"),
    ],
)
def test_sizes_that_a_header_gives_twice_are_refused(tmp_path: Path, card: str, message: str) -> None:
    header = fits.Header({"OBJECT": "a place"})
    path = saved(tmp_path / "a.fits", None, fits.ImageHDU(RAMP.astype(np.float32), header))
    with pytest.raises(DataError, match=message):
        FitsImage(with_card(path, card))


def test_a_size_that_is_no_whole_number_is_refused_also_where_it_stands_twice(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", None, fits.ImageHDU(RAMP, fits.Header({"OBJECT": "a place"})))
    with_card(path, "NAXIS2  =                 1000")
    content = bytearray(path.read_bytes())
    at = content.index(b"NAXIS2  =")
    content[at : at + 80] = b"NAXIS2  = 1.5".ljust(80)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the NAXIS2 of HDU 1 is 1.5, which is no whole number"):
        FitsImage(path)


def test_a_size_that_stands_twice_with_one_value_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.fits", None, fits.ImageHDU(RAMP, fits.Header({"OBJECT": "a place"})))
    np.testing.assert_array_equal(read(with_card(path, f"NAXIS2  = {len(RAMP):>20}")), RAMP)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.fits does not exist"):
        FitsImage(tmp_path / "none.fits")
    with pytest.raises(DataError, match=r"is a folder; expected a FITS file"):
        FitsImage(tmp_path)


def test_real_truncated_file_and_real_no_fits_are_refused() -> None:
    with pytest.raises(DataError, match=r"truncated.fits is cut short: HDU 0 needs 267904 bytes, the file has 5940"):
        FitsImage(shared_data("odd", "truncated.fits"))
    with pytest.raises(DataError, match=r"not_actually_fits.fits is not a FITS file that can be read"):
        FitsImage(shared_data("odd", "not_actually_fits.fits"))


def with_cards(path: Path, number: int) -> Path:
    """Write a FITS file whose header has some more cards, and an archive of it."""
    fits.PrimaryHDU(np.ones((2, 3), np.float32)).writeto(path)
    content = path.read_bytes()
    end = content.index(b"END" + b" " * 77)
    header = content[:end] + b"COMMENT a".ljust(80) * number + b"END".ljust(80)
    path.write_bytes(header.ljust(-(-len(header) // 2880) * 2880) + content[2880:])
    return path


def test_a_header_may_be_long_but_not_endless(tmp_path: Path) -> None:
    with open_fits(with_cards(tmp_path / "long.fits", 2000)) as hdus:
        assert len(hdus[0].header["COMMENT"]) == 2000
    with pytest.raises(DataError, match=r"a header has more than 36,000 cards, or no end\. Copy the image alone"):
        open_fits(with_cards(tmp_path / "endless.fits", 40_000))


@pytest.mark.parametrize("begin", [b"", b"SIMPLE  =                    T".ljust(80)], ids=["zeros", "header"])
def test_an_archive_is_not_unpacked_in_search_of_a_header(begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bomb.fits.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(begin + bytes(30_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"does not begin with SIMPLE|no end"):
            open_fits(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_archive_is_not_unpacked_behind_the_last_hdu(tmp_path: Path) -> None:
    path = tmp_path / "tail.fits"
    fits.PrimaryHDU(np.ones((2, 3), np.float32)).writeto(path)
    with gzip.open(tmp_path / "tail.fits.gz", "wb", 1) as file:
        file.write(path.read_bytes() + bytes(30_000_000))
    with pytest.raises(DataError, match="a header has more than 36,000 cards, or no end"):
        open_fits(tmp_path / "tail.fits.gz")
