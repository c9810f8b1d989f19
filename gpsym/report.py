"""One HTML page with the formulas, designs, plots and checks of the sparsifying activations, and a training run.

The page is a single file that opens offline: formulas are MathML, plots are inline SVG, nothing is fetched.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import sympy as sp

from gpsym.activation import Activation
from gpsym.depth_scales import correlation_rate
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import excursion_probability
from gpsym.formula import M, X
from gpsym.maps import QUANTITIES
from gpsym.members import MEMBERS
from gpsym.plot import Run, phase_figure, read_run, spread_figure, training_figure, variance_map_figure
from gpsym.stability import fixed_points
from gpsym.typeset import applied, left_side, mathml
from gpsym.verify import Check, Refuted, Verified, verify_activation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SPARSIFYING", "report_page"]

# The activations on the page, those of Price et al. 2024: the others are not meant for sparse networks, and formulas
# of all would make it long.
SPARSIFYING = ("relu", "shifted-relu", "soft-threshold", "clipped-relu", "clipped-soft-threshold")
# The designs on the page: sparse, and for the clipped ones well below the marginal slope 1.
_SPARSITY, _SLOPE = 0.85, 0.7
# The networks of the section on finite width, and the sparsities of its steepest designs.
_WIDTH, _DEPTH, _SPARSITIES = 300, 100, (0.85, 0.9, 0.95)
# The checks on the page: enough to see a wrong formula, and done in seconds.
_DIGITS, _POINTS = 30, 5


def report_page(run: Path | None = None) -> str:
    """The text of the report, in HTML.

    run  folder of a training run to show on the page, as `gpsym.plot.read_run` takes it.

    Raises ValueError for an unusable run, ImportError without Matplotlib.
    """
    return _page(None if run is None else read_run(run))


def _display(left: str, right: str) -> str:
    """An equation of its own, which scrolls where it is wider than the page."""
    return f'<div class="scroll math" tabindex="0"><math display="block">{left}<mo>=</mo>{right}</math></div>'


def _definition(phi: Activation) -> str:
    """phi(x), piece by piece; what it is at the knots is left open."""
    if not phi.knots:
        return _display(applied("<mi>φ</mi>", "<mi>x</mi>"), _polynomial(phi.pieces[0]))
    rows = []
    for lower, upper, piece in phi.intervals:
        if upper == sp.oo:
            where = f"<mi>x</mi><mo>&gt;</mo>{mathml(lower)}"
        else:
            above = "" if lower == -sp.oo else f"{mathml(lower)}<mo>&lt;</mo>"
            where = f"{above}<mi>x</mi><mo>&lt;</mo>{mathml(upper)}"
        rows.append(f"<mtr><mtd>{_polynomial(piece)}</mtd><mtd>{where}</mtd></mtr>")
    cases = f"<mrow><mo>{{</mo><mtable>{''.join(rows)}</mtable></mrow>"
    return _display(applied("<mi>φ</mi>", "<mi>x</mi>"), cases)


def _polynomial(coefficients: Sequence[sp.Expr]) -> str:
    return mathml(sp.Add(*(c * X**n for n, c in enumerate(coefficients))))


# The page and its parts, as HTML.


def _page(run: Run | None) -> str:
    sections = {name: _activation_section(MEMBERS[name]()) for name in SPARSIFYING}
    sections["finite width"] = _finite_width_section()
    sections["verification"] = _verification_section()
    if run is not None:
        sections["training"] = _training_section(run)
    places = {name: name.replace(" ", "-") for name in sections}
    contents = (f'<li><a href="#{place}">{name}</a></li>' for name, place in places.items())
    bodies = (f'<section id="{places[name]}"><h2>{name}</h2>\n{body}</section>' for name, body in sections.items())
    template = resources.files("gpsym").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(contents="\n".join(contents), sections="\n".join(bodies))


def _activation_section(phi: Activation) -> str:
    """Formulas, design, plot and fixed points of a family of activations."""
    formulas = (quantity(phi) for quantity in QUANTITIES.values())
    closed = "\n".join(_display(left_side(formula), mathml(formula.expression)) for formula in formulas)
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
        "stability": ("<i>q*</i> is", design.stability.meaning),
    }
    values = ((getattr(design, name), *columns) for name, columns in meanings.items())
    rows = [(symbol, _shown(value), meaning) for value, symbol, meaning in values if value is not None]
    return _table(("quantity", "value", "meaning"), rows)


def _fixed_point_table(design: CriticalInit) -> str:
    rows = [tuple(map(_shown, (p.q, p.kind, p.slope, p.chi_1))) for p in fixed_points(design)]
    heads = ("fixed point <i>q</i>", "kind", "<i>V′(q)</i>", "<i>χ</i><sub>1</sub><i>(q)</i>")
    return _table(heads, rows)


def _finite_width_section() -> str:
    clipped = [name for name in SPARSIFYING if M in MEMBERS[name]().parameters]
    size = f"width {_WIDTH} and depth {_DEPTH}"
    return (
        "<p>At finite width the variance wanders around <i>q*</i>. An excursion is a layer beyond twice <i>q*</i>, or "
        f"beyond the fixed point that ends its basin, in a network of {size} that starts at <i>q*</i>. All risks "
        "are computed from the law of the layers, not sampled; the circles are simulated networks.</p>\n"
        + "\n".join(map(_risk_part, clipped))
        + "<h3>What <i>q*</i> changes, and what it cannot</h3>\n<p>Scaling <i>q*</i> by <i>c</i>² scales <i>τ</i>, "
        "<i>m</i>, the activations and the gradients by the weights behind them by <i>c</i>. The rest depends on "
        f"<i>τ/√q*</i> and <i>m/√q*</i> alone; as computed for each <i>q*</i>:</p>\n{_q_star_table(clipped[0])}"
    )


def _risk_part(name: str) -> str:
    """The plane of designs, the spread of one, and the steepest designs that keep the risk of an activation."""
    size = {"width": _WIDTH, "depth": _DEPTH}
    plane = _inline_svg(phase_figure(name, **size), f"phase-{name}", f"Plane of sparsity and slope of {name}: "
                        "number of fixed points, and contours of the risk of an excursion.")  # fmt: skip
    design = edge_of_chaos(name, sparsity=_SPARSITY, slope=_SLOPE)
    spread = _inline_svg(spread_figure(design, **size), f"spread-{name}", f"Quantiles of the variance of {name} "
                         "by layer, and the risk, computed and simulated.")  # fmt: skip
    steepest = [edge_of_chaos(name, sparsity=sparsity, **size) for sparsity in _SPARSITIES]
    rows = [
        tuple(map(_shown, (d.sparsity, d.slope, d.tau, d.m, d.sigma_w2, d.sigma_b2, correlation_rate(d))))
        for d in steepest
    ]
    heads = ("sparsity", "<i>V′(q*)</i>", "<i>τ</i>", "<i>m</i>", "<i>σ<sub>w</sub>²</i>", "<i>σ<sub>b</sub>²</i>",
             "<i>A</i>, pace at which inputs merge")  # fmt: skip
    return (
        f"<h3>{name}: designs and risks</h3>\n{plane}\n{spread}\n"
        f"<p>The steepest designs whose risk is at most 1 %:</p>\n{_table(heads, rows)}\n"
    )


def _q_star_table(name: str) -> str:
    """Quantities of one design at several q*, a column each."""
    designs = [edge_of_chaos(name, sparsity=_SPARSITY, slope=_SLOPE, q_star=q_star) for q_star in (0.25, 1.0, 4.0)]
    quantities: dict[str, Callable[[CriticalInit], Any]] = {
        "<i>τ</i>": lambda d: d.tau,
        "<i>m</i>": lambda d: d.m,
        "<i>σ<sub>b</sub>²</i>": lambda d: d.sigma_b2,
        "E <i>φ</i>², mean square of the outputs": lambda d: (d.q_star - d.sigma_b2) / d.sigma_w2,
        "<i>σ<sub>w</sub>²</i>": lambda d: d.sigma_w2,
        "sparsity": lambda d: d.sparsity,
        "<i>V′(q*)</i>": lambda d: d.slope,
        "<i>A</i>": correlation_rate,
        "risk of an excursion": lambda d: excursion_probability(d, width=_WIDTH, depth=_DEPTH),
    }
    heads = ("", *(f"<i>q*</i> = {design.q_star:g}" for design in designs))
    return _table(heads, [(name, *(_shown(read(d)) for d in designs)) for name, read in quantities.items()])


def _verification_section() -> str:
    checks = [verify_activation(MEMBERS[name](), digits=_DIGITS, points=_POINTS) for name in SPARSIFYING]
    rows = [(f"<b>{row[0].activation}</b>", *map(_verdict, row)) for row in checks]
    return (
        f"<p>Every closed form above against numerical integration of its definition, to {_DIGITS} digits at {_POINTS} "
        "points: a quick check, made when this page was written. Below each verdict stands the largest relative "
        f"difference seen.</p>\n{_table(('activation', *QUANTITIES), rows)}"
    )


def _verdict(check: Check) -> str:
    verdict = check.verdict
    if isinstance(verdict, Verified):
        return f'verified<br><span class="soft">{verdict.worst:.0e}</span>'
    if isinstance(verdict, Refuted):
        values = f"{verdict.form} {verdict.formula}, definition {verdict.definition}"
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
