import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import UsageError
from bigsf.files import atomic_path
from bigsf.maps.fits_writer import FitsWriter
from bigsf.provenance import provenance
from bigsf.version import __version__
from conftest import galactic_header


def test_a_table_is_appended_behind_all_planes_and_tables(tmp_path: Path) -> None:
    def table(name: str, rows: int) -> fits.BinTableHDU:
        return fits.BinTableHDU.from_columns([fits.Column("n", "K", array=np.arange(rows))], name=name)

    planes, values = {"PROB": "f4"}, np.ones((3, 4), np.float32)
    with FitsWriter(tmp_path / "out.fits", (3, 4), fits.Header(), planes, [table("PROVENANCE", 2)]) as writer:
        writer.append(table("CATALOG", 1000))
        writer.append(table("MORE", 0))
        writer.write("PROB", 0, values)
    with fits.open(tmp_path / "out.fits") as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "PROVENANCE", "CATALOG", "MORE"]
        np.testing.assert_array_equal(hdus[0].data, values)
        np.testing.assert_array_equal(hdus["CATALOG"].data["n"], np.arange(1000))
        assert len(hdus["MORE"].data) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 45))
def test_planes_written_by_bands_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, ny: int, nx: int, rows: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "out.fits"
    generator = np.random.default_rng(0)
    planes = {"PROB": generator.random((ny, nx), np.float32), "MASK": generator.integers(0, 2, (ny, nx), np.uint8)}
    planes["STD"] = -planes["PROB"]
    planes["PROB"][0, 0] = np.nan
    with FitsWriter(path, (ny, nx), fits.Header(), {name: plane.dtype for name, plane in planes.items()}) as writer:
        for name, plane in planes.items():
            for y0 in reversed(range(0, ny, rows)):  # in any order
                writer.write(name, y0, plane[y0 : y0 + rows])
    assert path.stat().st_size % 2880 == 0
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "STD"]
        for hdu, plane in zip(hdus, planes.values(), strict=True):
            assert hdu.data.dtype.newbyteorder("=") == plane.dtype
            np.testing.assert_array_equal(hdu.data, plane)


def test_header_is_kept_and_extensions_have_the_wcs_but_not_the_history(tmp_path: Path) -> None:
    header = galactic_header(5, 3, longitude=0.02)
    header["OBJECT"] = "W43"
    header["DATE"] = "2015-10-20T00:00:00"
    header.add_history("made by hand")
    header.add_comment("on a clear night")
    header, table = provenance(header, "filament probability", {"threshold": "0.4", "config": "a: 1\n" * 500})
    path = tmp_path / "out.fits"
    with FitsWriter(path, (3, 5), header, {"PROB": np.float32, "MASK": np.uint8}, [table]):
        pass
    with fits.open(path) as hdus:
        hdus.verify("exception")
        for hdu in hdus[:2]:
            sky = WCS(hdu.header).pixel_to_world([0, 3], [1, 2])
            np.testing.assert_allclose(sky.l.deg, [0.02, 359.99])
            np.testing.assert_allclose(sky.b.deg, [0, 0.01], atol=1e-12)
            assert hdu.header["OBJECT"] == "W43"
        rows = dict(hdus["PROVENANCE"].data)
        history = list(hdus[0].header["HISTORY"])
        assert history[0] == "made by hand"
        assert f"filament probability, by bigsf {__version__}" in history
        assert "threshold: 0.4" in history
        assert "a: 1" not in str(hdus[0].header)
        assert list(hdus[0].header["COMMENT"]) == ["on a clear night"]
        assert hdus[0].header["BTYPE"] == "probability"
        assert hdus[0].header["DATE"] == rows["time"].removesuffix("+00:00")
        assert not {"HISTORY", "COMMENT", "BTYPE"} & set(hdus[1].header)
    assert list(rows) == ["bigsf", "time", "command", "threshold", "config"]
    assert rows["bigsf"] == __version__
    assert rows["config"] == ("a: 1\n" * 500).rstrip("\n")
    assert header["HISTORY"][0] == "made by hand"


def test_provenance_leaves_the_callers_header_alone() -> None:
    header = fits.Header()
    provenance(header, "probability", {})
    assert len(header) == 0


def test_names_beyond_ascii_do_not_stop_the_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bigsf", "segment", "modèle.pt", "x" * 200])
    header, table = provenance(fits.Header(), "probability", {"model": "modèle.pt"})
    path = tmp_path / "out.fits"
    with FitsWriter(path, (3, 5), header, {"PROB": np.float32}, [table]):
        pass
    with fits.open(path) as hdus:
        assert "model: mod?le.pt" in list(hdus[0].header["HISTORY"])
        rows = dict(hdus["PROVENANCE"].data)
    assert rows["model"] == "mod?le.pt"
    assert rows["command"].endswith("x" * 200)


def test_disk_space_is_allocated_before_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.fits"
    with FitsWriter(path, (300, 500), fits.Header(), {"PROB": np.float32, "MASK": np.uint8}):
        assert path.stat().st_blocks * 512 >= 300 * 500 * 5


def test_full_disk_is_an_error_that_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    path = tmp_path / "out.fits"
    path.write_text("previous")
    monkeypatch.setattr("os.posix_fallocate", full)
    with (
        pytest.raises(UsageError, match=r"out.fits could not be written: No space"),
        atomic_path(path) as temporary,
    ):
        FitsWriter(temporary, (3, 5), fits.Header(), {"PROB": np.float32})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.fits", "previous")]
