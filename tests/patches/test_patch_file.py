import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import DataError
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.patch_writer import PatchFileWriter
from conftest import Sky, galactic_header, write_patch_file

IMAGE = np.arange(2 * 6 * 9, dtype=np.float32).reshape(2, 6, 9)
TARGET = (IMAGE[0] % 3 == 0).astype(np.uint8)
LABELLED = (IMAGE[0] % 3 < 2).astype(np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> PatchFile:
    write_patch_file(tmp_path / "small.h5", IMAGE, 4, 2, (TARGET, LABELLED), galactic_header(9, 6))
    return PatchFile(tmp_path / "small.h5")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_read_is_slicing(patch_path: Path, data: st.DataObject) -> None:
    file = PatchFile(patch_path)
    indices = data.draw(st.lists(st.integers(0, len(file) - 1), max_size=6))
    image, target, labelled, position = file.read(indices)
    assert image.shape == (len(indices), 1, 16, 16)
    assert target is not None
    assert labelled is not None
    for i, index in enumerate(indices):
        y, x = file.positions[index]
        np.testing.assert_array_equal(position[i], (y, x))
        window = np.s_[..., y : y + 16, x : x + 16]
        np.testing.assert_array_equal(image[i], file.image[window])
        np.testing.assert_array_equal(target[i], file.target[window] if file.target is not None else None)
        np.testing.assert_array_equal(labelled[i], file.labelled[window] if file.labelled is not None else None)


def test_a_mask_chooses_patches_and_fractions_do_not(small: PatchFile) -> None:
    mask = small.positions[:, 1] > 3
    np.testing.assert_array_equal(small.read(mask).position, small.positions[mask])
    with pytest.raises(IndexError):
        small.read(np.array([1.7]))


def test_file_holds_the_planes_of_the_sky(patch_file: PatchFile, sky: Sky) -> None:
    np.testing.assert_array_equal(patch_file.image[0], np.where(sky.valid == 1, sky.image, np.nan).astype(np.float32))
    target, labelled = patch_file.labels()
    np.testing.assert_array_equal(target, sky.target * sky.valid)
    np.testing.assert_array_equal(labelled, (sky.target | sky.background) * sky.valid)
    assert (patch_file.shape, patch_file.channels) == ((96, 160), 1)
    assert (patch_file.patch_size, patch_file.stride, patch_file.unit) == (16, 4, "cm-2")


def test_channels_come_before_rows(small: PatchFile) -> None:
    image, target, labelled, position = small[4]
    np.testing.assert_array_equal(position, (2, 0))
    np.testing.assert_array_equal(image, IMAGE[:, 2:6, 0:4])
    np.testing.assert_array_equal(target, TARGET[2:6, 0:4])
    np.testing.assert_array_equal(labelled, LABELLED[2:6, 0:4])


def test_file_is_a_sequence(small: PatchFile) -> None:
    assert len(small) == 8
    assert small[-1].position.tolist() == [2, 5]
    assert small[1:3].position.tolist() == [[0, 2], [0, 4]]
    assert small[5:].position.tolist() == [[2, 2], [2, 4], [2, 5]]
    assert small[8:].image.shape == small.read([]).image.shape == (0, 2, 4, 4)
    for index in (8, -9):
        with pytest.raises(IndexError, match=f"patch {index} of 8"):
            small[index]


def test_batch_is_an_array_of_its_own(small: PatchFile) -> None:
    image = small.read([0, 0]).image
    image[0] = -1
    assert (image[1] >= 0).all()
    assert (small.image >= 0).all()


def test_planes_are_contiguous_native_and_mapped(small: PatchFile) -> None:
    for plane in (small.image, small.target, small.labelled):
        assert plane is not None
        assert isinstance(plane.base, mmap.mmap)
        assert plane.flags.c_contiguous
        assert not plane.flags.writeable
        assert plane.dtype.isnative
    with h5py.File(small.path) as file:
        assert all(file[name].chunks is None and file[name].id.get_offset() for name in ("image", "target", "labelled"))
        assert {name: file[name].dtype.str for name in file if file[name].shape} == {
            "image": "<f4",
            "target": "|u1",
            "labelled": "|u1",
            "positions": "<i4",
        }


def test_planes_in_memory_are_the_same(small: PatchFile) -> None:
    loaded = PatchFile(small.path, in_memory=True)
    assert not isinstance(loaded.image.base, mmap.mmap)
    np.testing.assert_array_equal(loaded.image, small.image)
    np.testing.assert_array_equal(loaded.labels()[1], small.labels()[1])


def test_file_explains_itself(small: PatchFile) -> None:
    with h5py.File(small.path) as file:
        attributes = dict(file.attrs)
    assert attributes["format"] == b"bigsf patches"
    assert attributes["format_version"] == 2
    assert attributes["patch_size_px"] == 4
    assert attributes["identity"] == small.identity.encode()


def test_header_and_wcs_are_kept(small: PatchFile, tmp_path: Path) -> None:
    assert small.header == galactic_header(9, 6)
    assert small.wcs is not None
    assert small.wcs.pixel_to_world(0, 2.5).l.deg == pytest.approx(0.3)
    assert write_patch_file(tmp_path / "bare.h5", IMAGE, 4).wcs is None


def test_file_without_labels(tmp_path: Path) -> None:
    file = write_patch_file(tmp_path / "bare.h5", IMAGE, 4)
    assert (file[0].target, file[0].labelled) == (None, None)
    with pytest.raises(DataError, match=r"bare.h5 has no labels, .* Preprocess its map with 'target'"):
        file.labels()


def test_identity_is_of_what_is_learnt_from(tmp_path: Path) -> None:
    def identity(image: npt.NDArray[np.float32] = IMAGE, patch_size: int = 4, stride: int = 2, **more: Any) -> str:
        more = {"labels": (TARGET, LABELLED), **more}
        return write_patch_file(tmp_path / "a.h5", image, patch_size, stride, **more).identity

    other = IMAGE.copy()
    other[1, 5, 8] += 1
    assert identity() == identity(header=galactic_header(9, 6))
    changes = [
        identity(other),
        identity(patch_size=3),
        identity(stride=1),
        identity(labels=(LABELLED, LABELLED)),
        identity(labels=(TARGET, TARGET)),
        identity(labels=None),
    ]
    assert len({identity(), *changes}) == 7


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_identity_does_not_depend_on_bands(tmp_path: Path, small: PatchFile, rows: int) -> None:
    with PatchFileWriter(tmp_path / "bands.h5", (6, 9), 2, ["target", "labelled"]) as writer:
        for y in range(0, 6, rows):
            band = slice(y, y + rows)
            writer.write(y, IMAGE[:, band], {"target": TARGET[band], "labelled": LABELLED[band]})
        identity = writer.finish(small.positions, small.header, {"patch_size_px": 4})
    assert identity == small.identity


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(patch_path: Path, tmp_path: Path, part: float) -> None:
    content = patch_path.read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=r"cut.h5 is (not a patch file that can be read|cut short)"):
        PatchFile(path)


def test_what_is_no_patch_file_is_refused(tmp_path: Path, sky: Sky) -> None:
    with pytest.raises(DataError, match=r"none.h5 does not exist. Make it with bigsf preprocess"):
        PatchFile(tmp_path / "none.h5")
    with pytest.raises(DataError, match=r"image.fits is a FITS file; make a patch file of it with bigsf preprocess"):
        PatchFile(sky.path("image"))
    with pytest.raises(DataError, match=r"is not a patch file that can be read"):
        PatchFile(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = IMAGE
    with pytest.raises(DataError, match=r"other.h5 is an HDF5 file but no patch file of BigSF"):
        PatchFile(tmp_path / "other.h5")


def edited(path: Path, original: Path) -> h5py.File:
    shutil.copy(original, path)
    return h5py.File(path, "r+")


def test_newer_format_is_refused(small: PatchFile, tmp_path: Path) -> None:
    with edited(tmp_path / "new.h5", small.path) as file:
        file.attrs["format_version"] = 3
        del file["image"]
    with pytest.raises(DataError, match=r"new.h5 has format 3; this is bigsf .*, which reads format 2. Update bigsf"):
        PatchFile(tmp_path / "new.h5")


def test_first_format_with_strings_of_variable_length_is_refused(small: PatchFile, tmp_path: Path) -> None:
    with edited(tmp_path / "old.h5", small.path) as file:
        for name in ("format", "bigsf_version", "identity", "unit"):
            file.attrs[name] = file.attrs[name].decode()
        file.attrs["sources"] = file["sources"][()].decode()
        file.attrs["format_version"] = 1
        del file["sources"]
        header = file["header"][()].decode()
        del file["header"]
        file["header"] = header
    with pytest.raises(DataError, match=r"old.h5 has format 1, which is no longer read. Run bigsf preprocess again.$"):
        PatchFile(tmp_path / "old.h5")


def test_no_text_has_a_variable_length(small: PatchFile) -> None:
    assert b"GCOL" not in small.path.read_bytes()  # how HDF5 begins a heap of strings
    with h5py.File(small.path) as file:
        kinds = {name: file.attrs.get_id(name).dtype.kind for name in file.attrs}
        assert {file[name].dtype.kind for name in ("header", "sources")} == {"S"}
    assert "O" not in kinds.values()


def test_texts_may_be_longer_than_an_attribute_of_hdf5(small: PatchFile, tmp_path: Path) -> None:
    paths = json.dumps({f"image{channel}": "/a/long/path" * 20 for channel in range(400)})
    with edited(tmp_path / "long.h5", small.path) as file, pytest.raises(OSError, match="object header message"):
        file.attrs["sources"] = np.bytes_(paths)
    with PatchFileWriter(tmp_path / "many.h5", (6, 9), 2, []) as writer:
        writer.write(0, IMAGE, {})
        attributes = {"patch_size_px": 4, "stride_px": 2, "unit": "", "wcs": "", "sources": paths}
        writer.finish(np.zeros((1, 2), np.int32), fits.Header(), attributes)
    with h5py.File(tmp_path / "many.h5") as file:
        assert file["sources"][()].decode() == paths


def test_file_rewritten_by_another_tool_is_refused(small: PatchFile, tmp_path: Path) -> None:
    with edited(tmp_path / "packed.h5", small.path) as file:
        del file["image"]
        file.create_dataset("image", data=IMAGE, compression="gzip")
    with pytest.raises(DataError, match=r"packed.h5 was rewritten by another tool: /image is not contiguous"):
        PatchFile(tmp_path / "packed.h5")
    np.testing.assert_array_equal(PatchFile(tmp_path / "packed.h5", in_memory=True).image, IMAGE)


def test_what_another_tool_adds_does_not_matter(small: PatchFile, tmp_path: Path) -> None:
    with edited(tmp_path / "more.h5", small.path) as file:
        file.create_group("notes")["list"] = ["a", "b"]
        file.attrs["note"] = "of mine"
    np.testing.assert_array_equal(PatchFile(tmp_path / "more.h5").image, IMAGE)


@pytest.mark.parametrize("name", ["image", "labelled", "positions", "header", "sources"])
def test_file_without_a_part_is_refused(small: PatchFile, tmp_path: Path, name: str) -> None:
    with edited(tmp_path / "part.h5", small.path) as file:
        del file[name]
    with pytest.raises(DataError, match=f"part.h5 is damaged: it has no {name}"):
        PatchFile(tmp_path / "part.h5")
    with edited(tmp_path / "group.h5", small.path) as file:
        del file[name]
        file.create_group(name)
    with pytest.raises(DataError, match=f"group.h5 is damaged: it has no {name}"):
        PatchFile(tmp_path / "group.h5")


@pytest.mark.parametrize("name", ["patch_size_px", "identity", "unit"])
def test_file_without_an_attribute_is_refused(small: PatchFile, tmp_path: Path, name: str) -> None:
    with edited(tmp_path / "bare.h5", small.path) as file:
        del file.attrs[name]
    with pytest.raises(DataError, match=f"bare.h5 is damaged: it has no attribute {name}"):
        PatchFile(tmp_path / "bare.h5")


@pytest.mark.parametrize("value", ["text", ["a", "b"], 3, np.zeros(2, "S3")])
@pytest.mark.parametrize("name", ["unit", "identity", "format"])
def test_text_of_another_type_is_refused_before_it_is_read(
    small: PatchFile, tmp_path: Path, name: str, value: Any
) -> None:
    with edited(tmp_path / "odd.h5", small.path) as file:
        file.attrs[name] = value
    with pytest.raises(DataError, match=f"odd.h5 is damaged: {name} is not a string"):
        PatchFile(tmp_path / "odd.h5")


@pytest.mark.parametrize("value", ["3", 3.0, [3, 3], np.bytes_(b"3")])
@pytest.mark.parametrize("name", ["format_version", "patch_size_px", "stride_px"])
def test_number_of_another_type_is_refused_before_it_is_read(
    small: PatchFile, tmp_path: Path, name: str, value: Any
) -> None:
    with edited(tmp_path / "odd.h5", small.path) as file:
        file.attrs[name] = value
    with pytest.raises(DataError, match=f"odd.h5 is damaged: {name} is not a whole number"):
        PatchFile(tmp_path / "odd.h5")


@pytest.mark.parametrize("value", ["text", ["a"], 3.0, np.zeros(2, "S3")])
@pytest.mark.parametrize("name", ["header", "sources"])
def test_long_text_of_another_type_is_refused_before_it_is_read(
    small: PatchFile, tmp_path: Path, name: str, value: Any
) -> None:
    with edited(tmp_path / "odd.h5", small.path) as file:
        del file[name]
        file[name] = value
    with pytest.raises(DataError, match=f"odd.h5 is damaged: {name} is not a string"):
        PatchFile(tmp_path / "odd.h5")


@pytest.mark.parametrize(("name", "dtype"), [("image", ">f4"), ("target", "i1"), ("positions", "i8")])
def test_plane_of_another_type_is_refused(small: PatchFile, tmp_path: Path, name: str, dtype: str) -> None:
    with edited(tmp_path / "odd.h5", small.path) as file:
        values = file[name][...]
        del file[name]
        file.create_dataset(name, data=values.astype(dtype))
    with pytest.raises(DataError, match=f"odd.h5 is damaged: {name} is {np.dtype(dtype)}, not"):
        PatchFile(tmp_path / "odd.h5")


def test_list_of_strings_for_a_string_is_refused(small: PatchFile, tmp_path: Path) -> None:
    kind = h5py.h5t.vlen_create(h5py.h5t.py_create(h5py.string_dtype(), logical=True))
    with edited(tmp_path / "odd.h5", small.path) as file:
        del file.attrs["unit"]
        h5py.h5a.create(file.id, b"unit", kind, h5py.h5s.create(h5py.h5s.SCALAR))
    with pytest.raises(DataError, match=r"odd.h5 is damaged: unit is not a string"):
        PatchFile(tmp_path / "odd.h5")


def link(file: h5py.File, secret: Path) -> None:
    file["image"] = h5py.ExternalLink(secret, "image")


def soft_link(file: h5py.File, secret: Path) -> None:
    file["image"] = h5py.SoftLink("/positions")


def store_outside(file: h5py.File, secret: Path) -> None:
    file.create_dataset("image", IMAGE.shape, np.float32, external=[(secret, 0, IMAGE.nbytes)])


def make_virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(IMAGE.shape, np.float32)
    layout[:] = h5py.VirtualSource(secret, "image", IMAGE.shape, np.float32)
    file.create_virtual_dataset("image", layout)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("lead_outside", [link, soft_link, store_outside, make_virtual])
def test_a_patch_file_opens_nothing_but_itself(
    lead_outside: Callable[[h5py.File, Path], None], in_memory: bool, small: PatchFile, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.h5"
    shutil.copy(small.path, secret)
    with h5py.File(small.path, "r+") as file:
        del file["image"]
        lead_outside(file, secret)
    with pytest.raises(DataError, match=r"small.h5 is damaged: (it has no image of its own|its image lies in another)"):
        PatchFile(small.path, in_memory)


def test_a_mask_in_another_file_is_not_looked_for(small: PatchFile, tmp_path: Path) -> None:
    with h5py.File(small.path, "r+") as file:
        del file["target"]
        file["target"] = h5py.ExternalLink(tmp_path / "gone.h5", "target")
    with pytest.raises(DataError, match=r"it has no target of its own"):
        PatchFile(small.path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(DataError, match=r"pipe.h5 is not a patch file that can be read: it is no regular file"):
        PatchFile(tmp_path / "pipe.h5")


@pytest.mark.parametrize(
    ("reason", "helps"), [("unable to lock file, errno = 37", True), ("unable to read a data block", False)]
)
def test_locks_are_spoken_of_where_there_are_none(
    reason: str, helps: bool, small: PatchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason)

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(DataError, match=f"can be read: {reason}") as refused:
        PatchFile(small.path)
    assert ("HDF5_USE_FILE_LOCKING=FALSE" in str(refused.value)) == helps
