"""BigSF in a notebook: a simulated map, patches, folds, a short training, and the filaments of another map.

Open this file in VS Code, Spyder or PyCharm and run it cell by cell; make a notebook of it by `jupytext --to ipynb
notebook.py`; or run it as a program. It writes into the current folder.
"""

# %% Two simulated maps: one to learn from, one to look for filaments in
import matplotlib.pyplot as plt
from astropy.io import fits
from astropy.wcs import WCS

import bigsf

known = bigsf.simulate_galaxy("known.fits", 512, 256, seed=1, overwrite=True)
unknown = bigsf.simulate_galaxy("unknown.fits", 512, 256, seed=2, overwrite=True)

# %% Patches: the labels are the extensions TARGET and BACKGROUND of the simulated map
found = bigsf.preprocess(bigsf.PreprocessConfig(image=known, patch_size=32), "known.h5", overwrite=True)
print(found.kept, "patches,", found.counts["labelled"], "labelled pixels")

# %% Folds: areas of the map for training, for validation and for the test, which share no pixel
folds = bigsf.Folds.make(bigsf.PatchFile("known.h5"), bigsf.SplitConfig(k=4, k_train=2))
print(folds.splits[0])
bigsf.plot.folds(folds).figure.savefig("folds.png")

# %% A short training of a small network; leave `epochs` and `model` out for a real one
config = {
    "data": {"path": "known.h5"},
    "split": {"k": 4, "k_train": 2},
    "trainer": {"run_name": "notebook", "epochs": 8, "model": {"type": "unet", "features": 8, "depth": 3}},
}
scores = bigsf.Trainer.from_config(config, overwrite=True).train()
print(f"average precision on the test folds: {scores.test['whole_average_precision']:.2f}")

# %% Predict: a model is a function from an image to the probability, here beside a model of the package
image, header = fits.getdata(unknown, header=True)
models = {"the model of this notebook": "results/notebook", "filaments-small": "filaments-small"}
probabilities = {name: bigsf.load(path)(image) for name, path in models.items()}

# %% Plot: the map and the probabilities on the sky, with the outlines of the true filaments
true, wcs = fits.getdata(unknown, "TRUTH"), WCS(header)
figure, axes = plt.subplots(3, 1, figsize=(8, 12), subplot_kw={"projection": wcs}, layout="constrained")
truth = {"mask": true, "outline": "true filaments"}
bigsf.plot.quicklook(true, unknown, **truth, ax=axes[0])
for axis, (name, probability) in zip(axes[1:], probabilities.items(), strict=True):
    bigsf.plot.quicklook(probability, **truth, wcs=wcs, ax=axis)
    axis.set_title(name)
figure.savefig("notebook.png", bbox_inches="tight")
print("The figure is notebook.png")
plt.show()
