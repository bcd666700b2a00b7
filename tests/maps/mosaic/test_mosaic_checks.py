from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigsf.errors import BigsfWarning, DataError, UsageError
from bigsf.maps.mosaic.mosaic import make_mosaic
from conftest import galactic_header
from mosaic_tiles import NX, NY, MosaicTiles


def test_masks_in_some_tiles_only_are_refused(tiles: MosaicTiles) -> None:
    paths = [tiles.tile("a", target=np.ones((NY, NX))), tiles.tile("b")]
    with pytest.raises(DataError, match=r"1 of 2 tiles bring a TARGET extension, b.fits does not"):
        make_mosaic(paths, dry_run=True)
    assert make_mosaic(paths, masks=(), dry_run=True).masks == []


def test_what_does_not_fit_together_is_refused(
    tiles: MosaicTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tiles.tile("a"), tiles.tile("b")
    bare = tiles.write("bare", tiles.image, fits.Header())
    with pytest.raises(DataError, match=r"bare.fits has no celestial WCS"):
        make_mosaic([a, bare])
    with pytest.raises(DataError, match=r"c.fits is in K but a.fits is in cm-2 \(BUNIT\)"):
        make_mosaic([a, tiles.tile("c", BUNIT="K")])
    coarse = galactic_header(NX, NY, step_deg=0.02)
    per_pixel = [tiles.write(name, tiles.image, cards) for name, cards in (("p", tiles.header), ("q", coarse))]
    per_beam = [tiles.write(name, tiles.image, tiles.header) for name in ("r", "s")]
    for beam_deg, path in zip((0.02, 0.03), per_beam, strict=True):
        fits.setval(path, "BMAJ", value=beam_deg)
        fits.setval(path, "BMIN", value=0.02)
    for unit, paths, what, ratio in (("Jy/pixel", per_pixel, "pixels", 4), ("Jy/beam", per_beam, "beams", 1.5)):
        assert make_mosaic(paths, dry_run=True)
        for path in paths:
            fits.setval(path, "BUNIT", value=unit)
        with pytest.raises(DataError, match=rf"are in {unit}, and the {what} of the first have {ratio} times the area"):
            make_mosaic(paths, dry_run=True)
    with pytest.warns(BigsfWarning, match=r"d.fits has no BUNIT; it is taken to be in cm-2 as a.fits"):
        make_mosaic([a, tiles.tile("d", BUNIT="")], dry_run=True)
    far = tiles.write("far", tiles.image, galactic_header(NX, NY, longitude=40))
    with pytest.raises(DataError, match=r"The tiles would fill at most \d.\d% of a mosaic of 40\d\d x 60 pixels"):
        make_mosaic([a, far], dry_run=True)
    mask = tiles.write("mask", (tiles.image > np.nanmedian(tiles.image)).astype("u1"), galactic_header(NX, NY))
    with pytest.raises(UsageError, match=r"mask.fits holds 0 and 1 alone. If it is a mask .* give it as 'target'"):
        make_mosaic([a, mask], dry_run=True)
    with pytest.raises(UsageError, match=r"a.fits is given twice"):
        make_mosaic([a, b, a])
    with pytest.raises(UsageError, match=r"b.fits is a tile and would be the mosaic"):
        make_mosaic([a, b], b, overwrite=True)
    with pytest.raises(DataError, match=r"has 100 x 60 pixels \(x, y\) but all.fits has 70 x 60.* extensions TARGET"):
        make_mosaic([a, b], tmp_path / "all.fits", on_grid=[far])
    fine = galactic_header(NX, NY, step_deg=0.005)
    with pytest.warns(BigsfWarning, match=r"fine.fits are 2 times finer than .* the grid of a.fits: detail is lost"):
        make_mosaic([a, tiles.write("fine", tiles.image, fine)], dry_run=True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"takes 16\.8 kB, but 1\.0 kB are free"):
        make_mosaic([a, b], dry_run=True)


def test_a_tile_that_names_its_hdu_is_protected_and_recognised_as_its_file(tiles: MosaicTiles) -> None:
    a, b = tiles.tile("a"), tiles.tile("b")
    before = a.read_bytes()
    with pytest.raises(UsageError, match=r"a\.fits is a tile and would be the mosaic"):
        make_mosaic([f"{a}[0]", b], a, overwrite=True)
    with pytest.raises(UsageError, match=r"a\.fits is read by this command"):
        make_mosaic([b], a, on_grid=[f"{a}[0]"], overwrite=True)
    assert a.read_bytes() == before
    with pytest.raises(UsageError, match=r"The tile .*a\.fits.* is given twice"):
        make_mosaic([a, f"{a}[0]"], dry_run=True)
