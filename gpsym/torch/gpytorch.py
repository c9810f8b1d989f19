"""The kernels of deep networks for Gaussian processes of GPyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

if find_spec("gpytorch") is None:
    raise ImportError("gpsym.torch.gpytorch: need GPyTorch, got no module gpytorch; pip install 'gpsym[gp]'.")

import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from gpsym.activation import Activation
from gpsym.design import CriticalInit
from gpsym.kernel import diagonals, kernels

__all__ = ["NetworkKernel"]


class NetworkKernel(Kernel):
    """NNGP or NTK of a deep fully connected network, without parameters; ScaleKernel gives it a scale to learn.

    network    an `Activation` or a design.
    depth, kind, options
               number of activations; "nngp" or "ntk"; sigma_w2, sigma_b2 and input_mean_square, as
               `gpsym.kernel.kernels` takes them.

    Computed in float64 and returned in the dtype of the inputs, (..., n, features), on their device; inputs that
    require a gradient are refused.

    >>> from gpsym import edge_of_chaos
    >>> kernel = NetworkKernel(edge_of_chaos("crelu", sparsity=0.85, slope=0.7), depth=3, input_mean_square=1.0)
    >>> kernel(torch.ones(2, 4, dtype=torch.float64)).to_dense().shape
    torch.Size([2, 2])
    """

    has_lengthscale = False

    def __init__(self, network: Activation | CriticalInit, depth: int, kind: str = "nngp", **options: float):
        super().__init__()
        self.network, self.depth, self.kind, self.options = network, depth, kind, options

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **_: Any) -> Tensor:
        """The matrix between the rows of x1 and x2, or with diag the entries of equal rows, (..., n)."""
        if last_dim_is_batch:
            raise ValueError("NetworkKernel: need all features at once, got last_dim_is_batch; leave it out.")
        if x1.dim() > 2:
            return torch.stack(
                [self.forward(a, b, diag) for a, b in zip(*torch.broadcast_tensors(x1, x2), strict=True)]
            )
        options: Any = {"network": self.network, "depth": self.depth, **self.options}
        same = torch.equal(x1, x2)
        if diag and same:
            return diagonals(x1, **options).kind(self.kind).to(x1.dtype)
        matrix = kernels(x1, other=None if same else x2, **options).kind(self.kind).to(x1.dtype)
        return matrix.diagonal() if diag else matrix
