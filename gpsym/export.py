"""A design as a file that stands on its own: Python for torch, or JSON."""

from __future__ import annotations

import ast
import math
import textwrap
from collections.abc import Callable
from importlib import resources

from gpsym import maps
from gpsym.activation import Activation, Term
from gpsym.branches import Branch, branches
from gpsym.design import CriticalInit
from gpsym.formula import SIGMA_W2
from gpsym.members import member

__all__ = ["FRAMEWORKS", "export_text"]


def export_text(design: CriticalInit, framework: str) -> str:
    """The design as the text of a file.

    torch  a Python module that imports torch and the standard library only: `Activation`, an nn.Module, and
           `init_(model, generator=...)`, which draws the same numbers as `gpsym.torch.init_`.  Its docstring
           holds the formulas that the numbers come from.
    json   the fields of `CriticalInit.to_dict`.

    Raises ValueError for an unknown framework.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"export: unknown framework {framework!r}; choose from {', '.join(FRAMEWORKS)}.")
    return FRAMEWORKS[framework](design)


_TORCH = '''"""{activation} at the edge of chaos: activation and initializer for PyTorch, written by gpsym.

Design
{table}

Formulas (Z standard normal, at q = q_star)
{formulas}

Use
    model = nn.Sequential(nn.Linear(784, 300), Activation(), nn.Linear(300, 300), Activation(), nn.Linear(300, 10))
    init_(model, input_mean_square=1.0, generator=torch.Generator().manual_seed(0))
"""

from __future__ import annotations

{imports}


class Activation(nn.Module):
    """{activation}, elementwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
{body}


@dataclass(frozen=True)
class _Numbers:
    sigma_w2: float = {sigma_w2!r}
    sigma_b2: float = {sigma_b2!r}
    q_star: float = {q_star!r}


DESIGN = _Numbers()


{initializer}
'''


def _torch(design: CriticalInit) -> str:
    imports, initializer = _initializer_source()
    return _TORCH.format(
        imports=imports,
        activation=design.activation,
        table=textwrap.indent(str(design), "    "),
        formulas=_formulas(design),
        body=textwrap.indent(_body(design.phi), "        "),
        sigma_w2=design.sigma_w2,
        sigma_b2=design.sigma_b2,
        q_star=design.q_star,
        initializer=initializer,
    )


def _formulas(design: CriticalInit) -> str:
    """The closed forms behind the numbers, in q, tau and m."""
    family = member(design.activation) if design.is_member else design.phi
    equations = {
        "E[phi(sqrt(q) Z)^2]": maps.second_moment(family).expression,
        "E[phi'(sqrt(q) Z)^2]": maps.chi_1(family).expression / SIGMA_W2,
        "P(phi(sqrt(q) Z) = 0)": maps.sparsity(family).expression,
        "V'(q)": maps.slope(family).expression,
        "V''(q)": maps.curvature(family).expression,
        "sigma_w2": "1 / E[phi'(sqrt(q) Z)^2]",
        "sigma_b2": "q - sigma_w2 E[phi(sqrt(q) Z)^2]",
    }
    lines = (f"{name} = {expression}" for name, expression in equations.items())
    wrap = textwrap.TextWrapper(width=110, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False)
    return "\n".join(map(wrap.fill, lines))


def _body(phi: Activation) -> str:
    """The lines of a function of the tensor x that returns phi(x), with the numbers of `gpsym.torch`."""
    if phi.is_sum_of_clamps:
        return f"return {_clamps(phi)}"
    lines = ["y = torch.zeros_like(x)"]
    for branch in branches(phi):
        sign = ">=" if branch.included or branch.start == -math.inf else ">"
        lines += [*_horner(branch), f"y = torch.where(x {sign} {_number(branch.start)}, p, y)"]
    return "\n".join([*lines, "return torch.where(x.isnan(), x, y)"])


def _horner(branch: Branch) -> list[str]:
    """Lines that make p the polynomial of x, on x kept within the branch: a gradient of infinity there would be NaN."""
    if not branch.coefficients:
        return ["p = torch.zeros_like(x)"]
    *lower, leading = branch.coefficients
    lines = [f"p = torch.full_like(x, {leading!r})"]
    if lower:
        lines.append(f"inside = torch.clamp(x, {_number(branch.start)}, {_number(branch.end)})")
    return [*lines, *(f"p = p * inside + {coefficient!r}" for coefficient in reversed(lower))]


def _clamps(phi: Activation) -> str:
    """A sum of clamps as an expression in the tensor x."""
    offset, terms = phi.clamp_terms()
    summands = [_clamp(term) for term in terms] + ([repr(offset)] if offset else [])
    return " + ".join(summands) or "torch.zeros_like(x)"


def _clamp(term: Term) -> str:
    shifted = f"x - {term.shift!r}" if term.shift > 0 else f"x + {-term.shift!r}" if term.shift else "x"
    ends = ", ".join(map(_number, term[2:]))
    factor = "" if term.slope == 1 else f"{term.slope!r} * "
    return f"{factor}torch.clamp({shifted}, {ends})"


def _number(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'float("{number}")'


def _initializer_source() -> tuple[str, str]:
    """(imports, code) of gpsym.torch.init and what it needs of gpsym, read as text so that no torch is needed here."""
    folder = resources.files("gpsym").joinpath("torch")
    texts = [folder.joinpath(f"{name}.py").read_text(encoding="utf-8") for name in _INITIALIZER]
    bodies = (text.partition("\n__all__ = ")[2].partition("]\n")[2].strip() for text in texts)
    code = "\n\n\n".join(bodies).replace("    design: Design,\n", "    design: Design = DESIGN,\n")
    return _merged_imports(texts), code


_INITIALIZER = ("sites", "drawing", "tracing", "rules", "init")  # each after those that it imports from


def _merged_imports(texts: list[str]) -> str:
    """One import of each module that is not gpsym's own, those of torch last."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for text in texts for node in ast.parse(text).body):
        if isinstance(node, ast.Import):
            plain.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(("gpsym", "__future__")):
            names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    lines = [f"import {name}" for name in sorted(plain)]
    lines += [f"from {name} import {', '.join(sorted(names[name]))}" for name in sorted(names)]
    ours = [line for line in lines if "torch" in line]
    return "\n".join([*(line for line in lines if line not in ours), "", *ours])


FRAMEWORKS: dict[str, Callable[[CriticalInit], str]] = {
    "torch": _torch,
    "json": lambda design: design.to_json() + "\n",
}
