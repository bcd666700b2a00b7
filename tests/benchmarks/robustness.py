"""What is left of a model's answer when a map has other widths, noise, sources, borders, zeros or gaps?

    python tests/benchmarks/robustness.py higal-small --higal ../shared/data/train
    python tests/benchmarks/robustness.py --kfold results/kfold --higal ../shared/data/train
    python tests/benchmarks/robustness.py filaments-small results/experiment_1 --map galaxy.fits --no-filters

Each row disturbs a map in one way. Models mark what reaches their default threshold, and are also compared at the
threshold at which a tenth of the map is marked, as are the filters, which have none. A filter has the best of three
scales in each row, chosen with the answer, in its favour.

=========== =========================================================================================================
found       part of the pixels within half a width of injected filaments that is marked, a tenth of the map marked.
            The filaments have Plummer profiles (p = 2, cut off at three widths), or with `--profile gaussian` Gaussian
            ones, and are eight widths long or more
consistent  Dice of the marked pixels with those of the undisturbed map, away from the disturbance
share       part of the marked pixels that lies on the disturbance
marked      part of the map that is marked
=========== =========================================================================================================

The maps are the Hi-GAL sample and any others. A model that was trained on the sample knows its background; the models
of its k-fold, `--kfold`, do not: each predicts the pixels of its test folds alone. Rows that need the logarithm are
left out where a map is not positive.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom
from scipy.spatial import cKDTree
from skimage.filters import frangi, sato

from bigsf.arrays import BoolArray, FloatArray
from bigsf.evaluation.injection import PROFILES, Profile, random_path
from bigsf.evaluation.out_of_fold import ensemble_mean
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile
from bigsf.models.predicted_band import PixelMask
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.segmentation.ensemble import Ensemble
from bigsf.training.kfold import KFold

TENTH = 0.1
WIDTHS = ((0.15, 3), (0.15, 5), (0.15, 8), (0.15, 12), (0.15, 16), (0.5, 3), (0.5, 8), (0.5, 16), (0.5, 24))
"""Contrast and FWHM in pixels of the injected filaments."""
NOISES = (0.01, 0.02, 0.05, 0.1)
"""Standard deviations, in medians of the map where it is not 0."""

Score = Callable[[FloatArray], FloatArray]
"""A function from a map to a score of the same shape, NaN where it is missing."""


class Method(NamedTuple):
    """A way to mark filaments."""

    scores: Sequence[Score]
    """One for each setting."""
    threshold: float | None
    """Its own threshold; None where it has none."""


class Rows(MapRows):
    """An image `(ny, nx)` as a map of one channel."""

    def __init__(self, image: FloatArray) -> None:
        self.image = image

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        return np.asarray(self.image[None, y0:y1], np.float32)


def method_of(
    ensemble: Ensemble,
    tta: bool,
    scales: Sequence[int] | None,
    pixel_mask_for: Callable[[tuple[int, int]], PixelMask] | None = None,
) -> Method:
    """Return the mean of models. With `pixel_mask_for`, each predicts the pixels that its mask of a map marks."""
    models = [snapshot.build_model() for snapshot in ensemble.snapshots]
    predictor = SlidingWindowPredictor(models, ensemble.window, tta=tta, scales=scales or ensemble.scales)

    def score(image: FloatArray) -> FloatArray:
        pixel_mask = pixel_mask_for(image.shape) if pixel_mask_for else None
        bands = predictor.predict_bands(Rows(image), pixel_mask)
        return np.concatenate([ensemble_mean(probability) for _, _, probability in bands])

    return Method([score], ensemble.threshold("whole"))


def out_of_fold(folder: Path, tta: bool, scales: Sequence[int] | None = None) -> Method:
    """Return the models of a k-fold, each on its test folds, for disturbed forms of the k-fold's own map."""
    kfold = KFold.from_folder(folder)
    fold = kfold.folds.rows(0, kfold.patch_file.shape[0])
    tests = np.stack([np.isin(fold, split.test) for split in kfold.folds.splits])

    def pixel_mask_for(shape: tuple[int, int]) -> PixelMask:
        wanted = on_grid(tests, shape)

        def pixel_mask(tile: Tile) -> BoolArray:
            return wanted[:, tile.y0 : tile.y1, tile.x0 : tile.x1]

        return pixel_mask

    return method_of(Ensemble.load([kfold.path / name for name in kfold.names]), tta, scales, pixel_mask_for)


def on_grid(masks: BoolArray, shape: tuple[int, int]) -> BoolArray:
    """Return masks `(n, ny, nx)` on the grid of the map when it was binned or oversampled by a whole number."""
    down, up = (max(1, round(ratio)) for ratio in (masks.shape[1] / shape[0], shape[0] / masks.shape[1]))
    return masks[:, ::down, ::down].repeat(up, 1).repeat(up, 2)[:, : shape[0], : shape[1]]


def filters() -> dict[str, Method]:
    """Return the filters, each at three scales."""
    ridges = ([1.5, 2, 3], [3, 4, 6], [6, 8, 12])

    def filtered(image: FloatArray, filtering: Score) -> FloatArray:
        valid = np.isfinite(image)
        y, x = distance_transform_edt(~valid, return_distances=False, return_indices=True)
        values = image[y, x].astype(np.float64)
        positive = values[values > 0]
        values = np.log10(np.maximum(values, positive.min())) if (values > 0).mean() > 0.5 else values
        return np.asarray(np.where(valid, filtering(values), np.nan), np.float32)

    def contrast(values: FloatArray, sigma: float) -> FloatArray:
        return np.asarray(values - gaussian_filter(values, sigma))

    kinds = {
        "local contrast": [partial(contrast, sigma=sigma) for sigma in (6, 12, 24)],
        "Sato": [partial(sato, sigmas=sigmas, black_ridges=False) for sigmas in ridges],
        "Frangi": [partial(frangi, sigmas=sigmas, black_ridges=False) for sigmas in ridges],
    }
    return {
        name: Method([partial(filtered, filtering=scale) for scale in scales], None) for name, scales in kinds.items()
    }


def marked(score: FloatArray, threshold: float | None) -> BoolArray:
    """Return the pixels that reach a threshold; with None, the tenth of the valid pixels of the highest score."""
    if threshold is None:
        threshold = float(np.nanquantile(score, 1 - TENTH))
    return np.nan_to_num(score, nan=-np.inf) >= threshold


def dice(one: BoolArray, other: BoolArray, where: BoolArray) -> float:
    """Return the Dice of two masks on some pixels."""
    return float(2 * (one & other & where).sum() / max(1, (one & where).sum() + (other & where).sum()))


def with_filaments(
    image: FloatArray, contrast: float, width_px: float, seed: int, profile: Profile
) -> tuple[FloatArray, list[BoolArray]]:
    """Add filaments of a profile, and return the pixels within half a width of each.

    They may cross the structures of the map and not each other.
    """
    generator = np.random.default_rng(seed)
    length_px = max(40.0, 8 * width_px)
    reach = 3 * width_px
    ny, nx = image.shape
    valid = np.isfinite(image)
    coverage = gaussian_filter(valid.astype(float), 12)
    background = gaussian_filter(np.where(valid, image, 0).astype(float), 12) / np.maximum(coverage, 1e-9)
    pixels = np.indices((ny, nx)).transpose(1, 2, 0)
    free, excess, places = valid.copy(), np.zeros(image.shape), []
    for _ in range(200):
        path = random_path(generator, generator.uniform((0, 0), (ny, nx)), length_px)
        y, x = np.rint(path).astype(int).T
        if min(y.min(), x.min()) < 0 or y.max() >= ny or x.max() >= nx or not free[y, x].all():
            continue
        distance, _ = cKDTree(path).query(pixels, distance_upper_bound=reach)
        excess += contrast * PROFILES[profile](distance, width_px)
        places.append((distance <= width_px / 2) & valid)
        free &= distance > max(reach, 12)
        if len(places) == 12 or np.logical_or.reduce(places).mean() > TENTH / 2:
            break
    return (image + background * excess).astype(np.float32), places


def found(method: Score, image: FloatArray, contrast: float, width_px: float, seeds: int, profile: Profile) -> float:
    """Return the marked part of injected filaments, where a tenth of the map is marked."""
    parts = []
    for seed in range(seeds):
        disturbed, places = with_filaments(image, contrast, width_px, seed, profile)
        mask = marked(method(disturbed), None)
        parts += [mask[place].mean() for place in places]
    return float(np.mean(parts))


def beam_noise(shape: tuple[int, ...], seed: int = 0, sigma_px: float = 1.0) -> FloatArray:
    """Return noise of standard deviation 1; `sigma_px` of 0 is white, 1 is a beam of 2.4 pixels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma_px)
    return np.asarray(noise / noise.std())


def binned(image: FloatArray, n: int) -> FloatArray:
    """Return means over n x n pixels; NaN where half of them are missing. The rest of the map is cut off."""
    ny, nx = (size // n * n for size in image.shape)
    blocks = image[:ny, :nx].reshape(ny // n, n, nx // n, n).swapaxes(1, 2).reshape(ny // n, nx // n, -1)
    count = np.isfinite(blocks).sum(axis=2)
    return np.where(count > n * n / 2, np.nansum(blocks, axis=2) / np.maximum(count, 1), np.nan).astype(np.float32)


def reduced(mask: BoolArray, n: int) -> BoolArray:
    """Return where half of n x n pixels or more are marked."""
    return np.asarray(binned(mask.astype(np.float32), n) >= 0.5)


def random_phases(image: FloatArray, seed: int = 0) -> FloatArray:
    """Return a map of the same power spectrum of log10 and the same values, without its structures."""
    valid = np.isfinite(image)
    y, x = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    amplitude = np.abs(np.fft.fft2(np.log10(image[y, x])))
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=image.shape))
    field = np.fft.ifft2(amplitude * noise / np.abs(noise)).real
    result = np.empty(image.size, np.float32)
    result[np.argsort(field, axis=None)] = np.sort(image[y, x], axis=None)
    return np.where(valid, result.reshape(image.shape), np.nan).astype(np.float32)


class Case(NamedTuple):
    """A disturbed map and how its marks are judged."""

    name: str
    image: FloatArray
    kind: str
    """consistent, share or marked."""
    where: BoolArray
    """consistent: the pixels that are compared; share: those of the disturbance; marked: those that are counted."""
    to_grid: Callable[[BoolArray], BoolArray] = lambda mask: mask
    """From the marks of the disturbed map to the grid of the undisturbed one."""


def cases(image: FloatArray) -> Iterator[Case]:
    """Yield the disturbed maps of all rows but those of injected filaments."""
    valid, median = np.isfinite(image), float(np.nanmedian(np.where(image == 0, np.nan, image)))
    ny, nx = image.shape
    y, x = np.mgrid[:ny, :nx]
    edge = np.minimum.reduce([y, x, ny - 1 - y, nx - 1 - x])
    for sigma, name in ((0.0, "white"), (1.0, "beam")):
        for size in NOISES:
            noise = size * median * beam_noise(image.shape, sigma_px=sigma)
            yield Case(
                f"{name} noise, {size:.0%} of the median", (image + noise).astype(np.float32), "consistent", valid
            )
    sources = np.stack(np.meshgrid(*(np.arange(40, size - 39, 80) for size in image.shape), indexing="ij"), -1)
    distance, _ = cKDTree(sources.reshape(-1, 2)).query(np.stack([y, x], axis=-1))
    source = 100 * median * np.exp(-4 * np.log(2) * (distance / 3) ** 2)
    near = valid & (distance > 5) & (distance < 32)
    yield Case("5 to 32 px beside sources of 100 medians", (image + source).astype(np.float32), "consistent", near)
    source = 100 * median * np.exp(-4 * np.log(2) * (distance / 6) ** 2)
    saturated = np.where(source > 10 * median, np.nan, image + source).astype(np.float32)
    yield Case("rims of saturated sources", saturated, "marked", np.isfinite(saturated) & (source > 0.5 * median))
    for power in (4, 6):
        pixel = np.where(distance == 0, median * 10**power, image).astype(np.float32)
        yield Case(f"beside pixels of 1e{power} medians", pixel, "consistent", near)
    raised = np.where(edge < 3, 1.5 * image, image).astype(np.float32)
    yield Case("border of 3 px raised by half", raised, "share", edge < 3)
    ragged = np.where(edge < 3, image * (1 + 0.5 * np.abs(beam_noise(image.shape))), image).astype(np.float32)
    yield Case("ragged border of 3 px", ragged, "share", edge < 3)
    empty = beam_noise(image.shape, 1, 25.0) > 0.5
    rim = ~empty & (distance_transform_edt(~empty) < 4)
    zeros = np.where(empty, np.float32(0), image)
    yield Case("zeros for missing data: on them and their rim", zeros, "share", (empty | rim) & valid)
    yield Case("zeros for missing data: elsewhere", zeros, "consistent", valid & ~empty & ~rim)
    sliver = (x % 16 < 3) & (x < nx // 2)
    gaps = np.where((x < nx // 2) & ~sliver, np.float32(np.nan), image)
    yield Case("slivers 3 px wide between gaps", gaps, "marked", sliver & valid)
    yield Case(
        "zero level lowered by 80 % of the minimum", image - np.float32(0.8 * np.nanmin(image)), "consistent", valid
    )
    yield Case("median subtracted", image - np.float32(median), "consistent", valid)
    slope = np.nanmin(image) * (x + y) / (nx + ny)
    yield Case("slope subtracted", (image - slope).astype(np.float32), "consistent", valid)
    if np.nanmin(image) > 0:
        yield Case("log10", np.log10(image), "consistent", valid)
        yield Case("log10 of N / median", np.log10(image / median), "consistent", valid)
        yield Case("random phases", random_phases(image), "marked", valid)
    for n in (2, 3):
        cut = np.zeros_like(valid)
        cut[: ny // n * n, : nx // n * n] = True
        whole = ((0, ny % n), (0, nx % n))

        def enlarged(mask: BoolArray, n: int = n, whole: tuple[tuple[int, int], ...] = whole) -> BoolArray:
            return np.pad(mask.repeat(n, 0).repeat(n, 1), whole)

        yield Case(f"binned by {n}", binned(image, n), "consistent", valid & cut, enlarged)
        y0, x0 = distance_transform_edt(~valid, return_distances=False, return_indices=True)
        larger = np.where(valid.repeat(n, 0).repeat(n, 1), zoom(image[y0, x0], n, order=1), np.nan).astype(np.float32)
        yield Case(f"oversampled by {n}", larger, "consistent", valid, partial(reduced, n=n))


def judge(score: Score, threshold: float | None, undisturbed: BoolArray, case: Case) -> float:
    """Return the number of a row."""
    mask = case.to_grid(marked(score(case.image), threshold))
    if case.kind == "consistent":
        return dice(mask, undisturbed, case.where)
    if case.kind == "share":
        return float((mask & case.where).sum() / max(1, mask.sum()))
    return float(mask[case.where].mean())


def print_table(image: FloatArray, methods: dict[str, Method], seeds: int, profile: Profile) -> None:
    """Print all rows, a column for each method and threshold."""
    columns: list[tuple[str, Method, float | None]] = [(name, method, None) for name, method in methods.items()]
    columns += [(f"{name}, own", method, method.threshold) for name, method in methods.items() if method.threshold]
    print("| row | kind | " + " | ".join(name for name, _, _ in columns) + " |")
    print("| --- | --- |" + " --- |" * len(columns), flush=True)
    for contrast, width in WIDTHS:
        numbers = [
            max(found(score, image, contrast, width, seeds, profile) for score in method.scores)
            if threshold is None
            else np.nan
            for _, method, threshold in columns
        ]
        print_row(f"contrast {contrast}, {width} px", "found", numbers)
    before = {
        (name, i): marked(score(image), threshold)
        for name, method, threshold in columns
        for i, score in enumerate(method.scores)
    }
    print_row("as it is", "marked", [before[name, 0].mean() for name, _, _ in columns])
    for case in cases(image):
        best = max if case.kind == "consistent" else min
        numbers = [
            best(judge(score, threshold, before[name, i], case) for i, score in enumerate(method.scores))
            for name, method, threshold in columns
        ]
        area = f", of {case.where.mean():.3f}" if case.kind == "share" else ""
        print_row(case.name, case.kind + area, numbers)


def print_row(name: str, kind: str, numbers: Sequence[float]) -> None:
    """Print one row."""
    print(
        f"| {name} | {kind} | " + " | ".join("" if np.isnan(number) else f"{number:.2f}" for number in numbers) + " |",
        flush=True,
    )


def read_map(path: Path) -> FloatArray:
    """Return the image of a FITS file in native byte order."""
    return np.asarray(fits.getdata(path).squeeze().astype(np.float32))


def main() -> None:
    """Print the tables of the sample and of other maps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", help="snapshots, run folders or names of models")
    parser.add_argument("--kfold", type=Path, nargs="+", default=[], help="k-folds of the Hi-GAL sample, out of fold")
    parser.add_argument("--higal", type=Path, help="folder of the Hi-GAL sample")
    parser.add_argument("--map", type=Path, nargs="+", default=[], help="FITS files of other maps")
    parser.add_argument("--log-map", type=Path, nargs="+", default=[], help="those that hold log10 of a column density")
    parser.add_argument("--seeds", type=int, default=3, help="sets of injected filaments (%(default)s)")
    parser.add_argument("--profile", choices=PROFILES, default="plummer", help="of the filaments (%(default)s)")
    parser.add_argument("--scales", type=int, nargs="+", help="predict binned by these factors too (the models' own)")
    parser.add_argument("--tta", action="store_true", help="predict in eight orientations")
    parser.add_argument("--no-filters", action="store_true", help="leave the filters out")
    options = parser.parse_args()
    if options.kfold and not options.higal:
        parser.error("--kfold needs --higal: the models of a k-fold know all of another map")
    methods = {Path(path).stem: method_of(Ensemble.load(path), options.tta, options.scales) for path in options.models}
    methods |= {} if options.no_filters else filters()
    if options.higal:
        print("\nHi-GAL sample\n")
        kfolds = {f"{path.stem}, out of fold": out_of_fold(path, options.tta, options.scales) for path in options.kfold}
        print_table(
            read_map(next(options.higal.glob("*_image.fits*"))), kfolds | methods, options.seeds, options.profile
        )
    others = {path: read_map(path) for path in options.map}
    others |= {path: 10 ** read_map(path) / np.float32(1e21) for path in options.log_map}
    for path, image in others.items():
        print(f"\n{path.name}\n")
        print_table(image, methods, options.seeds, options.profile)


if __name__ == "__main__":
    main()
