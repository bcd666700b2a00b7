from pathlib import Path
from typing import Any

import pytest

from bigsf.errors import ConfigError
from bigsf.filaments.cleaning import BORDER_PX
from bigsf.segmentation.config import SegmentConfig
from conftest import Segmented


@pytest.mark.parametrize("options", [{"hysteresis": 0.5}, {"hysteresis": float("nan")}, {"min_area": 0}])
def test_cleaning_that_makes_no_sense_is_refused(
    segmented: Segmented, other_map: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}.* expected "):
        segmented(other_map, threshold=0.4, **options)
    assert not (tmp_path / "out.fits").exists()


@pytest.mark.parametrize("threshold", ["half", "1.5", -0.1, "nan", None, True])
def test_impossible_threshold_is_refused(threshold: object) -> None:
    found = "true" if threshold is True else threshold
    message = f"threshold: found {found!r}, expected whole, labelled, or a probability from 0 to 1"
    with pytest.raises(ConfigError, match=message):
        SegmentConfig.from_dict({"threshold": threshold})


@pytest.mark.parametrize(("threshold", "expected"), [("labelled", "labelled"), ("0.25", 0.25), (1, 1.0)])
def test_threshold_is_a_name_or_a_probability(threshold: object, expected: str | float) -> None:
    assert SegmentConfig.from_dict({"threshold": threshold}).threshold == expected


@pytest.mark.parametrize(("memory", "expected"), [("4GB", 4e9), ("800 MB", 8e8), (5e8, 5e8)])
def test_memory_is_a_size(memory: object, expected: float) -> None:
    assert SegmentConfig.from_dict({"memory": memory}).memory == expected


def test_impossible_memory_is_refused(segmented: Segmented, other_map: Path) -> None:
    with pytest.raises(ConfigError, match="memory: found 'lots', expected a size such as 800MB or 4GB"):
        segmented(other_map, memory="lots")
    with pytest.raises(ConfigError, match=r"'memory' \(1\.0 kB\) is too little: a band of the map takes .*, a window"):
        segmented(other_map, memory="1kB")


@pytest.mark.parametrize(("border", "expected"), [("auto", BORDER_PX), ("7", 7), (0, 0)])
def test_border_is_a_number_of_pixels_or_auto(border: object, expected: int) -> None:
    assert SegmentConfig.from_dict({"border": border}).cleaning.border == expected


@pytest.mark.parametrize("border", [-1, 101, "1.5", "near", None])
def test_impossible_border_is_refused(border: object) -> None:
    with pytest.raises(
        ConfigError, match=f"border: found {border!r}, expected auto or a number of pixels from 0 to 100"
    ):
        SegmentConfig.from_dict({"border": border})


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, True),
        ({"hysteresis": 0.1}, True),
        ({"border": 0}, True),
        ({"border": 0, "min_skeleton": 1}, False),
        ({"border": 0, "min_skeleton": 1, "products": "regions"}, True),
        ({"products": "std,scale"}, False),
    ],
)
def test_the_mask_is_held_as_a_whole_where_that_is_needed(options: dict[str, Any], whole: bool) -> None:
    assert SegmentConfig.from_dict(options).needs_whole_mask == whole


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_area": 2}, "'min_area'"),
        ({"border": 5, "min_skeleton": 1}, "'min_skeleton' and 'border'"),
        ({"hysteresis": 0.1}, "'hysteresis'"),
    ],
)
def test_cleaning_of_no_mask_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"{named} would do nothing: the products leave out MASK.*: prob, scale. Add"):
        SegmentConfig.from_dict({**options, "products": "prob,scale"})
    assert SegmentConfig.from_dict({**options, "products": "skeleton"}).cleaning
    assert not SegmentConfig.from_dict({"products": "prob,scale"}).cleaning


@pytest.mark.parametrize("products", ["Mask, std", ["mask", "STD"]])
def test_products_are_a_list_or_one_text(products: object) -> None:
    assert SegmentConfig.from_dict({"products": products}).products == ["mask", "std"]


def test_missing_and_valid_are_one_plane() -> None:
    with pytest.raises(ConfigError, match="missing: is another name of 'valid', which is given too"):
        SegmentConfig.from_dict({"missing": "a.fits", "valid": "b.fits"})


def test_options_override_the_config(segmented: Segmented, other_map: Path) -> None:
    config = SegmentConfig(threshold=0.4, products=["prob"], stride=16)
    report, out = segmented(other_map, config=config, products="mask")
    assert (report.threshold, report.config.stride) == (0.4, 16)
    assert set(out) == {"PRIMARY", "MASK"}


def test_unknown_option_is_named(segmented: Segmented, other_map: Path) -> None:
    with pytest.raises(ConfigError, match="treshold: unknown key; did you mean 'threshold'"):
        segmented(other_map, treshold=0.4)


def test_paths_of_a_yaml_are_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "segment.yaml").write_text("valid: valid.fits\nchannels: [other.fits]\nmemory: 1GB\n")
    config = SegmentConfig.from_yaml(tmp_path / "segment.yaml")
    assert (config.valid, config.channels) == (tmp_path / "valid.fits", [tmp_path / "other.fits"])
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert SegmentConfig.from_yaml(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(("scales", "expected"), [("4, 1,2", [1, 2, 4]), ([3], [3]), ("Auto", "auto"), (None, None)])
def test_scales_are_numbers_or_auto(scales: object, expected: object) -> None:
    assert SegmentConfig.from_dict({"scales": scales}).scales == expected


@pytest.mark.parametrize("scales", ["1,auto", "0", [33], [], "wide", 2.5])
def test_impossible_scales_are_refused(scales: object) -> None:
    with pytest.raises(
        ConfigError, match=r"scales: found .*, expected auto, or whole numbers from 1 to 32 such as 1,2,4"
    ):
        SegmentConfig.from_dict({"scales": scales})


@pytest.mark.parametrize("distance", [0, -1.5, "0", "nan", float("inf")])
def test_impossible_distance_is_refused(distance: object) -> None:
    with pytest.raises(ConfigError, match=f"distance: found {distance!r}, expected a distance in kpc above 0, or a"):
        SegmentConfig.from_dict({"products": "catalog", "distance": distance})


def test_a_distance_is_a_number_or_a_path() -> None:
    assert SegmentConfig.from_dict({"products": "catalog", "distance": "2.5"}).distance == 2.5
    config = SegmentConfig.from_dict({"products": "catalog", "distance": "far.fits", "measure": {"T": "dust.fits"}})
    assert config.distance == Path("far.fits").absolute()
    assert config.inputs == [Path("dust.fits").absolute(), Path("far.fits").absolute()]


@pytest.mark.parametrize("name", ["1st", "a b", "T-dust", "é", ""])
def test_a_further_map_has_a_name_that_a_column_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match=f"measure: found {name!r}, expected a name of letters, digits and _"):
        SegmentConfig.from_dict({"products": "catalog", "measure": {name: "dust.fits"}})


def test_names_of_further_maps_differ_by_more_than_their_case() -> None:
    with pytest.raises(ConfigError, match="measure: found 'Probability': the catalogue has a column probability_std"):
        SegmentConfig.from_dict({"measure": {"Probability": "p.fits"}})
    with pytest.raises(ConfigError, match="measure: the name 'T' is given twice, and column names differ"):
        SegmentConfig.from_dict({"products": "catalog", "measure": {"T": "dust.fits", "t": "gas.fits"}})


@pytest.mark.parametrize("prefix", ["", "1A", "B SF", "BSF\n"])
def test_a_prefix_is_an_acronym(prefix: str) -> None:
    with pytest.raises(ConfigError, match=r"prefix: found .*, expected an acronym of letters, digits, - and _"):
        SegmentConfig.from_dict({"products": "catalog", "prefix": prefix})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prefix": "BSF"}, "'prefix'"),
        ({"distance": 1.0, "measure": {"T": "dust.fits"}, "products": "spines"}, "'distance' and 'measure'"),
    ],
)
def test_options_of_the_catalogue_need_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"{named} would do nothing: the products leave out the catalogue"):
        SegmentConfig.from_dict(options)
