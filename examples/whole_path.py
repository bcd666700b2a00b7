"""The whole path in Python: two simulated maps, patches, folds, training with a network of one's own, a segmented map.

python examples/whole_path.py results_folder
"""

import sys
from pathlib import Path

import bigsf
from my_parts import DilatedNet


def main(folder: Path, size: tuple[int, int] = (768, 320), epochs: int = 6) -> Path:
    """Write everything into a folder and return the segmented map."""
    folder.mkdir(parents=True, exist_ok=True)
    known = bigsf.simulate_galaxy(folder / "galaxy.fits", *size, seed=1, overwrite=True)
    unknown = bigsf.simulate_galaxy(folder / "map.fits", *size, seed=2, overwrite=True)

    found = bigsf.preprocess(
        bigsf.PreprocessConfig(image=known, patch_size=64, stride=8), folder / "galaxy.h5", overwrite=True
    )
    print(f"{found.kept} patches, {found.counts['labelled']} labelled pixels")

    config = {
        "data": {"path": str(folder / "galaxy.h5")},
        "trainer": {
            "output_dir": str(folder),
            "run_name": "run",
            "epochs": epochs,
            "model": {"type": "unet", "features": 16, "normalization": {"type": "log"}},
            "loss": {"type": "bce", "unlabelled_weight": 0.3},
        },
    }
    network = DilatedNet(features=12)  # instead of the U-Net of the configuration
    trainer = bigsf.Trainer.from_config(config, overwrite=True, parts=bigsf.Parts(network=network))
    scores = trainer.train()
    print(f"whole-map average precision on the test folds: {scores.test['whole_average_precision']:.3f}")

    report = bigsf.segment(folder / "run", unknown, folder / "found.fits", network=network, overwrite=True)
    print(f"{report.marked} of {report.valid} pixels are marked in {report.output}")
    return report.output


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "whole_path"))
