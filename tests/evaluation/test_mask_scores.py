from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.arrays import BoolArray
from bigsf.evaluation.baseline_scales import ScaledBaselines, first_scales
from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.map_scores import MODEL, MapScores
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds
from bigsf.folds.splits import SplitConfig
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import Tile
from bigsf.metrics.skeleton_score import SkeletonScore
from bigsf.patches.patch_file import PatchFile
from conftest import write_patch_file


class Scored:
    """A simulated map of probabilities, its scores, and what they must be."""

    def __init__(self, folds: Folds, folder: Path) -> None:
        file = folds.patch_file
        self.baselines = ScaledBaselines(file, first_scales(4))
        self.folds, (target, labelled) = folds, file.labels()
        self.target, self.labelled = target > 0, labelled > 0
        generator = np.random.default_rng(5)
        self.probability = np.clip(0.4 * target + 0.6 * generator.random(file.shape), 0, 1).astype(np.float32)
        self.probability[~np.isfinite(file.image[0])] = np.nan
        self.valid = np.isfinite(self.probability)
        fits.writeto(folder / "map.fits", self.probability)
        self.maps = MapScores(folds, self.baselines)
        edges = folds.areas.y_edges
        for y0, y1 in pairwise(edges):
            rows = self.probability[y0:y1]
            self.maps.update(y0, y1, np.isfinite(rows), rows)
        self.thresholds = self.maps.best_thresholds()
        self.masks = MaskScores(folds, self.thresholds, self.baselines)
        with FitsImage(folder / "map.fits") as image:
            self.masks.add(image)

    def score(self, name: str, kind: str, score: str) -> float:
        """Return a score of the table, which must be defined."""
        value = self.maps.table()[name][kind][score]
        assert value is not None
        return value

    def marked(self, name: str = MODEL, against: str = "whole") -> BoolArray:
        """Return what a map marks at its own threshold."""
        file = self.folds.patch_file
        score = self.probability if name == MODEL else self.baselines.tile(name, Tile.whole(file.shape))
        return np.asarray((np.nan_to_num(score) >= self.thresholds[name][against]) & self.valid)


@pytest.fixture(scope="module")
def scored(patch_path: Path, folds_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(load_folds(folds_path, PatchFile(patch_path)), tmp_path_factory.mktemp("scored"))


@pytest.mark.parametrize("width", [40, 7])  # 7 is less than an area
def test_chunks_of_a_wide_map_score_the_same(scored: Scored, width: int, tmp_path: Path) -> None:
    in_chunks = MaskScores(scored.folds, scored.thresholds, scored.baselines)
    fits.writeto(tmp_path / "map.fits", scored.probability)
    with FitsImage(tmp_path / "map.fits") as image:
        in_chunks.add(image, chunk_px=width)
    np.testing.assert_equal(
        {name: bins.model_dump() for name, bins in in_chunks.by_bin().items()},
        {name: bins.model_dump() for name, bins in scored.masks.by_bin().items()},
    )
    assert in_chunks.worst_areas() == scored.masks.worst_areas()
    for name, table in scored.masks.skeletons().items():
        assert in_chunks.skeletons()[name]["whole"] == pytest.approx(table["whole"], nan_ok=True)


def test_two_processes_that_share_the_map_score_the_same(scored: Scored, tmp_path: Path) -> None:
    fits.writeto(tmp_path / "map.fits", scored.probability)
    first, second = (MaskScores(scored.folds, scored.thresholds, scored.baselines) for _ in range(2))
    with FitsImage(tmp_path / "map.fits") as image:
        for rank, share in enumerate((first, second)):
            share.add(image, rank, size=2, chunk_px=40)
    assert first.worst_areas() != scored.masks.worst_areas()
    for name, part in first.counts.items():
        part.merge({key: np.asarray(value) for key, value in second.counts[name].state().items()})
    assert first.worst_areas() == scored.masks.worst_areas()
    for name, table in scored.masks.skeletons().items():
        assert first.skeletons()[name]["whole"] == pytest.approx(table["whole"], nan_ok=True)
    shared, alone = ({name: b.model_dump() for name, b in m.by_bin().items()} for m in (first, scored.masks))
    np.testing.assert_equal(shared, alone)


def test_scores_at_the_best_threshold_are_those_of_the_mask(scored: Scored) -> None:
    for name in (MODEL, *BASELINES):
        marked, true = scored.marked(name), scored.target & scored.valid
        scores = scored.maps.table()[name]["whole"]
        assert scores["precision"] == pytest.approx(true[marked].mean(), abs=1e-3)
        assert scores["recall"] == pytest.approx(marked[true].mean(), abs=1e-3)
        assert scores["marked_ratio"] == pytest.approx(marked.sum() / true.sum(), rel=2e-3)
        assert scores["threshold"] == scored.thresholds[name]["whole"]


def test_skeletons_are_those_of_the_whole_map(scored: Scored) -> None:
    expected = SkeletonScore()
    expected.update(scored.marked(), scored.target, scored.valid)
    table = scored.masks.skeletons()
    found = table[MODEL]["whole"]
    assert {name: found[name] for name in expected.table()} == pytest.approx(expected.table(), abs=0.01)
    mssim = found["mssim"]
    assert mssim is not None
    assert -1 <= mssim <= 1
    assert table["Sato filter"]["whole"]["mssim"] == pytest.approx(np.nan, nan_ok=True)


@pytest.mark.parametrize("quantity", ["longitude", "column density", "local contrast"])
def test_bins_hold_all_true_pixels_and_add_up_to_the_whole(scored: Scored, quantity: str) -> None:
    bins = scored.masks.by_bin()[quantity]
    for name in (MODEL, *BASELINES):
        scores = bins.whole[name]
        true = np.array(scores.true)
        assert len(true) == len(bins.centre)
        assert true.sum() == (scored.target & scored.valid).sum()
        whole = np.nansum(true * np.nan_to_num(np.array(scores.completeness))) / true.sum()
        assert whole == pytest.approx(scored.score(name, "whole", "recall"), abs=1e-3)


def test_bins_of_contrast_hold_equally_many_true_pixels(scored: Scored) -> None:
    true = np.array(scored.masks.by_bin()["local contrast"].whole[MODEL].true)
    assert true.max() < 1.2 * true.min()


def test_longitude_is_that_of_the_sky_across_zero(scored: Scored) -> None:
    centres = scored.masks.by_bin()["longitude"].centre
    assert np.all(np.diff(centres) < 0)
    assert centres[0] == pytest.approx(0.3 - 0.01 * 15.5)


def test_worst_areas_come_first_and_count_what_is_wrong_there(scored: Scored) -> None:
    areas = scored.masks.worst_areas(3)
    wrong = [area.missed + area.false for area in areas]
    assert len(wrong) == 3
    assert wrong == sorted(wrong, reverse=True)
    where = np.s_[slice(*areas[0].y), slice(*areas[0].x)]
    marked, true = scored.marked()[where], (scored.target & scored.valid)[where]
    assert areas[0].false == (marked & ~true).sum()
    assert areas[0].missed == (true & ~marked).sum()
    y_edges, x_edges = scored.folds.areas.y_edges, scored.folds.areas.x_edges
    row, column = y_edges.index(areas[0].y[0]), x_edges.index(areas[0].x[0])
    assert areas[0].fold == scored.folds.grid[row, column]


def test_a_truth_without_a_structure_has_no_bins(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros(scored.folds.patch_file.shape, np.uint8)
    monkeypatch.setattr(scored.folds.patch_file, "truth", truth)
    thresholds = {name: {**by_kind, "truth": 0.5} for name, by_kind in scored.thresholds.items()}
    masks = MaskScores(scored.folds, thresholds, scored.baselines)
    assert len(masks.edges["local contrast"]) == 0
    assert len(masks.edges["column density"]) > 0


def test_columns_that_are_not_aligned_with_longitude_are_columns(tmp_path: Path) -> None:
    """On an equatorial map, longitude changes more along a column than from bin to bin."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.8, "CRVAL2": -5.4})
    header.update(CRPIX1=48.5, CRPIX2=48.5, CDELT1=-0.02, CDELT2=0.02)
    generator = np.random.default_rng(0)
    image = generator.lognormal(50, 0.1, (1, 96, 96)).astype(np.float32)
    target = (generator.random((96, 96)) > 0.9).astype(np.uint8)
    file = write_patch_file(tmp_path / "map.h5", image, 16, 8, (target, np.ones_like(target)), header=header)
    by = Scored(Folds.make(file, SplitConfig.from_dict({"k": 4, "area_size": 24})), tmp_path).masks.by_bin()
    assert "longitude" not in by
    np.testing.assert_allclose(by["x"].centre, [11.5, 35.5, 59.5, 83.5])
