"""nnU-Net v2: its own 2D trainer, loss, augmentations and predictor.

It gets the map as one case, with all pixels outside of the training folds as its ignore label. It plans patches of
512 x 512 pixels for it; they are set to those of the others, as are the batches and their number.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from work import SplitWork

from bigsf.arrays import FloatArray

_BACKGROUND, _FILAMENT, _IGNORED = range(3)
_STEPS_OF_AN_EPOCH = 50
_DATASET = "Dataset001_Map"
_STAGES = 5  # down to 4 x 4 pixels


def probability(work: SplitWork) -> FloatArray:
    """Return the probability `(ny, nx)` of a network trained on a split."""
    with tempfile.TemporaryDirectory() as name:
        folders = {key: Path(name) / key for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        for key, folder in folders.items():
            folder.mkdir()
            os.environ[key] = str(folder)
        os.environ |= {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
        _write_case(work, folders["nnUNet_raw"] / _DATASET)
        return _trained_and_predicted(work, folders)


def _write_case(work: SplitWork, folder: Path) -> None:
    """Write the map and its labels as nnU-Net reads them."""
    import SimpleITK

    target, _ = work.run.patch_file.labels()
    labels = np.where(target > 0, _FILAMENT, _BACKGROUND)
    labels[~work.folds(work.run.split.train)] = _IGNORED
    for name, plane in (("imagesTr/map_0000", work.image), ("labelsTr/map", labels.astype(np.uint8))):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(plane[None]), str(path))
    names = {"background": _BACKGROUND, "filament": _FILAMENT, "ignore": _IGNORED}
    description = {"channel_names": {"0": "log N"}, "labels": names, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def _trained_and_predicted(work: SplitWork, folders: dict[str, Path]) -> FloatArray:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    extract_fingerprints([1], num_processes=1)
    plan_experiments([1])
    plans_path = folders["nnUNet_preprocessed"] / _DATASET / "nnUNetPlans.json"
    plans = _with_our_patches(json.loads(plans_path.read_text()), work)
    plans_path.write_text(json.dumps(plans))
    preprocess([1], configurations=["2d"], num_processes=[1])
    dataset = json.loads((folders["nnUNet_raw"] / _DATASET / "dataset.json").read_text())
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # augment in this process
    torch.manual_seed(work.run.config.trainer.seed)
    np.random.seed(work.run.config.trainer.seed)  # noqa: NPY002 - what nnU-Net draws from
    trainer = nnUNetTrainer(plans | {"continue_training": False}, "2d", "all", dataset, device=torch.device("cpu"))
    trainer.num_epochs = max(1, work.steps // _STEPS_OF_AN_EPOCH)
    trainer.num_iterations_per_epoch = round(work.steps / trainer.num_epochs)
    trainer.num_val_iterations_per_epoch = 1
    trainer.run_training()
    predictor = nnUNetPredictor(tile_step_size=0.25, use_mirroring=True, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        dataset,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.list_of_parameters = [trainer.network.state_dict()]
    _, found = predictor.predict_single_npy_array(
        work.image[None, None], {"spacing": [999.0, 1.0, 1.0]}, None, None, save_or_return_probabilities=True
    )
    return np.asarray(found[_FILAMENT, 0], np.float32)


def _with_our_patches(plans: dict[str, Any], work: SplitWork) -> dict[str, Any]:
    """Return the plans with patches, batches and a network for them."""
    size, configuration = work.run.patch_file.patch_size, plans["configurations"]["2d"]
    configuration |= {"patch_size": [size, size], "batch_size": work.run.config.trainer.batch_size}
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": _STAGES,
        "features_per_stage": [32 * 2**stage for stage in range(_STAGES)],
        "kernel_sizes": [[3, 3]] * _STAGES,
        "strides": [[1, 1]] + [[2, 2]] * (_STAGES - 1),
        "n_conv_per_stage": [2] * _STAGES,
        "n_conv_per_stage_decoder": [2] * (_STAGES - 1),
    }
    return plans
