from pathlib import Path

import pytest

from conftest import Ended, Sky


@pytest.mark.parametrize("folder", [".", "/", "made/.."])
@pytest.mark.parametrize("command", ["preprocess", "mosaic", "split", "segment", "score"])
def test_a_folder_in_the_place_of_an_output_is_one_message(
    command: str, folder: str, sky: Sky, patch_path: Path, ended: Ended, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    image = sky.path("image")
    arguments: dict[str, list[object]] = {
        "preprocess": ["preprocess", image],
        "mosaic": ["preprocess", image, image],
        "split": ["split", patch_path],
        "segment": ["segment", "higal-small", image],
        "score": ["segment", image, image, "--against", sky.path("target")],
    }
    said = ended(2, *arguments[command], "-o", folder).err
    assert said == f"Error: {folder} is a folder. Name a file to write, e.g. one in that folder.\n"
