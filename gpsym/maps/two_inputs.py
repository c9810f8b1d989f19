"""Maps of two inputs: (u, v) centred normal with variances q1, q2 and correlation rho, the pre-activations of both.

    kernel                 E[phi(u) psi(v)]
    nngp                   sigma_w2 E[phi(u) phi(v)] + sigma_b2
    ntk                    nngp + sigma_w2 E[phi'(u) phi'(v)] theta, theta that of the layer before
    correlation            R = nngp / sqrt(q1 q2), a correlation at fixed points q1, q2 of the variance map
    correlation_slope      dR/drho = sigma_w2 E[phi'(u) phi'(v)]
    correlation_curvature  d^2R/drho^2 = sigma_w2 sqrt(q1 q2) E[phi''(u) phi''(v)], elementary for piecewise linear phi

Derivatives come with their atoms: by Price's theorem, d/drho E[f(u) g(v)] = sqrt(q1 q2) E[f'(u) g'(v)].

Each takes `rho`, the correlation, which may be -1, 0 or 1: every map is elementary there; and `variances`, (q1, q2) if
left out, or (q, q) for two inputs of one variance, as at a fixed point.

Sources: Cho and Saul 2009 (kernels), Poole et al. 2016 (correlation map), Jacot et al. 2018 (NTK).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import sympy as sp

from gpsym.activation import Activation, common
from gpsym.formula import Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, THETA, Formula, Q, X, Y, exact
from gpsym.gaussian import expectation, pair_expectation
from gpsym.piecewise import Piecewise
from gpsym.special import density
from gpsym.stable import stable_pair_expectation

__all__ = [
    "correlation_curvature",
    "correlation_map",
    "correlation_rate",
    "correlation_slope",
    "kernel",
    "nngp",
    "ntk",
]

Variances = tuple[sp.Symbol, sp.Symbol]
_TWO: Variances = (Q1, Q2)


def kernel(phi: Activation, psi: Activation | None = None, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """E[phi(u) psi(v)]; psi = phi if left out."""
    other = psi or phi
    return _formula(
        "kernel",
        r"\kappa(q_1, q_2, \rho)",
        r"\mathbb{E}\left[\phi(u)\,\phi(v)\right]" if other == phi else r"\mathbb{E}\left[\phi(u)\,\psi(v)\right]",
        (phi, other),
        (),
        _double_integral(phi, other, variances),
        lambda expect: expect(0),
        (rho, variances),
        "Cho and Saul 2009, eq. 1",
    )


def nngp(phi: Activation, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """sigma_w2 E[phi(u) phi(v)] + sigma_b2, the kernel one layer on."""
    return _formula(
        "nngp",
        r"K(q_1, q_2, \rho)",
        r"\sigma_w^2\,\mathbb{E}\left[\phi(u)\,\phi(v)\right] + \sigma_b^2",
        (phi, phi),
        (SIGMA_W2, SIGMA_B2),
        SIGMA_W2 * _double_integral(phi, phi, variances) + SIGMA_B2,
        lambda expect: SIGMA_W2 * expect(0) + SIGMA_B2,
        (rho, variances),
        "Lee et al. 2018, eq. 4",
    )


def ntk(phi: Activation, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """nngp + sigma_w2 E[phi'(u) phi'(v)] theta, the neural tangent kernel one layer on; theta is the present one."""
    return _formula(
        "ntk",
        r"\Theta(q_1, q_2, \rho, \theta)",
        r"\sigma_w^2\,\mathbb{E}\left[\phi(u)\,\phi(v)\right] + \sigma_b^2"
        r" + \sigma_w^2\,\mathbb{E}\left[\phi'(u)\,\phi'(v)\right] \theta",
        (phi, phi),
        (SIGMA_W2, SIGMA_B2, THETA),
        SIGMA_W2 * _double_integral(phi, phi, variances)
        + SIGMA_B2
        + SIGMA_W2 * THETA * sp.Derivative(_double_integral(phi, phi, variances), RHO) / _deviations(variances),
        lambda expect: SIGMA_W2 * expect(0) + SIGMA_B2 + SIGMA_W2 * THETA * expect(1),
        (rho, variances),
        "Jacot et al. 2018, theorem 1",
    )


def correlation_map(phi: Activation, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """R(rho) = (sigma_w2 E[phi(u) phi(v)] + sigma_b2) / sqrt(q1 q2).

    The correlation one layer on where q1 and q2 are fixed points of the variance map, as q* is.
    """
    return _formula(
        "correlation",
        r"R(\rho)",
        r"\left(\sigma_w^2\,\mathbb{E}\left[\phi(u)\,\phi(v)\right] + \sigma_b^2\right) / \sqrt{q_1 q_2}",
        (phi, phi),
        (SIGMA_W2, SIGMA_B2),
        (SIGMA_W2 * _double_integral(phi, phi, variances) + SIGMA_B2) / _deviations(variances),
        lambda expect: expect(0, SIGMA_W2 / _deviations(variances)) + SIGMA_B2 / _deviations(variances),
        (rho, variances),
        "Poole et al. 2016, eq. 5",
    )


def correlation_slope(phi: Activation, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """R'(rho) = sigma_w2 E[phi'(u) phi'(v)]; chi_1 at rho = 1 and q1 = q2."""
    return _formula(
        "correlation_slope",
        r"R'(\rho)",
        r"\sigma_w^2\,\mathbb{E}\left[\phi'(u)\,\phi'(v)\right]",
        (phi, phi),
        (SIGMA_W2,),
        SIGMA_W2 * sp.Derivative(_double_integral(phi, phi, variances), RHO) / _deviations(variances),
        lambda expect: SIGMA_W2 * expect(1),
        (rho, variances),
        "Poole et al. 2016, eq. 6",
    )


def correlation_curvature(phi: Activation, rho: Any = RHO, variances: Variances = _TWO) -> Formula:
    """R''(rho) = sigma_w2 sqrt(q1 q2) E[phi''(u) phi''(v)]; elementary for piecewise linear phi."""
    return _formula(
        "correlation_curvature",
        r"R''(\rho)",
        r"\sigma_w^2\,\sqrt{q_1 q_2}\,\mathbb{E}\left[\phi''(u)\,\phi''(v)\right]",
        (phi, phi),
        (SIGMA_W2,),
        SIGMA_W2 * sp.Derivative(_double_integral(phi, phi, variances), (RHO, 2)) / _deviations(variances),
        lambda expect: expect(2, SIGMA_W2 * _deviations(variances)),
        (rho, variances),
        "Price's theorem",
    )


@cache
def correlation_rate(phi: Activation) -> Formula:
    """A = sigma_w2 sum_k c_k^2 p(t_k / sqrt(q)) / (2 sqrt(pi)), c_k the jump of phi' at the knot t_k.

    It is the coefficient of 1 - R(1 - eps) = eps - (4/3) A eps^(3/2) + ... at the edge of chaos, q1 = q2 = q: there
    1 - rho_l ~ (3 / (2 A))^2 / l^2 for layer l.  Infinite where phi jumps.
    """
    (core,) = common(phi)
    squares = (tuple(c * c for c in core.jump(k)[1:2]) for k in range(len(core.knots)))
    atoms = Piecewise(core.ring, core.knots, ((),) * len(core.pieces), tuple(squares))
    bend = sp.Derivative(_double_integral(phi, phi, (Q, Q)), (RHO, 2))
    scale = SIGMA_W2 * sp.sqrt(Q) / (2 * sp.sqrt(sp.pi))  # sqrt(q) times the density of sqrt(q) Z at t is p(t / sqrt q)
    return Formula(
        name="correlation_rate",
        notation="A(q)",
        meaning=r"\lim_{\rho \to 1} \sqrt{1 - \rho}\,R''(\rho)",
        variables=(Q, *phi.parameters, SIGMA_W2),
        conditions=phi.conditions,
        definition=sp.Limit(sp.sqrt(1 - RHO) * SIGMA_W2 * bend / Q, RHO, 1),
        expression=sp.oo if phi.jumps() else expectation(atoms, Q, scale),
        reference="gpsym",
        activations=(phi,),
    )


def _formula(
    name: str,
    notation: str,
    meaning: str,
    pair: tuple[Activation, Activation],
    weights: tuple[sp.Symbol, ...],
    definition: sp.Expr,
    in_terms_of: Callable[[Callable[..., sp.Expr]], sp.Expr],
    at: tuple[Any, Variances],
    reference: str,
) -> Formula:
    """in_terms_of  from expect(n, factor=1), which is factor E[phi^(n)(u) psi^(n)(v)], to the quantity."""
    rho, variances = exact(at[0]), at[1]

    def expression(rho: sp.Expr) -> sp.Expr:
        return in_terms_of(partial(_expectation, pair, variances, rho))

    if rho != RHO and rho not in (-1, 0, 1):
        raise ValueError(f"{name}: need a correlation -1, 0 or 1, or none, got {rho}; use evaluate for other numbers.")
    parameters = dict.fromkeys(p for phi in pair for p in phi.parameters)
    conditions = dict.fromkeys(c for phi in pair for c in phi.conditions)
    return Formula(
        name=name,
        notation=notation,
        meaning=meaning,
        variables=(*dict.fromkeys(variances), *((RHO,) if rho == RHO else ()), *parameters, *weights),
        conditions=(*((1 - RHO**2,) if rho == RHO else ()), *conditions),
        definition=_at(definition, rho),
        expression=expression(rho),
        reference=reference,
        at_rho=expression if rho == RHO else None,
        stably=lambda: in_terms_of(partial(_stable_expectation, pair, variances, rho)),
        activations=pair,
        rho=None if rho == RHO else rho,
    )


def _at(definition: sp.Expr, rho: sp.Expr) -> sp.Expr:
    """The definition at this correlation; at -1 and 1, where there is no joint density, as a limit."""
    if rho == RHO:
        return definition
    return sp.Limit(definition, RHO, rho, "-" if rho == 1 else "+") if abs(rho) == 1 else definition.subs(RHO, rho)


@cache
def _expectation(
    pair: tuple[Activation, Activation], variances: Variances, rho: Any, order: int, factor: sp.Expr = sp.S.One
) -> sp.Expr:
    """factor E[phi^(order)(u) psi^(order)(v)]."""
    f, g = (h.derivative(order) for h in common(*pair))
    return pair_expectation(f, g, variances, rho, factor)


# Up to this correlation, kernels that vanish at rho = 0 are integrals of their derivatives.
_NEAR = sp.Rational(1, 32)


@cache
def _stable_expectation(
    pair: tuple[Activation, Activation], variances: Variances, rho: Any, order: int, factor: sp.Expr = sp.S.One
) -> sp.Expr:
    """The same in `gpsym.stable`'s functions."""
    f, g = (h.derivative(order) for h in common(*pair))
    if abs(rho) == 1 and (f.has_atoms or g.has_atoms):
        return _expectation(pair, variances, rho, order, factor)
    everywhere: Any = factor * stable_pair_expectation(f, g, variances, rho)
    if order or rho != RHO or expectation(f, variances[0]) * expectation(g, variances[1]) != 0:
        return everywhere
    r = sp.Dummy("r", real=True)
    slope = stable_pair_expectation(f.derivative(), g.derivative(), variances, r)
    near = factor * _deviations(variances) * sp.Integral(slope, (r, 0, rho))
    return sp.Piecewise((near, sp.Abs(rho) < _NEAR), (everywhere, True))


@cache
def _double_integral(phi: Activation, psi: Activation, variances: Variances) -> sp.Expr:
    """E[phi(u) psi(v)] as integrals over u of integrals over v given u."""
    q1, q2 = variances
    inner = sp.Add(*_integrals(psi, Y, density(Y, q2 * (1 - RHO**2), RHO * sp.sqrt(q2 / q1) * X)))
    return sp.Add(*_integrals(phi, X, density(X, q1) * inner))


def _deviations(variances: Variances) -> sp.Expr:
    """sqrt(q1 q2)."""
    return sp.sqrt(variances[0]) * sp.sqrt(variances[1])


def _integrals(phi: Activation, x: sp.Symbol, weight: sp.Expr) -> list[sp.Expr]:
    return [
        sp.Integral(sp.Add(*(c * x**n for n, c in enumerate(piece))) * weight, (x, lower, upper))
        for lower, upper, piece in phi.intervals
        if piece
    ]
