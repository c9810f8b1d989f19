"""Networks whose hidden layers share one activation: one definition for training, diagnosis and export.

Plain torch.nn, but for `gpsym.torch.Residual` where there are skips; `gpsym.torch.init_` initialises all of them, the
transformer with a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

__all__ = ["PATCH", "build", "cnn", "image_shape", "mlp", "transformer"]

Activation = Callable[[], nn.Module]

KERNEL = 3  # positions on a side of every convolution
STRIDES = (2, 2)  # of the first convolutions; all others have stride 1
PATCH = 4  # pixels on a side, as in vision transformers for small images
_HEADS = 4
WIDENING = 4  # of the hidden layer in a block, as in Vaswani et al. 2017


def build(
    name: str,
    shape: Sequence[int],
    classes: int,
    *,
    width: int,
    depth: int,
    activation: Activation,
    alpha: float | None = None,
    input_factor: float = 1.0,
) -> nn.Sequential:
    """The network of that name for inputs of a shape: `mlp`, `cnn` or `transformer`.

    shape         of one input, (features,) or (channels, height, width).
    input_factor  inputs are multiplied by it first; 1 leaves them.

    Raises ValueError for another name, and as the builders do.
    """
    sizes = {"width": width, "depth": depth, "activation": activation, "alpha": alpha}
    if name == "mlp":
        network = mlp(math.prod(shape), classes, **sizes)
    elif name == "cnn":
        network = cnn(shape, classes, **sizes)
    elif name == "transformer":
        network = transformer(shape, classes, **sizes)
    else:
        raise ValueError(f"build: need mlp, cnn or transformer, got {name}; pass one of them.")
    return network if input_factor == 1 else nn.Sequential(Scaled(input_factor), *network)


def mlp(
    inputs: int, classes: int, *, width: int, depth: int, activation: Activation, alpha: float | None = None
) -> nn.Sequential:
    """A fully connected network with `depth` hidden layers of `width` units, hence depth + 1 weight layers.

    inputs      features per example, after flattening.
    activation  makes the activation module of one hidden layer.
    alpha       None, or in (0, 1] for h' = sqrt(1 - alpha^2) h + alpha (W phi(h) + b) from the second hidden layer on.

    Maps (batch, ...) to (batch, classes) logits.
    """
    hidden = _hidden(depth - 1, alpha, lambda: [activation(), nn.Linear(width, width)])
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), *hidden, activation(), nn.Linear(width, classes))


def cnn(
    shape: Sequence[int], classes: int, *, width: int, depth: int, activation: Activation, alpha: float | None = None
) -> nn.Sequential:
    """A network of `depth` convolutions, 3 x 3 with `width` channels each.

    The first two have stride 2, so that images of 32 x 32 go on as 8 x 8; the others have stride 1.  Padding is
    circular: zeros would cost variance and gradient at the border (`gpsym.layers.padding`).  Behind the last
    activation come the mean over all positions and a linear readout; there is no other pooling.

    shape       of one input, as `image_shape` takes it.
    activation  makes the activation module of one hidden layer.
    alpha       None, or in (0, 1] for h' = sqrt(1 - alpha^2) h + alpha (W * phi(h) + b) in the layers of stride 1.

    Maps (batch, *shape) to (batch, classes) logits.  Raises ValueError for a shape that is no image.
    """
    image = image_shape(shape)

    def convolution(channels: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(channels, width, KERNEL, stride=stride, padding=1, padding_mode="circular")

    strides = STRIDES[:depth]
    strided = [m for stride in strides[1:] for m in (activation(), convolution(width, stride))]
    hidden = _hidden(depth - len(strides), alpha, lambda: [activation(), convolution(width)])
    return nn.Sequential(
        *_unflattened(shape, image), convolution(image[0], strides[0]), *strided, *hidden, activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes),
    )  # fmt: skip


def transformer(
    shape: Sequence[int], classes: int, *, width: int, depth: int, activation: Activation, alpha: float | None = None
) -> nn.Sequential:
    """A vision transformer of `depth` blocks of attention and feed-forward layer, the latter with the activation.

    x' = sqrt(1 - alpha^2) x + alpha attention(norm(x)), then the same with W_2 phi(W_1 norm(x) + b_1) + b_2, of 4 width
    hidden units.  Tokens are patches of 4 x 4 pixels with a learned position each, which starts at zero; the readout
    takes their mean, normalised.

    shape  of one input, as `image_shape` takes it, with height and width that 4 divides.
    width  of a token, divisible by 4, the number of heads.
    alpha  in (0, 1]; None is 1 / sqrt(2 depth): the 2 depth residual layers act as one (`gpsym.layers.residual`).

    Maps (batch, *shape) to (batch, classes) logits.  Raises ValueError for other shapes and widths.
    """
    image = image_shape(shape)
    if width % _HEADS or image[1] % PATCH or image[2] % PATCH:
        raise ValueError(
            f"transformer: need a width, a height and a width of images that {PATCH} divides, got width {width} and "
            f"images of {image[1]} x {image[2]}; choose another width or model."
        )
    alpha = alpha or transformer_alpha(depth)

    def block() -> list[nn.Module]:
        wide = WIDENING * width
        attention = [nn.LayerNorm(width), SelfAttention(width, _HEADS)]
        forward = [nn.LayerNorm(width), nn.Linear(width, wide), activation(), nn.Linear(wide, width)]
        return _hidden(1, alpha, lambda: attention) + _hidden(1, alpha, lambda: forward)

    return nn.Sequential(
        *_unflattened(shape, image), Tokens(image, width), *(m for _ in range(depth) for m in block()),
        nn.LayerNorm(width), MeanToken(), nn.Linear(width, classes),
    )  # fmt: skip


def transformer_alpha(depth: int) -> float:
    """Where none is given: its 2 depth residual layers act as one."""
    return 1 / math.sqrt(2 * depth)


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of an input: as it is, or of features whose number is a square, taken row by row.

    >>> image_shape([64])
    (1, 8, 8)

    Raises ValueError for others.
    """
    if len(shape) == 3:
        channels, height, width = shape
        return channels, height, width
    side = math.isqrt(shape[0])
    if len(shape) == 1 and side * side == shape[0]:
        return 1, side, side
    raise ValueError(
        f"model: need images (channels, height, width), or features whose number is a square, got {tuple(shape)}; "
        "use the model mlp."
    )


class Scaled(nn.Module):
    """factor * x."""

    factor: Tensor

    def __init__(self, factor: float):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor), persistent=False)  # a choice, and no weight

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class SelfAttention(nn.Module):
    """Attention of a sequence, (batch, tokens, width), to itself."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Tokens(nn.Module):
    """Patches of images, (batch, *image), as (batch, tokens, width), each with its position."""

    def __init__(self, image: tuple[int, int, int], width: int):
        super().__init__()
        self.patches = nn.Conv2d(image[0], width, PATCH, stride=PATCH)
        self.position = Parameter(self.patches.weight.new_zeros(image[1] // PATCH * (image[2] // PATCH), width))

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).flatten(2).transpose(1, 2) + self.position


class MeanToken(nn.Module):
    """(batch, tokens, width) to (batch, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def _hidden(count: int, alpha: float | None, branch: Callable[[], list[nn.Module]]) -> list[nn.Module]:
    """The modules of that many branches in a row, or as many residual layers."""
    if alpha is None:
        return [module for _ in range(count) for module in branch()]
    from gpsym.torch import Residual  # here, as networks without skips do without gpsym

    return [Residual(nn.Sequential(*branch()), alpha) for _ in range(count)]


def _unflattened(shape: Sequence[int], image: tuple[int, int, int]) -> list[nn.Module]:
    return [] if tuple(shape) == image else [nn.Unflatten(1, image)]
