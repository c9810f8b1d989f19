"""The kernels of deep networks for Gaussian processes of scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

if find_spec("sklearn") is None:
    raise ImportError("gpsym.sklearn: need scikit-learn, got no module sklearn; pip install 'gpsym[gp]'.")

import numpy as np
from sklearn.gaussian_process.kernels import Kernel

from gpsym.activation import Activation
from gpsym.design import CriticalInit
from gpsym.kernel import diagonals, kernels

__all__ = ["NetworkKernel"]


class NetworkKernel(Kernel):
    """NNGP or NTK of a deep fully connected network, without hyperparameters to fit.

    network, depth, sigma_w2, sigma_b2, input_mean_square
               as `gpsym.kernel.kernels` takes them.
    kind       "nngp", or "ntk".

    It adds to and multiplies with scikit-learn's own: ConstantKernel() * NetworkKernel(design, depth=3) +
    WhiteKernel().  Raises ValueError for what `kernels` refuses, when it is called, and for another kind.

    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from gpsym import edge_of_chaos
    >>> kernel = NetworkKernel(edge_of_chaos("crelu", sparsity=0.85, slope=0.7), depth=3)
    >>> x = np.linspace(-1, 1, 9)[:, None]
    >>> GaussianProcessRegressor(kernel).fit(x, x.ravel() ** 2).predict([[0.6]]).round(2)
    array([0.35])
    """

    def __init__(
        self,
        network: Activation | CriticalInit,
        depth: int,
        kind: str = "nngp",
        sigma_w2: float | None = None,
        sigma_b2: float | None = None,
        input_mean_square: float | None = None,
    ):
        # scikit-learn clones a kernel from the attributes named like its arguments.
        self.network, self.depth, self.kind = network, depth, kind
        self.sigma_w2, self.sigma_b2, self.input_mean_square = sigma_w2, sigma_b2, input_mean_square

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """The matrix between the rows of X and of Y; with eval_gradient also its gradient, by no hyperparameters."""
        matrix = kernels(X, other=Y, **self._options).kind(self.kind)
        return (matrix, np.empty((*matrix.shape, 0))) if eval_gradient else matrix

    def diag(self, X: Any) -> Any:
        """The diagonal of the matrix of the rows of X."""
        return diagonals(X, **self._options).kind(self.kind)

    @property
    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in self.get_params().items() if name != "kind"}

    def is_stationary(self) -> Any:
        """False: it depends on more than X - Y."""
        return False

    def __repr__(self) -> str:
        network = self.network
        name = network.activation if isinstance(network, CriticalInit) else network.name
        return f"NetworkKernel({name}, depth={self.depth}, kind={self.kind!r})"
