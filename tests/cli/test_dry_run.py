import re
from pathlib import Path

import numpy as np
import pytest
from rich.filesize import decimal

from bigsf.arrays import BoolArray
from bigsf.cli.dry_run import _training_steps, describe_kfold
from bigsf.evaluation.mask_thresholds import sampled_areas
from bigsf.evaluation.summary import OUTPUTS, outputs_of
from bigsf.training.kfold_plan import count_windows
from bigsf.training.trainer import Trainer
from command_processes import write_yaml
from conftest import Ended, Settings, Sky


def test_estimates_count_the_windows_of_each_scale(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.cli.dry_run.seconds_per_predicted_window", lambda _: 1.0)
    monkeypatch.setattr("bigsf.cli.dry_run.seconds_per_step", lambda _: 0.0)
    monkeypatch.setattr("bigsf.cli.dry_run.seconds_of_baselines", lambda _: 7.0)
    monkeypatch.setattr("bigsf.cli.dry_run.duration", lambda seconds: f"{seconds:.0f} s")
    printed: list[str] = []
    monkeypatch.setattr("bigsf.cli.dry_run.print_line", printed.append)
    model = {"type": "unet", "features": 4, "depth": 2, "scales": [1, 2, 4]}
    trainer = Trainer.from_config(settings(model=model, epochs=2), dry_run=True)
    describe_kfold(trainer)
    folds = trainer.run.folds

    def windows(chosen: list[BoolArray]) -> int:
        return sum(count_windows(folds, areas, 8, [1, 2, 4]) for areas in chosen)

    tested, validated = (
        windows([np.isin(folds.grid, getattr(split, part)) for split in folds.splits])
        for part in ("test", "validation")
    )
    sampled = windows([areas > 0 for areas in sampled_areas(folds, folds.splits, 2_000_000)])
    times = dict(re.findall(r"^# (\w.*?) {2,}(\d+) s\b", "\n".join(printed), re.MULTILINE))
    assert times == {
        "training of 4 runs, 2 epochs": "0",
        "validation": str(2 * validated),
        "thresholds of MASK": str(sampled),
        "out-of-fold map, stride 8, one orientation": str(tested),
        "injected filaments, at most": times["injected filaments, at most"],
        "baselines of the map": "7",
    }
    assert 0 < int(times["injected filaments, at most"]) <= 2 * tested
    pixels = folds.patch_file.shape[0] * folds.patch_file.shape[1]
    assert f"# until all is done, the predicted maps take {decimal(4 * (4 * 5 + 6) * pixels)} of disk" in printed
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
    assert "Nothing is left to do." in said
    assert "Would write" not in said
    (trained_kfold / "split_9").mkdir()  # of a k-fold that was replaced
    drawn = ended(0, "kfold", same, "--dry-run", "--figures", "pdf").out
    (trained_kfold / "split_9").rmdir()
    all_drawn = ", ".join(name for name in outputs_of("pdf") if name not in OUTPUTS)  # as the command itself does
    assert "filaments.pdf" in all_drawn
    assert f"Would write {trained_kfold}: {all_drawn}." in drawn
    assert f"Would write {trained_kfold}: nothing." in ended(0, "kfold", same, "--only", 2, "--dry-run").out
    assert f"{trained_kfold}: split_1, split_2" in ended(0, "kfold", same, "--overwrite", "--dry-run").out
    assert "split_2 is done" in ended(0, "kfold", same, "--set", "split.use=9", "--only", 2, "--dry-run").out


def test_the_memory_of_a_training_falls_with_the_parts_of_a_batch(settings: Settings) -> None:
    memory = []
    for accumulate in (1, 8):
        trainer = Trainer.from_config(settings(batch_size=8, accumulate=accumulate, epochs=1), dry_run=True)
        memory.append(_training_steps(trainer, [1], 1.0)[0].memory_bytes or 0)
    assert memory[0] > 3 * memory[1] > 0


def test_a_dry_run_of_preprocess_takes_labels_that_are_drawn(sky: Sky, ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "d.reg").write_text("image\nbox(20,20,9,9,0)\n")
    said = ended(0, "preprocess", sky.path("image"), "--target", "d.reg", "--patch-size", 16, "--dry-run").out
    assert "target d.reg (1 rectangle)" in said
