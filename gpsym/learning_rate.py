"""Learning rates of networks with a design's weights, from its moments at variance q* alone.

The network has L hidden layers of n units and a readout f = W phi(h_L) + b of C classes, initialised as by
`gpsym.torch.init_`:

    h_1 = W x + b,   h_l = sqrt(1 - alpha^2) h_(l-1) + alpha (W phi(h_(l-1)) + b),   alpha = 1 without skips.

Adam.  Its first step moves every weight and bias whose gradient is not 0 by eta, so that the pre-activation of a unit
with a gradient is moved by its own weights by at most

    eta (sum_j |phi(h_j)| + 1)  =  eta (n E|phi(sqrt(q*) Z)| + 1)      and exactly this on one example,

alpha times that in a residual branch, and eta (sum_i |x_i| + 1) in the first layer.  At chi_1 = 1 a change that is
independent of the weights behind it keeps its mean square, so that all layers together move the last hidden one by

    eta (|x|_1 + 1 + alpha (L - 1) (n E|phi| + 1)),

and `adam_rate` is the eta at which this is sqrt(q*): the last hidden layer changes by as much as it is.

That is a scale and no bound.  Steps are not independent of the weights: they go along the gradient, which the layers
behind amplify by more than chi_1, the more the deeper and the fewer units are active; examples that pull apart, and
saturation, act against it.  Measured on networks of 64 to 300 units, 5 and 20 layers deep, root mean squares over
units and examples relative to the above: 0.2 to 1.0 for a batch of 64 at half the scale and at it, but 0.3 to 5 for
one example at a thousandth of it.

SGD.  On the mean cross-entropy of a batch the Hessian at initialization is nearly J^T S J / B, with J the Jacobian of
the outputs of B examples, and S the Hessian of cross-entropy in the outputs: its largest eigenvalue is 1/C where all
classes are equally likely.  In wide networks J J^T is Theta times the identity in the classes, and as all correlations
tend to 1 with depth, Theta times a matrix of ones in the examples, of largest eigenvalue B Theta.  The largest
curvature is then Theta / C, and steps of heavy-ball momentum beta are stable up to

    eta = 2 (1 + beta) C / Theta.

Smaller correlations leave room for larger rates; classes that are not equally likely, and outputs that depend on each
other, as in networks that are deep for their width, ask for smaller ones.  Measured on networks of 200 units with 64
inputs of correlation 0.8: 2 over the largest eigenvalue of the Hessian is, by geometric mean, 0.7 to 0.8 times the
above at depth 5, and 0.4 to 0.65 times at depth 20.  It is the edge at the start: the loss of plain gradient descent
first rises by a fifth at 1.4 to 6 times the rate, that with momentum 0.9 at 0.15 to 2 times, as curvature changes.

Theta = |df_i / d weights|^2 is the sum over layers of |df_i / dh_l|^2 times the mean square length of what goes in, and
1 for biases.  The readout has variance 1 / n, so |df_i / dh_L|^2 = E phi'^2, and chi_1 = 1 keeps it:

    Theta = n E phi^2 + 1 + E phi'^2 (|x|^2 + 1 + alpha^2 (L - 1) (n E phi^2 + 1)).

Exact as n grows at fixed L; at finite width it is the mean over networks up to order L / n, and single networks spread
as their gradients do (`gpsym.depth_scales.gradient_spread`).

Convolutions: n becomes kernel n, positions in the kernel times channels, in hidden layers.  For Adam that is all.
For SGD, positions of an image count as examples do, all alike, with a mean over them before the readout.

Sources: Kingma and Ba 2015, section 2.1 (the size of Adam's steps); Jacot et al. 2018 (Theta, in another
parameterization); Polyak 1964 (momentum).  Both rates: gpsym.
"""

from __future__ import annotations

import math

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.layers.residual import require_alpha
from gpsym.limits import require_sizes
from gpsym.numeric import evaluate

__all__ = ["adam_rate", "sgd_rate", "tangent"]


def adam_rate(
    design: CriticalInit,
    *,
    width: int,
    depth: int,
    alpha: float = 1.0,
    kernel: int = 1,
    input_sum: float | None = None,
) -> float:
    """sqrt(q*) / (|x|_1 + 1 + alpha (L - 1) (kernel n E|phi| + 1)), the scale of Adam's rate: see the module.

    width, depth  n and L, >= 1; the first hidden layer counts.
    alpha         in (0, 1], of residual layers from the second on; 1 is the plain network.
    kernel        positions in the kernel of a convolution; width is then the number of channels.
    input_sum     |x|_1, the mean over inputs of the sum of |x_i| over what a first unit sees, >= 0; None takes that of
                  a hidden layer.

    Raises ValueError for others.

    >>> from gpsym import edge_of_chaos
    >>> print(f"{adam_rate(edge_of_chaos('relu'), width=300, depth=30):.3g}")
    0.000276
    """
    _require("adam_rate", width, depth, alpha, kernel, input_sum)
    hidden = kernel * width * float(evaluate(maps.mean(abs(design.phi)), {"q": design.q_star}))
    first = hidden if input_sum is None else input_sum
    return math.sqrt(design.q_star) / (first + 1 + alpha * (depth - 1) * (hidden + 1))


def tangent(
    design: CriticalInit,
    *,
    width: int,
    depth: int,
    alpha: float = 1.0,
    kernel: int = 1,
    input_square: float | None = None,
) -> float:
    """Theta, the mean of |df_i / d weights|^2 for one output f_i, in the module's formula.

    width, depth, alpha, kernel  those of `adam_rate`.
    input_square                 |x|^2, the mean over inputs of the sum of x_i^2 over what a first unit sees, >= 0;
                                 None takes that of a hidden layer.

    Raises ValueError for others.
    """
    _require("tangent", width, depth, alpha, kernel, input_square)
    readout = width * float(evaluate(maps.second_moment(design.phi), {"q": design.q_star}))
    hidden, gradient = kernel * readout, 1 / design.sigma_w2  # E phi'^2, at the edge of chaos
    first = hidden if input_square is None else input_square
    return readout + 1 + gradient * (first + 1 + alpha**2 * (depth - 1) * (hidden + 1))


def sgd_rate(
    design: CriticalInit,
    *,
    width: int,
    depth: int,
    classes: int = 10,
    momentum: float = 0.0,
    alpha: float = 1.0,
    kernel: int = 1,
    input_square: float | None = None,
) -> float:
    """2 (1 + momentum) classes / Theta, the edge of stability of SGD on the mean cross-entropy: see the module.

    classes   C >= 2.
    momentum  beta in [0, 1), of v' = beta v + gradient, w' = w - eta v'.
    others    those of `tangent`.

    Raises ValueError for others.

    >>> from gpsym import edge_of_chaos
    >>> print(f"{sgd_rate(edge_of_chaos('relu'), width=300, depth=30):.3g}")
    0.00828
    """
    if not classes >= 2:
        raise ValueError(f"sgd_rate: need classes >= 2, got {classes}; pass the number of outputs.")
    if not 0 <= momentum < 1:
        raise ValueError(f"sgd_rate: need momentum in [0, 1), got {momentum}; 0 is plain SGD.")
    theta = tangent(design, width=width, depth=depth, alpha=alpha, kernel=kernel, input_square=input_square)
    return 2 * (1 + momentum) * classes / theta


def _require(name: str, width: int, depth: int, alpha: float, kernel: int, size: float | None) -> None:
    """Raises ValueError unless all are in their domains."""
    require_sizes(name, width=width, depth=depth)
    if not kernel >= 1:
        raise ValueError(f"{name}: need kernel >= 1, got {kernel}; pass the number of positions.")
    if not (size is None or 0 <= size < math.inf):
        raise ValueError(f"{name}: need a size of inputs in [0, oo), got {size}; pass the mean of a sum over inputs.")
    require_alpha(name, alpha)
