"""The theorems on which the designs rest, as laws of any continuous piecewise-linear activation.

V(q) = sigma_w2 E phi^2 + sigma_b2, chi_1 = sigma_w2 E phi'^2 and G = q E phi'^2 - E phi^2, with phi at U = sqrt(q) Z.
An edge of chaos at q* has V(q*) = q* and chi_1(q*) = 1; it exists where sigma_b2 = G(q*) / E phi'^2 >= 0.  The knots t,
the jumps c of phi' there, clips, growths and gaps are those of `gpsym.testing.conditions`.

A law raises Inapplicable where a condition fails that its docstring names, and AssertionError where the theorem fails.
What is named "decided" holds for all q at once.  The rest is seen at variances around the squares of the knots, which
differ from one activation to another, with all digits that the sign of a difference takes, and for activations with
symbols at numbers in their place: negative ones where they may be, and positive ones.

Counterexamples to wider statements are in the docstrings, with numbers that tests certify.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Any

import sympy as sp

from gpsym import maps
from gpsym.activation import Activation
from gpsym.design import edge_of_chaos
from gpsym.formula import RHO, SIGMA_W2, M, Q
from gpsym.members import clipped_relu, identity
from gpsym.numeric import precise
from gpsym.special import density
from gpsym.stability import fixed_points
from gpsym.testing.assertions import Inapplicable, assert_equal, seed_of, specimens
from gpsym.testing.conditions import (
    Condition,
    bends,
    clipped,
    dead_zone,
    has_edge_of_chaos,
    is_dead_zone,
    marginal,
    not_affine,
    not_constant,
    not_homogeneous,
    outward_slopes,
    partial_sums,
    piecewise_linear,
    sign_changes,
)
from gpsym.testing.edges import (
    assert_positive,
    edge_excess,
    edge_gap,
    edges,
    grows_outward,
    mean_square_slope,
    scanned,
    variances,
)
from gpsym.testing.laws import Law

__all__ = ["THEOREM_LAWS", "bend_signs"]


# Fixed points, as multiples of q*, and correlations that are nothing special.
_BELOW = (sp.Rational(1, 50), sp.Rational(1, 2), sp.Rational(999, 1000))
_ABOVE = tuple(1 / ratio for ratio in _BELOW)
_CORRELATIONS = tuple(sp.Rational(n, 100) for n in (-90, 1, 70))


def _under(*conditions: Condition, numbers: bool = True) -> Callable[[Law], Law]:
    """A law that raises Inapplicable where one of the conditions fails; with numbers, if so, in place of symbols."""

    def decorate(law: Law) -> Law:
        @wraps(law)
        def guarded(phi: Activation) -> None:
            if why := piecewise_linear(phi):
                raise Inapplicable(why)
            reasons = []
            for member, where in specimens(phi) if numbers else ((phi, ""),):
                why = next(filter(None, (condition(member) for condition in conditions)), None)
                reasons.append(why and why + where)
                if not why:
                    _at(where, law, member)
            if all(reasons):
                raise Inapplicable(reasons[-1])

        return guarded

    return decorate


def _at(where: str, law: Law, phi: Activation) -> None:
    """The law, whose failures tell where."""
    try:
        law(phi)
    except AssertionError as failure:
        raise type(failure)(f"{failure}{where}") from failure


@_under(numbers=False)
def calculus(phi: Activation) -> None:
    """Theorem 1: V' = chi_1 + sigma_w2 sum of clip N(t; q), and V'' as in `gpsym.testing.conditions`, decided."""
    terms = [(bend, density(bend.knot, Q)) for bend in bends(phi)]
    clips = sp.Add(*(bend.clip * n for bend, n in terms))
    bent = sp.Add(*((bend.growth + bend.clip * (bend.knot**2 / Q - 1)) * n for bend, n in terms))
    slope, gradient, curvature = (quantity(phi).expression for quantity in (maps.slope, maps.chi_1, maps.curvature))
    assert_equal("V' = chi_1 + clips", slope, gradient + SIGMA_W2 * clips)
    assert_equal("V''", curvature, SIGMA_W2 * bent / (2 * Q))


@_under(marginal, numbers=False)
def marginality(phi: Activation) -> None:
    """Theorem 2: V'(q) = chi_1(q) for all q, decided.

    Holds if and only if c phi(t) adds up to zero over the knots at each distance |t|.  That phi is zero at every knot
    is enough, as for ReLU_tau and ST_tau, and not necessary: x + max(0, abs(x) - 1) is 1 and -1 at its knots 1 and -1,
    where its slope jumps by 1.  Hard tanh is no such function: V'(1) - chi_1(1) = -2 p(1) = -0.4839 at sigma_w2 = 1.
    """
    assert_equal("V' = chi_1", maps.slope(phi).expression, maps.chi_1(phi).expression)


@_under(marginal, not_homogeneous, has_edge_of_chaos)
def instability(phi: Activation) -> None:
    """Theorem 3: where V' = chi_1, at every edge of chaos V(q) > q for all q != q*, and V'' > 0 for q >= q*.

    So q* attracts from below only.  For marginal phi q V'' = sigma_w2 G', and 2 q G' >= G > 0 from q* on; a fixed
    point below q* would have V' = chi_1 < 1 (`chaos_above`), and two such points have one with V' >= 1 between them.

    V'' > 0 for all q where the partial sums of growth, from the nearest knots on, are not negative; phi(0) = 0 is
    enough for that.  Without: ReLU_(-1) has V'' < 0 everywhere, V''(1) = -p(1) / 2 = -0.1210 at sigma_w2 = 1, and no
    edge of chaos; max(0, x + 1) + 3 max(0, -x - 3) has V'' < 0 below q = 1.2137, and edges of chaos from 3.7565 on.
    """
    convex = all(total >= 0 for total in partial_sums(bend.growth for bend in bends(phi)))
    curvature = maps.curvature(phi).expression.subs(SIGMA_W2, 1)
    for q in edges(phi):
        for ratio in (*_BELOW, *_ABOVE):
            assert_positive("V(q) - q", edge_excess(phi, ratio), {Q: q})
            if ratio > 1 or convex:
                assert_positive("V''", curvature, {Q: q * ratio})


@_under(not_constant)
def existence(phi: Activation) -> None:
    """Theorem 4: an edge of chaos exists at q* if and only if q* >= some q_0, and q_0 = 0 if and only if phi(0) = 0.

    2 q G' = G + E[(phi - U phi')^2], decided: so G / sqrt(q) increases.  G(0) = -phi(0)^2, and where phi(0) = 0, G is
    the mean of x integral_0^x phi'^2 - phi(x)^2 >= 0 (Cauchy and Schwarz).  It is 0 throughout for phi = c x for x > 0
    and d x for x < 0, where sigma_b2 = 0.  q_0 is infinite if and only if the gaps of the bends add up to 0 or less,
    and phi is none of those.

    The least counterexample to "exists at every q*" has no knot: x + 1, for which G = -1 at every q*.  ReLU_(-1) needs
    sigma_b2 = -1.2876 at q* = 1, and nowhere less than 0.  Hard sigmoid, with phi(0) = 1/2, has q_0 = 47.2737.
    """
    gap, rest = edge_gap(phi), phi - identity() * phi.derivative().function
    assert_equal("2 q G'", 2 * Q * sp.diff(gap, Q), gap + maps.second_moment(rest).expression)
    if not_homogeneous(phi):
        assert_equal("G", gap, sp.S.Zero)
        return
    least = (phi(0) / (4 * max(abs(slope) for side in (-1, 1) for *_, slope in outward_slopes(phi, side)))) ** 2
    if phi(0) != 0:
        # There |phi - phi(0)| <= |phi(0) Z| / 4, so E phi^2 >= phi(0)^2 / 4 and q E phi'^2 <= phi(0)^2 / 16.
        assert_positive("-G next to 0", -gap, {Q: least})
    exists = has_edge_of_chaos(phi) is None
    for q in edges(phi) if exists else variances(phi):
        assert_positive("G" if exists else "-G", gap if exists else -gap, {Q: q})


@_under(clipped)
def stability_by_clipping(phi: Activation) -> None:
    """Theorem 5: where sum of clip over |t| <= s is <= 0 for all s and < 0 for one, V'(q*) < 1 at every edge of chaos.

    At any edge of chaos V'(q*) = 1 + sum of clip N(t; q*) / E phi'^2, and V'(q*) > -1/2, since V' is sigma_w2
    E[phi^2 (Z^2 - 1)] / (2 q).  V' > 0 where |phi| does not fall with the distance from zero.  So the one sum decides:
    it is 0 for marginal phi, and q* attracts where it is negative and repels where it is positive.

    A knot with c phi(t) > 0 that no nearer one outweighs makes q* repel: max(x, 2 x - 1) has V'(1) = 1.1639 at the edge
    of chaos at 1.  max(0, min(x, 2 - x)), which falls, has V'(1) = -0.0140 there.
    """
    slope, gradient = maps.slope(phi).expression.subs(SIGMA_W2, 1), mean_square_slope(phi)
    for q in variances(phi):
        assert_positive("1 - V'", gradient - slope, {Q: q})
        if precise(edge_gap(phi), {Q: q}) >= 0:
            assert_positive("V' + 1/2", slope + gradient / 2, {Q: q})
        if grows_outward(phi):
            assert_positive("V'", slope, {Q: q})


@_under(is_dead_zone)
def design_is_a_bijection(phi: Activation) -> None:
    """Theorem 6: clipped at |x| = tau + m, V'(q*) at the edge of chaos increases in m from 0 to 1; design inverts it.

    For phi that is 0 up to |x| = tau >= 0 and linear from there on: it is 1 - m p(b) / (sqrt(q*) (Q(a) - Q(b))),
    whatever the two slopes; whether phi itself is clipped does not matter.  The edge of chaos exists by theorem 4.

    With thresholds that differ it fails: max(0, x - 1) + 4 max(0, -x - 2), clipped at |x| = 2.01, 2.25 and 2.5, has
    V'(1) = 0.5730, 0.4707 and 0.6008 at the edge of chaos at 1: two clip levels have one slope.
    """
    zone = dead_zone(phi)
    assert zone is not None
    side = clipped_relu(zone.tau, M)
    family = side * zone.right - side.affine(-1) * zone.left
    gradient, slope = mean_square_slope(family), maps.slope(family).expression.subs(SIGMA_W2, 1)
    for q in variances(phi):
        levels = [float(sp.sqrt(q)) * ratio for ratio in (1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0)]
        missing = [precise(1 - slope / gradient, {Q: q, M: m}) for m in levels]  # to slope 1
        assert all(high > low for high, low in pairwise(missing)), f"1 - V'({q}) must fall with m, got {missing}"
        # V' is a m / 2 next to m = 0, a = tau / sqrt(q*) < 3, and 1 - V' < 20 p(20) / Q(3) where m is 20.
        assert 0.99 < missing[0] < 1, f"V'({q}) must tend to 0 with m, got 1 - {missing[0]}"
        assert 0 < missing[-1] < 1e-80, f"V'({q}) must tend to 1 with m, got 1 - {missing[-1]}"
        wanted = random.Random(seed_of(phi)).uniform(0.05, 0.95)
        design = edge_of_chaos(family, slope=wanted, q_star=float(q))
        # m has 53 bits, and m dV'/dm is below 10.
        assert abs(design.slope - wanted) < 1e-14, f"the design for slope {wanted} has slope {design.slope}"


@_under(not_affine)
def shape(phi: Activation) -> None:
    """Theorem 7, first part: V has at most as many inflections as `bend_signs` changes sign, V - q two zeros more.

    V'' is w^(3/2) times the Laplace transform, in w = 1 / q, of point masses and their derivatives at t^2 / 2.  It has
    no more zeros than their sum from the left has changes of sign (variation diminishes), here taken from bend to bend.
    CReLU and CST have one change for tau > 0 and none for tau = 0: V is convex and then concave, and has at most three
    fixed points.

    Each further clip level may add two: min(max(0, x - 1), 2) + min(max(0, x - 6), 8) has three changes, and its V at
    the edge of chaos at 1 has five fixed points: 1, 1.2923, 3.0351, 34.4734 and 94.3225.
    """
    changes, curvature = sign_changes(bend_signs(phi)), maps.curvature(phi).expression.subs(SIGMA_W2, 1)
    scan = scanned(phi)
    seen = sign_changes(precise(curvature, {Q: q}, 5) for q in scan)
    assert seen <= changes, f"V'' must change sign at most {changes} times, got {seen}"
    for q in edges(phi)[:1] if has_edge_of_chaos(phi) is None else ():
        # A zero of V - q at q* itself has no sign: its neighbours show it.
        ratios = [point / q for point in scan]
        crossings = sign_changes(precise(edge_excess(phi, ratio), {Q: q}, 5) for ratio in ratios)
        assert crossings <= changes + 2, f"V - q must change sign at most {changes + 2} times, got {crossings}"


def bend_signs(phi: Activation) -> tuple[sp.Expr, ...]:
    """Numbers whose sign changes bound the zeros of V'': for each bend clip t^2, then the sum of growth - clip."""
    sums = partial_sums(bend.growth - bend.clip for bend in bends(phi))
    return tuple(n for bend, total in zip(bends(phi), sums, strict=True) for n in (bend.clip * bend.knot**2, total))


@_under(clipped, has_edge_of_chaos)
def lowest_fixed_point(phi: Activation) -> None:
    """Theorem 7, second part: where V' < chi_1 as in theorem 5, V(q) > q below q* at every edge of chaos.

    A fixed point below q* has chi_1 < 1 (`chaos_above`), so V' < 1 there; two neighbours with V' < 1 do not exist.

    max(x, 2 x - 1), where V' > chi_1, has a fixed point at 0.1834 besides the edge of chaos at 1.
    """
    for q in edges(phi):
        for ratio in _BELOW:
            assert_positive("V(q) - q", edge_excess(phi, ratio), {Q: q})


@_under(not_homogeneous, has_edge_of_chaos)
def chaos_above(phi: Activation) -> None:
    """Theorem 7, third part: at an edge of chaos every fixed point above q* has chi_1 > 1, and every one below < 1.

    At a fixed point f it is f (chi_1 - 1) = sigma_w2 (G(f) - G(q*)), and G(q*) >= 0 where the edge exists.  As
    G / sqrt(q) increases (theorem 4), G is greater than that above q*, less below.  No clip is needed, nor phi(0) = 0.
    """
    gap = edge_gap(phi)
    for q in edges(phi):
        for ratio in (*_BELOW, *_ABOVE):
            difference: Any = gap.subs(Q, ratio * Q) - gap
            assert_positive("G(f) - G(q*) above, its opposite below", difference if ratio > 1 else -difference, {Q: q})
    for point in fixed_points(design := edge_of_chaos(phi, q_star=float(edges(phi)[0]))):
        above = point.q > design.q_star
        assert point.q == design.q_star or (point.chi_1 > 1) == above, f"chi_1 at a fixed point of {design}: {point}"


@_under(not_affine)
def correlation(phi: Activation) -> None:
    """Theorem 8, first part: with V(q*) = q*, chi_1(q*) = 1, R'' > 0 on (0, 1) and R(rho) > rho on [-1, 1).

    R = sum of b_n rho^n with b_n >= 0 for n > 0 (squares of Hermite coefficients), sum of b_n = sum of n b_n = 1, so
    b_0 = sum over n > 1 of (n - 1) b_n > 0; sigma_b2 may be negative.  For affine phi R(rho) = rho.
    """
    kernel, second = maps.kernel(phi, variances=(Q, Q)).expression, maps.second_moment(phi).expression
    above = kernel - second + (1 - RHO) * Q * mean_square_slope(phi)
    bend = maps.correlation_curvature(phi, variances=(Q, Q)).expression.subs(SIGMA_W2, 1)
    q = variances(phi)[0]
    for rho in _CORRELATIONS:
        assert_positive("R(rho) - rho", above, {Q: q, RHO: rho})
        if rho > 0:
            assert_positive("R''(rho)", bend, {Q: q, RHO: rho})


@_under(not_affine)
def decorrelation(phi: Activation) -> None:
    """Theorem 8, second part: 1 - R(1 - eps) = eps - (4/3) A eps^(3/2) + O(eps^(5/2)), A = `maps.correlation_rate`.

    A > 0, so that 1 - rho_l ~ (3 / (2 A))^2 / l^2 for layer l.  Seen at an eps 1e-4 times the square of the least
    distance of two knots, in units of q*: pairs of different knots count e^(-2500) there.
    """
    gaps = [float(right - left) for left, right in pairwise(phi.knots)]
    for q in variances(phi)[:1]:
        eps = sp.Rational(10) ** -4 * sp.Rational(min([1.0, *(gap**2 / float(q) for gap in gaps)]))
        kernel, second = maps.kernel(phi, variances=(Q, Q)).expression, maps.second_moment(phi).expression
        point, gradient = {Q: q, RHO: 1 - eps}, mean_square_slope(phi)
        excess = (kernel - second) / (Q * gradient) + 1 - RHO
        got = precise(excess, point, 8) / float(eps) ** 1.5
        expected = precise(4 * maps.correlation_rate(phi).expression.subs(SIGMA_W2, 1) / (3 * gradient), {Q: q})
        # The next term is less than (t^2 / q + 1) eps / 4 of this one, and t^2 <= 9 q.
        assert abs(got - expected) <= 4 * float(eps) * expected, (
            f"coefficient of eps^(3/2): got {got}, expected {expected}"
        )


@_under(numbers=False)
def scale_invariance(phi: Activation) -> None:
    """Theorem 9: c phi(x / c) at c^2 q has V', chi_1, c^2 V'', sparsity, E phi^2 / c^2 and R of phi at q, decided.

    So sigma_w2 at the edge of chaos stays, sigma_b2 and q* become c^2 times themselves, and so do all fixed points.
    """
    c: Any = sp.Rational(3, 2)  # a Rational times an activation is an activation, which its own types do not know
    larger = c * phi.affine(1 / c)
    quantities: tuple[tuple[Callable[..., Any], Any], ...] = (
        (maps.slope, 1),
        (maps.chi_1, 1),
        (maps.curvature, c**2),
        (maps.sparsity, 1),
        (maps.second_moment, c**-2),
        (lambda f: maps.kernel(f, variances=(Q, Q)), c**-2),
    )
    for quantity, factor in quantities:
        there: Any = quantity(larger).expression
        assert_equal(quantity(phi).name, factor * there.subs(Q, c**2 * Q), quantity(phi).expression)


THEOREM_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        calculus,
        marginality,
        instability,
        existence,
        stability_by_clipping,
        design_is_a_bijection,
        shape,
        lowest_fixed_point,
        chaos_above,
        correlation,
        decorrelation,
        scale_invariance,
    )
}
