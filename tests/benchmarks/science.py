"""How complete and how pure are the filaments of a k-fold and of other methods, on simulated maps with a ground truth?

    python tests/benchmarks/science.py --skies 1 2 3 --higal ../shared/data/train
    python tests/benchmarks/science.py --skies 1 --no-papers --recipe "examples/kfold_higal.yaml trainer.epochs=1"
    python tests/benchmarks/science.py --skies 101 102 103 --higal ../shared/data/train --seeds

The last command scores the other methods alone.

The simulated maps have the fixed default recipe of the simulator. Seeds 1 to 3 are for tuning, and 101 to 103 for
numbers that are published. A k-fold on 768 x 384 pixels takes about seven minutes on one core. `--set split.k=8 --set
split.k_train=5 --set split.step=4` predicts half of the map, in half the time.

A recipe is a YAML file and settings. The settings patch_size and stride (64 and 8) go to `bigsf preprocess`. `--set`
adds a setting to all recipes except that of the papers. Runs of an unchanged recipe that lie in the output folder are
not trained again. After a change of the code, choose another folder.

Models learn from TARGET, or with `--complete` from TRUTH, which labels every pixel: the most that a better use of the
labels could reach. They are scored against TRUTH, on the pixels that all of them predicted:

=============== =====================================================================================================
AP, Dice        average precision, and the best Dice of any threshold
clDice          centreline Dice at that threshold
complete, pure  fraction of the true skeleton within 2 pixels of the found one, and the reverse, at that threshold
faint, middle,  completeness of the faintest, middle and brightest third of the filaments, at the lowest threshold of
bright          purity 0.8: the marked fraction of each filament's true pixels, averaged over filaments; 0 where no
                threshold reaches that purity
seconds         time of training and prediction
=============== =====================================================================================================

The row of a filter, or of FilFinder, which makes masks and no map of scores, holds the best score of all its scales or
settings, chosen with the ground truth, which favours it.
"""

import argparse
import hashlib
import re
import shlex
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.io import fits
from pydantic_core import to_json

import bigsf
from bigsf.arrays import BoolArray, Float64Array, FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.metrics.skeleton_score import SkeletonScore
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.version import __version__

EXAMPLES = Path(__file__).parents[2] / "examples"

Scores = dict[str, float]

PATCHES = {"patch_size": 64, "stride": 8}
"""The patches of recipes that do not say otherwise, and of the methods that need no training."""

PURITY = 0.8
FILFINDER = [(size, level) for size in (9, 15, 25) for level in (None, 1.0)]
"""Settings of FilFinder's adaptive mask: its size in pixels, and the fraction of the median below which it is 0."""


@dataclass(frozen=True)
class Recipe:
    """A configuration file, settings that change it, and the size and stride of its patches."""

    name: str
    yaml: Path
    settings: tuple[str, ...] = ()
    patches: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, more: Sequence[str] = ()) -> "Recipe":
        """Read "file.yaml key=value ..."."""
        path, *words = [*shlex.split(text), *more]
        given = {key: int(value) for key, _, value in (word.partition("=") for word in words) if key in PATCHES}
        settings = tuple(word for word in words if word.partition("=")[0] not in PATCHES)
        return cls(" ".join([Path(path).stem, *words]), Path(path), settings, PATCHES | given)


PAPERS = Recipe("kfold_papers", EXAMPLES / "kfold_papers.yaml", (), {"patch_size": 32, "stride": 8})


class Sky(NamedTuple):
    """A map with the planes to learn from, and the ground truth to be scored against."""

    folder: Path
    planes: dict[str, Path]
    true: BoolArray
    labelled: BoolArray | None = None
    """Where there is a label, for maps whose ground truth is their target."""
    ids: npt.NDArray[np.int32] | None = None
    """The filament of each true pixel, numbered by contrast from 1; 0 elsewhere."""


def simulated_sky(folder: Path, seed: int, size: Sequence[int]) -> Sky:
    """Return a simulated map. It is computed on first use."""
    folder = folder / f"sky_{seed}_{size[0]}x{size[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sky.fits"
    if not path.exists():
        bigsf.simulate_galaxy(path, size[0], size[1], seed)
    with fits.open(path) as hdus:
        table, ids = hdus["FILAMENTS"].data, np.array(hdus["TRUTH_ID"].data)
        rank = np.zeros(int(max(ids.max(), table["ID"].max())) + 1, np.int32)
        rank[table["ID"][np.argsort(table["CONTRAST"], kind="stable")]] = np.arange(1, len(table) + 1)
    return Sky(folder, {"image": path}, ids > 0, ids=rank[ids])


def with_complete_labels(sky: Sky) -> Sky:
    """Return a simulated map whose labels are its ground truth: each valid pixel is target or background."""
    path, folder = sky.planes["image"], sky.folder / "complete"
    folder.mkdir(exist_ok=True)
    with fits.open(path) as hdus:
        background = ~sky.true & (hdus["MISSING"].data > 0)
    fits.writeto(folder / "background.fits", background.astype(np.uint8), overwrite=True)
    planes = {name: Path(f"{path}[{hdu}]") for name, hdu in (("target", "TRUTH"), ("missing", "MISSING"))}
    return sky._replace(folder=folder, planes={"image": path, "background": folder / "background.fits"} | planes)


def higal_sky(folder: Path, data: Path) -> Sky:
    """Return the Hi-GAL sample. Its ground truth is an incomplete catalogue."""
    planes = {name: next(data.glob(f"*_{name}.fits*")) for name in ("image", "target", "background", "missing")}
    folder = folder / "higal"
    folder.mkdir(parents=True, exist_ok=True)
    target, background = (fits.getdata(planes[name]) > 0 for name in ("target", "background"))
    return Sky(folder, planes, target, target | background)


def patch_file(sky: Sky, patches: Mapping[str, int]) -> Path:
    """Return the patch file of a map. It is written on first use."""
    path = sky.folder / f"patches_{patches['patch_size']}_{patches['stride']}.h5"
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Hi-GAL sample has known flaws
            planes: dict[str, Any] = {**sky.planes, **patches}
            preprocess(PreprocessConfig(**planes), path)
    return path


def out_of_fold(recipe: Recipe, sky: Sky, seed: int) -> tuple[FloatArray, float]:
    """Return the out-of-fold map `(ny, nx)` of a k-fold, NaN where no model predicted, and the time in seconds."""
    content = hashlib.sha256(recipe.yaml.read_bytes()).hexdigest()[:6]  # after a change the recipe is trained again
    name = re.sub(r"[^\w.=-]+", "_", f"{recipe.name} {content} seed {seed}")
    path, clock = sky.folder / name, sky.folder / f"{name}.seconds"
    settings = [
        *recipe.settings,
        f"data.path={patch_file(sky, recipe.patches)}",
        f"split.path={sky.folder / name}.folds.json",
        f"trainer.output_dir={sky.folder}",
        f"trainer.run_name={name}",
        f"trainer.seed={seed}",
    ]
    if not clock.exists():
        started = time.monotonic()
        KFold.from_config(RunConfig.from_yaml(recipe.yaml, settings)).run()
        clock.write_text(f"{time.monotonic() - started:.0f}")
    return np.asarray(fits.getdata(path / "out_of_fold.fits"), np.float32), float(clock.read_text())


def competitors(sky: Sky) -> dict[str, list[FloatArray]]:
    """Return the maps `(ny, nx)` of methods that need no training: one for each scale or setting."""
    baselines = BaselineMaps(PatchFile(patch_file(sky, PATCHES)))
    ny = len(sky.true)
    maps = {name: [baselines.rows(name, scale, 0, ny) for scale in scales] for name, scales in BASELINES.items()}
    log_n = maps["column density"][0].astype(np.float64)
    try:
        maps["FilFinder"] = [filfinder_mask(10**log_n, *setting) for setting in FILFINDER]
    except ImportError:
        print("FilFinder is left out. To include it: pip install '.[science]'")
    return maps


def filfinder_mask(image: Float64Array, adapt_px: int, level: float | None) -> FloatArray:
    """Return the adaptive mask of FilFinder (Koch & Rosolowsky 2015), 0 or 1."""
    vars(np).setdefault("in1d", np.isin)  # FilFinder 1.8 calls what numpy 2.4 has renamed
    from fil_finder import FilFinder2D

    padded = np.pad(
        np.pad(image / np.median(image), 28, mode="reflect"), 4
    )  # FilFinder fails for structures at a border
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        finder = FilFinder2D(padded, beamwidth=2 * u.pix)
        finder.preprocess_image(flatten_percent=95)
        finder.create_mask(
            adapt_thresh=adapt_px * u.pix,
            smooth_size=2 * u.pix,
            size_thresh=40 * u.pix**2,
            glob_thresh=None if level is None else level * u.dimensionless_unscaled,
            border_masking=False,
        )
    return np.asarray(finder.mask[32:-32, 32:-32], np.float32)


def scores_of(score: FloatArray, sky: Sky, predicted: BoolArray) -> Scores:
    """Return the scores of a map on the predicted pixels."""
    curve = _curve(score, sky.true, predicted)
    dice, threshold = curve.best_dice()
    found = {} if sky.labelled is None else _labelled(score, sky.true, predicted & sky.labelled)
    found |= {"AP": curve.average_precision(), "Dice": dice}
    lines = SkeletonScore(radii_px=[2])
    lines.update((score >= threshold) & predicted, sky.true & predicted, predicted)
    table = lines.table()
    found |= {"clDice": table["cldice"], "complete": table["completeness_2px"], "pure": table["purity_2px"]}
    if sky.ids is not None:
        pure = np.flatnonzero(curve.precision >= PURITY)
        marked = (score >= curve.thresholds[pure[0]]) & predicted if len(pure) else np.zeros_like(predicted)
        found |= by_contrast(marked, sky.ids, predicted)
    return found


def _labelled(score: FloatArray, true: BoolArray, predicted: BoolArray) -> Scores:
    curve = _curve(score, true, predicted)
    return {"labelled AP": curve.average_precision(), "labelled Dice": curve.best_dice().dice}


def _curve(score: FloatArray, true: BoolArray, predicted: BoolArray) -> ThresholdCurve:
    curve = ThresholdCurve(quantile_edges(score[predicted]))
    curve.update(score[predicted], true[predicted])
    return curve


def by_contrast(marked: BoolArray, ids: npt.NDArray[np.int32], predicted: BoolArray) -> Scores:
    """Return the mean completeness of the faintest, middle and brightest third of the filaments.

    `ids` number the filaments by contrast.
    """
    pixels = np.bincount(ids[predicted])[1:]
    completeness = np.bincount(ids[marked], minlength=len(pixels) + 1)[1:][pixels > 0] / pixels[pixels > 0]
    thirds = np.array_split(completeness, 3)
    return {name: float(third.mean()) for name, third in zip(("faint", "middle", "bright"), thirds, strict=True)}


def compare(sky: Sky, recipes: Sequence[Recipe], seeds: Sequence[int]) -> dict[str, list[Scores]]:
    """Return the scores of each recipe, one for each training seed, and of each other method, one alone."""
    runs = {recipe.name: [out_of_fold(recipe, sky, seed) for seed in seeds] for recipe in recipes}
    others = competitors(sky)
    predicted = np.isfinite(PatchFile(patch_file(sky, PATCHES)).image[0])
    for maps_and_seconds in runs.values():
        predicted &= np.logical_and.reduce([np.isfinite(score) for score, _ in maps_and_seconds])
    print(
        f"{sky.folder.name}: {predicted.sum():,} pixels predicted, {(sky.true & predicted).sum():,} of them true",
        flush=True,
    )
    rows = {
        name: [{**scores_of(score, sky, predicted), "seconds": seconds} for score, seconds in maps_and_seconds]
        for name, maps_and_seconds in runs.items()
    }
    return rows | {name: [best_of(maps, sky, predicted)] for name, maps in others.items()}


def best_of(maps: Sequence[FloatArray], sky: Sky, predicted: BoolArray) -> Scores:
    """Return the best of each score over the settings of a method, one map each."""
    settings = [scores_of(score, sky, predicted) for score in maps]
    return {key: max(scores[key] for scores in settings) for key in settings[0]}


def print_table(title: str, rows: Mapping[str, Sequence[Scores]]) -> None:
    """Print the mean of each score and, where there are several, its standard deviation."""
    columns = list(next(iter(rows.values()))[0])
    width = max(map(len, rows))
    print(f"\n{title}\n{'':{width}s}  " + "".join(f"{name:>15s}" for name in columns))
    for name, several in rows.items():
        values = [np.array([scores[column] for scores in several if column in scores]) for column in columns]
        print(f"{name:{width}s}  " + "".join(f"{_cell(column):>15s}" for column in values))


def _cell(values: FloatArray) -> str:
    if not len(values):
        return "-"
    digits = 0 if values.mean() > 1 else 3
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skies", nargs="*", type=int, default=[1], help="seeds of the simulated maps (1)")
    parser.add_argument("--size", nargs=2, type=int, default=(768, 384), metavar=("NX", "NY"), help="(768 384)")
    parser.add_argument("--complete", action="store_true", help="learn from the ground truth of the simulated maps")
    parser.add_argument("--higal", type=Path, metavar="FOLDER", help="folder of the four planes of the Hi-GAL sample")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0], help="seeds of the trainings (0); none: no models")
    parser.add_argument("--recipe", action="append", metavar='"YAML [KEY=VALUE ...]"', help="(kfold_higal.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all recipes")
    parser.add_argument("--no-papers", action="store_true", help="leave out the recipe of the papers")
    parser.add_argument("-o", "--output", type=Path, default=Path("science"), help="folder of runs (%(default)s)")
    options = parser.parse_args()
    recipes = [Recipe.parse(text, options.set) for text in options.recipe or [str(EXAMPLES / "kfold_higal.yaml")]]
    recipes += [] if options.no_papers else [PAPERS]
    recipes = recipes if options.seeds else []
    output = options.output.absolute()
    record: dict[str, Any] = {"bigsf": __version__, "command": shlex.join(sys.argv)}
    skies: dict[str, list[Scores]] = {}
    for seed in options.skies:
        sky = simulated_sky(output, seed, options.size)
        sky = with_complete_labels(sky) if options.complete else sky
        title = str(sky.folder.relative_to(output))
        record[title] = compare(sky, recipes, options.seeds)
        print_table(title, record[title])
        for name, scores in record[title].items():
            skies.setdefault(name, []).extend(scores)
    if len(options.skies) > 1:
        print_table(f"simulated maps {options.skies}: mean ± standard deviation over maps and seeds", skies)
    if options.higal and options.higal.is_dir():
        record["higal"] = compare(higal_sky(output, options.higal), recipes, options.seeds)
        print_table("Hi-GAL sample, against its incomplete target", record["higal"])
    elif options.higal:
        print(f"The Hi-GAL sample is left out, because there is no folder {options.higal}")
    (output / "science.json").write_bytes(to_json(record, indent=2, inf_nan_mode="null"))
    print(f"\nWrote {output / 'science.json'}")


if __name__ == "__main__":
    main()
