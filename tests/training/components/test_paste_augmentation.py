import numpy as np
import pytest
import torch

from bigsf.training.components.batch import Batch
from bigsf.training.components.paste_augmentation import MOST_KEPT, PasteConfig, PasteFilaments

NUMBER, SIDE, PEAK = 40, 48, 0.8


def known_filaments(n: int = 3, level: float = 2e22) -> tuple[torch.Tensor, torch.Tensor]:
    """Return patches with a horizontal filament of a Gaussian profile 4 pixels wide, and where it is above half."""
    y = torch.arange(SIDE).view(1, 1, SIDE, 1) - 20.0
    profile = torch.exp(-4 * np.log(2) * (y / 4) ** 2).expand(n, 1, SIDE, SIDE)
    return level * (1 + PEAK * profile), (profile > 0.5).float()


def flat(n: int = NUMBER, level: float = 1e22) -> Batch:
    image = torch.full((n, 1, SIDE, SIDE), level)
    return Batch(image, torch.zeros_like(image), torch.zeros_like(image, dtype=torch.bool), None)


def pasted(config: PasteConfig, batch: Batch, *known: torch.Tensor) -> Batch:
    augmentation = config.build()
    assert isinstance(augmentation, PasteFilaments)
    augmentation.collect(*(known or known_filaments()))
    draw = augmentation.draw(np.random.default_rng(1), len(batch.image))
    return augmentation.apply(batch, torch.from_numpy(draw))


@pytest.mark.parametrize("contrast", [0.1, 0.5])
def test_a_filament_has_the_contrast_that_was_drawn_wherever_it_is_pasted(contrast: float) -> None:
    """The 0.9 quantile of a profile that is above half on four rows lies on the inner two of them."""
    after = pasted(PasteConfig(type="paste", contrast=(contrast, contrast), probability=1), flat())
    excess = after.image / 1e22 - 1
    assert after.labelled.flatten(1).any(dim=1).all()
    assert excess[after.labelled].amax() == pytest.approx(contrast, rel=0.1)
    assert (after.target == after.labelled).all()
    assert excess[~after.labelled].amax() < 0.5 * contrast


def test_filaments_are_turned_and_mirrored() -> None:
    after = pasted(PasteConfig(type="paste", probability=1), flat())
    rows = {tuple(torch.nonzero(one[0].all(dim=1)).flatten().tolist()) for one in after.labelled}
    columns = {tuple(torch.nonzero(one[0].all(dim=0)).flatten().tolist()) for one in after.labelled}
    assert len(rows) == len(columns) == 3, "two of each, and none where the filament has the other direction"


def test_so_many_patches_get_filaments() -> None:
    after = pasted(PasteConfig(type="paste", probability=0.3), flat(400))
    share = after.labelled.flatten(1).any(dim=1).float().mean()
    assert share == pytest.approx(0.3, abs=0.07)


def test_a_filament_below_the_noise_gets_no_label() -> None:
    batch = flat()
    noise = 1 + 0.3 * torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(0))
    after = pasted(
        PasteConfig(type="paste", contrast=(0.05, 0.05), probability=1), batch._replace(image=noise * batch.image)
    )
    assert not after.labelled.any()
    assert not torch.equal(after.image, noise * batch.image)


def test_nothing_is_pasted_where_nothing_is_known_and_nothing_labelled_where_data_are_missing() -> None:
    image, target = known_filaments()
    batch = flat()
    nothing = pasted(PasteConfig(type="paste", probability=1), batch, image, 0 * target)
    assert torch.equal(nothing.image, batch.image)
    batch.image[:, :, :, 20:30] = torch.nan
    after = pasted(PasteConfig(type="paste", probability=1), batch)
    assert after.labelled.any()
    assert not after.labelled[:, :, :, 20:30].any()


def test_missing_pixels_of_the_patch_that_is_copied_are_not_pasted() -> None:
    image, target = known_filaments()
    image[:, :, :, :24] = torch.nan
    after = pasted(PasteConfig(type="paste", probability=1), flat(), image, target)
    assert after.image.isfinite().all()
    assert after.labelled.float().mean() == pytest.approx(float(target.mean()) / 2, rel=0.01)


def test_no_more_patches_are_kept_than_are_needed() -> None:
    augmentation = PasteConfig(type="paste").build()
    assert isinstance(augmentation, PasteFilaments)
    for _ in range(3):
        assert not augmentation.is_full
        augmentation.collect(*known_filaments(MOST_KEPT // 2 - 10))
    assert augmentation.is_full
    assert len(augmentation.shapes) == len(augmentation.masks) == MOST_KEPT


def test_other_channels_stay() -> None:
    batch = flat()
    two = batch._replace(image=torch.cat([batch.image, batch.image], dim=1))
    after = pasted(PasteConfig(type="paste", probability=1), two)
    assert torch.equal(after.image[:, 1:], two.image[:, 1:])
    assert not torch.equal(after.image[:, :1], two.image[:, :1])


def test_what_the_map_does_not_show_is_not_kept() -> None:
    """The noise of a target without any excess would be pasted as a filament."""
    image, target = known_filaments(20)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    augmentation = PasteConfig(type="paste").build()
    assert isinstance(augmentation, PasteFilaments)
    augmentation.collect(2e22 * (1 + 0.01 * noise), target)
    assert len(augmentation.shapes) == 0
    augmentation.collect(image * (1 + 0.01 * noise), target)
    assert len(augmentation.shapes) == 20


def test_a_target_with_little_beside_it_is_not_kept() -> None:
    """Its background is not known, so that all of the map would count as excess."""
    image, target = known_filaments()
    augmentation = PasteConfig(type="paste").build()
    assert isinstance(augmentation, PasteFilaments)
    augmentation.collect(image, torch.ones_like(target))
    image[:, :, :19] = image[:, :, 22:] = torch.nan
    augmentation.collect(image, target)
    assert len(augmentation.shapes) == 0
