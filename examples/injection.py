"""How faint may a filament be? Inject filaments of known contrast into a map, and see which of them a model finds.

    bigsf preprocess map.fits
    python examples/injection.py results/experiment_1 map.h5 completeness

The map is segmented twice: as it is, and with filaments injected away from known structures. Known are the target of
the patch file or, without a target, the pixels that the model marks. The folder then holds

- segmented.fits, the map as it is, segmented;
- completeness.png, the marked fraction of the injected filaments against their contrast;
- completeness_gaussian.json and completeness_plummer.json, the numbers of this figure.

The filaments are of two families: of Gaussian profile and 2 to 6 pixels wide, as the augmentation `filaments` adds them
too, and of Plummer-like profile (p = 2) and 2 to 12 pixels wide, which no augmentation adds.

The model should not have been trained on the map. For the map of a k-fold, report.html already holds this figure.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits

import bigsf


def main(model: Path, patches: Path, output: Path, seed: int = 0) -> None:
    output.mkdir(parents=True, exist_ok=True)
    segmented = bigsf.segment(
        model,
        patches,
        output / "segmented.fits",
        device="cpu",
        precision="fp32",
        overwrite=True,
        border=0,  # MASK is not cleaned, as the map with injected filaments is not
        min_skeleton=1,
    ).output
    file = bigsf.PatchFile(patches)
    known = file.target if file.target is not None else np.asarray(fits.getdata(segmented, "MASK"))
    ensemble = bigsf.Ensemble.load(model)
    models = [snapshot.build_model() for snapshot in ensemble.snapshots]
    thresholds = [snapshot.thresholds.whole for snapshot in ensemble.snapshots]
    predictor = bigsf.SlidingWindowPredictor(models, ensemble.window, wcs=file.wcs, scales=ensemble.scales)
    families = {
        "gaussian": bigsf.InjectedPlanes(file, known, seed),
        "plummer": bigsf.InjectedPlanes(file, known, seed, width_px=(2, 12), profile="plummer"),
    }
    found = {
        name: bigsf.measure_completeness(family, predictor, thresholds, segmented) for name, family in families.items()
    }
    figure, both = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    for axes, family in zip(both, found.values(), strict=True):
        bigsf.plot.completeness(family, ax=axes)
    figure.savefig(output / "completeness.png")
    for name, family in found.items():
        family.save(output / f"completeness_{name}.json")
        for contrast, part in zip(family.contrast, family.completeness["BigSF"], strict=True):
            print(f"{name}, contrast {contrast:.2f}: {part:.0%} of the pixels of such filaments are marked")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    model, patches, output = map(Path, sys.argv[1:])
    main(model, patches, output)
