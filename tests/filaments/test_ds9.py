import re
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS

from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.ds9 import write_regions
from bigsf.filaments.spine import Points
from conftest import galactic_header

LINE = re.compile(r"polygon\(([-+.,\d]+)\) # text=\{(\d+)\}")


def read_regions(path: Path) -> tuple[str, dict[int, Points]]:
    """Return the coordinate system of a DS9 file and its polygons `(n, 2)` by their labels."""
    first, settings, system, *lines = path.read_text().splitlines()
    assert first == "# Region file format: DS9 version 4.1"
    assert settings.startswith("global ")
    polygons = {}
    for line in lines:
        match = LINE.fullmatch(line)
        assert match, line
        polygons[int(match[2])] = np.array(match[1].split(","), float).reshape(-1, 2)
    return system, polygons


@pytest.fixture
def filaments() -> Filaments:
    mask = np.zeros((20, 30))
    mask[3:6, 10:25] = mask[12, 4] = 1
    return Filaments(mask)


def test_without_a_wcs_the_first_pixel_is_1(filaments: Filaments, tmp_path: Path) -> None:
    write_regions(tmp_path / "map.reg", filaments.outlines())
    system, polygons = read_regions(tmp_path / "map.reg")
    assert system == "image"
    np.testing.assert_allclose([polygons[1].min(axis=0), polygons[1].max(axis=0)], [[10.5, 3.5], [25.5, 6.5]])
    np.testing.assert_allclose([polygons[2].min(axis=0), polygons[2].max(axis=0)], [[4.5, 12.5], [5.5, 13.5]])


def test_with_a_wcs_they_are_galactic(filaments: Filaments, tmp_path: Path) -> None:
    wcs = WCS(galactic_header(30, 20, longitude=0.1))
    write_regions(tmp_path / "map.reg", filaments.outlines(), wcs)
    system, polygons = read_regions(tmp_path / "map.reg")
    assert system == "galactic"
    x, y = wcs.world_to_pixel_values(*polygons[1].T)
    np.testing.assert_allclose([x.min(), x.max(), y.min(), y.max()], [9.5, 24.5, 2.5, 5.5], atol=1e-3)


def test_no_filament_is_a_file_without_polygons(tmp_path: Path) -> None:
    for number, wcs in enumerate((None, WCS(galactic_header(30, 20)))):
        write_regions(tmp_path / f"{number}.reg", [], wcs)
        assert read_regions(tmp_path / f"{number}.reg")[1] == {}


def test_the_regions_package_reads_them(filaments: Filaments, tmp_path: Path) -> None:
    regions = pytest.importorskip("regions")
    wcs = WCS(galactic_header(30, 20))
    write_regions(tmp_path / "map.reg", filaments.outlines(), wcs)
    found = regions.Regions.read(tmp_path / "map.reg", format="ds9")
    assert [str(region.meta["text"]) for region in found] == ["1", "2"]
    mask = found[0].to_pixel(wcs).to_mask(mode="center").to_image((20, 30))
    assert mask.sum() == 45
