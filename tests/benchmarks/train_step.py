"""Which part of a training step is the network? The whole step is compared with a bare torch loop on the same batches.

python tests/benchmarks/train_step.py
"""

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from measuring import alternating, machine, matrix_flops, parser, show, write_map
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from bigsf.errors import BigsfWarning
from bigsf.models.device import autocast
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.run_config import RunConfig
from bigsf.training.trainer import Trainer


def bare_gradients(trainer: Trainer) -> Callable[[], None]:
    """Return a function that computes the gradients of the same network on a fixed batch, and nothing else."""
    batch = trainer.run.dataset.batch(0, 0)
    network, optimizer = trainer.run.model.network.train(), trainer.run.state.optimizer
    image = batch.image.nan_to_num().clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def gradients() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(trainer.run.device, trainer.run.dtype):
            logits = network(image, None)
        binary_cross_entropy_with_logits(logits, batch.target).backward()  # type: ignore[no-untyped-call]

    return gradients


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (1024, 512))
    options.add_argument("--features", type=int, default=16)
    options.add_argument("--patch-size", type=int, default=64)
    options.add_argument("--batch-size", type=int, default=16)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.h5"
        write_map(Path(folder) / "map.fits", *arguments.size)
        preprocess(PreprocessConfig(image=path.with_suffix(".fits"), patch_size=arguments.patch_size), path)
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            model = {"features": arguments.features, "normalization": {"type": "log"}}
            settings = {"output_dir": folder, "batch_size": arguments.batch_size, "precision": precision}
            config = RunConfig.from_dict({"data": {"path": path}, "trainer": {**settings, "model": model}})
            trainer = Trainer.from_config(config, "cpu")
            numbers = count()

            def whole_step(trainer: Trainer = trainer, numbers: Any = numbers) -> None:
                trainer.step(0, next(numbers) % trainer.run.dataset.steps)

            gradients = bare_gradients(trainer)

            def bare_step(trainer: Trainer = trainer, gradients: Callable[[], None] = gradients) -> None:
                gradients()
                trainer.run.state.optimizer.step()

            times = alternating({"whole": whole_step, "bare": bare_step}, repeats=15)
            with FlopCounterMode(display=False) as counter:
                gradients()
            flops = counter.get_total_flops() / times["whole"]
            rate = arguments.batch_size / times["whole"]
            share = f"{times['bare'] / times['whole']:.2f}"
            rows.append([precision, f"{rate:.0f}", share, f"{flops / 1e9:.0f}", f"{flops / matrix_flops(dtype):.2f}"])
    show(["precision", "patches/s", "bare torch / whole step", "GFLOP/s", "relative to a matrix product"], rows)
    print(f"bf16 is {float(rows[1][1]) / float(rows[0][1]):.2f} times as fast as fp32.")


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", BigsfWarning)
    main()
