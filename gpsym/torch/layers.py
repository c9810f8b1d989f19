"""Modules of `gpsym.layers`: residual and gated layers, and convolutions that keep the variance at the border."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BorderScaled", "Gated", "Mixture", "Residual"]


class Mixture(nn.Module):
    """sqrt(1 - alpha^2) x + alpha y, of the variance of x and y if they are uncorrelated; alpha in (0, 1]."""

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mixture, of the shape that x and y broadcast to."""
        return _mixed(x, y, self.alpha)

    def extra_repr(self) -> str:
        """The weight of y."""
        return f"alpha={self.alpha}"


class Residual(nn.Module):
    """sqrt(1 - alpha^2) x + alpha branch(x), which keeps the variance if the branch does.

    branch  a module whose output has the shape of its input: an activation and a weight layer after it.
    alpha   in (0, 1], such as `gpsym.layers.residual.mixing` gives; 1 leaves the branch alone.

    `gpsym.torch.init_` initialises the branch as a hidden layer; a weight layer must come before the first block.

    Raises ValueError for another alpha, and in `forward` for a branch that changes the shape.
    """

    def __init__(self, branch: nn.Module, alpha: float):
        super().__init__()
        if not 0 < alpha <= 1:
            raise ValueError(f"Residual: need alpha in (0, 1], got {alpha}; 1 is the branch alone.")
        self.branch, self.alpha = branch, alpha

    def forward(self, x: Tensor) -> Tensor:
        """The mixture, of the shape of x."""
        y = self.branch(x)
        if y.shape != x.shape:
            raise ValueError(f"Residual: need a branch from {tuple(x.shape)} to the same, got {tuple(y.shape)}.")
        return _mixed(x, y, self.alpha)

    def extra_repr(self) -> str:
        """The weight of the branch."""
        return f"alpha={self.alpha}"


def _mixed(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    return math.sqrt(1 - alpha**2) * x + alpha * y


class Gated(nn.Module):
    """psi(u) phi(v), u and v the two halves of the input along a dimension.

    phi  a module, such as `activation_module` gives.
    psi  a module, or None for the identity.
    dim  -1 for the output of Linear(n, 2 n), 1 for that of a convolution with twice the channels.

    One weight layer of twice the size makes u and v, with independent weights and the fan-in of each, so that
    `gpsym.torch.init_` with `gpsym.layers.gated.edge_of_chaos` initialises both, also in the first layer.

    Raises ValueError in `forward` for an odd size.
    """

    def __init__(self, phi: nn.Module, psi: nn.Module | None = None, dim: int = -1):
        super().__init__()
        self.phi, self.psi, self.dim = phi, psi, dim

    def forward(self, x: Tensor) -> Tensor:
        """The products; half the size of x along the dimension."""
        if x.shape[self.dim] % 2:
            raise ValueError(f"Gated: need an even size in dimension {self.dim}, got {tuple(x.shape)}; double a layer.")
        u, v = x.chunk(2, self.dim)
        return (u if self.psi is None else self.psi(u)) * self.phi(v)


# The functional form of each kind of convolution.
_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}


class BorderScaled(nn.Module):
    """A zero-padded convolution whose output, without bias, is divided by the root of the fraction of taps inside.

    So the variance at the border is that inside, for random weights (`gpsym.layers.padding`, "zeros-rescaled").

    conv  Conv1d, Conv2d or Conv3d with numbers for its padding, of mode "zeros".

    Raises ValueError for others.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d | nn.Conv3d):
        super().__init__()
        if type(conv) not in _CONVOLUTIONS or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(f"BorderScaled: need a convolution that pads a number of zeros, got {conv}.")
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, (batch, channels, ...)."""
        conv, convolve = self.conv, _CONVOLUTIONS[type(self.conv)]
        where = (conv.stride, conv.padding, conv.dilation)
        ones = x.new_ones(1, 1, *x.shape[2:])
        kernel = torch.full((1, 1, *conv.kernel_size), 1 / math.prod(conv.kernel_size), dtype=x.dtype, device=x.device)
        inside = convolve(ones, kernel, None, *where)  # (1, 1, ...)
        scale = inside.rsqrt()
        y = conv(x) * scale  # by a call of the module, which hooks see
        return y if conv.bias is None else y + (1 - scale) * conv.bias.view(-1, *[1] * (x.ndim - 2))
