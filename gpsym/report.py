"""One HTML page with the formulas, designs, plots and checks of every named activation, and a training run.

The page is a single file that opens offline: formulas are MathML, plots are inline SVG, nothing is fetched.
"""

from __future__ import annotations

import html
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.printing.mathml import MathMLPresentationPrinter

from gpsym.activation import MEMBERS, Activation
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.formula import SIGMA_W2, TAU, Formula, M, Q, X
from gpsym.maps import QUANTITIES
from gpsym.plot import Run, read_run, training_figure, variance_map_figure
from gpsym.stability import fixed_points
from gpsym.verify import Check, Refuted, Verified, verify_activation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Root", "paper_form", "write_report"]

# The designs on the page: sparse, and for the clipped ones well below the marginal slope 1.
_SPARSITY, _SLOPE = 0.85, 0.7
# The checks on the page: enough to see a wrong formula, and done in seconds.
_DIGITS, _POINTS = 30, 5

_TERMS_A_LINE = 2  # of a sum that is too long for one line: two of V's terms fit the page


def write_report(output: Path, *, run: Path | None = None) -> Path:
    """The report as `output`/index.html, and its path; the file appears whole or not at all.

    output  folder for the report, created if its parent exists.
    run     folder of a training run to show on the page, as `gpsym.plot.read_run` takes it.

    Raises ValueError where the parent of `output` is missing or `output` is a file, and for an unusable run;
    ImportError without Matplotlib.
    """
    if not output.parent.is_dir():
        raise ValueError(f"report: need an existing folder for the report, got {output.parent}; create it first.")
    if output.exists() and not output.is_dir():
        raise ValueError(f"report: need a folder to write index.html into, got the file {output}; pass a folder.")
    page = _page(None if run is None else read_run(run))
    output.mkdir(exist_ok=True)
    return _write_whole(output / "index.html", page)


def _write_whole(path: Path, text: str) -> Path:
    """The path, once the text is there: readers see the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


# Formulas: SymPy prints for a computer algebra system; what follows makes them look like a paper's.


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

    def _print_Exp1(self, e: Any) -> Any:
        return self._element("mi", "e")

    def _print_exp(self, expr: sp.exp) -> Any:
        """e^(-a/b) with its exponent on one line."""
        numerator, denominator = sp.fraction(expr.args[0])
        exponent = [self._print(numerator)]
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
        if len(terms) <= _TERMS_A_LINE + 1 or not expr.has(sp.Function):
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
        functions = [f for f in factors if f.has(sp.erf, sp.erfc, sp.exp)]
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


def _is_minus(term: sp.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0].is_negative)


def _term_place(term: sp.Expr, total: sp.Expr) -> tuple[bool, ...]:
    """Where a term stands in a sum: minus signs late, sigma_b2 after the functions, x and tau early."""
    late_symbol = term.is_Symbol and total.has(sp.Function)
    return _is_minus(term), late_symbol, not term.has(X), term not in (TAU, -TAU)


def _place(factor: sp.Expr) -> tuple[int, Any]:
    """Where a factor stands in a product: weights first, then pi, symbols, sums and roots; exponentials last."""
    symbolic = factor.is_Symbol or factor.is_Pow
    kinds = (factor == SIGMA_W2, factor.is_NumberSymbol, symbolic, factor.is_Add, not isinstance(factor, sp.exp))
    return next((k for k, holds in enumerate(kinds) if holds), len(kinds)), sp.default_sort_key(factor)


def _mathml(expression: sp.Expr) -> str:
    return _Printer().doprint(paper_form(expression))


def _left_side(formula: Formula) -> str:
    """The MathML of a notation such as V''(q) or \\chi_1(q)."""
    head, _, argument = formula.notation.partition("(")
    symbol = _mathml(sp.Symbol(head.strip("\\'")))
    primes = ("", "′", "″")[head.count("'")]
    name = f"<msup>{symbol}<mo>{primes}</mo></msup>" if primes else symbol
    return _applied(name, argument.rstrip(")"))


def _applied(function: str, argument: str) -> str:
    """The MathML of function(argument); the brackets keep the height of the line."""
    bracket = '<mo stretchy="false">{}</mo>'.format
    return f"<mrow>{function}{bracket('(')}<mi>{argument}</mi>{bracket(')')}</mrow>"


def _display(left: str, right: str) -> str:
    """An equation of its own, which scrolls where it is wider than the page."""
    return f'<div class="scroll math" tabindex="0"><math display="block">{left}<mo>=</mo>{right}</math></div>'


def _definition(phi: Activation) -> str:
    """phi(x), piece by piece."""
    rows = []
    for piece in phi.pieces:
        value = _mathml(piece.slope * X + piece.intercept)
        if piece.upper == sp.oo:
            where = f"<mi>x</mi><mo>&gt;</mo>{_mathml(piece.lower)}"
        else:
            above = "" if piece.lower == -sp.oo else f"{_mathml(piece.lower)}<mo>&lt;</mo>"
            where = f"{above}<mi>x</mi><mo>≤</mo>{_mathml(piece.upper)}"
        rows.append(f"<mtr><mtd>{value}</mtd><mtd>{where}</mtd></mtr>")
    cases = f"<mrow><mo>{{</mo><mtable>{''.join(rows)}</mtable></mrow>"
    return _display(_applied("<mi>φ</mi>", "x"), cases)


# The page and its parts, as HTML.


def _page(run: Run | None) -> str:
    sections = {name: _activation_section(make()) for name, make in MEMBERS.items()}
    sections["verification"] = _verification_section()
    if run is not None:
        sections["training"] = _training_section(run)
    contents = (f'<li><a href="#{name}">{name}</a></li>' for name in sections)
    bodies = (f'<section id="{name}"><h2>{name}</h2>\n{body}</section>' for name, body in sections.items())
    template = resources.files("gpsym").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(contents="\n".join(contents), sections="\n".join(bodies))


def _activation_section(phi: Activation) -> str:
    """Formulas, design, plot and fixed points of a family of activations."""
    formulas = (quantity(phi) for quantity in QUANTITIES.values())
    closed = "\n".join(_display(_left_side(formula), _mathml(formula.expression)) for formula in formulas)
    design = edge_of_chaos(
        phi,
        sparsity=_SPARSITY if phi.parameters else None,
        slope=_SLOPE if M in phi.parameters else None,
    )
    plot = _inline_svg(variance_map_figure(design), f"map-{phi.name}", f"Variance map of {phi.name}, its fixed points "
                       "and the basin of the target; the table below lists the fixed points.")  # fmt: skip
    return (
        f"{_definition(phi)}\n<h3>Closed forms</h3>\n{closed}\n"
        f"<h3>Design at the edge of chaos, sparsity {design.sparsity:.4g}</h3>\n{_design_table(design)}\n"
        f"<h3>Variance map of this design</h3>\n{plot}\n{_fixed_point_table(design)}\n"
    )


def _design_table(design: CriticalInit) -> str:
    meanings = {
        "tau": ("<i>τ</i>", "threshold"),
        "m": ("<i>m</i>", "clip level"),
        "sigma_w2": ("<i>σ<sub>w</sub>²</i>", "weight variance × fan-in"),
        "sigma_b2": ("<i>σ<sub>b</sub>²</i>", "bias variance"),
        "q_star": ("<i>q*</i>", "variance of every hidden layer"),
        "sparsity": ("<i>s(q*)</i>", "expected fraction of zeros"),
        "slope": ("<i>V′(q*)</i>", "stable below 1"),
        "curvature": ("<i>V″(q*)</i>", "decides where the slope is 1"),
        "chi_1": ("<i>χ</i><sub>1</sub><i>(q*)</i>", "gradient factor per layer"),
    }
    values = ((getattr(design, name), *columns) for name, columns in meanings.items())
    rows = [(symbol, _shown(value), meaning) for value, symbol, meaning in values if value is not None]
    return _table(("quantity", "value", "meaning"), rows)


def _fixed_point_table(design: CriticalInit) -> str:
    rows = [tuple(map(_shown, (p.q, p.kind, p.slope, p.chi_1))) for p in fixed_points(design)]
    heads = ("fixed point <i>q</i>", "kind", "<i>V′(q)</i>", "<i>χ</i><sub>1</sub><i>(q)</i>")
    return _table(heads, rows)


def _verification_section() -> str:
    checks = [verify_activation(make(), digits=_DIGITS, points=_POINTS) for make in MEMBERS.values()]
    rows = [(f"<b>{row[0].activation}</b>", *map(_verdict, row)) for row in checks]
    return (
        f"<p>Every closed form above against numerical integration of its definition, to {_DIGITS} digits at {_POINTS} "
        "random points: a quick check, made when this page was written. Below each verdict stands the largest relative "
        f"difference seen.</p>\n{_table(('activation', *QUANTITIES), rows)}"
    )


def _verdict(check: Check) -> str:
    verdict = check.verdict
    if isinstance(verdict, Verified):
        return f'verified<br><span class="soft">{verdict.worst:.0e}</span>'
    if isinstance(verdict, Refuted):
        values = f"formula {verdict.formula}, definition {verdict.definition}"
        return f'<span class="refuted">refuted</span><br>{_point(verdict.witness)}: {html.escape(values)}'
    return f'<span class="refuted">undecided</span><br>{_point(verdict.where)}: {html.escape(verdict.why)}'


def _point(where: Mapping[str, str]) -> str:
    return html.escape(", ".join(f"{name} = {value}" for name, value in where.items()))


def _training_section(run: Run) -> str:
    plot = _inline_svg(training_figure(run), "training", "Loss, accuracy and sparsity per epoch, and the variance per "
                       "hidden layer before and after training, beside the design.")  # fmt: skip
    settings = {name: value for name, value in run.config.items() if name != "design"}
    return (
        f"<p>Epoch 0 is the network as initialized; what has no number after a divergence is left out.</p>\n{plot}\n"
        f"<h3>Result</h3>\n{_mapping_table(run.summary)}\n<h3>Settings</h3>\n{_mapping_table(settings)}\n"
        f"<h3>Design</h3>\n{_design_table(run.design)}\n"
    )


def _mapping_table(values: Mapping[str, Any]) -> str:
    return _table(("name", "value"), [(html.escape(str(name)), _shown(value)) for name, value in values.items()])


def _shown(value: Any) -> str:
    """A value as HTML: six digits of a float, a dash for None, text escaped."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else html.escape(str(value))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of HTML cells, which scrolls where it is wider than the page."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _inline_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an SVG element; ids begin with `name`, so that several share a page."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    role = f'<svg role="img" aria-label="{html.escape(label)}"'
    return f"<figure>{svg.replace('<svg', role, 1)}</figure>"
