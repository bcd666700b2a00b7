import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.cli.scoring import _is_map
from conftest import Ended, Sky


@pytest.fixture
def planes(sky: Sky, tmp_path: Path) -> Path:
    fits.writeto(tmp_path / "map.fits", 1.1 * sky.image)
    fits.writeto(tmp_path / "target.fits", sky.target)
    fits.writeto(tmp_path / "other.fits", np.roll(sky.target, 1, axis=0))
    return tmp_path


@pytest.mark.parametrize("name", ["a.fits", "a.FITS", "a.fits.gz", "a.fits.fz"])
def test_fits_maps_are_no_models(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert _is_map(tmp_path / name)
    assert not _is_map(tmp_path / "absent.fits")
    assert not _is_map(tmp_path)


def test_a_model_and_the_mask_of_another_tool_in_one_table(trained: Path, planes: Path, ended: Ended) -> None:
    said = ended(0, "segment", trained, "other.fits", "map.fits", "--against", "target.fits", "--precision", "fp32")
    assert "against whole" in said.out
    rows = json.loads((planes / "map_segmented_scores.json").read_text())
    assert [row["name"] for row in rows] == ["BigSF", "other.fits"]
    assert rows[0]["pixels"] == rows[1]["pixels"]
    assert 0.3 < rows[0]["dice"] <= 1
    assert 0.3 < rows[1]["dice"] < 1
    assert (planes / "map_segmented.fits").exists()


def test_maps_alone_are_scored_and_nothing_is_segmented(planes: Path, ended: Ended) -> None:
    ended(0, "segment", "other.fits", "target.fits", "map.fits", "--against", "target.fits")
    assert sorted(path.name for path in planes.glob("map*")) == ["map.fits", "map_scores.json"]
    dice = {row["name"]: row["dice"] for row in json.loads((planes / "map_scores.json").read_text())}
    assert dice["target.fits"] == 1.0
    assert dice["other.fits"] < 1.0


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (
            2,
            ["other.fits", "map.fits"],
            "other.fits is a FITS map and no model. To score it, pass --against or --truth",
        ),
        (
            2,
            ["other.fits", "map.fits", "--against", "target.fits", "--tta"],
            "--tta would do nothing: there is no model",
        ),
        (4, ["other.fits", "map.fits", "--against", "absent.fits"], "absent.fits does not exist"),
        (
            4,
            ["higal-small", "map.fits", "--background", "target.fits"],
            "There is a background and no plane of the structures",
        ),
    ],
)
def test_what_cannot_be_scored_is_said_before_the_work(
    planes: Path, ended: Ended, code: int, arguments: list[str], message: str
) -> None:
    before = sorted(planes.iterdir())
    assert message in ended(code, "segment", *arguments).err
    assert sorted(planes.iterdir()) == before


def test_scores_that_exist_are_kept(planes: Path, ended: Ended) -> None:
    (planes / "map_scores.json").write_text("mine")
    said = ended(2, "segment", "other.fits", "map.fits", "--against", "target.fits")
    assert "map_scores.json" in said.err
    assert (planes / "map_scores.json").read_text() == "mine"


def test_scores_of_a_former_segmentation_are_named(planes: Path, ended: Ended) -> None:
    (planes / "map_segmented_scores.json").write_text("[]")
    said = ended(0, "segment", "higal-small", "map.fits")
    assert "map_segmented_scores.json stays as an earlier command wrote it" in " ".join(said.err.split())


def test_labels_and_maps_that_are_compared_are_not_replaced(trained: Path, planes: Path, ended: Ended) -> None:
    before = {name: (planes / name).read_bytes() for name in ("target.fits", "other.fits")}
    for name in before:
        said = ended(
            2, "segment", trained, "other.fits", "map.fits", "--against", "target.fits", "-o", name, "--overwrite"
        )
        assert f"{name} is read by this command" in said.err
    assert {name: (planes / name).read_bytes() for name in before} == before


def test_labels_beside_the_output_are_not_replaced(trained: Path, planes: Path, ended: Ended) -> None:
    (planes / "map_segmented.reg").write_text("image\nbox(20,20,9,9,0)\n")
    arguments = ["map.fits", "--against", "map_segmented.reg", "--products", "mask,regions", "--overwrite"]
    said = ended(2, "segment", trained, *arguments)
    assert "map_segmented.reg is read by this command" in said.err


def test_a_part_of_a_map_is_scored_as_it_is_segmented(trained: Path, sky: Sky, ended: Ended, tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", 1.1 * sky.image, sky.header)
    fits.writeto(tmp_path / "target.fits", sky.target, sky.header)
    (tmp_path / "part.reg").write_text("image\nbox(32.5,32.5,64,64,0)\n")
    arguments = ["map.fits", "--against", "target.fits", "--region", "part.reg", "--precision", "fp32"]
    ended(0, "segment", trained, *arguments)
    with fits.open(tmp_path / "map_segmented.fits") as hdus:
        shape = hdus[0].shape
    assert shape != sky.image.shape
    first = json.loads((tmp_path / "map_segmented_scores.json").read_text())
    assert first[0]["pixels"] <= shape[0] * shape[1]
    ended(0, "segment", "map_segmented.fits", *arguments[:-2], "--overwrite")
    again = json.loads((tmp_path / "map_scores.json").read_text())
    assert [row["dice"] for row in again] == [row["dice"] for row in first]


def test_a_patch_file_is_not_scored(trained: Path, patch_path: Path, planes: Path, ended: Ended) -> None:
    said = ended(2, "segment", trained, patch_path, "--against", "target.fits")
    assert "is a patch file: to score, give the FITS map that it was made of" in said.err
