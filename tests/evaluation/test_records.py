import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigsf.errors import DataError
from bigsf.evaluation.records import Bins, BinScores, KFoldSummary, SeamScores


@pytest.fixture
def stored(trained_kfold: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((trained_kfold / "summary.json").read_text())
    return content


def test_summary_with_the_old_names_of_its_keys_is_read(
    stored: dict[str, Any], trained_kfold: Path, tmp_path: Path
) -> None:
    old = {**stored, "judged_pixels": stored["predicted_pixels"], "jump_at_borders": stored["seam_contrast"]}
    del old["predicted_pixels"], old["seam_contrast"]
    (tmp_path / "summary.json").write_text(json.dumps(old))
    assert KFoldSummary.load(tmp_path / "summary.json") == KFoldSummary.load(trained_kfold / "summary.json")


def test_summary_of_a_version_with_one_scale_of_baselines_and_one_family_is_read(
    stored: dict[str, Any], tmp_path: Path
) -> None:
    for key in ("baseline_scales", "injected_plummer", "reliability", "added_widths_px", "start_from"):
        del stored[key]
    for key in ("profile", "width_px"):
        del stored["injected"][key]
    for run in stored["runs"].values():
        del run["baseline_scales"]
    for table in (stored["out_of_fold"], stored["skeletons"]):
        table["ridge filter"] = table.pop("Sato filter")
        del table["Frangi filter"]
    (tmp_path / "summary.json").write_text(json.dumps(stored))
    summary = KFoldSummary.load(tmp_path / "summary.json")
    assert summary.out_of_fold["ridge filter"] == stored["out_of_fold"]["ridge filter"]
    assert (summary.injected.profile, summary.injected.width_px) == ("gaussian", (2, 6))
    assert (summary.injected_plummer, summary.added_widths_px) == (None, None)
    assert (summary.baseline_scales, summary.runs["split_1"].baseline_scales, summary.reliability) == ({}, {}, {})


def test_what_is_read_and_saved_is_the_same_file(stored: dict[str, Any], trained_kfold: Path, tmp_path: Path) -> None:
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    summary.save(tmp_path / "summary.json")
    assert (tmp_path / "summary.json").read_bytes() == (trained_kfold / "summary.json").read_bytes()
    assert summary.predicted_pixels == stored["predicted_pixels"]
    assert summary.splits[0].test == stored["splits"][0][2]
    assert summary.seam_contrast.pairs == stored["seam_contrast"]["pairs"]
    assert set(stored["thresholds"]) == {"labelled", "whole"}


def test_what_is_undefined_is_null_in_the_file(tmp_path: Path) -> None:
    SeamScores(across=np.nan, beside=0.5, pairs=0).save(tmp_path / "seams.json")
    assert json.loads((tmp_path / "seams.json").read_text()) == {"across": None, "beside": 0.5, "pairs": 0}
    assert np.isnan(SeamScores.load(tmp_path / "seams.json").across)


def test_bins_without_a_ground_truth_have_no_such_key() -> None:
    scores = BinScores(completeness=[0.5], purity=[1.0], true=[4.0])
    without = Bins(centre=[1.0], whole={"BigSF": scores})
    assert set(json.loads(without.model_dump_json())) == {"centre", "whole"}
    both = Bins(centre=[1.0], whole={"BigSF": scores}, truth={"Sato filter": scores})
    assert set(json.loads(both.model_dump_json())) == {"centre", "whole", "truth"}
    assert list(both.against("whole")) == ["BigSF"]
    assert list(both.against("truth")) == ["Sato filter"]


def test_a_summary_that_lacks_scores_is_refused(stored: dict[str, Any], tmp_path: Path) -> None:
    del stored["injected"]
    (tmp_path / "summary.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="injected: Field required"):
        KFoldSummary.load(tmp_path / "summary.json")


def test_the_summary_says_whether_models_learnt_from_the_pixels_that_they_predicted(trained_kfold: Path) -> None:
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    assert (summary.seen_pixels, summary.seen_labels) == (0, 0)
    assert summary.independence.endswith("None of these models learnt from the pixel.")
    overlapping = summary.model_copy(update={"seen_pixels": 1200, "seen_labels": 449})
    assert "1,200 of these pixels, 449 of them with a label, lie in training patches" in overlapping.independence
    assert "None of these" not in overlapping.independence
    unknown = summary.model_copy(update={"seen_pixels": None, "seen_labels": None})
    assert unknown.independence.endswith("is a test area.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"summary\.json does not exist"),
        ("{", r"summary\.json is damaged: Invalid JSON"),
        ("{}", r"summary\.json is damaged: \w+: Field required"),
    ],
)
def test_a_damaged_record_is_one_message(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(DataError, match=message):
        KFoldSummary.load(tmp_path / "summary.json")
