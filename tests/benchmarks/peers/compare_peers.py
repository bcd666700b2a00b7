"""How good are other tools on the same folds, patches and pixels as BigSF?

    pip install '.[peers]'
    python tests/benchmarks/peers/compare_peers.py monai_unet smp_unet nnunet --higal FOLDER --skies 101 --seeds 0
    python tests/benchmarks/peers/compare_peers.py --recipe examples/config.yaml --higal FOLDER

Each tool trains one network per split of the k-fold of `kfold_higal.yaml`. All see the same number of patches, of the
same folds, in batches of the same size. Flips and quarter turns are theirs too; nnU-Net has its own augmentations.
Pixels without a label are background. Each pixel is predicted by the network that has it in a test fold, and the scores
are those of `science.py`. A further tool is a module in this folder with a function `probability(work)`; `--recipe`
adds another recipe of BigSF. Filters and FilFinder, which need no training, have their best setting for each score,
chosen on what is scored. Recipes must share the areas (`split.area_size`), as only pixels that all predict are scored.

The time is CPU time. That of BigSF is for the whole command: validation, thresholds, injected filaments, catalogue and
report too; NaN where its k-fold lies in the folder of runs already.
"""

import argparse
import hashlib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from science import (
    EXAMPLES,
    PATCHES,
    Recipe,
    Scores,
    Sky,
    best_of,
    competitors,
    higal_sky,
    out_of_fold,
    patch_file,
    print_table,
    scores_of,
    simulated_sky,
)
from work import SplitWork, cpu_seconds

from bigsf.arrays import FloatArray
from bigsf.training.build import open_data
from bigsf.training.distributed import World
from bigsf.training.run_config import RunConfig

RECIPE = EXAMPLES / "kfold_higal.yaml"
SIZE = 768, 384


def map_of_tool(tool: str, sky: Sky, settings: Sequence[str], seed: int) -> tuple[FloatArray, float]:
    """Return the out-of-fold map `(ny, nx)` of a tool, NaN where no network predicted, and the seconds of CPU time."""
    of_settings = hashlib.sha256(" ".join(settings).encode()).hexdigest()[:6]
    own = [f"data.path={patch_file(sky, PATCHES)}", f"split.path={sky.folder}/peers_{of_settings}.folds.json"]
    config = RunConfig.from_yaml(RECIPE, [*settings, *own, f"trainer.seed={seed}"])
    probability = importlib.import_module(tool).probability
    started = cpu_seconds()
    _, folds = open_data(config, World())
    found = np.full(folds.patch_file.shape, np.nan, np.float32)
    for number in range(1, len(folds.splits) + 1):
        work = SplitWork.of(config, number)
        found[work.tested] = probability(work)[work.tested]
    return found, cpu_seconds() - started


def compare(
    sky: Sky, tools: Sequence[str], recipes: Sequence[Recipe], settings: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Scores]]:
    """Return the scores of recipes of BigSF and of each tool, one for each seed, and of methods without training."""
    maps = {f"BigSF, {recipe.name}": [_of_bigsf(recipe, sky, seed) for seed in seeds] for recipe in recipes}
    for tool in tools:
        maps[tool] = [map_of_tool(tool, sky, settings, seed) for seed in seeds]
        print(f"{sky.folder.name}: {tool} is done", flush=True)
    scored = np.logical_and.reduce([np.isfinite(found) for several in maps.values() for found, _ in several])
    print(f"{sky.folder.name}: {scored.sum():,} pixels are scored", flush=True)
    trained = {
        tool: [{**scores_of(found, sky, scored), "CPU seconds": seconds} for found, seconds in several]
        for tool, several in maps.items()
    }
    return trained | {name: [best_of(found, sky, scored)] for name, found in competitors(sky).items()}


def _of_bigsf(recipe: Recipe, sky: Sky, seed: int) -> tuple[FloatArray, float]:
    started = cpu_seconds()
    found, seconds = out_of_fold(recipe, sky, seed)
    used = cpu_seconds() - started
    return found, used if used > seconds / 2 else float("nan")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", help="modules of this folder, e.g. monai_unet")
    parser.add_argument("--skies", nargs="*", type=int, default=[], help="seeds of simulated maps")
    parser.add_argument("--higal", type=Path, metavar="FOLDER", help="folder of the four planes of the Hi-GAL sample")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the trainings (0)")
    parser.add_argument("--recipe", action="append", default=[], metavar='"YAML [KEY=VALUE ...]"', help="a further one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all tools")
    parser.add_argument("-o", "--output", type=Path, default=Path("peers"), help="folder of runs (%(default)s)")
    options = parser.parse_args()
    output = options.output.absolute()
    skies = [simulated_sky(output, seed, SIZE) for seed in options.skies]
    for sky in [*skies, *([higal_sky(output, options.higal)] if options.higal else [])]:
        recipes = [Recipe.parse(text, options.set) for text in [str(RECIPE), *options.recipe]]
        print_table(sky.folder.name, compare(sky, options.tools, recipes, options.set, options.seeds))


if __name__ == "__main__":
    main()
