from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

import bigsf
from bigsf.described import Described


class Odd(Described):
    @override
    def facts(self) -> Mapping[str, object]:
        return {"file": "<script>alert(1)</script>&.fits", "patches": 3}


def test_what_comes_from_files_is_escaped() -> None:
    assert repr(Odd()) == "<bigsf.Odd: file <script>alert(1)</script>&.fits, patches 3>"
    assert "<script>" not in Odd()._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;.fits</td>" in Odd()._repr_html_()


def test_the_table_has_no_colours_of_its_own() -> None:
    assert "color" not in Odd()._repr_html_()
    assert "background" not in Odd()._repr_html_()


@pytest.fixture
def made(patch_path: Path, folds_path: Path) -> dict[str, Callable[[], Described]]:
    file = bigsf.PatchFile(patch_path)
    return {
        "PatchFile": lambda: file,
        "Folds": lambda: bigsf.Folds.make(file, bigsf.SplitConfig(k=4, area_size=32)),
        "Filaments": lambda: bigsf.Filaments(np.eye(20)),
        "Model": lambda: bigsf.load("higal-small"),
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PatchFile", "sky.h5, map 160 x 96 pixels"),
        ("Folds", "areas 5 x 3 (x, y), split 1 train [1, 2] validation [3] test [4]"),
        ("Filaments", "filaments 1, map 20 x 20 pixels (x, y)"),
        ("Model", "models 1, network unet, windows 64 px, threshold 0.597"),
    ],
)
def test_public_objects_are_shown_on_one_line_and_as_a_table(
    name: str, words: str, made: dict[str, Callable[[], Described]]
) -> None:
    shown = made[name]()
    assert repr(shown).startswith(f"<bigsf.{name}: ")
    assert words in repr(shown)
    assert "\n" not in repr(shown)
    tags: list[str] = []

    class Tags(HTMLParser):
        @override
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Tags().feed(shown._repr_html_())
    assert tags.count("tr") == len(shown.facts())


def test_reports_are_shown_as_tables(patch_path: Path, trained: Path, other_map: Path, tmp_path: Path) -> None:
    report = bigsf.segment(trained, other_map, tmp_path / "found.fits", dry_run=True, products="catalog")
    assert "found.fits, found.ecsv, found.png</td>" in report._repr_html_()
    config = bigsf.PreprocessConfig(image=other_map, patch_size=16)
    assert "planes</th>" in bigsf.preprocess(config, tmp_path / "a.h5", dry_run=True)._repr_html_()
