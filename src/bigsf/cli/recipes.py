"""A recipe and what the data ask for -> the text of a configuration with a comment on each key."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import yaml

from bigsf.config.yaml_source import Dumper

RecipeName = Literal["default", "catalogue", "papers", "transfer"]

Settings = Mapping[str, Any]
"""Keys of a configuration, nested as in the YAML."""

_TURNED = [{"type": "flip"}, {"type": "rotate90"}]

_DEFAULT: Settings = {
    "data": {"path": None},
    "split": {"k": None, "k_train": None, "step": None},
    "trainer": {
        "run_name": "experiment_1",
        "epochs": None,
        "batch_size": 16,
        "model": {"type": "unet", "features": 16, "depth": 4, "normalization": {"type": "log"}},
        "loss": {"type": "bce", "unlabelled_weight": 0.3},
        "optimizer": {"type": "muon", "lr": 0.01},
        "augmentations": [*_TURNED, {"type": "filaments"}, {"type": "paste"}],
    },
    "out_of_fold": {"stride": None, "tta": None},
}

_CHANGES: dict[RecipeName, Settings] = {
    "default": {},
    "catalogue": {
        "split": {"k": 10, "k_train": 7, "step": 2},
        "trainer": {"run_name": "catalogue", "epochs": 2, "augmentations": _TURNED},
        "out_of_fold": {"stride": 16, "tta": True},
    },
    "papers": {
        "data": {"straddle": False},
        "split": {"k": 4, "k_train": 2, "area_size": 64},
        "trainer": {
            "run_name": "papers",
            "epochs": 10,
            "batch_size": 64,
            "model": {"normalization": {"type": "minmax"}},
            "loss": {"unlabelled_weight": 0.0},
            "optimizer": {"type": "adam", "lr": 0.001},
            "scheduler": {"type": "multistep", "milestones": [5, 8], "gamma": 0.1},
            "best_by": "val_loss",
            "augmentations": _TURNED,
        },
        "out_of_fold": {"stride": 16, "tta": False},
    },
    "transfer": {
        "trainer": {
            "run_name": "transfer",
            "start_from": "higal-small",
            "epochs": 2,
            "optimizer": {"type": "adamw", "lr": 0.001},
        },
    },
}
"""What each recipe changes in the default one."""

_ABOUT: dict[RecipeName, str] = {
    "default": "find filaments that the labels leave out, too",
    "catalogue": "agree with an incomplete catalogue of filaments in a column density map",
    "papers": "Zavagno et al. (2023): min-max of each patch, labelled pixels only",
    "transfer": "start from a model of the package, and find faint filaments that no label shows",
}

PATCHES: dict[RecipeName, list[str]] = {
    "default": [],
    "catalogue": ["--patch-size", "64", "--stride", "8"],
    "papers": ["--patch-size", "32"],
    "transfer": [],
}
"""Options of `bigsf preprocess` that belong to a recipe."""

_COMMENTS = {
    "data.path": "The patch file that bigsf preprocess wrote.",
    "data.straddle": "true: train on patches across borders of areas too, where pixels outside are masked.",
    "split.k": "Number of folds. null: 4, or 10 where 15 areas or more hold patches. 1: ten folds and one split.",
    "split.k_train": "Folds that a model learns from; the others validate and test it. null: k - 2, or 7 of 10.",
    "split.step": "Keep every step-th split. null: all, or every second one of 10.",
    "split.area_size": "Side of an area in pixels. null: the larger of 64 pixels and two patches.",
    "split.path": "The folds file. The one that lies beside the patch file was made for other settings.",
    "trainer.run_name": "The name of the run folder, in the folder results.",
    "trainer.epochs": "Passes over the training patches. null: so many that 8000 patches are seen{epochs}.",
    "trainer.batch_size": "Patches per step. Lower it where memory runs out.",
    "trainer.model": "The network. More features: slower, and for larger maps. A patch must be a multiple of "
    "2**depth pixels, and larger. normalization: log for column density; robust for maps with negative values, bright "
    "sources or other units.",
    "trainer.loss": "unlabelled_weight: the weight of pixels without a label, taken as background. 0: labelled pixels "
    "alone.",
    "trainer.optimizer": "lr: the learning rate. Lower it where the loss jumps.",
    "trainer.scheduler": "How the learning rate changes.",
    "trainer.best_by": "The quantity of the validation that chooses best.pt. null: the last epoch.",
    "trainer.augmentations": "Random changes of the patches. filaments adds faint ones: without it the model agrees "
    "better with a catalogue and finds less beyond it.",
    "trainer.start_from": "A model whose weights are the first: of the package, or your own best.pt.",
    "out_of_fold.stride": "Pixels from window to window in the map of bigsf kfold. null: a quarter of a window, or a "
    "half where the map is large.",
    "out_of_fold.tta": "true: the mean over eight orientations of each window; false: eight times as fast. null: "
    "true, but false where the map is large.",
}
"""What each key does."""

_LINE = 100  # characters


def recipe(name: RecipeName) -> dict[str, Any]:
    """Return the settings of a recipe, as nested keys; `data.path` is still to be filled in."""
    return merged(_DEFAULT, _CHANGES[name])


def merged(settings: Settings, changes: Settings) -> dict[str, Any]:
    """Return nested settings with some of their keys changed or added."""
    changed = {
        key: merged(settings[key], value) if isinstance(settings.get(key), Mapping) else value
        for key, value in changes.items()
    }
    return {**settings, **changed}


def as_text(name: RecipeName, settings: Settings, epochs: int | None = None) -> str:
    """Return settings as YAML with a comment above each key.

    Parameters
    ----------
    name
        The recipe that they follow.
    settings
        The settings, as nested keys.
    epochs
        What `trainer.epochs: null` means for the data, where it is known.
    """
    head = [
        f"# Recipe {name}: {_ABOUT[name]}.",
        "#   bigsf train config.yaml   trains one model and scores it.",
        "#   bigsf kfold config.yaml --set trainer.run_name=folds   trains one model per split; they predict the map.",
        "# A key that is not here has its default; bigsf train --schema prints all keys.",
    ]
    comments = {key: text.format(epochs=f", here {epochs}" if epochs else "") for key, text in _COMMENTS.items()}
    return "\n".join([*head, *_lines(settings, comments), ""])


def _lines(settings: Settings, comments: Mapping[str, str], path: str = "") -> Iterator[str]:
    """Yield the lines of nested settings; a part with a comment of its own, and a list, stand on one line."""
    indent = "  " if path else ""
    for key, value in settings.items():
        name = f"{path}{key}"
        for line in textwrap.wrap(comments.get(name, ""), _LINE - 4):
            yield f"{indent}# {line}"
        if isinstance(value, Mapping) and name not in comments:
            yield f"{indent}{key}:"
            yield from _lines(value, comments, f"{name}.")
        else:
            text = yaml.dump({key: value}, Dumper=Dumper, default_flow_style=True, sort_keys=False, width=10**6)
            yield f"{indent}{text.strip()[1:-1]}"
