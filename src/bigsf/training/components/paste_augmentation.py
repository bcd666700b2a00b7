"""Batch -> batch with known filaments of other patches pasted into it, brighter or fainter than they are."""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from bigsf.config import Component
from bigsf.models.window_statistics import noise_level
from bigsf.training.components.batch import Augmentation, Batch, Draw, PositiveRange, convolved, gaussian_kernels
from bigsf.training.components.filament_augmentation import brightened, local_mean, local_mean_size
from bigsf.training.components.levels import MeasuredInLevels

MOST_KEPT = 512
"""Patches whose known filaments are kept, as images of the size of a patch."""

_LEAST_PIXELS = 30  # of known filaments in a patch that is kept; it has at least as many pixels beside them
_LEAST_PEAK = 3  # of the excess in a patch that is kept, in units of its noise
_SOFT_PX = 1.0  # sigma of the edge of a cut-out
_PEAK = 0.9  # the quantile of the excess on a filament that counts as its peak
_LEAST_SHARE = 0.2  # of the peak: where a pasted filament has less, it gets no label


class PasteFilaments(MeasuredInLevels):
    """Paste the known filaments of a random training patch into each patch, and label them as target.

    This is copy-paste (Ghiasi et al. 2021, CVPR) of structures that add to what lies behind them. Where the target is,
    the excess of the first channel over its local mean, which is taken without the target, is cut out. It is turned,
    mirrored, and added with a random contrast: contrast * unit * excess / peak, with the unit of `AddFilaments`. The
    peak is the 0.9 quantile of the excess on the target. Most known filaments are bright; pasted, they are as faint as
    those that a catalogue misses, and lie in other places. What is pasted becomes target where its peak stands out of
    the noise of the patch.

    Parameters
    ----------
    contrast, probability
        As in `PasteConfig`.
    """

    def __init__(self, contrast: tuple[float, float], probability: float) -> None:
        self.contrast, self.probability = contrast, probability
        self.level, self.least = local_mean_size, contrast[0]
        self.shapes = torch.empty((0, 1, 1, 1))
        self.masks = torch.empty((0, 1, 1, 1), dtype=torch.bool)

    @property
    def is_full(self) -> bool:
        """Whether the filaments of enough patches are kept."""
        return len(self.shapes) >= MOST_KEPT

    def collect(self, image: Tensor, target: Tensor) -> None:
        """Keep the known filaments of training patches, besides those that are kept already.

        Parameters
        ----------
        image
            Patches `(n, c, y, x)`, NaN where missing.
        target
            1 on known filaments, `(n, 1, y, x)`.
        """
        valid = image.isfinite().all(dim=1, keepdim=True)
        known = (target > 0) & valid
        number, beside = known.flatten(1).sum(dim=1), (valid & ~known).flatten(1).sum(dim=1)
        some = (number >= _LEAST_PIXELS) & (beside >= number)
        first, known = image[some, :1], known[some]
        if not len(first):
            return
        behind = local_mean(torch.where(known, torch.nan, first))
        soft = convolved(known.float(), gaussian_kernels(first.new_full((len(first),), _SOFT_PX), reach=3))
        excess = ((first - behind).nan_to_num() * soft).clamp(min=0)
        peak = torch.stack([each[mask].quantile(_PEAK) for each, mask in zip(excess, known, strict=True)])
        seen = torch.nonzero(peak > _LEAST_PEAK * noise_level(first).flatten()).flatten()
        seen = seen[: MOST_KEPT - len(self.shapes)]
        shapes = excess[seen] / peak[seen].view(-1, 1, 1, 1)
        masks = known[seen] & (shapes > _LEAST_SHARE)
        former = (self.shapes, self.masks) if len(self.shapes) else (shapes[:0], masks[:0])
        self.shapes, self.masks = (torch.cat(pair) for pair in zip(former, (shapes, masks), strict=True))

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        """Return (contrast, which, quarter turns, mirrored) of what is pasted into each patch, `(n, 4)`.

        Which is a fraction of the patches that are kept. A contrast of 0 is no filament.
        """
        low, high = np.log(self.contrast)
        contrast = np.exp(generator.uniform(low, high, n)) * (generator.uniform(size=n) < self.probability)
        which, turns, mirrored = generator.uniform(size=n), generator.integers(0, 4, n), generator.integers(0, 2, n)
        return np.stack([contrast, which, turns, mirrored], axis=1)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        """Return the batch with the filaments drawn for its patches, `(b, 4)`."""
        if not len(self.shapes):
            return batch
        contrast, which, turns, mirrored = draw.float().unbind(dim=1)
        chosen = (which * len(self.shapes)).long().clamp(max=len(self.shapes) - 1).to(self.shapes.device)
        excess = torch.cat([self.shapes[chosen], self.masks[chosen].float()], dim=1).to(batch.image.device)
        for quarters in (1, 2, 3):
            excess[turns == quarters] = excess[turns == quarters].rot90(quarters, (2, 3))
        excess = torch.where(mirrored.view(-1, 1, 1, 1) > 0, excess.flip(2), excess)
        first, height = batch.image[:, :1], contrast.view(-1, 1, 1, 1)
        height = height * self.unit(first)
        return brightened(batch, height * excess[:, :1], (excess[:, 1:] > 0) & (height > noise_level(first)))


class PasteConfig(Component[Augmentation], builds=PasteFilaments):
    """Paste known filaments of other training patches, brighter or fainter than they are.

    So a model learns the shapes of filaments that are too faint for an incomplete catalogue. They are added to the
    first channel. Give this augmentation after those that add noise: a filament that is fainter than the noise gets no
    label.
    """

    type: Literal["paste"]

    contrast: PositiveRange = (0.05, 1.0)
    """Range of the excess that a tenth of the known pixels exceed; log-uniform. It is in units of the local mean
    (Gaussian, sigma 12 pixels), or of the spread of the patch where the map is not linear or has both signs."""

    probability: float = Field(default=0.7, gt=0, le=1)
    """Fraction of the patches that get filaments."""
