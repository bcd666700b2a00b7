"""How fast is segmentation, compared with the bare network and MONAI's SlidingWindowInferer (pip install monai)?

python tests/benchmarks/segment.py
"""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from astropy.io import fits
from astropy.wcs import WCS
from measuring import alternating, command, machine, matrix_flops, parser, peak_bytes, show
from torch.utils.flop_counter import FlopCounterMode

from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import window_starts
from bigsf.models.device import autocast
from bigsf.models.normalizations import Log
from bigsf.models.segmentation_model import SegmentationModel, with_folded_norms
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.unet import UNet

FIXED_MB = 600
"""What the option --memory promises of the memory that it does not count: Python, its libraries and the figure."""


class InMemory(MapRows):
    """Planes in memory."""

    wcs: WCS | None = None

    def __init__(self, image: npt.NDArray[np.float32]) -> None:
        self.image = image

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        return self.image.shape[1], self.image.shape[2]

    def read_rows(self, y0: int, y1: int) -> npt.NDArray[np.float32]:
        """Return rows y0 to y1 (exclusive), `(c, rows, nx)`."""
        return self.image[:, y0:y1]


def monai_inference(model: SegmentationModel, image: torch.Tensor, window: int, dtype: torch.dtype, batch: int) -> Any:
    """Return MONAI's inference with the same network, windows, weights and precision."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(window, sw_batch_size=batch, overlap=0.5, mode="gaussian")

    @torch.inference_mode()
    def run() -> None:
        with autocast(torch.device("cpu"), dtype):
            inferer(image, model.probabilities)

    return run


def show_memory(nx: int = 6000, ny: int = 4000) -> None:
    """Segment a large map, most of it missing, under two limits of memory, and print the peak beside the promise."""
    image = np.full((ny, nx), np.nan, np.float32)
    image[:256, :256] = np.random.default_rng(0).lognormal(50, 0.3, (256, 256))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "map.fits", Path(folder) / "out.fits"
        fits.PrimaryHDU(image).writeto(path)
        for memory_mb in (200, 400):  # the cleaning of MASK takes 7 bytes per pixel
            options = ("-o", output, "--overwrite", "--device", "cpu", "--memory", f"{memory_mb}MB")
            _, peak = command("segment", "higal-small", path, *options)
            rows.append([f"{memory_mb} MB", f"{peak / 1e6:.0f} MB", f"{FIXED_MB + memory_mb} MB"])
    show([f"--memory, {nx} x {ny} pixels", "peak", "promise"], rows)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (1024, 512))
    options.add_argument("--features", type=int, default=16)
    options.add_argument("--window", type=int, default=64)
    options.add_argument("--batch-size", type=int, default=64)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    (nx, ny), window, batch = arguments.size, arguments.window, arguments.batch_size
    image = np.random.default_rng(0).lognormal(50, 1, (1, ny, nx)).astype(np.float32)
    model = SegmentationModel(UNet(features=arguments.features), Log()).eval()
    folded = with_folded_norms(model)
    windows = len(window_starts(ny, window, window // 2)) * len(window_starts(nx, window, window // 2))
    example = torch.randn(batch, 1, window, window).contiguous(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(example[:1])
    rows, monai_fp32 = [], float("nan")
    for dtype in (torch.float32, torch.bfloat16):

        def ours(dtype: torch.dtype = dtype) -> None:
            for _ in SlidingWindowPredictor([model], window, batch_size=batch, dtype=dtype).predict_bands(
                InMemory(image)
            ):
                pass

        @torch.inference_mode()
        def bare(dtype: torch.dtype = dtype) -> None:
            with autocast(torch.device("cpu"), dtype):
                for start in range(0, windows, batch):
                    folded.network(example[: windows - start])

        functions: dict[str, Callable[[], object]] = {"ours": ours, "bare": bare}
        if importlib.util.find_spec("monai"):
            functions["monai"] = monai_inference(model, torch.from_numpy(image)[None], window, dtype, batch)
        times = alternating(functions, repeats=3)
        monai = times.get("monai", float("nan"))
        monai_fp32 = monai if dtype == torch.float32 else monai_fp32
        flops = counter.get_total_flops() * windows / times["ours"]
        rows.append(
            [
                str(dtype).removeprefix("torch."),
                f"{nx * ny / times['ours'] / 1e3:.0f}",
                f"{times['bare'] / times['ours']:.2f}",
                f"{monai / times['ours']:.2f}" if "monai" in times else "-",
                f"{monai_fp32 / times['ours']:.2f}" if "monai" in times else "-",
                f"{flops / 1e9:.0f}",
                f"{flops / matrix_flops(dtype):.2f}",
            ]
        )
    columns = [
        "precision",
        "kpixel/s",
        "bare network / ours",
        "MONAI / ours (time)",
        "MONAI in fp32, its default / ours",
        "GFLOP/s",
        "relative to a matrix product",
    ]
    show(columns, rows)
    print(f"Windows of {window} pixels that overlap by half; peak memory {peak_bytes() / 1e6:.0f} MB.")
    show_memory()


if __name__ == "__main__":
    main()
