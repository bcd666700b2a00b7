import shlex
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from astropy.io import fits

from bigsf.cli.recipes import RecipeName
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import folds_json
from bigsf.folds.splits import SplitConfig
from bigsf.patches.patch_file import PatchFile
from bigsf.training.run_config import RunConfig
from conftest import Ended, Sky, galactic_header, write_patch_file

ROOT = Path(__file__).parents[2]
EXAMPLES = {"default": "config", "catalogue": "kfold_higal", "papers": "kfold_papers", "transfer": "transfer"}


@pytest.fixture
def planes(sky: Sky, tmp_path: Path) -> Path:
    """Return a folder with the planes of the small sky under names that people give them."""
    folder = tmp_path / "my data"
    folder.mkdir()
    for plane, name in (("image", "l30_density"), ("target", "l30_spines"), ("background", "l30_bkg")):
        shutil.copy(sky.path(plane), folder / f"{name}.fits")
    shutil.copy(sky.path("valid"), folder / "L30-VALID.fits")
    fits.PrimaryHDU(sky.image).writeto(folder / "l30_density_segmented.fits")  # an output of the package
    return folder


def patches(path: Path, side: int = 128, patch_size: int = 32, channels: int = 1) -> PatchFile:
    """Write a patch file, labelled everywhere, of a square map."""
    image = np.random.default_rng(0).lognormal(0, 0.1, (channels, side, side)).astype(np.float32)
    target = (np.arange(side) % 8 < 2).astype(np.uint8)[:, None] * np.ones((1, side), np.uint8)
    labels = (target, np.ones((side, side), np.uint8))
    return write_patch_file(path, image, patch_size, max(1, patch_size // 4), labels, galactic_header(side, side))


def settings(path: Path) -> dict[str, Any]:
    """Return a configuration without its names: those of the data, of the run and of the folds."""
    dumped = RunConfig.from_yaml(path).model_dump(mode="json")
    del dumped["data"]["path"], dumped["split"]["path"], dumped["trainer"]["run_name"], dumped["trainer"]["output_dir"]
    return dumped


@pytest.mark.parametrize("name", get_args(RecipeName))
def test_a_recipe_is_that_of_its_example(name: str, planes: Path, ended: Ended, tmp_path: Path) -> None:
    ended(0, "init", planes, "--recipe", name)
    assert settings(tmp_path / "config.yaml") == settings(ROOT / "examples" / f"{EXAMPLES[name]}.yaml")


def test_maps_alone_get_the_command_that_makes_the_patch_file(planes: Path, ended: Ended, tmp_path: Path) -> None:
    said = ended(0, "init", "my data", "--recipe", "papers").out.splitlines()
    assert said == [
        "Wrote config.yaml.",
        "Next: bigsf preprocess 'my data/l30_density.fits' --target 'my data/l30_spines.fits' --background "
        "'my data/l30_bkg.fits' --valid 'my data/L30-VALID.fits' --patch-size 32",
        "Next: bigsf train config.yaml",
    ]
    ended(0, *shlex.split(said[1].removeprefix("Next: "))[1:])
    said = ended(0, *shlex.split(said[2].removeprefix("Next: "))[1:], "--dry-run").out.splitlines()
    assert said[-1] == f"Would write {tmp_path / 'results' / 'papers'}."


@pytest.mark.parametrize(("side", "folds"), [(128, (4, 2, 1)), (256, (10, 7, 2))])
def test_folds_follow_from_the_areas_of_the_patch_file(
    side: int, folds: tuple[int, int, int], ended: Ended, tmp_path: Path
) -> None:
    file = patches(tmp_path / "map.h5", side)
    ended(0, "init")
    config = RunConfig.from_yaml(tmp_path / "config.yaml")
    assert (config.split.k, config.split.k_train, config.split.step) == folds
    made = Folds.make(file, SplitConfig())
    count = len(made.training_patches(made.splits[0].train))
    assert f"8000 patches are seen, here {min(200, -(-8000 // count))}." in (tmp_path / "config.yaml").read_text()
    said = ended(0, "train", "config.yaml", "--dry-run").out
    assert f"# training, {min(200, -(-8000 // count))} epochs " in said


def test_the_network_follows_from_the_patch_file(ended: Ended, tmp_path: Path) -> None:
    patches(tmp_path / "map.h5", 96, patch_size=24, channels=2)
    ended(0, "init")
    model = RunConfig.from_yaml(tmp_path / "config.yaml").trainer.model
    assert (model.in_channels, model.patch_multiple) == (2, 8)
    ended(0, "train", "config.yaml", "--dry-run")


@pytest.mark.parametrize("other", [{"patch_size": 16}, {"patch_size": 24}, {"channels": 2}])
def test_patches_that_a_packaged_model_does_not_take_are_refused(
    other: dict[str, int], ended: Ended, tmp_path: Path
) -> None:
    patches(tmp_path / "map.h5", 96, **{"patch_size": 32, **other})
    message = "higal-small, from which this recipe starts, takes one plane and patches of 32, 48, ... pixels"
    assert message in ended(2, "init", "--recipe", "transfer").err


def test_patches_too_small_for_a_network_are_refused(ended: Ended, tmp_path: Path) -> None:
    patches(tmp_path / "map.h5", 96, patch_size=2)
    assert "has patches of 2 pixels, too small for a U-Net" in ended(2, "init").err


def test_patches_of_an_odd_size_are_refused(ended: Ended, tmp_path: Path) -> None:
    patches(tmp_path / "map.h5", 96, patch_size=25)
    assert "Patches of 25 pixels do not go through this U-Net of depth 1" in ended(3, "init").err


@pytest.mark.parametrize("recipe", ["default", "catalogue"])
def test_folds_that_lie_there_are_used_or_left_alone(recipe: str, ended: Ended, tmp_path: Path) -> None:
    file = patches(tmp_path / "map.h5", 256)
    (tmp_path / "map.folds.json").write_text(folds_json(Folds.make(file, SplitConfig(k=3))))
    ended(0, "init", "--recipe", recipe)
    split = yaml.safe_load((tmp_path / "config.yaml").read_text())["split"]
    own = {"k": 3, "k_train": 1, "step": 1}
    assert split == (
        own if recipe == "default" else {"k": 10, "k_train": 7, "step": 2, "path": "map_catalogue.folds.json"}
    )
    ended(0, "train", "config.yaml", "--dry-run")


def test_an_existing_configuration_is_replaced_on_request(ended: Ended, tmp_path: Path) -> None:
    patches(tmp_path / "map.h5")
    (tmp_path / "config.yaml").write_text("mine")
    assert "config.yaml exists already. Pass --overwrite to replace it" in ended(2, "init").err
    assert "config.yaml exists already" in ended(2, "init", "--dry-run").err
    assert (tmp_path / "config.yaml").read_text() == "mine"
    assert ended(0, "init", "--overwrite", "--quiet").out == ""
    RunConfig.from_yaml(tmp_path / "config.yaml")


def test_dry_run_prints_what_would_be_written(ended: Ended, tmp_path: Path) -> None:
    patches(tmp_path / "map.h5")
    printed = ended(0, "init", "--dry-run").out
    assert [path.name for path in tmp_path.iterdir()] == ["map.h5"]
    ended(0, "init")
    assert printed.startswith((tmp_path / "config.yaml").read_text())
    assert "Would write config.yaml." in printed


def test_nothing_to_train_on_is_one_message(ended: Ended, tmp_path: Path) -> None:
    none = "Found no patch file (*.h5), and no FITS map (*.fits) that its name does not call a mask."
    assert none in ended(2, "init").err
    assert "nowhere does not exist. Expected the folder of your data" in ended(2, "init", "nowhere").err
    for name in ("notes.txt", "spines.fits"):
        (tmp_path / name).touch()
        assert none in ended(2, "init", name).err


def test_what_is_there_twice_is_named(planes: Path, ended: Ended, tmp_path: Path) -> None:
    shutil.copy(planes / "l30_density.fits", planes / "other.fits")
    assert "Found several maps: l30_density.fits, other.fits. Name the" in ended(2, "init", planes).err
    assert "preprocess 'my data/other.fits' --target" in ended(0, "init", "my data/other.fits", "--dry-run").out
    (planes / "other.fits").rename(planes / "background.fits")
    assert "Found several background planes: background.fits, l30_bkg.fits." in ended(2, "init", planes).err
    for name in ("a.h5", "b.h5"):
        patches(tmp_path / name)
    assert "Found several patch files: a.h5, b.h5. Name the" in ended(2, "init").err
    ended(0, "init", "b.h5")
    assert "path: b.h5" in (tmp_path / "config.yaml").read_text()


def test_a_map_without_a_target_warns(sky: Sky, ended: Ended, tmp_path: Path) -> None:
    shutil.copy(sky.path("image"), tmp_path / "map.fits")
    assert "No file is a mask of known filaments by its name" in ended(0, "init").err
    planes = [fits.PrimaryHDU(sky.image, sky.header), fits.ImageHDU(sky.target, name="TARGET")]
    fits.HDUList(planes).writeto(tmp_path / "map.fits", overwrite=True)
    assert ended(0, "init", "--overwrite").err == ""


def test_what_bigsf_wrote_beside_the_map_is_no_map(planes: Path, ended: Ended) -> None:
    for ending in ("_segmented.fits", "_segmented.moc.fits", ".folds.fits"):
        shutil.copy(planes / "l30_density.fits", planes / f"l30_density{ending}")
    assert "preprocess 'my data/l30_density.fits'" in ended(0, "init", "my data", "--dry-run").out


def test_a_name_that_begins_with_a_dash_is_no_option(planes: Path, ended: Ended, tmp_path: Path) -> None:
    for old, new in (("l30_density.fits", "-map.fits"), ("l30_spines.fits", "-spines.fits")):
        shutil.copy(planes / old, tmp_path / new)
    assert "bigsf preprocess ./-map.fits --target ./-spines.fits" in ended(0, "init").out
