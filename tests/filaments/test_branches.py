from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import BoolArray
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.columns import BRANCH_COLUMNS, HUB_COLUMNS, SPINE_COLUMNS
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from conftest import galactic_header
from drawn_lines import distance_map, line

Y, X = np.mgrid[:130, :150]


@pytest.fixture
def mask() -> BoolArray:
    """Return a line, a cross and a ring, in the order of rows."""
    straight = (abs(Y - 10) <= 2) & (X >= 10) & (X < 60)
    cross = (abs(Y - 60) <= 2) & (X >= 10) & (X < 80) | (abs(X - 50) <= 2) & (Y >= 30) & (Y < 110)
    ring = abs(np.hypot(Y - 60, X - 115) - 20) < 2
    mask: BoolArray = straight | cross | ring
    return mask


def test_branches_and_hubs_carry_the_ids_of_the_catalogue(mask: BoolArray) -> None:
    filaments = Filaments(mask)
    wcs = WCS(galactic_header(150, 130))
    catalogue = filaments.catalog(wcs=wcs)
    of_all = filaments.branches
    branches, hubs, points = of_all.table(wcs), of_all.hubs(wcs), of_all.points(wcs)
    assert branches.colnames == list(BRANCH_COLUMNS)
    assert branches["id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert branches["filament"].tolist() == [1, 2, 2, 2, 2, 3]
    assert branches["ends"].tolist() == [2, 1, 1, 1, 1, 0]
    assert branches["main"].tolist() == [True, True, True, False, False, True]
    np.testing.assert_allclose(branches["length_px"], [50, 50, 40, 30, 30, 40 * np.pi], atol=3)
    np.testing.assert_allclose(branches["length_arcmin"], 0.6 * branches["length_px"], rtol=1e-3)
    assert hubs.colnames == list(HUB_COLUMNS)
    assert (hubs["filament"].tolist(), hubs["branches"].tolist()) == ([2], [4])
    np.testing.assert_allclose([hubs["x"][0], hubs["y"][0]], [50, 60], atol=1)
    assert points.colnames == list(SPINE_COLUMNS)
    labels = filaments.labels[np.rint(points["y"]).astype(int), np.rint(points["x"]).astype(int)]
    np.testing.assert_array_equal(points["filament"], labels)
    np.testing.assert_array_equal(branches["filament"][points["branch"] - 1], labels)
    x, y = wcs.world_to_pixel_values(points["l"], points["b"])
    np.testing.assert_allclose([x, y], [points["x"], points["y"]], atol=1e-3)
    assert catalogue["branches"].tolist() == [1, 4, 1]
    assert catalogue["hubs"].tolist() == [0, 1, 0]
    assert catalogue["ring"].tolist() == [False, False, True]


def test_the_longest_path_of_a_bar_whose_end_is_forked_is_its_only_branch() -> None:
    mask = (abs(Y - 60) <= 6) & (X >= 10) & (X < 100)  # thinning runs into a corner of a square end
    table = Filaments(mask).branches.table()
    assert table["main"].tolist() == [True]
    assert np.isnan(table["length_arcmin"]).all()


def test_the_number_of_filaments_at_a_time_does_not_change_the_tables(
    mask: BoolArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Filaments(mask).branches
    monkeypatch.setattr("bigsf.filaments.catalogue.AT_A_TIME", 1)
    one_by_one = Filaments(mask).branches
    for name in ("table", "hubs", "points"):
        expected, found = getattr(whole, name)(), getattr(one_by_one, name)()
        for column in expected.colnames:
            np.testing.assert_array_equal(found[column], expected[column])


def test_no_filament_has_tables_without_rows() -> None:
    branches = Filaments(np.zeros((9, 9))).branches
    for table in (branches.table(), branches.hubs(), branches.points(WCS(galactic_header(9, 9)))):
        assert len(table) == 0


@pytest.mark.parametrize("has_wcs", [True, False])
def test_spines_become_labels_again_branch_by_branch(mask: BoolArray, has_wcs: bool, tmp_path: Path) -> None:
    """A mask -> points along its spines -> a target of lines three pixels wide, which covers the skeletons."""
    header = galactic_header(150, 130) if has_wcs else fits.Header()
    fits.writeto(tmp_path / "map.fits", np.ones(mask.shape, np.float32) + mask, header)
    filaments = Filaments(mask)
    filaments.branches.points(WCS(header) if has_wcs else None).write(tmp_path / "spines.ecsv")
    config = PreprocessConfig(image=tmp_path / "map.fits", target=tmp_path / "spines.ecsv", patch_size=16, line_width=3)
    report = preprocess(config, tmp_path / "out.h5")
    assert report.contents["target"].startswith("6 spines of")
    target = PatchFile(tmp_path / "out.h5").target
    assert target is not None
    assert (target[filaments.skeleton() > 0] == 1).all()
    assert (mask[target == 1]).all()  # no line leads from one branch to the next


@pytest.mark.parametrize("axes", ["GLON-CAR", "RA---TAN rotated", "RA---TAN FK4", "GLON-TAN flipped", "RA---TAN pole"])
def test_positions_lengths_and_orientations_hold_in_every_frame(axes: str) -> None:
    header = galactic_header(200, 200)
    header["CRPIX1"], header["CRVAL2"] = 100.5, 0.0
    kind, _, variant = axes.partition(" ")
    header["CTYPE1"], header["CTYPE2"] = kind, kind.replace("RA--", "DEC-").replace("GLON", "GLAT")
    if kind.startswith("RA"):
        header["CRVAL1"], header["CRVAL2"] = 83.8, 89.0 if variant == "pole" else -5.4
    if variant == "rotated":
        c, s = np.cos(np.deg2rad(35)), np.sin(np.deg2rad(35))
        header.update(PC1_1=c, PC1_2=-s, PC2_1=s, PC2_2=c)
    if variant == "FK4":
        header.update(RADESYS="FK4", EQUINOX=1950.0)
    if variant == "flipped":
        header["CDELT1"] = -header["CDELT1"]
    wcs = WCS(header)
    spine = line(120, 30)
    filaments = Filaments(distance_map(spine, 200) <= 2.5)
    row = filaments.catalog(wcs=wcs)[0]
    middle = wcs.pixel_to_world(100, 100).galactic
    assert (row["x"], row["y"]) == pytest.approx((100, 100), abs=0.5)
    found = wcs.pixel_to_world(row["x"], row["y"]).galactic
    assert (row["l"], row["b"]) == pytest.approx((found.l.deg, found.b.deg), abs=1e-5)
    assert found.separation(middle).arcmin < 0.5 * 0.6 * np.sqrt(2)
    ends = wcs.pixel_to_world(*(spine[[0, -1]] + 100).T[::-1]).galactic
    expected = middle.position_angle(ends[1]).deg
    assert abs((row["orientation"] - expected + 90) % 180 - 90) < 1
    assert abs((row["orientation_px"] - 120 + 90) % 180 - 90) < 1
    assert row["length_arcmin"] == pytest.approx(ends[0].separation(ends[1]).arcmin, abs=2 * 0.6)
    assert row["straightness"] == pytest.approx(1, abs=0.01)
    assert row["width_px"] == pytest.approx(5, abs=0.5)
    points = filaments.branches.points(wcs)
    sky = wcs.pixel_to_world(points["x"], points["y"]).galactic
    np.testing.assert_allclose(points["b"], sky.b.deg, atol=1e-5)


def test_the_box_holds_the_filament(mask: BoolArray) -> None:
    row = Filaments(mask).catalog()[0]
    assert [row[name] for name in ("x0", "x1", "y0", "y1")] == [10, 59, 8, 12]


def strokes(*lines: tuple[tuple[int, int], tuple[int, int]]) -> BoolArray:
    """A mask of lines between points (y, x), 5 pixels wide, with square ends."""
    mask = np.zeros((140, 140), bool)
    for (y0, x0), (y1, x1) in lines:
        mask[y0 - 2 : y1 + 3, x0 - 2 : x1 + 3] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        strokes(((70, 20), (70, 110))),
        strokes(((70, 20), (70, 40))),
        strokes(((70, 20), (70, 110)), ((20, 70), (110, 70))),
        strokes(((70, 20), (70, 110)), *[((30, x), (70, x)) for x in (30, 50, 70, 90)]),
    ],
    ids=["long", "short", "cross", "comb"],
)
def test_width_and_line_mass_do_not_depend_on_length_and_branches(mask: BoolArray) -> None:
    header = galactic_header(140, 140)
    row = Filaments(mask).catalog(1e22 * mask, wcs=WCS(header), unit="cm-2", distance=1.0)[0]
    assert row["width_px"] == pytest.approx(5, abs=0.3)
    assert row["width_arcmin"] == pytest.approx(row["width_px"] * 60 * header["CDELT2"], rel=0.01)
    width_pc = 5 * 1000 * np.deg2rad(header["CDELT2"])
    assert row["line_mass"] == pytest.approx(row["mass"] / row["area_pc2"] * width_pc, rel=0.06)


def test_a_spot_is_not_straight(mask: BoolArray) -> None:
    spot = np.zeros_like(mask)
    spot[20:23, 20:23] = True
    row = Filaments(spot).catalog()[0]
    assert row["length_px"] == 0
    assert np.isnan([row["straightness"], row["width_px"]]).all()


@pytest.mark.parametrize("degrees", [-1e-8, 1e-8])
def test_orientations_are_below_half_a_turn(degrees: float, mask: BoolArray) -> None:
    header = galactic_header(*mask.shape[::-1])
    header["PC1_2"], header["PC2_1"] = np.deg2rad(degrees), -np.deg2rad(degrees)
    row = Filaments(mask.T).catalog(wcs=WCS(header))[0]
    assert row["orientation"] == 0


def test_a_ring_is_not_straight_and_a_pixel_neither() -> None:
    ring = abs(np.hypot(Y - 60, X - 60) - 20) < 2
    ring[5, 5] = True
    pixel, closed = Filaments(ring).catalog()
    assert closed["straightness"] == 0
    assert closed["length_px"] == pytest.approx(40 * np.pi, abs=2)
    assert closed["width_px"] == pytest.approx(closed["area_px"] / closed["length_px"])
    assert np.isnan([pixel["straightness"], pixel["width_px"]]).all()
    assert (pixel["branches"], pixel["hubs"], pixel["ring"]) == (1, 0, False)
