"""How faint may a filament be: add known ones to a real map and see which of them a trained model finds.

    bigsf preprocess map.fits
    python examples/injection.py results/experiment_1 map.h5 recovery

The map is segmented as it is and once more with filaments added, away from those known (the target of the patch file,
or what the model marked). recovery.png shows which part of them is marked, against their contrast; recovery.json holds
the numbers. The report of a k-fold has this curve already, of models that never saw the place; a model that is predicted
here should not have been trained on the map.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import bigsf
from bigsf.evaluation.report_figures import completeness_figure
from bigsf.files import write_text
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.quicklook import png_of
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.segmentation.ensemble import find_models
from bigsf.training.run_folder import to_json


def main(model: Path, patches: Path, output: Path, seed: int = 0) -> dict[str, Any]:
    """Write the segmented map, the curve and its numbers into a folder."""
    output.mkdir(parents=True, exist_ok=True)
    segmented = bigsf.segment(
        model, patches, output / "segmented.fits", device="cpu", precision="fp32", overwrite=True
    ).output
    file = bigsf.PatchFile(patches)
    with FitsImage(segmented, "MASK") as mask:
        known = file.target if file.target is not None else mask.read().astype(np.uint8)
    snapshots = [bigsf.Snapshot.load(path) for path in find_models([model])]
    models = [snapshot.build_model() for snapshot in snapshots]
    cuts = np.array([snapshot.thresholds.whole for snapshot in snapshots], np.float32)[:, None, None]
    predictor = SlidingWindowPredictor(models, snapshots[0].patch_size, wcs=file.wcs)
    found = bigsf.measure_recovery(bigsf.InjectedPlanes(file, known, seed), predictor, cuts, segmented)
    (output / "recovery.png").write_bytes(png_of(completeness_figure(found)))
    write_text(output / "recovery.json", to_json(found))
    for contrast, share in zip(found["contrast"], found["completeness"]["BigSF"], strict=True):
        print(f"contrast {contrast:.2f}: {share:.0%} of their pixels are marked")
    return found


if __name__ == "__main__":
    model, patches, output = map(Path, sys.argv[1:])
    main(model, patches, output)
