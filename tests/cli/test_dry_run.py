from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from bigsf.cli.dry_run import count_windows, describe_kfold
from bigsf.evaluation.summary import outputs_of
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.training.trainer import Trainer
from command_processes import write_yaml
from conftest import ArrayMap, Ended, Settings, StubModel


@pytest.mark.parametrize("scales", [[1], [2], [1, 2, 4]])
@pytest.mark.parametrize("stride", [4, 6, 16])
@pytest.mark.parametrize("which", [[1], [2, 3], [1, 2, 3, 4]])
def test_windows_are_counted_as_the_predictor_takes_them(
    patch_file: PatchFile, which: list[int], stride: int, scales: list[int]
) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, area_size=40))
    seen = []

    def count(image: Tensor, position: Tensor | None) -> Tensor:
        seen.append(len(image))
        return image

    predictor = SlidingWindowPredictor([StubModel(count)], patch_file.patch_size, stride, scales=scales)
    whole = ArrayMap(np.ones((1, *patch_file.shape), np.float32))
    for _ in predictor.predict_bands(whole, lambda y0, y1: np.isin(folds.rows(y0, y1), which)[None]):
        pass
    assert sum(seen) == count_windows(folds, which, stride, scales)


def test_estimates_count_the_windows_of_each_scale(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.cli.dry_run.seconds_per_window", lambda _: 1.0)
    monkeypatch.setattr("bigsf.cli.dry_run.seconds_per_step", lambda _: 0.0)
    monkeypatch.setattr("bigsf.cli.dry_run.duration", lambda seconds: f"{seconds:.0f} s")
    printed: list[str] = []
    monkeypatch.setattr("bigsf.cli.dry_run.print_line", printed.append)
    model = {"type": "unet", "features": 4, "depth": 2, "scales": [1, 2, 4]}
    trainer = Trainer.from_config(settings(model=model, epochs=2), dry_run=True)
    describe_kfold(trainer)
    folds = trainer.run.folds
    tested, validated = (
        sum(count_windows(folds, getattr(split, part), 8, [1, 2, 4]) for split in folds.splits)
        for part in ("test", "validation")
    )
    assert f"# 2 epochs of 4 runs take about 0 s, and {2 * validated} s of validation" in printed
    assert f"# the out-of-fold map takes about {tested} s (see out_of_fold), its report more" in printed
    assert printed[-1].endswith(f": split_1, split_2, split_3, split_4, {', '.join(outputs_of('png'))}.")


def test_a_dry_run_ends_as_the_run_itself_would(
    run_in: Settings, trained: Path, trained_kfold: Path, ended: Ended
) -> None:
    """The runs lie there already: they are refused, replaced, or gone on with."""
    for folder, command in ((trained, "train"), (trained_kfold, "kfold")):
        settings = run_in(folder.parents[1], epochs=3)
        config = write_yaml(folder.parents[2] / f"{command}.yaml", settings)
        refused = [ended(2, command, config, *dry).err for dry in ([], ["--dry-run"])]
        assert refused[0].splitlines()[-1] == refused[1].splitlines()[-1]
        assert "--overwrite" in refused[0]
    assert f"Would write {trained}, in place of the run that lies there." in (
        ended(0, "train", trained.parents[2] / "train.yaml", "--dry-run", "--overwrite").out
    )
    same = write_yaml(trained_kfold.parents[2] / "same.yaml", run_in(trained_kfold.parents[1]))
    said = ended(0, "kfold", same, "--dry-run").out
    assert "# split_1 is done\n" in said
    assert f"Would write {trained_kfold}: {', '.join(outputs_of('png'))}." in said
    assert f"Would write {trained_kfold}: nothing." in ended(0, "kfold", same, "--only", 2, "--dry-run").out
    assert f"{trained_kfold}: split_1, split_2" in ended(0, "kfold", same, "--overwrite", "--dry-run").out
