"""Square windows -> their probability in eight orientations (test-time augmentation), and the mean of these."""

from collections.abc import Callable

import torch

VIEWS = 8
"""Orientations of a square: four turns, each of them plain and mirrored."""


def mean_and_views(predict: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """Return the probability of windows as the mean over eight orientations, and that of each orientation.

    Parameters
    ----------
    predict
        From windows `(b, c, y, x)` to their probability `(b, 1, y, x)`.
    image
        Square windows, `(b, c, y, x)`.

    Returns
    -------
    Tensor
        `(b, 1 + VIEWS, y, x)`: the mean, then each view, turned back.
    """
    views = []
    for turns in range(4):
        for mirrored in (False, True):
            view = image.rot90(turns, (2, 3))
            probability = predict(view.flip(3) if mirrored else view)
            views.append((probability.flip(3) if mirrored else probability).rot90(-turns, (2, 3)))
    total = torch.zeros_like(image[:, :1])
    for view in views:
        total += view
    return torch.cat([total / VIEWS, *views], dim=1)
