"""Random shifts and mirror images of a batch, made on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["SHIFT", "augmented", "draw"]

SHIFT = 4  # pixels at most in each direction, as for CIFAR-10 in He et al. 2016


def draw(count: int, *, flip: bool, generator: torch.Generator) -> Tensor:
    """(count, 3) whole numbers: shifts down and to the right from -4 to 4, and 1 for those to mirror, else 0.

    flip  whether half of them are to be mirrored, or none.

    They lie on the CPU, as the generator does: a few bytes an image.
    """
    shifts = torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator)
    return torch.cat([shifts, mirrored * flip], dim=1)


def augmented(images: Tensor, drawn: Tensor) -> Tensor:
    """Images, (batch, channels, height, width) of any dtype, each mirrored left to right, then shifted, as drawn.

    What comes in from beyond the border is 0, black before normalisation.
    """
    _, _, height, width = images.shape
    down, right, mirrored = drawn[:, :, None].unbind(1)  # (batch, 1) each
    rows = torch.arange(height, device=images.device) - down + SHIFT  # (batch, height), in the padded image
    columns = torch.arange(width, device=images.device) - right  # (batch, width), in the mirrored image
    columns = torch.where(mirrored == 1, width - 1 - columns, columns) + SHIFT
    which = torch.arange(len(images), device=images.device)[:, None, None]
    padded = pad(images, [SHIFT] * 4)
    return padded[which, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
