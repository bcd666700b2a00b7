"""A small synthetic sky, not square, with a NaN hole and a WCS that crosses l = 0, and what is made of it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from astropy.io import fits
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from bigsf.arrays import FloatArray
from bigsf.config import CustomConfig, members
from bigsf.errors import BigsfWarning
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import folds_json
from bigsf.folds.splits import SplitConfig
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import window_starts
from bigsf.models.normalizations import Normalization
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.patch_writer import PatchFileWriter
from bigsf.patches.preprocess import PreprocessConfig, PreprocessReport, preprocess
from bigsf.segmentation.products import SegmentReport
from bigsf.segmentation.segment import segment
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.trainer import Trainer

pytest_plugins = ["command_processes", "mosaic_tiles"]

settings.register_profile(
    "bigsf", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # the machine may be busy
settings.load_profile("bigsf")
torch.set_num_threads(1)  # small networks gain nothing from threads, and threads of several tests fight
os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

Settings = Callable[..., dict[str, Any]]
"""From keys below `trainer` to the dictionary of a run."""


class Sky(NamedTuple):
    """Planes `(ny, nx)` of a small map and the FITS files that hold them."""

    folder: Path
    image: npt.NDArray[np.float64]
    target: npt.NDArray[np.uint8]
    background: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.uint8]
    header: fits.Header

    def path(self, plane: str) -> Path:
        return self.folder / f"{plane}.fits"


def galactic_header(nx: int, ny: int, step_deg: float = 0.01, longitude: float = 0.3) -> fits.Header:
    """Return a Galactic CAR header whose first pixel lies at `longitude`; longitude falls with x and passes 0."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    header["CRVAL1"], header["CRVAL2"] = 0.0, 0.0
    header["CRPIX1"], header["CRPIX2"] = 1 + longitude / step_deg, (ny + 1) / 2
    header["CDELT1"], header["CDELT2"] = -step_deg, step_deg
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["BUNIT"] = "cm-2"
    return header


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Sky:
    ny, nx = 96, 160
    generator = np.random.default_rng(7)
    y, x = np.mgrid[:ny, :nx]
    ridges = sum(np.exp(-0.5 * ((y - (c + 8 * np.sin(x / 20))) / 1.5) ** 2) for c in (16, 48, 80))
    image = 1e22 * (1 + x / nx) * (1 + 2 * np.asarray(ridges)) * generator.lognormal(0, 0.03, (ny, nx))
    image[20:30, 40:55] = np.nan
    target = (np.asarray(ridges) > 0.5).astype(np.uint8)
    target[:, 130:] = 0  # an incomplete catalogue
    background = (np.asarray(ridges) < 0.01).astype(np.uint8)
    background[::2] = 0
    valid = np.ones((ny, nx), np.uint8)
    valid[20:30, 40:55] = 0
    valid[:, :3] = 0
    folder = tmp_path_factory.mktemp("sky")
    header = galactic_header(nx, ny)
    header.add_history("made for the tests")
    sky = Sky(folder, image, target, background, valid, header)
    for name in ("image", "target", "background", "valid"):
        fits.PrimaryHDU(getattr(sky, name), header).writeto(sky.path(name))
    return sky


def preprocess_config(sky: Sky, **changes: Any) -> PreprocessConfig:
    planes = {name: sky.path(name) for name in ("image", "target", "background", "valid")}
    return PreprocessConfig(**{**planes, "patch_size": 16, "stride": 4, **changes})


@pytest.fixture(scope="session")
def patch_path(sky: Sky) -> Path:
    path = sky.folder / "sky.h5"
    preprocess(preprocess_config(sky), path)
    return path


@pytest.fixture
def patch_file(patch_path: Path) -> PatchFile:
    return PatchFile(patch_path)


@pytest.fixture(scope="session")
def folds_path(patch_path: Path) -> Path:
    """Four folds of the small sky, made once: drawing them takes longer than training on them."""
    path = patch_path.with_name("four.folds.json")
    path.write_text(folds_json(Folds.make(PatchFile(patch_path), SplitConfig(k=4, area_size=32))))
    return path


@pytest.fixture(scope="session")
def run_in(patch_path: Path, folds_path: Path) -> Settings:
    """Return the dictionary of a run that trains in a second in a folder; keyword arguments change `trainer`."""

    def make(folder: Path, **trainer: Any) -> dict[str, Any]:
        return {
            "data": {"path": str(patch_path)},
            "split": {"k": 4, "area_size": 32, "path": str(folds_path)},
            "out_of_fold": {"stride": 8, "tta": False},
            "trainer": {
                "output_dir": str(folder / "results"),
                "run_name": "run",
                "epochs": 2,
                "precision": "fp32",
                "model": {"type": "unet", "features": 4, "depth": 2, "normalization": {"type": "log"}},
                "loss": {"type": "bce", "unlabelled_weight": 0.0},
                "optimizer": {"type": "muon", "lr": 0.01},
                "scheduler": None,
                "augmentations": [{"type": "flip"}, {"type": "rotate90"}],
                "trackers": [{"type": "csv"}],  # to draw a figure takes longer than to train
                **trainer,
            },
        }

    return make


@pytest.fixture(autouse=True)
def _no_figures_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures in the reports of the runs that a test trains: that takes longer than to train."""
    monkeypatch.setattr("bigsf.evaluation.report.run_report.figure", lambda *_: "")


@pytest.fixture(name="settings")
def run_in_tmp_path(run_in: Settings, tmp_path: Path) -> Settings:
    """Return the function that makes the dictionary of a run in tmp_path."""
    return lambda **trainer: run_in(tmp_path, **trainer)


@pytest.fixture
def run_dict(run_in: Settings, tmp_path: Path) -> Settings:
    """Return the dictionary of a run in tmp_path, its folds file still to be made."""

    def make(**trainer: Any) -> dict[str, Any]:
        run = run_in(tmp_path, **trainer)
        run["split"]["path"] = str(tmp_path / "sky.folds.json")
        return run

    return make


FOUR_EPOCHS = {"epochs": 4, "scheduler": {"type": "multistep", "milestones": [1, 3], "gamma": 0.5}}


@pytest.fixture(scope="session")
def trained(run_in: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an undisturbed run of four epochs; tests only read it."""
    trainer = Trainer.from_config(
        run_in(tmp_path_factory.mktemp("trained"), **FOUR_EPOCHS, trackers=[{"type": "csv"}, {"type": "curves"}])
    )
    trainer.train()
    return trainer.folder.path


@pytest.fixture(scope="session")
def trained_kfold(run_in: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished 4-fold; tests only read it."""
    kfold = KFold.from_config(RunConfig.from_dict(run_in(tmp_path_factory.mktemp("kfold"))))
    kfold.run()
    return kfold.path


OutputPlanes = dict[str, npt.NDArray[Any]]
Segmented = Callable[..., tuple[SegmentReport, OutputPlanes]]


@pytest.fixture
def other_map(sky: Sky, tmp_path: Path) -> Path:
    """Return a map that no model was trained on: the sky, brighter and upside down, farther north, in another unit."""
    path = tmp_path / "other.fits"
    header = sky.header.copy()
    header["CRPIX2"] -= 2 * sky.image.shape[0]
    fits.PrimaryHDU(1.1 * sky.image[::-1].astype(np.float32), header).writeto(path)
    return path


@pytest.fixture
def segmented(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segmented:
    """Segment a map, by default with one model, and return the report and the planes of the output; draw no figure."""
    monkeypatch.setattr("bigsf.segmentation.result_writer.save_figure", lambda _, path, __: path.touch())

    def run(
        image: Path, models: Any = None, name: str = "out.fits", **options: Any
    ) -> tuple[SegmentReport, OutputPlanes]:
        report = segment(models or trained / "best.pt", image, tmp_path / name, precision="fp32", **options)
        with fits.open(report.output) as hdus:
            return report, {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}

    return run


def own_members(family: Any) -> list[Any]:
    """Return a config of each member of a family but `custom`, by its defaults."""
    return [
        member.model_validate({"type": get_args(member.model_fields["type"].annotation)[0]})
        for member in members(family)
        if not issubclass(member, CustomConfig)
    ]


class ArrayMap(MapRows):
    """A map in memory, `(c, ny, nx)`."""

    def __init__(self, image: FloatArray) -> None:
        self.image = image

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[2]

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        return self.image[:, y0:y1]


class StubModel(SegmentationModel):
    """A model whose probabilities are a given function of the raw patches and positions."""

    def __init__(self, function: Callable[[Tensor, Tensor | None], Tensor]) -> None:
        super().__init__(nn.Identity(), Normalization())
        self.function = function

    def probabilities(self, image: Tensor, position: Tensor | None = None) -> Tensor:
        return self.function(image, position)


def shared_data(*parts: str) -> Path:
    """Return a file of the real maps, or skip the test where they are not at hand."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real maps are not at hand: no {path}")
    return path


def write_patch_file(
    path: Path,
    image: npt.NDArray[np.float32],
    patch_size: int,
    stride: int = 1,
    labels: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None = None,
    header: fits.Header | None = None,
) -> PatchFile:
    """Write the planes `(channels, ny, nx)` and (target, labelled), and every patch; return the file, in memory."""
    channels, ny, nx = image.shape
    y, x = np.meshgrid(window_starts(ny, patch_size, stride), window_starts(nx, patch_size, stride), indexing="ij")
    positions = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.int32)
    attributes = {"patch_size_px": patch_size, "stride_px": stride, "unit": "cm-2"}
    attributes["sources"] = json.dumps({"image": {"path": "image.fits", "sha256": "0"}})
    masks = dict(zip(("target", "labelled"), labels, strict=True)) if labels else {}
    with PatchFileWriter(path, (ny, nx), channels, masks) as writer:
        writer.write(0, image, masks)
        writer.finish(positions, header or fits.Header(), attributes)
    return PatchFile(path, in_memory=True)


@pytest.fixture(scope="session")
def higal(tmp_path_factory: pytest.TempPathFactory) -> PreprocessReport:
    """Patches of 32 pixels at every pixel of the real Hi-GAL sample."""
    planes: dict[str, Any] = {
        plane: shared_data("train", f"higal_lis2_{plane}.fits{'' if plane == 'image' else '.gz'}")
        for plane in ("image", "target", "background", "missing")
    }
    output = tmp_path_factory.mktemp("higal") / "higal.h5"
    with (
        pytest.warns(BigsfWarning, match="93 pixels are marked valid but hold no finite value"),
        pytest.warns(BigsfWarning, match="pixels are both target and background"),
    ):
        return preprocess(PreprocessConfig(**planes, patch_size=32, stride=1), output)


class CommandResult(NamedTuple):
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., CommandResult]
Ended = Callable[..., CommandResult]


@pytest.fixture
def bigsf_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the command line, run in this process: `bigsf_command("split", path, cwd=folder)`."""

    def run(*arguments: object, cwd: Path | None = None) -> CommandResult:
        from bigsf.cli import main

        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["bigsf", *map(str, arguments)])
            if cwd:
                patch.chdir(cwd)
            code = 0
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        return CommandResult(code, *capsys.readouterr())

    return run


@pytest.fixture
def ended(bigsf_command: Run, tmp_path: Path) -> Ended:
    """Return the command line in tmp_path; it ends with a given exit code, no traceback and no temporary file."""

    def run(code: int, *arguments: object) -> CommandResult:
        result = bigsf_command(*arguments, cwd=tmp_path)
        assert result.code == code, result.err
        assert not list(tmp_path.rglob(".*.tmp"))
        assert code == 0 or "Error: " in result.err
        assert "Traceback" not in result.err
        return result

    return run
