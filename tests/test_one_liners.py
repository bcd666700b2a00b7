"""What users try first: `python -c` with one line of the API."""

import sys
from pathlib import Path

import pytest

import bigsf
from programs import run_program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a simulated map and its patch file."""
    folder = tmp_path_factory.mktemp("lines")
    image = bigsf.simulate_galaxy(folder / "map.fits", 256, 192, seed=1)
    bigsf.preprocess(bigsf.PreprocessConfig(image=image, patch_size=32), folder / "map.h5")
    return folder


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("bigsf.simulate_galaxy('galaxy.fits', 256, 192, seed=1)", "galaxy.fits"),
        ("bigsf.preprocess(bigsf.PreprocessConfig(image='map.fits'), 'made.h5').kept > 0", "True"),
        ("bigsf.PatchFile('map.h5')", "<bigsf.PatchFile: file map.h5, map 256 x 192 pixels (x, y), "),
        ("bigsf.make_splits(k=4, k_train=2)[0]", "Split(train=[1, 2], validation=[3], test=[4])"),
        ("bigsf.Folds.make(bigsf.PatchFile('map.h5')).splits[0].train", "[1, 2]"),
        ("bigsf.load('higal-small')", "<bigsf.Model: models 1, network unet"),
        ("bigsf.load('higal-small')(fits.getdata('map.fits')).shape", "(192, 256)"),
        ("bigsf.segment('higal-small', 'map.fits', 'found.fits').output", "found.fits"),
        ("len(bigsf.Filaments(fits.getdata('map.fits', 'TRUTH'))) > 0", "True"),
        ("bigsf.score({'target': 'map.fits[TARGET]'}, 'map.fits', 'map.fits[TARGET]')[0].dice", "1.0"),
    ],
)
def test_one_line_works(line: str, printed: str, folder: Path) -> None:
    done = run_program([sys.executable, "-c", f"import bigsf; from astropy.io import fits; print({line})"], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bigsf.PreprocessConfig(image='map.fits', patchsize=3)", "unknown key; did you mean 'patch_size'?"),
        ("bigsf.preprocess(bigsf.PreprocessConfig(image='map.fits'), 'map.h5')", "Pass overwrite=True to replace it"),
        ("bigsf.load('higal-smal')", "higal-smal does not exist. Expected a snapshot"),
        ("bigsf.segment('higal-small', 'map.fits', 'a.fits', treshold=0.4)", "did you mean 'threshold'?"),
        ("bigsf.segment('higal-small', 'map.fits', 'a.fits', products='std')", "or tta=True; or leave std out"),
        ("bigsf.Trainer.from_config('nothere.yaml')", "nothere.yaml does not exist."),
    ],
)
def test_a_mistake_in_one_line_is_told_in_words_of_python(line: str, message: str, folder: Path) -> None:
    done = run_program([sys.executable, "-c", f"import bigsf; {line}"], cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert "--" not in done.stderr.partition("bigsf.errors.")[2]
