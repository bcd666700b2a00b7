from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bigsf.errors import BigsfWarning
from bigsf.maps.mosaic.mosaic import make_mosaic
from bigsf.maps.mosaic.overlaps import find_overlaps
from bigsf.maps.mosaic.sky_grid import common_grid
from bigsf.maps.mosaic.tiles import MosaicTile
from conftest import shared_data
from mosaic_tiles import NX, NY, MosaicTiles
from ramp_files import read


def test_matching_backgrounds_recovers_the_offsets(tiles: MosaicTiles, tmp_path: Path) -> None:
    paths = []
    for name, level in {"a": 0.0, "b": 5.0, "c": -3.0, "d": 7.5}.items():
        tiles.image += np.float32(level)
        paths.append(tiles.tile(name))
        tiles.image -= np.float32(level)
    with pytest.warns(
        BigsfWarning, match=r"differs from .* by [+-]1?\d\.?\d* cm-2 with a scatter of .*match_background=True"
    ):
        plain = make_mosaic(paths, tmp_path / "plain.fits")
    assert plain.offsets == [0, 0, 0, 0]
    report = make_mosaic(paths, tmp_path / "all.fits", match_background=True)
    assert report.offsets == pytest.approx([0, -5, 3, -7.5], abs=1e-4)
    np.testing.assert_allclose(read(report.output), tiles.image, atol=1e-3)


def test_backgrounds_of_tiles_that_nothing_joins_are_said_to_be_kept(tiles: MosaicTiles) -> None:
    tiles.image[:, :] = 1
    paths = [tiles.tile("a")]
    header = tiles.header.copy()
    header["CRPIX1"] -= 70
    paths.append(tiles.write("far", np.full((NY, 30), 9.0), header))
    with pytest.warns(BigsfWarning, match=r"No overlap joins far.fits to a.fits"):
        report = make_mosaic(paths, match_background=True, dry_run=True)
    assert (report.overlaps, report.offsets) == ([], [0, 0])


def test_a_large_overlap_is_sampled(tiles: MosaicTiles) -> None:
    tiles.image[:] = np.arange(NX)
    with ExitStack() as stack:
        placed = [MosaicTile(tiles.tile(name), None, None, (), None, stack) for name in "ab"]
        grid = common_grid("all", [tile.grid for tile in placed])
        for tile in placed:
            tile.place(grid)
        (pair,) = find_overlaps(placed, sample_pixels=500, sample_rows=4)
    assert (pair.pixels, pair.fraction, pair.difference) == (20 * 60, 0.5, 0)
    assert pair.correlation == pytest.approx(1)


def test_the_maps_of_mbm40_agree_as_measured(tmp_path: Path) -> None:
    names = ("iris100_f293_b1950.fits", "iris100_mbm40_90as.fits", "iras100_mbm40_120as_blank.fits")
    paths = [shared_data("mosaic", name) for name in names]
    report = make_mosaic(paths, tmp_path / "all.fits", match_background=True)
    iris, iras = report.overlaps[0], report.overlaps[1]
    assert iris.fraction == pytest.approx(0.93, abs=0.005)
    assert iris.correlation == pytest.approx(0.998, abs=0.0005)
    assert abs(iris.difference) == pytest.approx(0.001, abs=0.01)
    assert iras.difference == pytest.approx(-1.08, abs=0.01)
    for pair in report.overlaps:
        left = pair.difference + report.offsets[pair.second] - report.offsets[pair.first]
        assert left == pytest.approx(0, abs=0.01)
