"""Does BigSF read or refuse every broken file, without any other exception, crash or hang?

    python tests/benchmarks/fuzz.py fits yaml folds patches snapshot --executions 100000 --keep findings

Each input is a valid file with a few mutations of its bytes or of its structure (cards, keys, attributes). A forked
process, with limits of memory and of time per input, reads one input after another. Anything but success and a
`BigsfError` is a finding. After a crash or a hang, another process goes on with the next input.

Input number n of a format depends on the seed and n alone, so that a finding is repeated with `--first n`. Findings are
counted by exception and innermost line, and crashes in the C code of a library by their signal.
"""

import argparse
import copy
import gc
import io
import json
import math
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from astropy.io import fits

from bigsf.errors import BigsfError
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import folds_json, load_folds
from bigsf.folds.splits import SplitConfig
from bigsf.maps.fits_image import FitsImage, output_header
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.hdus import find_planes
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.config import SegmentConfig
from bigsf.segmentation.input_map import open_map
from bigsf.training.build import Parts
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer

_MEMORY = 2 << 30  # bytes that a process may take in addition to those that it has when it is forked
_HANG_S = 3.0  # of CPU time, because the machine may be busy
_STUCK_S = 1200.0  # of wall time
_BLOCK = 5000  # inputs per process, so that memory that libraries leak stays small

SCALARS: list[Any] = [None, True, 0, -1, 1, 3, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf")]
SCALARS += ["", "x", "\0", "é", "../up", "a" * 300, [], {}, [[]], {"type": "custom", "target": "os:getcwd"}]
CARDS = [
    *(f"NAXIS   = {n:>20}" for n in (0, 1, 3, 4, 999, -1)),
    *(f"NAXIS{axis}  = {n:>20}" for axis in (1, 2, 3) for n in (0, 1, -5, 7, 10**9, 10**18)),
    *(f"{key:<8}= {10**9:>20}" for key in ("TFIELDS", "ZNAXIS", "ZNAXIS1", "ZTILE1", "PCOUNT", "GCOUNT")),
    *(f"BITPIX  = {n:>20}" for n in (8, 16, 32, 64, -32, -64, 0, 7, -16)),
    *(f"{key:<8}= {value:>20}" for key in ("BSCALE", "BZERO", "BLANK", "CRPIX1", "CDELT2") for value in (0, "1E400")),
    *(f"{key:<8}= {'abc':>20}" for key in ("BSCALE", "BZERO", "BLANK", "NAXIS1", "ZNAXIS1", "ZTILE1", "ZBLANK")),
    *(f"CTYPE{axis}  = '{name}'" for axis in (1, 2) for name in ("RA---TAN", "GLAT-AZP", "GLON-XXX", "", "DEC--ZPN")),
    *(f"{key:<8}= {value}" for key in ("EXTEND", "SIMPLE", "ZIMAGE") for value in ("F", "T")),
    *(f"EXTNAME = '{name}'" for name in ("TARGET", "VALID", "TRUTH", "BACKGROUND", "")),
    *(
        "PCOUNT  =  99",
        "GCOUNT  = 0",
        "GROUPS  =  T",
        "WCSAXES =  4",
        "A_ORDER =  2",
        "CD1_1   = 0.0",
        "END",
        "CONTINUE  'x&'",
    ),
    *("BUNIT   = 'cm^-2\xb2'", "HIERARCH ESO A = 1", "HISTORY  \xff\xfe", "DATE-OBS= '9999-99-99'", "RADESYS = 'FK7'"),
]
WORDS = [
    "null",
    "~",
    "[]",
    "{}",
    ".inf",
    ".nan",
    "-1",
    "0",
    "1e400",
    "1e-3",
    "999999999999999999999",
    "0x1F",
    "1:30",
    "yes",
]
WORDS += [
    "2026-13-45",
    "!!set {a, b}",
    "!!binary aGk=",
    "!!python/object/apply:os.getcwd []",
    "&a [*a]",
    "*a",
    "&a x",
    "? [a]",
]
WORDS += [
    "'",
    '"',
    "|",
    "- - -",
    "<<: {a: 1}",
    "{type: custom, target: 'os:getcwd'}",
    "[" * 50,
    "{a: " * 30,
    "\t",
    "\x85",
    "%YAML 9",
]


# --- mutations --------------------------------------------------------------------------------------------------------


def change_bytes(content: bytes, dice: random.Random) -> bytes:
    """Return bytes of which some are changed, removed, doubled or cut off at the end."""
    data = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        at = dice.randrange(len(data) + 1)
        until = at + dice.choice([1, 2, 8, 80, 1000])
        match dice.randrange(6):
            case 0 | 1:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 2:
                data[at:until] = dice.randbytes(until - at) if dice.random() < 0.5 else bytes(until - at)
            case 3:
                del data[at:until]
            case 4:
                data[at:at] = data[at:until]
            case 5 if dice.random() < 0.3:
                del data[at:]
    return bytes(data)


def change_cards(content: bytes, dice: random.Random) -> bytes:
    """Return a FITS file of which some cards are replaced, doubled, blanked or moved."""
    ends = [at for at in range(0, len(content) - 79, 80) if content[at : at + 80].rstrip() == b"END"]
    last = (dice.choice(ends) if ends else len(content)) // 80
    data = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 3])):
        card = 80 * dice.randrange(last + 1)
        old = bytes(data[card : card + 80])
        match dice.randrange(5):
            case 0 | 1:
                new = dice.choice(CARDS).encode("latin-1")
            case 2:
                new = old[:10] + dice.choice([b"T", b"0", b"-1", b"1.5", b"'a", b"99999999999", b"NaN", b"", b"(1, 2)"])
            case 3:
                other = 80 * dice.randrange(last + 1)
                new = bytes(data[other : other + 80])
            case _:
                new = b""
        data[card : card + 80] = new.ljust(80)[:80]
    return bytes(data)


def change_lines(content: bytes, dice: random.Random) -> bytes:
    """Return a text of which some lines are doubled, indented differently, or have another key or value."""
    lines = content.decode().splitlines()
    for _ in range(dice.choice([1, 1, 2, 3, 5])):
        at = dice.randrange(len(lines))
        key, colon, value = lines[at].partition(": ")
        match dice.randrange(7):
            case 0 | 1 | 2:
                lines[at] = key + ": " + dice.choice(WORDS)
            case 3:
                lines.insert(at, dice.choice(lines))
            case 4:
                lines[at] = dice.choice([" ", "  ", "    ", "- "]) + lines[at]
            case 5:
                lines[at] = dice.choice(lines).partition(":")[0] + colon + value
            case 6:
                place = dice.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + dice.choice(WORDS) + lines[at][place:]
    return "\n".join(lines).encode(errors="replace")


def change_tree(tree: Any, dice: random.Random) -> Any:
    """Return nested dictionaries and lists of which some members are replaced, removed or exchanged."""
    tree = copy.deepcopy(tree)
    for _ in range(dice.choice([1, 1, 2, 3])):
        node: Any = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = dice.choice(keys)
            child = node[key]
            if isinstance(child, dict | list) and len(child) and dice.random() < 0.75:
                node = child
                continue
            match dice.randrange(5):
                case 0 | 1:
                    node[key] = copy.deepcopy(dice.choice(SCALARS))
                case 2:
                    del node[key]
                case 3:
                    node[key] = node[dice.choice(keys)]
                case 4 if isinstance(child, int | float) and not isinstance(child, bool):
                    node[key] = child + dice.choice([-1, 1, 0.5, 255, 10**6])
                case _ if isinstance(node, dict):
                    node[str(dice.choice(SCALARS))] = child
            break
    return tree


def change_tensors(tree: Any, dice: random.Random) -> Any:
    """Return nested dictionaries and lists in which some tensors have other values, shapes, kinds or memory."""
    tree = copy.deepcopy(tree)
    places = list(_tensors(tree))
    for node, key, tensor in dice.sample(places, min(len(places), dice.choice([1, 1, 2, 3]))):
        node[key] = dice.choice(TENSOR_CHANGES)(tensor, dice.choice(places)[2])
    return tree


def _tensors(tree: Any) -> Iterator[tuple[Any, Any, torch.Tensor]]:
    """Yield all tensors in nested dictionaries and lists, each with its container and key."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, torch.Tensor):
            yield tree, key, value
        elif isinstance(value, dict | list):
            yield from _tensors(value)


def _with_value(value: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a change that puts a value into the first place of a tensor."""

    def change(tensor: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone(memory_format=torch.contiguous_format)
        changed.view(-1)[:1] = torch.tensor(value).to(tensor.dtype)
        return changed

    return change


TENSOR_CHANGES: list[Callable[[torch.Tensor, torch.Tensor], Any]] = [
    *(_with_value(value) for value in (math.nan, math.inf, -math.inf, 1e30, -1.0, 0.0)),
    *(
        lambda tensor, _, kind=kind: tensor.to(kind)
        for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
    ),
    lambda tensor, _: tensor.reshape(-1),
    lambda tensor, _: tensor[None],
    lambda tensor, _: tensor.new_zeros(0),
    lambda tensor, _: tensor.new_zeros((*tensor.shape, 3)),
    lambda tensor, _: tensor.transpose(0, -1) if tensor.ndim else tensor,
    lambda tensor, _: tensor.to_sparse() if tensor.ndim else tensor,
    lambda tensor, _: tensor.reshape(1, -1).to_sparse_csr(),
    lambda tensor, _: tensor.reshape(-1)[0].expand(tensor.shape),
    lambda tensor, _: tensor.reshape(-1)[:1].expand(10**6),
    lambda tensor, _: torch.zeros(2 * tensor.numel() + 1)[1::2].reshape(tensor.shape),
    lambda tensor, _: torch.as_strided(torch.zeros(tensor.numel() + 3), tensor.shape, (1,) * tensor.ndim, 1),
    lambda tensor, _: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8),
    lambda tensor, _: torch.nn.Parameter(tensor.float()),
    lambda tensor, _: tensor.float().clone().requires_grad_(),
    lambda tensor, _: tensor.to("meta"),
    lambda tensor, other: other,
    lambda tensor, other: (
        other.reshape(-1)[: tensor.numel()].reshape(tensor.shape) if other.numel() >= tensor.numel() else other
    ),
    lambda tensor, _: tensor.tolist(),
]
"""From a tensor and another one of the same snapshot to what takes the place of the first."""


# --- formats ----------------------------------------------------------------------------------------------------------


class Format:
    """Inputs of one kind, and how they are read.

    Parameters
    ----------
    folder
        Folder of files that the inputs refer to, and of outputs.
    """

    suffix: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, dice: random.Random) -> bytes:
        """Return an input that depends on the random numbers alone."""
        raise NotImplementedError

    def read(self, path: Path) -> None:
        """Read an input as the commands do."""
        raise NotImplementedError


def _sky() -> tuple[np.ndarray[Any, Any], fits.Header]:
    generator = np.random.default_rng(0)
    image = generator.lognormal(50, 0.3, (24, 30)).astype(np.float32)
    image[3:6, 4:9] = np.nan
    header = fits.Header()
    cards = {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRPIX1": 5.0, "CRPIX2": 9.0, "CDELT1": -0.1, "CDELT2": 0.1}
    header.update({**cards, "CRVAL1": 0.1, "CRVAL2": 0.0, "BUNIT": "cm-2"})
    header.add_history("made to be broken")
    return image, header


class FitsFormat(Format):
    """FITS maps with and without masks: read, preprocessed, and their header copied to an output of `segment`."""

    suffix = ".fits"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        image, header = _sky()
        whole = np.nan_to_num(image / 1e20).astype(np.int16)
        mask = (image > np.nanmedian(image)).astype(np.uint8)
        scaled = header.copy()
        scaled.update({"BSCALE": 0.5, "BZERO": 3.0, "BLANK": 0})
        tan = header.copy()
        tan.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.0, "CRVAL2": 22.0, "EQUINOX": 2000.0})
        names = ("TARGET", "BACKGROUND", "VALID")
        planes = [
            fits.ImageHDU(m, name=n) for n, m in zip(names, (mask, 1 - mask, np.isfinite(image) * 1), strict=True)
        ]
        lists = [
            [fits.PrimaryHDU(image, header)],
            [fits.PrimaryHDU(image[None, None].astype(np.float64), tan)],
            [fits.PrimaryHDU(whole, scaled)],
            [fits.PrimaryHDU(image, header), *planes],
            [fits.PrimaryHDU(), fits.ImageHDU(image, header), fits.ImageHDU(mask, name="TARGET")],
            *(
                [fits.PrimaryHDU(), fits.CompImageHDU(whole, scaled, compression_type=kind)]
                for kind in ("RICE_1", "GZIP_2")
            ),
            [fits.PrimaryHDU(), fits.CompImageHDU(image, header, compression_type="GZIP_1", quantize_level=16)],
            [fits.PrimaryHDU(), fits.CompImageHDU(whole, header, compression_type="HCOMPRESS_1", tile_shape=(8, 10))],
        ]
        self.seeds = []
        for hdus in lists:
            buffer = io.BytesIO()
            fits.HDUList(hdus).writeto(buffer)
            self.seeds.append(buffer.getvalue())

    def make(self, dice: random.Random) -> bytes:
        content = dice.choice(self.seeds)
        return change_bytes(content, dice) if dice.random() < 0.3 else change_cards(content, dice)

    def read(self, path: Path) -> None:
        with FitsImage(path) as image:
            image.read(), output_header(image.header).tostring(), image.wcs, image.unit
        find_planes(path)
        if _one_in(12, path):
            self._use(path)

    def _use(self, path: Path) -> None:
        config = PreprocessConfig(image=path, patch_size=8, stride=4)
        report = preprocess(config, self.folder / "out.h5", overwrite=True)
        list(PatchFile(report.output).read([0]))
        with open_map(path, SegmentConfig()) as (planes, *_):
            header = planes.output_header()
            with FitsWriter(self.folder / "out.fits", planes.shape, header, {"PRIMARY": "f4", "MASK": "u1"}) as writer:
                writer.write("PRIMARY", 0, planes.read_rows(0, planes.shape[0])[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # files that BigSF writes must be valid FITS
            output_header(fits.getheader(self.folder / "out.fits"))


def _one_in(n: int, path: Path) -> bool:
    """Tell whether an input is one of the n-th part on which more time is spent."""
    return zlib.crc32(path.read_bytes()) % n == 0


class YamlFormat(Format):
    """Configurations of a run. One that is accepted must stay the same when it is written and read."""

    suffix = ".yaml"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seeds = [path.read_bytes() for path in (Path(__file__).parents[2] / "examples").glob("*.yaml")]

    def make(self, dice: random.Random) -> bytes:
        content = dice.choice(self.seeds)
        return change_bytes(content, dice) if dice.random() < 0.2 else change_lines(content, dice)

    def read(self, path: Path) -> None:
        config = RunConfig.from_yaml(path, ["trainer.epochs=3"])
        again = self.folder / "again.yaml"
        again.write_text(config.to_yaml(), encoding="utf-8")
        if RunConfig.from_yaml(again) != config:
            raise AssertionError("the configuration is another one after it was written and read")


def _patch_file(folder: Path) -> Path:
    image, header = _sky()
    mask = (image > np.nanmedian(image)).astype(np.uint8)
    planes = [fits.PrimaryHDU(image, header), fits.ImageHDU(mask, name="TARGET")]
    fits.HDUList(planes).writeto(folder / "map.fits", overwrite=True)
    config = PreprocessConfig(image=folder / "map.fits", patch_size=4, stride=2)
    return preprocess(config, folder / "map.h5", overwrite=True).output


class FoldsFormat(Format):
    """Folds files that were edited by hand, with mistakes."""

    suffix = ".json"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.patch_file = PatchFile(_patch_file(folder))
        self.config = SplitConfig(k=3, area_size=8)
        (folder / "folds.json").write_text(folds_json(Folds.make(self.patch_file, self.config)))
        self.seed = (folder / "folds.json").read_bytes()
        self.tree = json.loads(self.seed)

    def make(self, dice: random.Random) -> bytes:
        if dice.random() < 0.3:
            return change_bytes(self.seed, dice)
        tree = change_tree(self.tree, dice)
        try:
            return json.dumps(tree, allow_nan=dice.random() < 0.5).encode()
        except ValueError:
            return json.dumps(tree).encode()

    def read(self, path: Path) -> None:
        for config in (None, self.config):
            folds = load_folds(path, self.patch_file, config, write=False)
            for split in folds.splits:
                folds.patches_in(split.train)
            (self.folder / "again.json").write_text(folds_json(folds))
            load_folds(self.folder / "again.json", self.patch_file, config, write=False)


class PatchesFormat(Format):
    """Patch files, read as training, splitting and segmenting do."""

    suffix = ".h5"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seed = _patch_file(folder).read_bytes()

    def make(self, dice: random.Random) -> bytes:
        if dice.random() < 0.5:
            return change_bytes(self.seed, dice)
        buffer = io.BytesIO(self.seed)
        with h5py.File(buffer, "r+") as file:
            for _ in range(dice.choice([1, 1, 2])):
                self._change(file, dice)
        return buffer.getvalue()

    def _change(self, file: h5py.File, dice: random.Random) -> None:
        key = dice.choice(list(file.attrs if dice.random() < 0.5 else file) or ["x"])
        try:
            if key in file.attrs:
                file.attrs[key] = dice.choice(SCALARS)
                return
            old = file[key][()]
            del file[key]
            new: list[Any] = [dice.choice(SCALARS), old, np.zeros((0, 2)), np.zeros(3)]
            if isinstance(old, np.ndarray):
                new += [
                    old[..., :2],
                    old + 100,
                    old - 1,
                    old.astype("f8"),
                    old.astype("i8"),
                    old.astype("S5"),
                    old[None],
                    old.T,
                    old[:1],
                ]
            file.create_dataset(key, data=dice.choice(new), compression=None)
        except (TypeError, ValueError, RuntimeError, KeyError, OverflowError):  # HDF5 cannot store the value
            pass

    def read(self, path: Path) -> None:
        for in_memory in (False, True):
            file = PatchFile(path, in_memory)
            file.read(range(len(file)))
            file.read_rows(0, file.shape[0]).sum(dtype=float)
            _ = file.wcs, file.unit, file.header.tostring()
            file.labels()
        if _one_in(4, path):
            (self.folder / "of.json").write_text(folds_json(Folds.make(file, SplitConfig(k=3, area_size=8))))


class SnapshotFormat(Format):
    """Snapshots, read as `segment` and `resume` do.

    A run that goes on from one that is accepted must take a step, end an epoch, and save a state that can be read.
    """

    suffix = ".pt"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        run: dict[str, Any] = {
            "data": {"path": str(_patch_file(folder))},
            "split": {"k": 3, "area_size": 8},
            "trainer": {
                "output_dir": str(folder),
                "epochs": 1,
                "model": {"features": 1, "depth": 1, "position": {"type": "sine", "of": "pixel"}},
                "scheduler": {"type": "plateau"},
                "early_stopping": {"type": "patience"},
                "trackers": [],
            },
        }
        small = copy.deepcopy(run)
        small["trainer"] |= {"model": {"depth": 1}}
        self.runs = [self._train(run, None), *[self._train(small, _Pointwise())] * 9]  # the large one is slow
        self.logged = list(self.runs[0][2]["HISTORY"][0])

    def _train(self, run: dict[str, Any], network: torch.nn.Module | None) -> tuple[Trainer, bytes, dict[str, Any]]:
        trainer = Trainer.from_config(run, parts=Parts(network=network), overwrite=True)
        trainer.train()
        tree = torch.load(trainer.folder.last, weights_only=True)
        tree["MODEL_STATE"] = dict(tree["MODEL_STATE"])
        content = trainer.folder.last.read_bytes()
        if network is not None:
            tree["GLOBAL_CONFIG"] = run  # without defaults, so that it is short
            buffer = io.BytesIO()
            torch.save(tree, buffer)
            content = buffer.getvalue()
        return Trainer.from_config(run, parts=Parts(network=network)), content, tree

    def make(self, dice: random.Random) -> bytes:
        _, content, tree = dice.choice(self.runs)
        if dice.random() < 0.4:
            return change_bytes(content, dice)
        buffer = io.BytesIO()
        for change in dice.choice([(change_tree,), (change_tensors,), (change_tree, change_tensors)]):
            tree = change(tree, dice)
        torch.save(tree, buffer)
        return buffer.getvalue()

    def read(self, path: Path) -> None:
        snapshot = Snapshot.load(path)
        model = snapshot.build_model(_Pointwise() if "network" in snapshot.handed_in else None)
        with torch.inference_mode():
            probabilities = model.probabilities(torch.ones(1, 1, 4, 4), torch.zeros(1, 2))
        if bool((probabilities < 0).any()) or bool((probabilities > 1).any()):
            raise AssertionError("a probability is not between 0 and 1")
        if not all(0 <= threshold <= 1 for threshold in vars(snapshot.thresholds).values()):
            raise AssertionError("a threshold is no number from 0 to 1")
        self._go_on(snapshot, self.runs["network" in snapshot.handed_in][0])

    def _go_on(self, snapshot: Snapshot, trainer: Trainer) -> None:
        """Train as `resume` does, for a step."""
        state = trainer.run.state
        state.restore(snapshot)
        trainer.step(state.epochs_run, 0)
        quantities = {name: 0.5 for name in self.logged if name.startswith(("train_", "val_"))}
        state.end_epoch(quantities, snapshot.thresholds, trainer.run.best_by, trainer.run.directions)
        trainer.checkpoints.save_last()
        Snapshot.load(trainer.folder.last)


class _Pointwise(torch.nn.Conv2d):
    """A network with two parameters."""

    def __init__(self) -> None:
        super().__init__(1, 1, 1)

    def forward(self, patches: torch.Tensor, position: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(patches)


FORMATS = {
    "fits": FitsFormat,
    "yaml": YamlFormat,
    "folds": FoldsFormat,
    "patches": PatchesFormat,
    "snapshot": SnapshotFormat,
}


# --- the loop ---------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What happened to the inputs of a format."""

    executions: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    """From each finding to the number of the first input that causes it."""


def fuzz(kind: str, executions: int, seed: int = 0, first: int = 0, keep: Path | None = None) -> Tally:
    """Read mutated inputs of a format, and count what happened."""
    tally = Tally()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name, _no_warnings():
        target = FORMATS[kind](Path(name))
        at, end = first, first + executions
        os.fsync = lambda _: None  # type: ignore[assignment]  # no test of power failures, so speed comes first
        gc.collect()
        gc.freeze()
        while at < end:
            at = _run(target, kind, at, min(end, at + _BLOCK), seed, tally, keep)
    tally.seconds = time.monotonic() - started
    return tally


def _no_warnings() -> Any:
    context = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return context


def _input(target: Format, kind: str, seed: int, number: int) -> bytes:
    return target.make(random.Random(f"{seed} {kind} {number}"))


def _run(target: Format, kind: str, first: int, end: int, seed: int, tally: Tally, keep: Path | None) -> int:
    """Read inputs in a child process until one of them ends it. Return the number of the next input."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _child(target, kind, range(first, end), seed, writer)
        finally:  # a child must never return into the code of its parent
            os._exit(1)
    os.close(writer)
    at, status = first, 0
    with os.fdopen(reader, "rb") as answers:
        while True:
            ready, _, _ = select.select([answers], [], [], _STUCK_S)
            line = answers.readline() if ready else b""
            if not line:
                if not ready:
                    os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                break
            _count(tally, line.decode().strip(), at)
            if keep and not line.startswith((b"accepted", b"refused")):
                _keep(keep, kind, at, _input(target, kind, seed, at))
            at += 1
    if at == end:
        return end
    number = os.WTERMSIG(status)
    death = (
        "hang"
        if number in (signal.SIGPROF, signal.SIGKILL)
        else f"died of {signal.Signals(number).name}"
        if number
        else "exited"
    )
    _count(tally, death, at)
    if keep:
        _keep(keep, kind, at, _input(target, kind, seed, at))
    return at + 1


def _keep(folder: Path, kind: str, number: int, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}{FORMATS[kind].suffix}").write_bytes(content)


def _count(tally: Tally, answer: str, number: int) -> None:
    tally.executions += 1
    if answer == "accepted":
        tally.accepted += 1
    elif answer == "refused":
        tally.refused += 1
    else:
        tally.findings[answer] += 1
        tally.examples.setdefault(answer, number)


def _child(target: Format, kind: str, numbers: range, seed: int, answers: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = target.folder / f"input{target.suffix}"
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, _HANG_S)  # SIGPROF then ends the process
        path.unlink(missing_ok=True)  # it must be a new file, because the last one may still be mapped
        path.write_bytes(_input(target, kind, seed, number))
        os.write(answers, f"{_answer(target, path)}\n".encode())


def _answer(target: Format, path: Path) -> str:
    try:
        target.read(path)
    except BigsfError:
        return "refused"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "bigsf/" in f.filename), frame)
        place = f"{Path(ours.filename).name}:{ours.lineno} {Path(frame.filename).name}:{frame.lineno}"
        return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:120]}"
    return "accepted"


def main() -> None:
    """Print the counts of each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="+", choices=FORMATS)
    parser.add_argument("--executions", type=int, default=10_000, help="number of inputs of each format")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that caused findings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = 0
    for kind in options.formats:
        tally = fuzz(kind, options.executions, options.seed, options.first, options.keep)
        print(
            f"{kind}: {tally.executions:,} inputs, {tally.accepted:,} accepted, {tally.refused:,} refused, "
            f"{tally.findings.total():,} findings of {len(tally.findings)} kinds, "
            f"{tally.executions / tally.seconds:,.0f} per second",
            flush=True,
        )
        for what, number in tally.findings.most_common():
            print(f"  {number:,} x {what} (e.g. --first {tally.examples[what]} --executions 1)", flush=True)
        found += tally.findings.total()
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
