"""`bigsf init`: the patch file or the FITS planes of a folder -> a commented config.yaml for them."""

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bigsf.cli.options import DryRun, Overwrite, Quiet, as_argument, typed
from bigsf.cli.recipes import PATCHES, RecipeName, as_text, merged, recipe
from bigsf.console import print_line
from bigsf.errors import DataError, UsageError, warn
from bigsf.maps.file_kinds import has_fits_name, has_patch_file_name
from bigsf.maps.fits_image import stem_of
from bigsf.maps.hdus import find_planes

if TYPE_CHECKING:
    from bigsf.folds.folds import Folds
    from bigsf.folds.splits import SplitConfig
    from bigsf.patches.patch_file import PatchFile

_OUTPUTS = re.compile(r".*(_segmented|\.folds|\.moc)|out_of_fold")
"""Stems of FITS files that BigSF writes and that are no maps to train on."""
_WORDS = {
    "target": {"target", "targets", "spine", "spines", "skeleton", "skeletons", "filament", "filaments"},
    "background": {"background", "bkg", "bg"},
    "missing": {"missing"},
    "valid": {"valid"},
    "truth": {"truth"},
}
"""The words in the name of a FITS file that tell which plane it holds, by the option of `bigsf preprocess`."""


def init(
    place: Annotated[
        Path,
        typer.Argument(metavar="FOLDER|FILE", help="The folder of the data, or one of several patch files or maps."),
    ] = Path(),
    recipe_name: Annotated[
        RecipeName,
        typer.Option(
            "--recipe",
            help="catalogue: agree with a catalogue of filaments; papers: Zavagno et al. 2023; transfer: start from a "
            "model of the package.",
        ),
    ] = "default",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write a commented config.yaml, in the current folder, for the patch file or the FITS planes of a folder.

    Where there is no patch file yet, it says the `bigsf preprocess` command that makes it, with the planes that the
    names of the files tell: target or spines, background, missing or valid, truth.
    """
    from bigsf.outputs import Outputs

    config = Path("config.yaml")
    outputs = Outputs(config)
    outputs.check((), overwrite, "Pass --overwrite to replace it, or run this command in another folder.")
    text, first = _configuration(place, recipe_name)
    if dry_run:
        print_line(text)
    else:
        with outputs.writing() as files:
            files[config].write_text(text, encoding="utf-8")
    print_line(f"{'Would write' if dry_run else 'Wrote'} {config}.")
    for command in (first, f"bigsf train {config}") if first else (f"bigsf train {config}",):
        print_line(f"Next: {command}")


def _configuration(place: Path, name: RecipeName) -> tuple[str, str]:
    """Return the text of a configuration for what lies in a place, and the command that makes its patch file.

    The command is empty where the patch file is there.

    Raises
    ------
    UsageError
        Where there is nothing to train on, or one cannot tell which of several files to take.
    DataError
        Where a file cannot be used.
    """
    if not place.exists():
        raise UsageError(f"{place} does not exist. Expected the folder of your data, a patch file or a FITS map.")
    beside = sorted(path for path in (place if place.is_dir() else place.parent).glob("[!.]*") if path.is_file())
    files = beside if place.is_dir() else [place]
    patch_files = list(filter(has_patch_file_name, files))
    if patch_files:
        return _for_patch_file(_only(patch_files, "patch files"), name), ""
    planes = _planes(files, beside)
    image = planes.pop("image")
    options = [part for role, path in planes.items() for part in (f"--{role}", as_argument(path))]
    settings = merged(recipe(name), {"data": {"path": f"{stem_of(image)}.h5"}})
    return as_text(name, settings), shlex.join(["bigsf", "preprocess", as_argument(image), *options, *PATCHES[name]])


def _for_patch_file(path: Path, name: RecipeName) -> str:
    """Return the text of a configuration for a patch file: its folds, its planes and the size of its patches."""
    from bigsf.folds.splits import SplitConfig
    from bigsf.patches.patch_file import PatchFile
    from bigsf.training.build import default_epochs

    patch_file, settings = PatchFile(path), recipe(name)
    patch_file.labels()
    folds, split_path = _folds(patch_file, SplitConfig.from_dict(settings["split"]), name)
    split: dict[str, Any] = {"k": folds.config.k, "k_train": len(folds.splits[0].train), "step": folds.config.step}
    split |= {"path": split_path} if split_path else {}
    changes = {"data": {"path": str(path)}, "split": split, "trainer": {"model": _model(patch_file, settings)}}
    straddle = settings["data"].get("straddle", True)
    epochs = default_epochs(len(folds.training_patches(folds.splits[0].train, straddle)))
    return as_text(name, merged(settings, changes), epochs)


def _folds(patch_file: "PatchFile", split: "SplitConfig", name: RecipeName) -> "tuple[Folds, str]":
    """Return the folds of a recipe, and where the folds file beside the patch file is of other folds, another name."""
    from bigsf.folds.folds import Folds
    from bigsf.folds.folds_file import load_or_make_folds
    from bigsf.folds.splits import default_folds_path

    try:
        return load_or_make_folds(patch_file, split, write=False), ""
    except DataError:
        if not default_folds_path(patch_file.path).exists():
            raise
        return Folds.make(patch_file, split), f"{patch_file.path.stem}_{name}.folds.json"


def _model(patch_file: "PatchFile", settings: Mapping[str, Any]) -> dict[str, int]:
    """Return the keys of the model that follow from a patch file, where they are not those of the recipe."""
    from bigsf.models.network import check_patch_size

    size, depth = patch_file.patch_size, settings["trainer"]["model"]["depth"]
    check_patch_size(size, 2, "U-Net of depth 1")
    fitting = next((d for d in range(depth, 0, -1) if size % 2**d == 0 and size > 2**d), 0)
    if not fitting:
        raise UsageError(
            f"{patch_file.path} has patches of {size} pixels, too small for a U-Net. Preprocess larger ones."
        )
    planes = {"in_channels": patch_file.channels} if patch_file.channels > 1 else {}
    changes = planes | ({"depth": fitting} if fitting != depth else {})
    if changes and (start := settings["trainer"].get("start_from")):
        raise UsageError(
            f"{start}, from which this recipe starts, takes one plane and patches of {2 * 2**depth}, {3 * 2**depth}, "
            f"... pixels; {patch_file.path} has {patch_file.channels}, and patches of {size}. Take another recipe, or "
            "preprocess such patches."
        )
    return changes


def _planes(maps: Iterable[Path], beside: Iterable[Path]) -> dict[str, Path]:
    """Return the one map among some FITS files, and its masks among those beside it, by option of `bigsf preprocess`.

    Raises
    ------
    UsageError
        Where there is no map, or where there are two of a kind.
    """
    found: dict[str, list[Path]] = {role: [] for role in ("image", *_WORDS)}
    for path in filter(_is_map, beside):
        found[_role(path)].append(path)
    found["image"] = [path for path in maps if _is_map(path) and _role(path) == "image"]
    planes = {"image": _only(found["image"], "maps")}
    if found["missing"] and found["valid"]:
        _only(found["missing"] + found["valid"], "masks of valid data")
    planes |= {role: _only(paths, f"{role} planes") for role, paths in found.items() if paths}
    if "target" not in planes and "target" not in find_planes(planes["image"]):
        warn(
            f"No file is a mask of known filaments by its name ({', '.join(sorted(_WORDS['target']))}). A training "
            "needs one: add it to the command with --target."
        )
    return planes


def _is_map(path: Path) -> bool:
    """Tell whether a file is FITS by its name, and none that BigSF writes."""
    return has_fits_name(path) and not _OUTPUTS.fullmatch(stem_of(path))


def _role(path: Path) -> str:
    """Return the plane that a FITS file holds, by the words in its name."""
    words = set(re.split(r"[^a-z]+", stem_of(path).lower()))
    return next((role for role, names in _WORDS.items() if names & words), "image")


def _only(paths: list[Path], kind: str) -> Path:
    """Return the only one of some files."""
    if not paths:
        raise UsageError(
            "Found no patch file (*.h5), and no FITS map (*.fits) that its name does not call a mask. Name the folder "
            "of your data, or the map: bigsf init map.fits."
        )
    if len(paths) > 1:
        raise UsageError(
            f"Found several {kind}: {', '.join(path.name for path in paths)}. Name the patch file or map to use, as in "
            f"bigsf init {typed(paths[0])}, or move what does not belong to it elsewhere."
        )
    return paths[0]
