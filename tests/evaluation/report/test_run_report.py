import json
import re
from pathlib import Path

import pytest

from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.records import RunScores
from bigsf.evaluation.report.run_report import RunRecord, write_run_report
from bigsf.folds.folds_file import load_folds
from bigsf.patches.patch_file import PatchFile


@pytest.fixture(scope="module")
def text(trained: Path) -> str:
    return (trained / "report.html").read_text()


def test_the_head_says_what_was_trained_on_what_where_and_how(text: str, trained: Path, patch_file: PatchFile) -> None:
    environment = json.loads((trained / "environment.json").read_text())
    for said in (
        environment["time"],
        environment["platform"],
        f"torch {environment['torch']}",
        "sky.h5, 160 x 96 pixels",
    ):
        assert said in text
    assert f"{(patch_file.labels()[1] > 0).sum():,} labelled" in text
    assert "train [1, 2], validation [3], test [4]" in text


def test_scores_of_the_model_stand_beside_the_baselines(text: str, trained: Path) -> None:
    scores = RunScores.load(trained / "scores.json")
    assert list(scores.table) == ["labelled", "whole"]
    assert scores.table["whole"]["average_precision"] == pytest.approx(scores.test["whole_average_precision"])
    assert scores.table["labelled"]["best_dice"] == pytest.approx(scores.test["labelled_best_dice"])
    for kind in scores.table:
        for values in (scores.table, *(scores.baselines[name] for name in BASELINES)):
            assert f"<td>{values[kind]['average_precision']:.4f}</td>" in text
    best = max(scores.baselines.values(), key=lambda kinds: kinds["whole"]["average_precision"])
    precision = scores.table["whole"]["average_precision"]
    assert re.search(
        f"Average precision {precision:.2f} on all valid pixels of the test folds, .*?, has "
        f"{best['whole']['average_precision']:.2f}",
        text,
    )


def test_the_page_has_learning_curves_folds_configuration_and_glossary(text: str) -> None:
    sections = re.findall("<h2 id=.*?>(.*?)</h2>", text)
    assert sections[0] == "Learning curves"
    assert sections[-2:] == ["Configuration", "Glossary"]
    assert re.findall('<img alt="(.*?)"', text) == ["the learning curves of the run", "the folds"]
    assert text.count("<figcaption>") == 2


def test_what_is_recorded_is_escaped_and_may_be_missing(
    trained: Path, folds_path: Path, patch_file: PatchFile, tmp_path: Path
) -> None:
    scores, folds = RunScores.load(trained / "scores.json"), load_folds(folds_path, patch_file)
    odd = "<i>odd</i>"
    record = RunRecord([], {"command": odd, "device": odd})
    path = tmp_path / odd.replace("/", "-") / "report.html"
    path.parent.mkdir()
    write_run_report(path, scores.model_copy(update={"model": odd}), folds, record, odd)
    text = path.read_text()
    assert "<i>" not in text
    assert text.count("&lt;i&gt;odd&lt;/i&gt;") == 4
    assert "<dt>Trained</dt><dd>-, by bigsf -</dd>" in text


def test_a_known_truth_leads(trained: Path, folds_path: Path, patch_file: PatchFile, tmp_path: Path) -> None:
    scores, folds = RunScores.load(trained / "scores.json"), load_folds(folds_path, patch_file)
    table = {**scores.table, "truth": {**scores.table["whole"], "average_precision": 0.4321}}
    baselines = {name: {**kinds, "truth": kinds["whole"]} for name, kinds in scores.baselines.items()}
    scores = scores.model_copy(update={"table": table, "baselines": baselines})
    path = tmp_path / "report.html"
    write_run_report(path, scores, folds, RunRecord([], {}), "")
    head = path.read_text().split("<ul class=headlines>")[1].split("</ul>")[0]
    assert "0.43" in head
    assert "against the ground truth" in head
