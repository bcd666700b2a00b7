import sys
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import ConfigError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hips import PROPERTIES, check_hips, write_hips
from bigsf.maps.wcs import galactic_lb
from conftest import galactic_header

pytest.importorskip("reproject.hips", reason="a HiPS takes reproject: pip install 'bigsf[mosaic]'")
astropy_healpix = pytest.importorskip("astropy_healpix")


def hips_of(path: Path, plane: npt.NDArray[np.float32], header: fits.Header) -> WCS:
    """Write the HiPS of a plane into a folder, and return the WCS of the plane."""
    fits.writeto(path.with_suffix(".fits"), plane, header)
    with FitsImage(path.with_suffix(".fits")) as image:
        assert image.wcs is not None
        write_hips(path, image, image.wcs, path.name)
        return image.wcs


def value_at(folder: Path, lon_deg: float, lat_deg: float) -> float:
    """Return the value of the pixel of the highest order at a Galactic position, NaN where there is no tile."""
    order = int(properties(folder)["hips_order"])
    sky = SkyCoord(lon_deg, lat_deg, unit="deg", frame="galactic")
    number = int(astropy_healpix.lonlat_to_healpix(sky.l, sky.b, 2**order, order="nested"))
    path = folder / f"Norder{order}" / f"Dir{number // 10000 * 10000}" / f"Npix{number}.fits"
    if not path.exists():
        return float("nan")
    tile, header = fits.getdata(path, header=True)
    x, y = WCS(header).world_to_pixel(sky)
    return float(tile[round(float(y)), round(float(x))])


def properties(folder: Path) -> dict[str, str]:
    lines = (folder / PROPERTIES).read_text().splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def halves(ny: int, nx: int) -> npt.NDArray[np.float32]:
    """Return a plane of 0.25 to the left and 0.75 to the right, with missing pixels in the middle rows."""
    plane = np.full((ny, nx), 0.25, np.float32)
    plane[:, nx // 2 :] = 0.75
    plane[ny // 2 - 5 : ny // 2 + 5] = np.nan
    return plane


def test_tiles_have_the_values_of_the_plane_at_their_positions(tmp_path: Path) -> None:
    plane = halves(40, 60)
    wcs = hips_of(tmp_path / "map_hips", plane, galactic_header(60, 40))
    for y, x in ((5, 5), (35, 5), (5, 55), (35, 55), (20, 5), (20, 55), (0, 0), (39, 59)):
        ((lon, lat),) = galactic_lb(wcs, np.array([[y, x]]))
        np.testing.assert_equal(value_at(tmp_path / "map_hips", lon, lat), float(plane[y, x]))
    found = properties(tmp_path / "map_hips")
    expected = {
        "obs_title": "map_hips",
        "dataproduct_type": "image",
        "hips_frame": "galactic",
        "hips_order": "4",  # 58.6 deg / 2**4 / 512 is 0.007 deg, the first below the 0.01 deg of the map
        "hips_tile_format": "fits",
        "hips_pixel_cut": "0 1",
    }
    assert {key: found[key] for key in expected} == expected
    assert "aladin" in (tmp_path / "map_hips" / "index.html").read_text()
    assert {path.parts[-3] for path in (tmp_path / "map_hips").rglob("*.fits")} == {f"Norder{n}" for n in range(5)}


def test_columns_beyond_half_a_turn_and_equatorial_maps_have_their_tiles(tmp_path: Path) -> None:
    plane = halves(40, 60)
    far = galactic_header(60, 40)
    far["CRPIX1"] -= 20000  # 200 degrees from the reference
    equatorial = galactic_header(60, 40)
    equatorial.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 266.4, "CRVAL2": -29.0, "CRPIX1": 30.5})
    for name, header in (("far", far), ("equatorial", equatorial)):
        wcs = hips_of(tmp_path / name, plane, header)
        for y, x in ((5, 5), (35, 5), (5, 55), (35, 55), (20, 55)):
            ((lon, lat),) = galactic_lb(wcs, np.array([[y, x]]))
            np.testing.assert_equal(value_at(tmp_path / name, lon, lat), float(plane[y, x]))


def test_a_plane_without_a_valid_pixel_has_no_tiles(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hips_of(tmp_path / "empty", np.full((8, 8), np.nan, np.float32), galactic_header(8, 8))
    assert not list((tmp_path / "empty").rglob("*.fits"))
    assert properties(tmp_path / "empty")["hips_order"] == "4"


def test_a_map_without_a_wcs_and_a_missing_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"flat\.fits has no celestial WCS\. Leave hips out of the products\."):
        check_hips("flat.fits", None)
    monkeypatch.setitem(sys.modules, "reproject.hips", None)
    with pytest.raises(ConfigError, match=r"To write a HiPS takes reproject\.hips\. pip install 'bigsf\[mosaic\]'"):
        check_hips("map.fits", WCS(galactic_header(8, 8)))
