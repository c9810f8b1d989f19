"""Equality of two closed forms, decided in a normal form.

Their difference becomes a Laurent polynomial with rational coefficients in generators, reduced by their relations:

    symbols, pi            as they are
    square roots           r^2 = a prime, an irreducible polynomial of known sign (by default abs(rho) < 1 is taken
                           for known), or a product of irreducible ones
    denominators           one inverse for each irreducible factor, roots moved to the numerator; one for the whole
                           where it holds other functions
    exponentials           powers of exp(b), b in a basis of the group that all exponents generate: one law for
                           exp(b) exp(c) = exp(b + c), whatever form the exponents have
    erfc, asin             one for each argument up to sign; erf = 1 - erfc, TailMoment and tails through erfc
    BivariateTail          L(h, k; rho) with h and k up to sign and order: L(h, k; rho) + L(h, -k; -rho) = P(X > h)
    anything else          opaque: one for each function and arguments in normal form

Each rule is an identity of real functions where both sides are real and finite.  So a normal form of zero proves
equality there (`Equal`), whatever the generators are.

A nonzero one proves nothing alone: `Different` has a witness, a point at which balls around both sides show that they
differ; else the answer is `Undecided`.  A function that jumps (sign, Heaviside, floor, the conditions of Piecewise) has
its value at the jump only where the distance to the jump has normal form zero; else nothing is said.

For expressions made of rational functions of symbols, pi,
square roots, exp, erf, erfc and TailMoment of such functions, equality always means `Equal`, with the exceptions
below: there the generators are independent.  Square roots of irreducible polynomials and primes are (Kummer);
exponentials whose exponents are linearly independent over Q modulo constants are (Ax 1971); and erfc's of arguments
that differ up to sign, over those (Kolchin 1968, Ostrowski's theorem).

What it does not know:
- relations between numbers.  Whether e, pi and erfc(1) are algebraically independent is open; that asin(3/5) +
  asin(4/5) = pi/2 is true and not seen;
- square roots that share irreducible factors of unknown sign, nested roots, roots of other orders;
- relations between values of asin or of L at arguments that differ more than in sign and order, such as
  asin(1 - 2 rho^2) = pi/2 - 2 asin(rho) for rho >= 0;
- what lies in opaque functions such as Max, or in integrals, which are not evaluated.
"""

from __future__ import annotations

import numbers
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from math import lcm
from typing import Any, final

import sympy as sp
from flint import arb, ctx, fmpq
from sympy.concrete.expr_with_limits import ExprWithLimits
from sympy.core.evalf import PrecisionExhausted
from sympy.core.relational import Relational

from gpsym.formula import exact
from gpsym.laurent import (
    ONE,
    Fraction,
    Laurent,
    Monomial,
    add,
    by_powers,
    coprime,
    factors,
    from_ring,
    in_ring,
    lattice,
    power,
    product,
    scaled,
)
from gpsym.limits import shown
from gpsym.numeric.points import ball_at
from gpsym.special import BivariateTail, TailMoment, tail
from gpsym.verdicts import Different, Equal, Undecided

__all__ = ["Different", "Equal", "Sign", "Undecided", "declared_sign", "equal", "normal_form"]

Sign = Callable[[Any], int]
_JUMPS = (sp.sign, sp.Heaviside, sp.floor, sp.ceiling, sp.frac, sp.Mod)


def declared_sign(expression: Any) -> int:
    """1 for >= 0 and -1 for <= 0 where SymPy or a symbol named rho, in (-1, 1), says so; 0 where it is not known."""
    correlations = [symbol for symbol in expression.atoms(sp.Symbol) if str(symbol) == "rho"]
    positive: list[Any] = [1 + s * rho for rho in correlations for s in (1, -1)]
    if expression.is_nonnegative or expression in positive:
        return 1
    return -1 if expression.is_nonpositive or sp.expand(-expression) in positive else 0


def equal(left: Any, right: Any = 0, sign: Sign = declared_sign) -> Equal | Different | Undecided:
    """Whether two closed forms are the same function of their symbols.

    left, right  SymPy expressions or exact numbers; symbols are real as far as they do not say otherwise, and those
                 named rho lie in (-1, 1).
    sign         says of an expression 1 if it is >= 0, -1 if it is <= 0, and 0 if neither is known; roots of products
                 are taken apart by it.

    Raises ValueError for what is no expression.

    >>> q, tau = sp.Symbol("q", positive=True), sp.Symbol("tau", real=True)
    >>> equal(tail(tau / sp.sqrt(q)) + tail(-tau / sp.sqrt(q)), 1)
    Equal()
    >>> equal(sp.exp(q) * sp.exp(-tau), sp.exp(q + tau))
    Different(witness={'q': '3/7', 'tau': '4'}, difference='-83.783')
    >>> equal(sp.Integral(sp.exp(-(tau**2)), tau), sp.sqrt(sp.pi) * sp.erf(tau) / 2)
    Undecided(why='Integral is not evaluated', where={})
    """
    left, right = _expression(left), _expression(right)
    if left == right and left is not sp.nan:
        return Equal()
    tower = _Tower(sign)
    try:
        zero = not tower.numerator(add(tower.read(left), scaled(tower.read(right), -1)))
    except _RefusedError as refusal:
        return Undecided(str(refusal))
    except PrecisionExhausted:
        return Undecided("SymPy does not tell an argument from a whole number")
    if zero:
        return Equal()
    if tower.unevaluated:
        return Undecided(f"{', '.join(sorted(tower.unevaluated))} is not evaluated")
    return _witness(left, right, partial(_is_zero, sign))


def normal_form(expression: Any, sign: Sign = declared_sign) -> sp.Expr:
    """The expression as a quotient in the generators, 0 exactly if its normal form is zero; `sign` as in `equal`.

    Raises ValueError for what has no exact finite value: floats, infinities, a division by zero.

    >>> rho = sp.Symbol("rho", real=True)
    >>> normal_form(1 / sp.sqrt(1 - rho**2) - (1 + rho**2 / (1 - rho**2)) * sp.sqrt(1 - rho) * sp.sqrt(1 + rho))
    0
    >>> normal_form(sp.exp(rho) * sp.exp(-rho / 2) + sp.exp(rho))
    exp(rho/2) + exp(rho)
    """
    tower = _Tower(sign)
    numerator, denominator = tower.cleared(tower.read(_expression(expression)))
    independent = tower.with_independent_exponentials(numerator)
    return tower.expression(independent) / tower.expression(denominator)


def _is_zero(sign: Sign, expression: sp.Expr) -> bool:
    """Whether the normal form is zero."""
    tower = _Tower(sign)
    try:
        return not tower.numerator(tower.read(expression))
    except (_RefusedError, PrecisionExhausted):
        return False


def _expression(given: Any) -> sp.Expr:
    if isinstance(given, sp.Expr):
        return given
    if isinstance(given, numbers.Rational) and not isinstance(given, bool):
        return exact(given, "equal")
    raise ValueError(f"equal: need SymPy expressions or numbers, got {shown(given, repr)}; pass such.")


class _RefusedError(ValueError):
    """What came has no normal form; the message says why."""


@dataclass(frozen=True)
class _Generator:
    """A number or function; if degree > 0, its power of this degree is `value`, in generators before it."""

    expression: sp.Expr
    degree: int = 0
    value: Laurent | None = None
    exponent: Fraction | None = None  # of an exponential


@final
class _Tower:
    """The generators met so far, and what expressions are in them."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self.unevaluated: set[str] = set()
        self._generators: list[_Generator] = []
        self._places: dict[sp.Expr, int] = {}
        self._read: dict[sp.Expr, Laurent] = {}

    # From expressions to polynomials.

    def read(self, e: Any) -> Laurent:
        """The expression as a Laurent polynomial, not yet reduced."""
        if e not in self._read:
            self._read[e] = self._read_new(e)
        return self._read[e]

    def _read_new(self, e: Any) -> Laurent:
        if e.is_Rational:
            return {(): sp.QQ(e.p, e.q)} if e else {}
        if e.is_Float or e in (sp.nan, sp.zoo, sp.oo, -sp.oo):
            raise _RefusedError(f"need exact finite numbers, got {e}")
        if e.is_Add:
            return add(*map(self.read, e.args))
        if e.is_Mul:
            return reduce(product, map(self.read, e.args))
        if isinstance(e, (sp.exp, sp.core.numbers.Exp1)):
            return self._exponential(e.as_base_exp()[1])
        if e.is_Pow and e.exp.is_Rational and e.exp.q <= 2:
            return self._to_power(self.read(e.base) if e.exp.q == 1 else self._root(e.base), e.exp.p)
        return self._function(e)

    def _function(self, e: Any) -> Laurent:
        if isinstance(e, sp.erf):
            return add(ONE, scaled(self.read(sp.erfc(e.args[0], evaluate=False)), -1))
        if isinstance(e, sp.acos):
            return self.read(sp.pi / 2 - sp.asin(e.args[0], evaluate=False))
        if isinstance(e, (sp.erfc, sp.asin)):
            sign, argument = self._signed(e.args[0])
            generator = self._new(e.func(argument, evaluate=False)) if argument else self.read(e.func(argument))
            return generator if sign > 0 else add(scaled(ONE, 2 * isinstance(e, sp.erfc)), scaled(generator, -1))
        if isinstance(e, TailMoment) and e.args[0].is_Integer:
            return self.read(e.rewrite(sp.erfc))
        if isinstance(e, sp.Piecewise):
            return self._piecewise(e)
        return self._bivariate_tail(*e.args) if isinstance(e, BivariateTail) else self._opaque(e)

    def _opaque(self, e: Any) -> Laurent:
        if isinstance(e, (ExprWithLimits, sp.Derivative, sp.Limit, sp.Subs)):
            self.unevaluated.add(type(e).__name__)
        elif e.args and all(isinstance(argument, sp.Expr) for argument in e.args):
            normal = self._of_normal_arguments(e)
            return self._new(normal) if normal.func == e.func else self.read(normal)
        return self._new(e)

    def _of_normal_arguments(self, e: Any) -> Any:
        arguments: list[Any] = [self._normal(argument) for argument in e.args]
        if isinstance(e, _JUMPS) and not all(argument.is_Rational for argument in arguments):
            return e.func(*arguments, evaluate=False)  # SymPy rounds what is near a whole number
        try:
            return e.func(*arguments)
        except (PrecisionExhausted, ValueError) as error:  # by SymPy, where it does not tell an argument from a knot
            raise _RefusedError(f"SymPy does not decide {e.func} of its arguments: {error}") from error

    def _piecewise(self, e: Any) -> Laurent:
        """The first piece whose condition holds; opaque, if that is not seen."""
        for value, condition in e.args:
            holds = self._holds(condition)
            if holds is None:
                break
            if holds:
                return self.read(value)
        return self._opaque(e)

    def _holds(self, condition: Any) -> bool | None:
        if isinstance(condition, Relational):
            left, right = map(self.read, condition.args)
            return None if self.numerator(add(left, scaled(right, -1))) else bool(condition.func(0, 0))
        return True if condition == sp.true else None

    def _new(self, expression: sp.Expr, **relation: Any) -> Laurent:
        """The generator that this expression names, made on first sight."""
        place = self._places.setdefault(expression, len(self._generators))
        if place == len(self._generators):
            self._generators.append(_Generator(expression, **relation))
        return {((place, 1),): sp.QQ(1)}

    def _exponential(self, exponent: sp.Expr) -> Laurent:
        fraction = self._fraction(self.read(exponent))
        return self._new(sp.exp(self._quotient(fraction), evaluate=False), exponent=fraction) if fraction[0] else ONE

    def _bivariate_tail(self, h: Any, k: Any, rho: Any) -> Laurent:
        """L(s h, t k; rho) for s, t = -1 or 1, through L(h, k; s t rho)."""
        (s, h), (t, k), (sign, size) = map(self._signed, (h, k, rho))
        if (h.is_zero or k.is_zero) and s * t * sign < 0:
            s, t = (-s, t) if h.is_zero else (s, -t)
        inner = BivariateTail(h, k, s * t * sign * size)
        known = self._new(inner) if isinstance(inner, BivariateTail) else self.read(inner)
        whole: Any = {(1, 1): sp.S.Zero, (1, -1): tail(h), (-1, 1): tail(k), (-1, -1): 1 - tail(h) - tail(k)}
        return add(self.read(whole[s, t]), scaled(known, s * t))

    def _to_power(self, p: Laurent, n: int) -> Laurent:
        return power(p, n) if n >= 0 else power(self._inverse(p), -n)

    def _inverse(self, p: Laurent) -> Laurent:
        if len(p) == 1:
            return power(p, -1)
        if not self.numerator(p):
            raise _RefusedError("a division by zero")
        p, result = self.cleared(p)
        generators = (self._generators[g] for monomial in p for g, _ in monomial)
        if any(not g.degree and not g.expression.is_Atom for g in generators):
            # Only arguments need one form, and roots of many generators would take a product of all conjugates.
            return product(result, power(self._new(self.expression(p), degree=1, value=p), -1))
        for g in sorted({g for monomial in p for g, _ in monomial if self._generators[g].degree == 2}, reverse=True):
            # The factor with -r in place of r leaves r^2 alone.
            conjugate = {m: -c if (g, 1) in m else c for m, c in p.items()}
            p, result = self.cleared(product(p, conjugate))[0], product(result, conjugate)
        if not p:
            raise _RefusedError("a division by what may be zero")
        c, parts = factors(p)
        units = [power(f if len(f) == 1 else self._new(self.expression(f), degree=1, value=f), -e) for f, e in parts]
        for unit in ({(): 1 / c}, *units):
            result = product(result, unit)
        return result

    def _root(self, base: sp.Expr) -> Laurent:
        """sqrt(base), a product of roots of irreducible factors where their signs are known.

        The others have a positive product, or the root were not real: the root of that is one generator.
        """
        fraction = self._fraction(self.read(base))
        if not fraction[0]:
            return {}
        (c, above), (d, below) = map(factors, fraction)
        c, result, unknown = c / d, ONE, []
        for f, e in (*above, *((f, -e) for f, e in below)):
            sign = self._sign(self.expression(f))
            if sign:
                c, result = c * sign ** abs(e), product(result, power(self._simple_root(scaled(f, sign)), e))
            else:
                unknown.append((f, e))
        powers = {e for _, e in unknown if e % 2}
        nested = any(self._generators[g].degree for f, _ in unknown for monomial in f for g, _ in monomial)
        if nested or len(powers) > 1 or any(e % 4 == 2 for _, e in unknown) or (c < 0 and not powers):
            return self._new(sp.Pow(self._quotient(fraction), sp.S.Half, evaluate=False))
        for f, e in unknown:
            result = result if e % 2 else product(result, self._to_power(f, e // 2))
        for e in powers:
            radicand: Laurent = {(): sp.QQ(1 if c > 0 else -1)}
            for f in (f for f, exponent in unknown if exponent == e):
                radicand = product(radicand, f)
            result = product(result, power(self._simple_root(radicand), e))
        return product(result, self._rational_root(abs(c)))

    def _rational_root(self, c: Any) -> Laurent:
        p, q = int(c.numerator), int(c.denominator)
        result: Laurent = {(): sp.QQ(1, q)}
        for prime, e in sp.factorint(p * q).items():
            result = product(result, power(self._simple_root({(): sp.QQ(prime)}), e))
        return result

    def _simple_root(self, radicand: Laurent) -> Laurent:
        return self._new(sp.Pow(self.expression(radicand), sp.S.Half, evaluate=False), degree=2, value=radicand)

    # Normal forms.

    def numerator(self, p: Laurent) -> Laurent:
        """What vanishes exactly if p has normal form zero."""
        return self.with_independent_exponentials(self.cleared(p)[0])

    def cleared(self, p: Laurent) -> Fraction:
        """(numerator, denominator) without negative exponents, all relations used, no roots in the denominator."""
        denominator = ONE
        for g in reversed(range(len(self._generators))):
            parts, generator = by_powers(p, g), self._generators[g]
            degree, value = generator.degree or 1, generator.value or {((g, 1),): sp.QQ(1)}
            times = -min((e // degree for e in parts), default=0)
            if times > 0:
                denominator = product(denominator, power(value, times))
            if times > 0 or (generator.degree and parts.keys() != {0}):
                times = max(times, 0)
                terms = []
                for e, c in parts.items():
                    whole, rest = divmod(e, degree)
                    terms.append(product(product({((g, rest),) if rest else (): 1}, c), power(value, whole + times)))
                p = add(*terms)
        return p, denominator

    def with_independent_exponentials(self, p: Laurent) -> Laurent:
        """Exponentials as monomials in those of a basis of the group of their exponents."""
        places = sorted({g for monomial in p for g, _ in monomial if self._generators[g].exponent})
        fractions: list[Any] = [self._generators[g].exponent for g in places]
        if not fractions:
            return p
        used, elements = in_ring(*(side for fraction in fractions for side in fraction))
        common = elements[1]
        for denominator in elements[3::2]:
            common = common.lcm(denominator)
        numerators = [n * common.exquo(d) for n, d in zip(elements[::2], elements[1::2], strict=True)]
        scale = lcm(*(int(c.denominator) for n in numerators for c in n.values()))
        basis, coordinates = lattice([{m: int(c * scale) for m, c in n.terms()} for n in numerators])
        bottom = from_ring(common * scale, used)
        tops = [from_ring(common.ring.from_dict({m: sp.QQ(c) for m, c in b.items()}), used) for b in basis]
        new = [self._exponential_of(coprime((top, bottom))) for top in tops]
        monomials = {g: [power(new[j], n) for j, n in row.items()] for g, row in zip(places, coordinates, strict=True)}
        return add(*(self._replaced(monomial, c, monomials) for monomial, c in p.items()))

    def _exponential_of(self, exponent: Fraction) -> Laurent:
        return self._new(sp.exp(self._quotient(exponent), evaluate=False), exponent=exponent)

    def _replaced(self, monomial: Monomial, c: Any, by: dict[int, list[Laurent]]) -> Laurent:
        result: Laurent = {tuple(pair for pair in monomial if pair[0] not in by): c}
        for g, e in monomial:
            for factor in by.get(g, ()):
                result = product(result, power(factor, e))
        return result

    def _fraction(self, p: Laurent) -> Fraction:
        return coprime(self.cleared(p))

    def _normal(self, e: sp.Expr) -> sp.Expr:
        return self._quotient(self._fraction(self.read(e)))

    def _signed(self, e: Any) -> tuple[int, sp.Expr]:
        """(sign, argument) with e = sign * argument, the same argument for e and -e."""
        numerator, denominator = self._fraction(self.read(e))
        sign = -1 if numerator and numerator[min(numerator)] < 0 else 1
        return sign, self._quotient((scaled(numerator, sign), denominator))

    # Back to expressions.

    def _quotient(self, fraction: Fraction) -> sp.Expr:
        numerator, denominator = map(self.expression, fraction)
        return numerator / denominator

    def expression(self, p: Laurent) -> sp.Expr:
        """The polynomial as an expression."""
        terms = sorted(p.items())
        powers = ((sp.QQ.to_sympy(sp.QQ(c)), [self._generators[g].expression ** e for g, e in m]) for m, c in terms)
        return sp.Add(*(sp.Mul(c, *factors) for c, factors in powers))


# Witnesses.

_POINTS = 20  # tried before giving up
_PRECISIONS = (64, 256, 1024)  # bits; the finer ones see subtle differences, such as one of 10^-300
_MOST_BITS_OF_TAILS = 256  # with more, an integral of a bivariate tail takes seconds
_AGREEMENT = 10**6  # a difference is this many times the radius of its ball


def _witness(left: sp.Expr, right: sp.Expr, is_zero: Callable[[Any], bool]) -> Different | Undecided:
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    rng = random.Random(0)
    points = [{symbol: _small_number(symbol, rng) for symbol in symbols} for _ in range(_POINTS if symbols else 1)]
    tails = left.has(BivariateTail) or right.has(BivariateTail)
    for bits in (bits for bits in _PRECISIONS if bits <= _MOST_BITS_OF_TAILS or not tails):
        for point in points:
            difference = None if None in point.values() else _difference(left, right, point, bits, is_zero)
            if difference is not None:
                return Different({str(s): str(number) for s, number in point.items()}, str(difference))
    return Undecided(f"the normal form is not zero, but no difference is seen at {len(points)} points")


def _small_number(symbol: Any, rng: random.Random) -> Any:
    """A small rational that meets what the symbol declares, if one is found; one named rho is in (-1, 1)."""
    assumptions = {name: value for name, value in symbol.assumptions0.items() if name != "commutative"}
    for _ in range(100):
        is_correlation = str(symbol) == "rho"
        number = (
            sp.Rational(rng.randint(-6, 6), 7) if is_correlation else sp.Rational(rng.randint(-9, 9), rng.randint(1, 7))
        )
        if all(getattr(number, f"is_{name}") == value for name, value in assumptions.items()) and number != 0:
            return number
    return None


def _difference(left: sp.Expr, right: sp.Expr, point: dict[Any, Any], bits: int, is_zero: Callable[[Any], bool]) -> Any:
    """left - right at the point, to five digits, if both are real there and balls show that it is not 0."""
    with ctx.workprec(bits):
        box = {symbol: arb(fmpq(int(number.p), int(number.q))) for symbol, number in point.items()}
        ball = ball_at(left, box, is_zero) - ball_at(right, box, is_zero)
        if not ball.is_finite() or ball.contains(0) or ball.rad() * _AGREEMENT > ball.abs_lower():
            return None
        return sp.Float(ball.mid().str(10, radius=False), 5)
