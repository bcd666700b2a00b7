import base64
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.out_of_fold import how_made
from bigsf.evaluation.records import KFoldSummary, Reliability
from bigsf.evaluation.report.figures import curves_figure
from bigsf.evaluation.report.kfold_report import write_kfold_report
from bigsf.evaluation.report.kfold_scores import catalogue_section, injected_section
from bigsf.evaluation.report.run_report import RunRecord
from bigsf.folds.folds_file import load_folds
from bigsf.patches.patch_file import PatchFile
from bigsf.training.kfold import KFold
from conftest import Run


class Page(HTMLParser):
    """Collects what a browser would show and load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.sources: list[str] = []
        self.captions = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.captions += tag == "figcaption"
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture(autouse=True)
def _no_figures_of_runs() -> None:
    """Draw all figures here."""


@pytest.fixture(scope="module")
def text(trained_kfold: Path) -> str:
    return (trained_kfold / "report.html").read_text()


def test_page_is_whole_and_loads_nothing(text: str, tmp_path: Path) -> None:
    page = Page(text)
    assert page.open == []
    assert len(page.sources) == page.captions == 12
    for number, source in enumerate(page.sources):
        kind, content = source.split(",", 1)
        assert kind == "data:image/png;base64"
        (tmp_path / f"{number}.png").write_bytes(base64.b64decode(content))
        assert min(imread(tmp_path / f"{number}.png").shape[:2]) > 100
    assert not re.search(r"https?://|<script [^>]*src|<link|@import", text)


def test_the_map_stands_first_and_the_scores_next(text: str) -> None:
    first, *_, last = sections = re.findall("<h2 id=.*?>(.*?)</h2>", text)
    assert first == "The out-of-fold map"
    assert sections[1:4] == ["Filaments", "Labelled pixels", "Whole map, against the target"]
    assert last == "Glossary"
    alternatives = re.findall('<img alt="(.*?)"', text)
    assert alternatives[0] == "the out-of-fold map"
    assert {f"the learning curves of split_{number}" for number in range(1, 5)} <= set(alternatives)


def test_the_head_says_how_the_map_was_made_and_how_good_it_is(text: str, trained_kfold: Path) -> None:
    made = how_made(trained_kfold / "out_of_fold.fits")
    summary = json.loads((trained_kfold / "summary.json").read_text())
    head = unescape(text[: text.index("<nav>")])
    assert f"{made['time']}, by bigsf {made['bigsf']}" in head
    assert made["command"] in head
    assert "sky.h5, 160 x 96 pixels (x, y)" in head
    precision = {name: kinds["whole"]["average_precision"] for name, kinds in summary["out_of_fold"].items()}
    ours = precision.pop("BigSF")
    best = max(precision, key=lambda name: precision[name])
    assert (
        f"Average precision {ours:.2f} on the whole map, against the target; the best baseline, {best}, has "
        f"{precision[best]:.2f}"
    ) in head
    assert "clDice of skeletons" in head


def test_a_page_that_is_lost_is_written_again_without_predicting(
    text: str, trained_kfold: Path, bigsf_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / trained_kfold.name
    shutil.copytree(trained_kfold, folder)
    (folder / "report.html").unlink()
    monkeypatch.setattr(KFold, "_summarise", lambda _: pytest.fail("the map was predicted again"))
    assert f"Wrote {folder}: out_of_fold.png, filaments.png, report.html." in bigsf_command("resume", folder).out
    old, new = (re.sub("<time>.*?</time>", "", page) for page in (text, (folder / "report.html").read_text()))
    assert new == old.replace(str(trained_kfold.parent), str(tmp_path))
    assert "Nothing was left to do." in bigsf_command("resume", folder).out


def test_all_that_comes_from_files_is_escaped(
    trained_kfold: Path, folds_path: Path, patch_file: PatchFile, tmp_path: Path
) -> None:
    shutil.copy(trained_kfold / "out_of_fold.fits", tmp_path)
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    odd = "<i>odd</i>"
    changed = summary.model_copy(
        update={
            "runs": {odd: summary.runs["split_1"].model_copy(update={"model": odd})},
            "start_from": odd,
            "mask_thresholds": {odd: summary.mask_thresholds["split_1"]},
            "baseline_scales": {"Sato filter": [odd]},
        }
    )
    record = RunRecord([{"epoch": 1}], {"device": odd})
    path = tmp_path / "report.html"
    write_kfold_report(path, changed, load_folds(folds_path, patch_file), {odd: record}, odd)
    text = path.read_text()
    assert "<i>" not in text
    assert text.count("&lt;i&gt;odd&lt;/i&gt;") == 9


def test_page_holds_the_scores_of_all_maps(text: str, trained_kfold: Path) -> None:
    page = Page(text)
    summary = json.loads((trained_kfold / "summary.json").read_text())
    assert {"BigSF", *BASELINES} <= set(page.cells)
    for kinds in summary["out_of_fold"].values():
        assert f"{kinds['whole']['average_precision']:.4f}" in page.cells
    assert f"{summary['skeletons']['BigSF']['whole']['purity_2px']:.4f}" in page.cells
    assert f"{summary['thresholds']['whole']['cost']:.4f}" in page.cells
    for heading in ("What was done", "Labelled pixels", "Calibration", "Thresholds", "Folds", "Configuration"):
        assert heading in page.headings
    assert "Folds share 0 pixels" in text


def test_page_says_which_scale_of_a_baseline_was_chosen_how_often(text: str, trained_kfold: Path) -> None:
    chosen = json.loads((trained_kfold / "summary.json").read_text())["baseline_scales"]
    cells = Page(text).cells
    rows = [cells[place : place + 3] for place in range(len(cells)) if cells[place] in BASELINES]
    assert chosen.pop("column density") == ["unfiltered"] * 4
    for name, scales in chosen.items():
        for scale in set(scales):
            assert [name, scale, f"{scales.count(scale)} of 4"] in rows


@pytest.mark.parametrize(
    ("widths", "start", "said"),
    [
        (
            [(2.0, 6.0)],
            None,
            r"2 to 6 pixels wide, to the training patches\. So the training used the family of Gaussian",
        ),
        ([(2.0, 6.0), (3.0, 9.5)], None, r"2 to 6 and 3 to 9\.5 pixels wide"),
        (None, None, r"Whether the training used one of the families was not recorded\.</p>"),
        ([], None, r"The training used neither family: its configuration has no augmentation filaments\.</p>"),
        ([], "higal-small", r"filaments\. What trainer\.start_from \(higal-small\) was trained with before is not"),
    ],
)
def test_page_says_which_injected_filaments_the_training_knew(
    widths: list[tuple[float, float]] | None, start: str | None, said: str, trained_kfold: Path
) -> None:
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    section = injected_section(summary.model_copy(update={"added_widths_px": widths, "start_from": start}))
    assert re.search(said, section)


def test_curves_show_where_dice_is_best_and_which_thresholds_validation_chose(trained_kfold: Path) -> None:
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    figure = curves_figure(summary)
    for row, kind in enumerate(summary.curves.by_threshold):
        left, right = figure.axes[2 * row : 2 * row + 2]
        points = {tuple(np.asarray(line.get_xydata())[0]) for line in left.lines if line.get_marker() == "o"}
        scores = [kinds[kind] for kinds in summary.out_of_fold.values()]
        assert points == {(each["recall"], each["precision"]) for each in scores}
        chosen = sorted(float(np.asarray(line.get_xdata())[0]) for line in right.lines if line.get_color() == "0.6")
        used = [each.labelled if kind == "labelled" else each.whole for each in summary.mask_thresholds.values()]
        assert chosen == sorted(used)


def test_page_says_what_its_numbers_hide(text: str, trained_kfold: Path) -> None:
    summary = json.loads((trained_kfold / "summary.json").read_text())
    assert "None of these models learnt from the pixel." in text
    assert "The training used neither family: its configuration has no augmentation filaments." in text
    for family in ("Gaussian profile, 2 to 6 pixels wide", "Plummer-like profile (p = 2), 2 to 12 pixels wide"):
        assert family in text
    assert "negative where the thresholds of the models do better together" in text
    cells = Page(text).cells
    for name, used in summary["mask_thresholds"].items():
        row = cells.index(name)
        assert cells[row + 1] == f"{used['whole']:.4f}"
        assert cells[row + 3] == f"{summary['runs'][name]['thresholds']['whole']:.4f}"


def test_the_reliability_of_the_catalogue_is_a_figure_with_its_means(trained_kfold: Path) -> None:
    """Of 40 rows, half are expected to be 0.4 pure, and half 0.8."""
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    bins = Reliability(
        rows=[20, 20],
        expected=[0.4, 0.8],
        expected_error=[0.06, 0.08],
        measured=[0.5, 0.6],
        measured_error=[0.08, 0.06],
    )
    section = catalogue_section(summary.model_copy(update={"reliability": {"truth": bins}}))
    assert "expected 0.600 ± 0.050, measured 0.550 ± 0.050 (mean of 40 rows)" in section
    assert "against the ground truth" in section
    assert section.count("data:image/png") == 1
    assert "too few rows" in catalogue_section(summary.model_copy(update={"reliability": {}}))
