"""How is the time of a k-fold divided between training steps, validation, and the out-of-fold map and its report?

python tests/benchmarks/kfold.py
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import machine, parser, peak_bytes, show, write_map

from bigsf.errors import BigsfWarning
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.trainer import Trainer
from bigsf.training.validation import Validator


class Stopwatch:
    """Adds up the time that some methods take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time_method(self, kind: type, method: str, what: str) -> None:
        """Time every later call of a method of a class, under the name `what`."""
        inner: Callable[..., Any] = getattr(kind, method)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            try:
                return inner(*arguments, **keywords)
            finally:
                self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started

        setattr(kind, method, timed)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (512, 512))
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--compile", action="store_true", help="compile the network for training")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", BigsfWarning)
    print(machine())
    stopwatch = Stopwatch()
    stopwatch.time_method(Trainer, "_train_epoch", "training steps")
    stopwatch.time_method(Validator, "evaluate", "validation and test")
    stopwatch.time_method(KFold, "summarise", "out-of-fold map, scores, report")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.h5"
        write_map(path.with_suffix(".fits"), *arguments.size)
        preprocess(PreprocessConfig(image=path.with_suffix(".fits"), stride=8), path)
        model = {"features": 16, "normalization": {"type": "log"}}
        trainer = {"output_dir": folder, "epochs": arguments.epochs, "compile": arguments.compile, "model": model}
        started = time.perf_counter()
        KFold.from_config(RunConfig.from_dict({"data": {"path": path}, "trainer": trainer}), "cpu").run()
        whole = time.perf_counter() - started
    rows = [[what, f"{seconds:.1f}", f"{seconds / whole:.2f}"] for what, seconds in stopwatch.seconds.items()]
    rest = whole - sum(stopwatch.seconds.values())
    show(["a k-fold", "s", "of the whole"], [*rows, ["the rest", f"{rest:.1f}", f"{rest / whole:.2f}"]])
    print(f"{whole:.1f} s in all, peak memory {peak_bytes() / 1e6:.0f} MB.")


if __name__ == "__main__":
    main()
