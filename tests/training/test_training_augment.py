"""Shifts and mirror images against loops over pixels, and what is drawn."""

import pytest
import torch
from torch import Tensor

from training.augment import SHIFT, augmented, draw


def pixel_by_pixel(images: Tensor, drawn: Tensor) -> Tensor:
    """The definition: what was mirrored, then moved down and to the right, with zeros from beyond the border."""
    out = torch.zeros_like(images)
    height, width = images.shape[2:]
    for n, (down, right, mirrored) in enumerate(drawn.tolist()):
        image = images[n].flip(-1) if mirrored else images[n]
        for i in range(height):
            for j in range(width):
                if 0 <= i - down < height and 0 <= j - right < width:
                    out[n, :, i, j] = image[:, i - down, j - right]
    return out


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (2, 3, 2)])
def test_images_are_mirrored_and_shifted_as_by_definition(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (200, *shape), generator=generator).to(dtype)
    drawn = draw(200, flip=True, generator=generator)
    found = augmented(images, drawn)
    assert found.dtype == dtype
    assert torch.equal(found, pixel_by_pixel(images, drawn))


def test_nothing_drawn_leaves_images_as_they_are():
    images = torch.rand(4, 2, 6, 7)
    assert torch.equal(augmented(images, torch.zeros(4, 3, dtype=torch.long)), images)


def test_all_shifts_are_equally_likely_and_half_of_the_images_are_mirrored():
    count = 81 * 400
    drawn = draw(count, flip=True, generator=torch.Generator().manual_seed(0))
    shifts = (drawn[:, :2] + SHIFT) @ torch.tensor([9, 1])
    found = torch.bincount(shifts, minlength=81)
    # Chi-square with 80 degrees of freedom: mean 80, standard deviation sqrt(160).
    assert ((found - 400) ** 2 / 400).sum() < 80 + 4 * 160**0.5
    assert abs(drawn[:, 2].sum() - count / 2) < 4 * (count / 4) ** 0.5
    assert set(drawn[:, 2].tolist()) == {0, 1}


def test_without_flips_none_is_mirrored_and_the_shifts_are_the_same():
    flipping, still = (draw(50, flip=flip, generator=torch.Generator().manual_seed(1)) for flip in (True, False))
    assert torch.equal(flipping[:, :2], still[:, :2])
    assert not still[:, 2].any()
