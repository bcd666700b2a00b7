from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table

from bigsf.arrays import FloatArray, MaskArray
from bigsf.evaluation.catalogue import CLEANING, COLUMNS, cleaned_mask, make_catalogue, measure_filaments
from bigsf.evaluation.completeness import measure_completeness
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.injection import InjectedFilament, Profile, inject
from bigsf.evaluation.records import Completeness
from bigsf.evaluation.reliability import binomial_error, expected_completeness
from bigsf.filaments.catalogue import Filaments
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import Tile
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.segmentation.config import SegmentConfig
from conftest import ArrayMap, StubModel, galactic_header, write_patch_file

NY, NX = 64, 128
CURVE = Completeness(
    width_px=(2, 6),
    marked=0.1,
    contrast=[0.1, 10.0],
    filaments=[10, 10],
    completeness={"BigSF": [0.2, 0.8]},
    before={"BigSF": [0, 0]},
)


def mask_of_rows(spacing: int = 6) -> MaskArray:
    """Return horizontal filaments of 12 x 3 pixels, four in each strip of 32 columns, with a free ring around each."""
    mask = np.zeros((NY, NX), np.uint8)
    for x in range(5, NX, 16):
        for y in range(6, NY - 8, spacing):
            mask[y : y + 3, x : x + 10] = 1
    return mask


def write_out_of_fold(path: Path, mask: MaskArray, probability: FloatArray, std: FloatArray | None = None) -> Path:
    planes = [fits.PrimaryHDU(probability), fits.ImageHDU(mask, name="MASK")]
    fits.HDUList([*planes, *([] if std is None else [fits.ImageHDU(std, name="STD")])]).writeto(path)
    return path


def folds_of(path: Path, target: MaskArray, image: FloatArray, step: int = 1) -> Folds:
    """Return four folds, each a strip of 32 columns."""
    labels = target, np.ones_like(target)
    file = write_patch_file(path, image[None], 8, 4, labels, galactic_header(NX, NY))
    return Folds.make(file, SplitConfig.from_dict({"k": 4, "k_train": 2, "strategy": {"type": "naive"}, "step": step}))


def test_each_row_tells_how_far_it_can_be_trusted(tmp_path: Path) -> None:
    """Half of each filament is target, three quarters are true; it rises to twice the background."""
    mask = mask_of_rows()
    image = (1e22 * (1 + mask)).astype(np.float32)
    ramp = np.tile(np.arange(NX) - 5, (NY, 1)) % 16
    target = (mask * (ramp < 5)).astype(np.uint8)
    folds = folds_of(tmp_path / "map.h5", target, image)
    folds.patch_file.truth = (mask * (ramp < 8)).astype(np.uint8)
    path = write_out_of_fold(tmp_path / "out_of_fold.fits", mask, (0.1 + 0.7 * mask).astype(np.float32))
    catalogue = make_catalogue(folds, path, [CURVE], Filaments(cleaned_mask(path)))
    table = catalogue.table
    assert len(table) == 8 * 9
    assert table.colnames[-len(COLUMNS) :] == list(COLUMNS)
    np.testing.assert_allclose(table["target_fraction"], 0.5)
    np.testing.assert_allclose(table["expected_purity_catalogue"], 0.5)
    np.testing.assert_allclose(table["truth_fraction"], 0.8)
    np.testing.assert_allclose(table["expected_purity"], 0.8)
    np.testing.assert_allclose(table["spine_contrast"], 1, rtol=1e-5)
    np.testing.assert_allclose(table["completeness"], 0.5, atol=1e-5)  # half-way between 0.1 and 10
    np.testing.assert_allclose(table["mask_width_px"], 3, atol=0.5)
    assert np.isnan(table["probability_std"]).all()  # each pixel has one model
    assert not table["area_border"].any()
    assert (table["l"] != 0).all()
    found = catalogue.reliability()
    assert set(found) == {"whole", "truth"}
    assert found["truth"].measured == pytest.approx([0.8] * len(found["truth"].rows))


def test_without_a_ground_truth_or_enough_rows_purities_are_unknown(tmp_path: Path) -> None:
    mask = mask_of_rows(spacing=30)
    folds = folds_of(tmp_path / "map.h5", mask, np.ones((NY, NX), np.float32))
    path = write_out_of_fold(tmp_path / "out_of_fold.fits", mask, np.full((NY, NX), 0.5, np.float32))
    catalogue = make_catalogue(folds, path, [CURVE], Filaments(cleaned_mask(path)))
    for name in ("truth_fraction", "expected_purity", "expected_purity_error", "expected_purity_catalogue"):
        assert np.isnan(catalogue.table[name]).all()
    assert catalogue.table["target_fraction"].tolist() == [1] * len(catalogue.table)
    assert catalogue.reliability() == {}


def test_a_map_without_filaments_has_an_empty_catalogue(tmp_path: Path) -> None:
    empty = np.zeros((NY, NX), np.uint8)
    folds = folds_of(tmp_path / "map.h5", mask_of_rows(), np.ones((NY, NX), np.float32))
    path = write_out_of_fold(tmp_path / "out_of_fold.fits", empty, np.zeros((NY, NX), np.float32))
    assert len(make_catalogue(folds, path, [CURVE], Filaments(cleaned_mask(path))).table) == 0


def test_the_spread_is_that_of_pixels_with_several_models(tmp_path: Path) -> None:
    """The test folds of the splits overlap: all pixels have two models."""
    mask = mask_of_rows()
    labels = mask, np.ones_like(mask)
    file = write_patch_file(tmp_path / "map.h5", np.ones((1, NY, NX), np.float32), 8, 4, labels)
    folds = Folds.make(file, SplitConfig.from_dict({"k": 8, "k_train": 5, "strategy": {"type": "naive"}, "step": 1}))
    assert all(sum(fold in split.test for split in folds.splits) == 2 for fold in range(1, 9))
    std = np.where(np.arange(NX) < NX // 2, 0.1, 0.3).astype(np.float32)
    planes = np.full((NY, NX), 0.5, np.float32), np.tile(std, (NY, 1))
    path = write_out_of_fold(tmp_path / "out_of_fold.fits", mask, *planes)
    catalogue = make_catalogue(folds, path, [], Filaments(cleaned_mask(path)))
    left = np.asarray(catalogue.table["x"]) < NX // 2
    np.testing.assert_allclose(catalogue.table["probability_std"], np.where(left, 0.1, 0.3), rtol=1e-5)
    assert np.isnan(catalogue.table["completeness"]).all()


def test_the_mask_is_cleaned_as_segment_does(tmp_path: Path) -> None:
    assert SegmentConfig().cleaning == CLEANING
    mask = mask_of_rows(spacing=30)
    mask[0:2, 20:60] = mask[25, 3] = 1  # along the border, and a spot
    folds = folds_of(tmp_path / "map.h5", mask, np.ones((NY, NX), np.float32))
    path = write_out_of_fold(tmp_path / "out_of_fold.fits", mask, np.full((NY, NX), 0.5, np.float32))
    assert (
        len(make_catalogue(folds, path, [], Filaments(cleaned_mask(path))).table) == 8 * 2
    )  # eight columns of two filaments


@pytest.mark.parametrize("width_px", [3.0, 5.0])
def test_contrast_and_width_are_those_of_an_injected_filament(width_px: float, tmp_path: Path) -> None:
    """A straight spine of 60 pixels, at 0.6 times the background above it."""
    path = np.stack([np.full(121, 32.0), np.linspace(30, 90, 121)], axis=1)
    flat = np.full((NY, NX), 100, np.float32)
    image, ids = inject(flat, [InjectedFilament(path, 0.6, width_px, 60.0)])
    file = write_patch_file(tmp_path / "map.h5", image[None], 8, 4)
    out_of_fold = write_out_of_fold(tmp_path / "out_of_fold.fits", (ids > 0).astype(np.uint8), flat)
    with FitsImage(out_of_fold) as probability:
        found = measure_filaments(Filaments(ids > 0), file, probability)
    np.testing.assert_allclose(found.spine_contrast, [0.6], rtol=0.05)
    np.testing.assert_allclose(found.width_px, [width_px], rtol=0.1)


@pytest.mark.parametrize(("profile", "width_px"), [("gaussian", (2.0, 6.0)), ("plummer", (2.0, 12.0))])
def test_rows_are_as_complete_as_injected_filaments_let_expect(
    tmp_path: Path, profile: Profile, width_px: tuple[float, float]
) -> None:
    """On a noisy map, a model that marks all above a level is measured on some filaments, and checked on others."""
    shape = 256, 384
    noise = np.random.default_rng(3).normal(100, 8, (1, *shape)).astype(np.float32)
    predictor = SlidingWindowPredictor([StubModel(lambda image, _: torch.sigmoid(image - 120))], 32)
    empty = write_out_of_fold(tmp_path / "empty.fits", np.zeros(shape, np.uint8), np.zeros(shape, np.float32))
    curve = measure_completeness(
        InjectedPlanes(ArrayMap(noise), seed=1, width_px=width_px, profile=profile), predictor, [0.5], empty
    )
    others = InjectedPlanes(ArrayMap(noise), seed=2, width_px=width_px, profile=profile)
    image, true = others.read_rows(0, shape[0]), others.ids(Tile.whole(shape)) > 0
    file = write_patch_file(tmp_path / "map.h5", image, 8, 4)
    with FitsImage(empty) as probability:
        found = measure_filaments(Filaments(true), file, probability)
    expected = expected_completeness(found.spine_contrast, found.width_px, [curve])
    measured = found.components.mean(lambda y0, y1: image[0, y0:y1] >= 120)
    order = np.argsort(found.spine_contrast)
    known = order[np.isfinite(expected.value[order])]
    assert len(known) > 20
    assert np.corrcoef(expected.value[known], measured[known])[0, 1] > 0.8
    for rows in np.array_split(known, 3):
        error = np.hypot(expected.error[rows].mean(), binomial_error(measured[rows].mean(), len(rows)))
        assert abs(expected.value[rows].mean() - measured[rows].mean()) < 2 * error


def test_every_column_has_a_ucd_and_the_file_says_how_it_was_calibrated(trained_kfold: Path) -> None:
    table = Table.read(trained_kfold / "catalog.ecsv")
    for name in COLUMNS:
        assert parse_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True)
        assert table[name].description == COLUMNS[name][1]
    assert table.meta["cleaning"] == "min-skeleton 5, border 3"
    assert "rows of all other folds" in table.meta["calibration"]
    assert table["area_border"].dtype == np.bool_
