"""The spread of gradients, along the chain of the variance.

In h = W a + b the activations a and h fix what W^T does to the gradient g of h along a: the number
y = sqrt(n) (W a . g) / (|W a| |g|) is no fresh normal variable, and units in the linear range (A, N of them) see the
share alpha of its direction.  So

    |W^T g; A|^2 = (sigma_w2 / n) |g|^2 M,   M = X + S,   X = chi^2_(N-1),   S = (sqrt(1 - alpha) z + sqrt(alpha) y)^2.

The layer below has y'^2 = (N / M) (sqrt(theta S) + sqrt(rho - theta) z')^2, z'^2 being part of X, with w = h - b,
v = q - sigma_b2 and

    alpha = E[phi^2; A] / E phi^2,   rho = E[w^2 | A] / v,   theta = E[w phi(h); A]^2 / (v P(A) E[phi^2; A]).

With y = z'' fresh, M would be chi^2_N exactly.  What y changes is taken to second order in 1 / N: E y^2 goes from the
readout, where it is 1, down by E y'^2 = N (rho - kappa + kappa E y^2) / E M, kappa = alpha theta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gpsym.finite_width.law import Units, moments

__all__ = ["Backward", "Steps", "backward", "gradient_moments"]

Array = NDArray[np.float64]

_NOTHING = 1e-17  # of a probability: wide networks step to few nodes
_MOST_LAYERS = 400  # below the readout, after which E y^2 counts as settled
_SETTLED = 1e-10  # of changes from layer to layer, from which on nothing is taken to change


class Steps(NamedTuple):
    """E[l^k f(q')] for k = 0, 1, 2 over what is kept, l = log(slope^2 sigma_w2 chi^2_N / n); (size, size)."""

    one: Any
    first: Any
    second: Any


class Response(NamedTuple):
    """What a layer does to gradients whose y^2 has a given mean r, (size,) each.

    r       E y^2.
    onward  E y'^2 of the layer below.
    memory  how much of a deviation of y^2 is left there.
    e       how much log M grows with y^2.
    gain    how much its mean is above that of log chi^2_N and e (r - 1).
    own     how much its variance is above that of log chi^2_N.
    shared  its covariance with y'^2.
    damped  how much less than log N the mean of log M follows the N of a layer, as a share: t - 1 of E M = N + t - 1.
    """

    r: Array
    onward: Array
    memory: Array
    e: Array
    gain: Array
    own: Array
    shared: Array
    damped: Array

    @property
    def source(self) -> Array:
        """E y'^2 - 1 at y^2 = 1, on the line through r."""
        return self.onward - 1 - self.memory * (self.r - 1)


@dataclass(frozen=True)
class Backward:
    """The backward pass at variances q, (size,): `number` is E N, the others are as in the module's docstring.

    log_scale  log(slope^2 sigma_w2 / n).
    """

    log_scale: float
    number: Array
    alpha: Array
    rho: Array
    theta: Array

    def first(self, size: int) -> Backward:
        """At the first of the variances."""
        return Backward(self.log_scale, *(getattr(self, f.name)[:size] for f in fields(self)[1:]))

    def response(self, r: Array) -> Response:
        """What layers do where E y^2 = r; all from means and variances of X and S."""
        n, alpha, theta, rest = self.number, self.alpha, self.theta, self.rho - self.theta
        t = 1 + alpha * (r - 1)  # E S
        whole = np.maximum(n + t - 1, n / 2)  # E M; fewer units than one have no such expansion
        half = (n - 1 + t * t) / whole**2  # Var M / 2 over its square
        numerator = theta * t + rest
        onward = n * numerator / whole
        return Response(
            r=r,
            onward=onward,
            memory=np.clip(alpha * (n * theta - onward) / whole, -0.5, 1.0),  # outside only for a unit or two
            e=alpha / whole,
            gain=np.log(whole / n) - (t - 1) / whole - half + 1 / n,
            own=2 * half - 2 / n,
            damped=(t - 1) / whole,
            shared=2 * n / whole**2 * (theta * t * t + rest - numerator * half * whole),
        )

    def responses(self, step: Array, depth: int) -> list[Response]:
        """Those of the readout's layer and of the layers below it, until they stay the same; r depends on q alone.

        step  the transition of the variances that are kept.
        """
        total = step.sum(axis=1, keepdims=True)
        upward = step / np.where(total > 1e-9, total, math.inf)  # beyond the end of `step` nothing goes on
        found, r = [self.response(np.ones(len(step)))], np.zeros(len(step))
        while (
            len(found) <= min(depth, _MOST_LAYERS)
            and np.abs(found[-1].onward - r).max() > _SETTLED * found[-1].onward.max()
        ):
            r = found[-1].onward
            found.append(self.response(upward @ r))
        return found


def backward(units: Units, weights: tuple[float, float], width: int, q: Array) -> Backward:
    """The backward pass of units of one slope at the variances q."""
    sigma_w2, sigma_b2 = weights
    one = moments(units, q)
    share = np.clip((q - sigma_b2) / q, 0.0, 1.0)  # of v in q; w given h is normal with mean share h
    slope = units.slope
    assert slope is not None
    return Backward(
        log_scale=math.log(slope * slope * sigma_w2 / width),
        number=width * one.active,
        alpha=one.active_mean / one.mean,
        rho=share * one.input_square / (q * one.active) + 1 - share,
        theta=share * one.input_product**2 / (q * one.active * one.active_mean),
    )


class _Sums(NamedTuple):
    """Measures E[s^i a^j; q]: a is the logarithm so far, s how much it grows with the y^2 of the next layer up."""

    one: Array
    s: Array
    a: Array
    ss: Array
    sa: Array
    aa: Array

    def before(self, at: Response) -> _Sums:
        """With what a layer adds before its variance moves on."""
        one, s, a, ss, sa, aa = self
        aa = aa + 2 * at.gain * a + (at.own + at.gain**2) * one + 2 * at.shared * s
        a, sa = a + at.gain * one, sa + at.gain * s
        e, kept = at.e, at.memory
        return _Sums(one, e * one + kept * s, a, e * e * one + 2 * e * kept * s + kept**2 * ss, e * a + kept * sa, aa)

    def moved(self, steps: Steps, at: Response, mean: Array, noise: Array) -> _Sums:
        """One layer up, with l less the share of it that is damped; the steps are transposed.

        mean   E[l | q], from which N makes l deviate.
        noise  Var[l | q, N], which is not damped.
        """
        one, s, a, ss, sa, aa = self
        kept, back = 1 - at.damped, at.damped * mean
        first = (steps.first @ np.stack([kept * one, kept * s, 2 * (kept * a + back * one)], axis=1)).T
        rest = [one, s, a + back * one, ss, sa + back * s, aa + 2 * back * a + 2 * at.damped * noise * one]
        plain = (steps.one @ np.stack(rest, axis=1)).T
        second = steps.second @ ((1 - 2 * at.damped) * one)
        return _Sums(
            plain[0], plain[1], plain[2] + first[0], plain[3], plain[4] + first[1], plain[5] + first[2] + second
        )

    def after(self, source: Array) -> _Sums:
        """With E y^2 - 1 of the layer reached, where the layer above has y^2 = 1: a grows by s times that."""
        one, s, a, ss, sa, aa = self
        return _Sums(one, s, a + source * s, ss, sa + source * ss, aa + 2 * source * sa + source**2 * ss)

    def normalised(self) -> tuple[float, float, _Sums]:
        """(log of the total, mean of a, the same with total 1 and mean 0)."""
        total = self.one.sum()
        one, s, a, ss, sa, aa = (part / total for part in self)
        mean = a.sum()
        centred = _Sums(one, s, a - mean * one, ss, sa - mean * s, aa - 2 * mean * a + mean * mean * one)
        return math.log(total), float(mean), centred


def gradient_moments(backward: Backward, steps: Steps, start: Array, depth: int) -> tuple[float, float]:
    """(mean, deviation) of log(|g_0|^2 / |g_depth|^2), given that all layers are kept by `steps`; NaN if none are.

    The logarithm of a layer is linear in its y^2, and so is the y^2 of the layer below: so the mean and the square of
    their sum are sums along the chain, from the lowest layer up.
    """
    total = np.maximum(steps.one.sum(axis=1), 1e-300)
    means, noise = steps.first.sum(axis=1) / total, 2 / backward.number
    answers = backward.responses(steps.one, depth)
    onward = Steps(*(csr_array(np.where(np.abs(step) > _NOTHING, step, 0.0).T) for step in steps))
    sums = _Sums(start, *(0 * start for _ in range(5)))
    mean = variance = 0.0
    growth, layer = (math.inf, math.inf, math.inf), 0
    while layer < depth:
        layer += 1
        below, above = (answers[min(depth + k - layer, len(answers) - 1)] for k in (1, 0))
        moved = sums.before(below).moved(onward, below, means, noise)
        if not moved.one.sum() > 1e-300:
            return math.nan, math.nan
        log_total, shift, sums = moved.after(above.source).normalised()
        spread = float(sums.aa.sum())
        last, growth = growth, (log_total, shift, spread - variance)
        mean, variance = mean + shift, spread
        left = depth - layer - len(answers)
        if left > 0 and max(abs(x - y) for x, y in zip(growth, last, strict=True)) <= _SETTLED:
            # The measure is the quasi-stationary one: both go on growing evenly, until the top is near.
            sums = sums._replace(aa=sums.aa + left * growth[2] * sums.one)
            mean, variance, layer = mean + left * shift, variance + left * growth[2], layer + left
    return mean, math.sqrt(max(variance, 0.0))
