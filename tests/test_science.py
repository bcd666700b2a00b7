"""The science benchmark, on a small simulated map."""

from pathlib import Path

import numpy as np
import pytest
from science import (
    EXAMPLES,
    PATCHES,
    Recipe,
    by_contrast,
    compare,
    higal_sky,
    patch_file,
    print_table,
    scores_of,
    simulated_sky,
    with_complete_labels,
)

from bigsf.patches.patch_file import PatchFile
from conftest import shared_data

SMALL = [
    *("trainer.epochs=1", "trainer.model.features=4", "data.samples_per_epoch=16"),
    *("split.area_size=64", "patch_size=32", "stride=16"),
]


def test_a_recipe_is_a_file_with_settings() -> None:
    recipe = Recipe.parse(f"{EXAMPLES / 'kfold_higal.yaml'} 'trainer.loss={{type: focal}}' patch_size=128", ["a=1"])
    assert recipe.settings == ("trainer.loss={type: focal}", "a=1")
    assert recipe.patches == {"patch_size": 128, "stride": 8}
    assert recipe.name == "kfold_higal trainer.loss={type: focal} patch_size=128 a=1"


@pytest.mark.filterwarnings("ignore")  # FilFinder's own
def test_all_are_scored_on_the_same_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sky = simulated_sky(tmp_path, 1, (320, 256))
    recipe = Recipe.parse(str(EXAMPLES / "kfold_higal.yaml"), SMALL)
    rows = compare(sky, [recipe], [0, 1])
    assert compare(sky, [recipe], [0, 1]) == rows  # no model is trained again
    assert {"column density", "local contrast", "Sato filter", "Frangi filter", recipe.name} <= set(rows)
    assert len(rows[recipe.name]) == 2
    assert all(
        0 <= scores[name] <= 1
        for rows_of_one in rows.values()
        for scores in rows_of_one
        for name in scores
        if name != "seconds"
    )
    print_table("title", rows)
    assert "±" in capsys.readouterr().out


def test_the_ground_truth_itself_is_perfect(tmp_path: Path) -> None:
    sky = simulated_sky(tmp_path, 2, (256, 128))
    scores = scores_of(sky.true.astype(np.float32), sky, np.ones(sky.true.shape, np.bool_))
    assert scores == dict.fromkeys(scores, 1.0)


def test_complete_labels_are_the_ground_truth(tmp_path: Path) -> None:
    sky = simulated_sky(tmp_path, 2, (256, 128))
    file = PatchFile(patch_file(with_complete_labels(sky), PATCHES))
    target, labelled = file.labels()
    valid = np.isfinite(file.image[0])
    np.testing.assert_array_equal(target[valid], sky.true[valid])
    assert labelled[valid].all()
    assert PatchFile(patch_file(sky, PATCHES)).labels()[1].mean() < 0.5


def test_each_filament_counts_the_same_in_its_third_of_contrast() -> None:
    ids = np.array([[1, 1, 2, 2, 2, 2], [3, 3, 3, 3, 0, 0]], np.int32)
    marked = np.array([[1, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0]], np.bool_)
    assert by_contrast(marked, ids, np.ones(ids.shape, np.bool_)) == {"faint": 0.5, "middle": 0.25, "bright": 1.0}


def test_the_sample_has_labels(tmp_path: Path) -> None:
    sky = higal_sky(tmp_path, shared_data("train"))
    assert sky.labelled is not None
    assert sky.labelled.sum() > sky.true.sum() > 0
