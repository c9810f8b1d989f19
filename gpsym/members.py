"""The named activations, each a line of data for the one family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpsym.activation import Activation
from gpsym.formula import TAU, A, M, exact
from gpsym.limits import shown

__all__ = [
    "ALIASES",
    "MEMBERS",
    "absolute",
    "clipped_relu",
    "clipped_soft_threshold",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "jump_relu",
    "leaky_relu",
    "member",
    "prelu",
    "relu",
    "relu6",
    "shifted_relu",
    "sign",
    "soft_threshold",
    "squared_relu",
]


def relu() -> Activation:
    """ReLU, max(0, x)."""
    return Activation((0,), ((), (0, 1)), "relu")


def shifted_relu(tau: Any = TAU) -> Activation:
    """Shifted ReLU, ReLU_tau(x) = max(0, x - tau), tau real (Price et al. 2024)."""
    return Activation((tau,), ((), (-exact(tau), 1)), "shifted-relu")


def soft_threshold(tau: Any = TAU) -> Activation:
    """Soft thresholding, ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0 (Price et al. 2024)."""
    tau = exact(tau)
    return Activation((-tau, tau), ((tau, 1), (), (-tau, 1)), "soft-threshold")


def clipped_relu(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped shifted ReLU, CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0 (Price et al. 2024).

    Not the concatenated ReLU, which goes by the same abbreviation.
    """
    tau, m = exact(tau), exact(m)
    return Activation((tau, tau + m), ((), (-tau, 1), (m,)), "clipped-relu")


def clipped_soft_threshold(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped soft thresholding, CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""
    tau, m = exact(tau), exact(m)
    knots = (-tau - m, -tau, tau, tau + m)
    return Activation(knots, ((-m,), (tau, 1), (), (-tau, 1), (m,)), "clipped-soft-threshold")


def identity() -> Activation:
    """x."""
    return Activation((), ((0, 1),), "identity")


def absolute() -> Activation:
    """abs(x)."""
    return Activation((0,), ((0, -1), (0, 1)), "abs")


def sign() -> Activation:
    """sign(x): -1, 0 or 1."""
    return Activation((0,), ((-1,), (1,)), "sign")


def leaky_relu(a: Any = "1/100") -> Activation:
    """Leaky ReLU, x for x > 0 and a x for x < 0."""
    return Activation((0,), ((0, a), (0, 1)), "leaky-relu")


def prelu(a: Any = A) -> Activation:
    """Parametric ReLU: leaky ReLU with any slope a (He et al. 2015)."""
    return leaky_relu(a).named("prelu")


def hard_tanh() -> Activation:
    """Hard tanh, min(max(x, -1), 1)."""
    return Activation((-1, 1), ((-1,), (0, 1), (1,)), "hard-tanh")


def relu6() -> Activation:
    """ReLU6, min(max(0, x), 6)."""
    return Activation((0, 6), ((), (0, 1), (6,)), "relu6")


def hard_sigmoid() -> Activation:
    """Hard sigmoid, min(max(0, x / 6 + 1 / 2), 1)."""
    return Activation((-3, 3), ((), ("1/2", "1/6"), (1,)), "hard-sigmoid")


def hard_swish() -> Activation:
    """Hard swish, x hard_sigmoid(x) (Howard et al. 2019)."""
    return (identity() * hard_sigmoid()).named("hard-swish")


def squared_relu() -> Activation:
    """Squared ReLU, max(0, x)^2 (So et al. 2021)."""
    return Activation((0,), ((), (0, 0, 1)), "squared-relu")


def hard_shrink(tau: Any = TAU) -> Activation:
    """Hard shrinkage, x for abs(x) > tau and 0 between, tau >= 0."""
    tau = exact(tau)
    return Activation((-tau, tau), ((0, 1), (), (0, 1)), "hard-shrink")


def jump_relu(tau: Any = TAU) -> Activation:
    """JumpReLU (FATReLU), x for x > tau and 0 elsewhere (Erichson et al. 2019; Kurtz et al. 2020)."""
    return Activation((tau,), ((), (0, 1)), "jump-relu")


MEMBERS: dict[str, Callable[..., Activation]] = {
    "relu": relu,
    "shifted-relu": shifted_relu,
    "soft-threshold": soft_threshold,
    "clipped-relu": clipped_relu,
    "clipped-soft-threshold": clipped_soft_threshold,
    "identity": identity,
    "abs": absolute,
    "sign": sign,
    "leaky-relu": leaky_relu,
    "prelu": prelu,
    "hard-tanh": hard_tanh,
    "relu6": relu6,
    "hard-sigmoid": hard_sigmoid,
    "hard-swish": hard_swish,
    "squared-relu": squared_relu,
    "hard-shrink": hard_shrink,
    "jump-relu": jump_relu,
}
ALIASES = {"relu-tau": "shifted-relu", "st": "soft-threshold", "crelu": "clipped-relu", "cst": "clipped-soft-threshold"}


def member(name: str, **parameters: Any) -> Activation:
    """The named activation; parameters left out or None stay symbolic.

    Raises ValueError for an unknown name, a parameter that the activation does not have, or a bad value.

    >>> member("crelu", tau=1, m=2) == clipped_relu(1, 2)
    True
    """
    if not isinstance(name, str):
        raise ValueError(f"activation: need a name, got {shown(name, repr)}; choose from {', '.join(MEMBERS)}.")
    spelled = name.replace("_", "-").lower()
    canonical = ALIASES.get(spelled, spelled)
    if canonical not in MEMBERS:
        raise ValueError(
            f"activation: unknown name {shown(name, repr)}; choose from {', '.join([*MEMBERS, *ALIASES])}."
        )
    family = MEMBERS[canonical]()
    accepted = {str(symbol): symbol for symbol in family.parameters}
    given = {key: value for key, value in parameters.items() if value is not None}
    for key, value in given.items():
        if key not in accepted:
            takes = " and ".join(accepted) or "no parameters"
            raise ValueError(f"{canonical}: takes {takes}, got {key} = {shown(value)}; leave {key} out.")
    return family.subs({accepted[key]: value for key, value in given.items()})
