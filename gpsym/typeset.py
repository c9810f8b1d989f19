"""Formulas as a paper sets them: MathML and LaTeX from expressions that SymPy prints for a computer algebra system."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sympy as sp
from sympy.printing.mathml import MathMLPresentationPrinter

from gpsym.formula import SIGMA_B2, SIGMA_W2, TAU, Formula, Q, X
from gpsym.special import BivariateTail

__all__ = ["Root", "applied", "latex", "left_side", "mathml", "paper_form"]

_TERMS_A_LINE = 2  # of a sum that is too long for one line: two of V's terms fit a page


def mathml(expression: sp.Expr) -> str:
    """Presentation MathML, without the <math> element around it."""
    named = _Printer().doprint(paper_form(expression))
    # SymPy prints names that HTML knows and XML does not, such as &InvisibleTimes;.
    return re.sub(r"&(?!lt;|gt;|amp;)[A-Za-z]+;", lambda entity: html.unescape(entity[0]), named)


def latex(expression: sp.Expr) -> str:
    """LaTeX, without delimiters."""
    return sp.latex(paper_form(expression), symbol_names={SIGMA_W2: r"\sigma_w^2", SIGMA_B2: r"\sigma_b^2"})


class Root(sp.Function):
    """The square root of x >= 0 that stays in one piece: SymPy turns sqrt(2*q) into sqrt(2)*sqrt(q).

    For printing only; `root.args[0]` is x.
    """

    nargs = 1

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        root = rf"\sqrt{{{printer.doprint(self.args[0])}}}"
        return root if exp is None else rf"\left({root}\right)^{{{exp}}}"


def paper_form(expression: sp.Expr) -> sp.Expr:
    """The same expression as a paper writes it: the square roots of a product in one, polynomials by powers of q.

    For printing only, as its roots are `Root`s.  Symbols under roots must be positive.

    >>> q = sp.Symbol("q", positive=True)
    >>> paper_form(sp.sqrt(2) * sp.Symbol("tau") / (2 * sp.sqrt(q)))
    tau/Root(2*q)
    """
    if expression.is_Atom:
        return expression
    if expression.is_Add and expression.is_polynomial():
        return min(expression, sp.collect(expression, Q, sp.factor), key=sp.count_ops)
    if expression.is_Mul or expression.is_Pow:
        return _one_root(expression)
    return expression.func(*map(paper_form, expression.args))  # type: ignore[arg-type]


def _one_root(product: Any) -> sp.Expr:
    """A product or power whose number and square roots are written n b / (d c) sqrt(x), x square-free."""
    number, factors = product.as_coeff_mul()
    roots = [f for f in factors if f.is_Pow and f.exp.is_Rational and f.exp.q == 2]
    others = [f.func(*map(paper_form, f.args)) if f.is_Pow else paper_form(f) for f in factors if f not in roots]
    if not roots:
        return sp.Mul(number, *others)
    squared: Counter[Any] = Counter()  # exponents of the square of number and roots, by base
    for base, exponent in (abs(number).as_base_exp(), *(root.as_base_exp() for root in roots)):
        # Large factors may stay undetected: they come in squares here, and leave the root whole.
        parts: Any = sp.factorrat(base, limit=1000) if base.is_Rational else {base: 1}
        for part, power in parts.items():
            squared[sp.sympify(part)] += int(2 * exponent * power)
    outside = sp.Mul(*(base ** math.trunc(power / 2) for base, power in squared.items()))
    numerator, denominator = sp.fraction(sp.Mul(*(b ** int(math.fmod(power, 2)) for b, power in squared.items())))
    root: Any = Root(denominator if numerator == 1 else numerator / denominator)
    return sp.sign(number) * outside * (1 / root if numerator == 1 else root) * sp.Mul(*others)


class _Printer(MathMLPresentationPrinter):
    """Presentation MathML in the order and layout of a paper."""

    def _row(self, *children: Any) -> Any:
        return self._element("mrow", *children)

    def _element(self, tag: str, *children: Any, **attributes: str) -> Any:
        """The element with these nodes inside; text must be free of markup."""
        element = self.dom.createElement(tag)
        for name, value in attributes.items():
            element.setAttribute(name, value)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _print_Root(self, expr: Root) -> Any:
        return self._element("msqrt", self._print(expr.args[0]))

    def _print_BivariateTail(self, expr: BivariateTail) -> Any:
        h, k, rho = map(self._print, expr.args)
        comma, semicolon = self._element("mo", ","), self._element("mo", ";")
        arguments = self._row(self._element("mo", "("), h, comma, k, semicolon, rho, self._element("mo", ")"))
        return self._row(self._element("mi", "L"), arguments)

    def _print_Exp1(self, e: Any) -> Any:
        return self._element("mi", "e")

    def _print_exp(self, expr: sp.exp) -> Any:
        """e^(-a/b) with its exponent on one line."""
        numerator, denominator = sp.fraction(expr.args[0])
        exponent = [self._factor(numerator) if numerator.is_Add and denominator != 1 else self._print(numerator)]
        if denominator != 1:
            exponent += [self._element("mo", "/", lspace="0", rspace="0"), self._factor(denominator)]
        return self._element("msup", self._print_Exp1(None), self._row(*exponent))

    def _split_super_sub(self, name: str) -> Any:
        """sigma_w2 is a square: name, superscripts and subscripts."""
        squares = {"sigma_w2": ("sigma", ["2"], ["w"]), "sigma_b2": ("sigma", ["2"], ["b"])}
        return squares.get(name) or super()._split_super_sub(name)

    def _print_Add(self, expr: Any, order: str | None = None) -> Any:
        """The terms in the order of `_term_place`; a long sum of functions takes several lines."""
        terms: list[Any] = sorted(self._as_ordered_terms(expr), key=lambda term: _term_place(term, expr))
        if len(terms) <= _TERMS_A_LINE + 1 or not _has_function(expr):
            return self._row(*self._signed(terms, True))
        starts = range(0, len(terms), _TERMS_A_LINE)
        lines = (self._signed(terms[k : k + _TERMS_A_LINE], k == 0) for k in starts)
        rows = (self._element("mtr", self._element("mtd", *line)) for line in lines)
        return self._element("mtable", *rows, displaystyle="true")

    def _signed(self, terms: Sequence[Any], first: bool) -> list[Any]:
        """The terms with their signs; a plus is left out at the very first.

        Signs and terms are siblings: MathML spaces a sign as infix only between others.
        """
        nodes = []
        for k, term in enumerate(terms):
            if _is_minus(term):
                number, factors = term.as_coeff_mul()
                nodes += [self._element("mo", "−"), self._product(-number, factors)]
            else:
                nodes += [*([] if first and k == 0 else [self._element("mo", "+")]), self._print(term)]
        return nodes

    def _print_Mul(self, expr: Any) -> Any:
        number, factors = expr.as_coeff_mul()
        sign = [self._element("mo", "−")] if number < 0 else []
        return self._row(*sign, self._product(abs(number), factors))

    def _product(self, number: Any, factors: Sequence[Any]) -> Any:
        """A fraction of numbers, symbols, sums and roots, and then the functions, which no fraction holds."""
        functions = [f for f in factors if _has_function(f)]
        rest = sorted((f for f in factors if f not in functions), key=_place)
        below = [1 / f for f in rest if f.as_base_exp()[1].is_negative]
        above = [f for f in rest if not f.as_base_exp()[1].is_negative]
        p, q = ([n] if n != 1 else [] for n in (sp.Integer(number.p), sp.Integer(number.q)))
        if below:
            parts = [self._fraction([*p, *above], [*q, *below])]
        else:
            parts = [self._fraction(p, q)] if q else list(map(self._print, p))
            parts += map(self._factor, above)
        for function in sorted(functions, key=_place):
            if parts and not function.is_Add:
                parts.append(self._element("mspace", width="0.17em"))
            parts.append(self._factor(function))
        return self._row(*parts)

    def _factor(self, expr: sp.Expr) -> Any:
        """The expression as a factor or a denominator on the line: sums and products of several in parentheses."""
        printed = self._print(expr)
        if expr.is_Add or (expr.is_Mul and len(expr.args) > 1):
            return self._row(self._element("mo", "("), printed, self._element("mo", ")"))
        return printed

    def _fraction(self, above: Sequence[sp.Expr], below: Sequence[sp.Expr]) -> Any:
        def side(factors: Sequence[sp.Expr]) -> Any:
            if len(factors) == 1:
                return self._print(factors[0])
            return self._row(*map(self._factor, factors)) if factors else self._element("mn", "1")

        return self._element("mfrac", side(above), side(below))


def _has_function(expr: sp.Expr) -> bool:
    return any(not isinstance(function, Root) for function in expr.atoms(sp.Function))


def _is_minus(term: sp.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0].is_negative)


def _term_place(term: sp.Expr, total: sp.Expr) -> tuple[bool, ...]:
    """Where a term stands in a sum: minus signs late, sigma_b2 after the functions, x and tau early."""
    late_symbol = not _has_function(term) and _has_function(total)
    return _is_minus(term), late_symbol, not term.has(X), term not in (TAU, -TAU)


def _place(factor: sp.Expr) -> tuple[int, Any]:
    """Where a factor stands in a product: weights first, then pi, symbols, sums and roots; exponentials last."""
    symbolic = factor.is_Symbol or factor.is_Pow
    kinds = (factor == SIGMA_W2, factor.is_NumberSymbol, symbolic, factor.is_Add, not isinstance(factor, sp.exp))
    return next((k for k, holds in enumerate(kinds) if holds), len(kinds)), sp.default_sort_key(factor)


def left_side(formula: Formula) -> str:
    r"""The MathML of a notation such as V''(q), \chi_1(q) or R(\rho)."""
    match = re.fullmatch(r"\\?(\w+?)(?:_\{?([\d,]+)\}?)?('*)\((.*)\)", formula.notation)
    assert match, formula.notation
    name, index, primes, arguments = match.groups()
    symbol = mathml(sp.Symbol(name))
    if index:
        symbol = f"<msub>{symbol}<mn>{index}</mn></msub>"
    if primes:
        symbol = f"<msup>{symbol}<mo>{'′' if len(primes) == 1 else '″'}</mo></msup>"
    letters = [mathml(sp.Symbol(argument.strip("\\ "))) for argument in arguments.split(",")]
    return applied(symbol, "<mo>,</mo>".join(letters))


def applied(function: str, argument: str) -> str:
    """The MathML of function(argument), both given as MathML; the brackets keep the height of the line."""
    bracket = '<mo stretchy="false">{}</mo>'.format
    return f"<mrow>{function}{bracket('(')}{argument}{bracket(')')}</mrow>"
