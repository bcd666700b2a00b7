import shutil
from pathlib import Path

import numpy as np
import pytest

from bigsf.errors import BigsfWarning, DataError, SnapshotError
from bigsf.segmentation.ensemble import find_models
from bigsf.training.snapshot import Snapshot
from conftest import Segmented


def test_run_folder_and_kfold_folder_are_models(trained: Path, trained_kfold: Path) -> None:
    splits = [trained_kfold / f"split_{number}" / "best.pt" for number in range(1, 5)]
    assert find_models([trained]) == [trained / "best.pt"]
    assert find_models([trained_kfold]) == splits
    assert find_models([trained, trained_kfold / "split_1" / "last.pt"]) == [
        trained / "best.pt",
        trained_kfold / "split_1" / "last.pt",
    ]


def test_a_kfold_that_is_not_complete_warns(trained_kfold: Path, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    shutil.copytree(trained_kfold, folder)
    (folder / "split_2" / "best.pt").unlink()
    (folder / "summary.json").unlink()
    with pytest.warns(BigsfWarning, match="begun holds a k-fold that has not ended: the ensemble has only 3"):
        assert len(find_models([folder])) == 3


def test_folder_without_a_model_and_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"holds no trained model: neither best\.pt nor split_\*/best\.pt"):
        find_models([tmp_path])
    (tmp_path / "last.pt").touch()
    with pytest.raises(SnapshotError, match=r"stopped before its first epoch ended. Go on with bigsf resume"):
        find_models([tmp_path])
    with pytest.raises(SnapshotError, match="does not exist"):
        find_models([tmp_path / "absent.pt"])


def test_the_result_is_the_mean_of_the_models_and_std_is_their_deviation(
    segmented: Segmented, other_map: Path, trained: Path, trained_kfold: Path
) -> None:
    models = [trained / "best.pt", trained_kfold / "split_2" / "best.pt"]
    report, together = segmented(other_map, models)
    each = np.stack([segmented(other_map, model, f"{i}.fits")[1]["PRIMARY"] for i, model in enumerate(models)])
    assert report.models == models
    np.testing.assert_allclose(together["PRIMARY"], each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(together["STD"], each.std(axis=0), atol=1e-6)
    thresholds = [Snapshot.load(model).thresholds.whole for model in models]
    assert report.threshold == pytest.approx(np.mean(thresholds))


def test_the_models_of_a_kfold_are_an_ensemble(segmented: Segmented, other_map: Path, trained_kfold: Path) -> None:
    report, out = segmented(other_map, trained_kfold)
    assert len(report.models) == 4
    assert np.nanmax(out["STD"]) > 0


def test_thresholds_come_from_the_snapshot_or_the_user(segmented: Segmented, other_map: Path, trained: Path) -> None:
    stored = Snapshot.load(trained / "best.pt").thresholds
    assert stored.whole != stored.labelled
    for number, (threshold, expected) in enumerate(
        [("whole", stored.whole), ("labelled", stored.labelled), ("0.25", 0.25), (0.75, 0.75)]
    ):
        assert segmented(other_map, name=f"{number}.fits", threshold=threshold)[0].threshold == expected


def test_models_of_different_patch_sizes_are_no_ensemble(
    segmented: Segmented, other_map: Path, trained: Path, tmp_path: Path
) -> None:
    snapshot = Snapshot.load(trained / "best.pt")
    snapshot.patch_size = 32
    snapshot.save(tmp_path / "wide.pt")
    with pytest.raises(SnapshotError, match=r"must share one patch size; found .*best\.pt: 16, .*wide\.pt: 32"):
        segmented(other_map, [trained / "best.pt", tmp_path / "wide.pt"])


def test_number_of_channels_must_be_that_of_the_model(segmented: Segmented, other_map: Path) -> None:
    with pytest.raises(DataError, match=r"The model takes 1 image planes, other\.fits gives 2"):
        segmented(other_map, channels=[other_map])
