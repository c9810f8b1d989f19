"""A design as a file that stands on its own: Python for torch, JAX or Keras, or JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from gpsym import maps
from gpsym.activation import Activation
from gpsym.branches import branches
from gpsym.design import CriticalInit
from gpsym.formula import SIGMA_W2
from gpsym.members import member
from gpsym.schema import json_schema
from gpsym.source import definitions, import_statements

__all__ = ["FRAMEWORKS", "export_text", "json_schema"]


def export_text(design: CriticalInit, framework: str) -> str:
    """The design as the text of a file.

    torch  a Python module that imports torch and the standard library only: `Activation`, an nn.Module, and
           `init_(model, generator=...)`, which draws the same numbers as `gpsym.torch.init_`.
    jax    one that imports jax: `activation`, and `kernel_init` and `bias_init`, which make initializers as those of
           jax.nn.initializers, for the layers of Flax among others.
    keras  one that imports keras 3, with any backend: `activation`, `kernel_init` and `bias_init`, which make
           initializers of keras.
    json   the fields of `CriticalInit.to_dict`, described by `json_schema`.

    The docstrings of the Python modules hold the formulas that the numbers come from.

    Raises ValueError for an unknown framework.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"export: unknown framework {framework!r}; choose from {', '.join(FRAMEWORKS)}.")
    return FRAMEWORKS[framework](design)


_HEAD = '''"""{activation} at the edge of chaos: {what}, written by gpsym.

Design
{table}

Formulas (Z standard normal, at q = q_star)
{formulas}

Use
{use}
"""

from __future__ import annotations

{imports}
{parts}
'''


def _module(design: CriticalInit, what: str, use: str, imports: set[tuple[str, str]], parts: list[str]) -> str:
    """The text of a Python module: a docstring, imports, and parts two blank lines apart."""
    if any(" inf" in part for part in parts):
        imports = imports | {("math", "inf")}
    space = "\n\n" if parts[0].startswith(("def ", "class ", "@")) else "\n"
    return _HEAD.format(
        activation=design.activation,
        what=what,
        table=textwrap.indent(str(design), "    "),
        formulas=_formulas(design),
        use=textwrap.indent(use.strip(), "    "),
        imports=import_statements(imports),
        parts=space + "\n\n\n".join(parts),
    )


_TORCH_USE = """
model = nn.Sequential(nn.Linear(784, 300), Activation(), nn.Linear(300, 300), Activation(), nn.Linear(300, 10))
init_(model, input_mean_square=1.0, generator=torch.Generator().manual_seed(0))
"""

_TORCH_ACTIVATION = '''class Activation(nn.Module):
    """{activation}, elementwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """phi(x), of the shape and dtype of x."""
        return {call}'''

_TORCH_NUMBERS = """@dataclass(frozen=True)
class _Numbers:
    sigma_w2: float = {sigma_w2!r}
    sigma_b2: float = {sigma_b2!r}
    q_star: float = {q_star!r}"""


def _torch(design: CriticalInit) -> str:
    function, constants, call = _torch_call(design)
    functions, imports = definitions("torch/functional.py", function) if function else ([], set())
    initializer, more = definitions("torch/init.py", "init_")
    imports |= more | {("torch", "nn"), ("torch", ""), ("dataclasses", "dataclass")}
    default = [text.replace("    design: Design,\n", "    design: Design = DESIGN,\n") for text in initializer]
    parts = [
        *functions,
        *filter(None, [constants]),
        _TORCH_ACTIVATION.format(activation=design.activation, call=call),
        _TORCH_NUMBERS.format(sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2, q_star=design.q_star),
        "DESIGN = _Numbers()",
        *default,
    ]
    return _module(design, "activation and initializer for PyTorch", _TORCH_USE, imports, parts)


def _torch_call(design: CriticalInit) -> tuple[str, str, str]:
    """(function of gpsym.torch.functional, constants to define, call) of what `activation_module` makes of it."""
    thresholded = ("shifted-relu", "soft-threshold", "clipped-relu", "clipped-soft-threshold")
    if design.is_member and design.activation in thresholded:
        function = design.activation.replace("-", "_")
        return function, "", f"{function}(x, {', '.join(repr(p) for p in (design.tau, design.m) if p is not None)})"
    return ("", "", "torch.relu(x)") if design.is_member and design.activation == "relu" else _by_table(design.phi)


def _by_table(phi: Activation) -> tuple[str, str, str]:
    """(function of gpsym.torch.functional, its table, call) for any activation."""
    if phi.is_sum_of_clamps:
        offset, terms = phi.clamp_terms()
        comment = "# slope, shift, low, high, whether the slope counts at low, at high"
        return "piecewise_linear", f"{comment}\n{_table('TERMS', terms)}", f"piecewise_linear(x, {offset!r}, TERMS)"
    comment = "# start, whether it belongs to the piece, end, coefficients of 1, x, x^2, ..."
    table = f"{comment}\n{_table('BRANCHES', branches(phi))}"
    return "piecewise_polynomial", table, "piecewise_polynomial(x, BRANCHES)"


def _table(name: str, rows: Iterable[tuple]) -> str:
    """An assignment of a list of tuples, in lines of their own."""
    lines = [_literal(tuple(row), "    ") for row in rows]
    return "\n".join([f"{name} = [", *lines, "]"]) if lines else f"{name} = []"


def _literal(value: Any, indent: str) -> str:
    """The value with a comma, in one line, or if that is too long its entries in lines of their own."""
    line = f"{indent}{value!r},"
    if len(line) <= 120 or not isinstance(value, tuple):
        return line
    return "\n".join([f"{indent}(", *(_literal(entry, indent + "    ") for entry in value), f"{indent}),"])


# The same text for jax.numpy and keras.ops, which agree on these names.
_CLAMP = '''def _clamp(x, low, high, closed_low, closed_high):
    """min(max(x, low), high), whose gradient at an end is 1 if it is closed, else 0."""
    x = np.where(x < low if closed_low else x <= low, low, x)
    return np.where(x > high if closed_high else x >= high, high, x)'''

_SUM_OF_CLAMPS = '''def activation(x):
    """{activation}, elementwise; at a knot its gradient is the least in size between its slopes."""
    y = np.full_like(x, {offset!r})
    for slope, shift, *ends in TERMS:
        y = y + slope * _clamp(x - shift, *ends)
    return y'''

_POLYNOMIALS = '''def activation(x):
    """{activation}, elementwise; its gradient is that of the polynomial that holds there."""
    y = np.zeros_like(x)
    for start, included, end, coefficients in BRANCHES:
        inside = _clamp(x, start, end, True, True)  # elsewhere an overflow would make a gradient of NaN
        p = np.zeros_like(x)
        for coefficient in reversed(coefficients):
            p = p * inside + coefficient
        y = np.where(x >= start if included or start == -math.inf else x > start, p, y)
    return np.where(np.isnan(x), x, y)'''


def _array_activation(design: CriticalInit, namespace: str) -> list[str]:
    """Definitions of `activation` and what it needs, for a namespace like numpy's."""
    _, constants, _ = _by_table(design.phi)
    if design.phi.is_sum_of_clamps:
        function = _SUM_OF_CLAMPS.format(activation=design.activation, offset=design.phi.clamp_terms()[0])
    else:
        function = _POLYNOMIALS.format(activation=design.activation)
    return [constants, *(text.replace("np.", f"{namespace}.") for text in (_CLAMP, function))]


_ROLES = '''ROLES = ("first", "hidden", "readout")


def _variances(role, input_mean_square=1.0):
    """(weight variance times fan-in, bias variance); the first layer's input is data with this mean of x**2."""
    if role not in ROLES:
        raise ValueError(f"init: need a role of {{', '.join(ROLES)}}, got {{role!r}}; choose one.")
    if not (math.isfinite(input_mean_square) and input_mean_square > 0):
        raise ValueError(f"init: need input_mean_square > 0, got {{input_mean_square}}; pass the mean of x**2.")
    first = ((Q_STAR - SIGMA_B2) / input_mean_square, SIGMA_B2)
    return {{"first": first, "hidden": (SIGMA_W2, SIGMA_B2), "readout": (1.0, 0.0)}}[role]'''

_NUMBERS = """SIGMA_W2 = {sigma_w2!r}
SIGMA_B2 = {sigma_b2!r}
Q_STAR = {q_star!r}"""

_JAX_USE = """
hidden = flax.linen.Dense(300, kernel_init=kernel_init("hidden"), bias_init=bias_init("hidden"))
y = activation(hidden(x))
The kernels end in (inputs, outputs), as those of Dense and Conv; the roles are first, hidden and readout.
"""

_JAX = '''def kernel_init(role="hidden", *, input_mean_square=1.0):
    """An initializer (key, shape, dtype) -> array of normal numbers; fan-in as jax.nn.initializers takes it."""
    return jax.nn.initializers.variance_scaling(_variances(role, input_mean_square)[0], "fan_in", "normal")


def bias_init(role="hidden"):
    """An initializer (key, shape, dtype) -> array of normal numbers, zeros for the readout."""
    return jax.nn.initializers.normal(math.sqrt(_variances(role)[1]))'''

_KERAS_USE = """
hidden = keras.layers.Dense(300, kernel_initializer=kernel_init("hidden"), bias_initializer=bias_init("hidden"))
y = activation(hidden(x))
The kernels end in (inputs, outputs), as those of Dense and Conv; the roles are first, hidden and readout.
Keras draws equal numbers for equal seeds and shapes: give each layer its own seed, or none.
"""

_KERAS = '''def kernel_init(role="hidden", *, input_mean_square=1.0, seed=None):
    """An initializer of normal numbers; fan-in as keras takes it."""
    variance, _ = _variances(role, input_mean_square)
    return keras.initializers.VarianceScaling(variance, "fan_in", "untruncated_normal", seed=seed)


def bias_init(role="hidden", *, seed=None):
    """An initializer of normal numbers, zeros for the readout."""
    return keras.initializers.RandomNormal(0.0, math.sqrt(_variances(role)[1]), seed=seed)'''


def _arrays(design: CriticalInit, what: str, use: str, namespace: str, initializers: str, modules: set) -> str:
    """A file for a framework whose arrays have a namespace like numpy's."""
    parts = [
        _NUMBERS.format(sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2, q_star=design.q_star),
        *_array_activation(design, namespace),
        _ROLES.format(),
        initializers,
    ]
    return _module(design, f"activation and initializers for {what}", use, {("math", ""), *modules}, parts)


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


FRAMEWORKS: dict[str, Callable[[CriticalInit], str]] = {
    "torch": _torch,
    "jax": lambda design: _arrays(
        design, "JAX and Flax", _JAX_USE, "jnp", _JAX, {("jax", ""), ("jax", "numpy as jnp")}
    ),
    "keras": lambda design: _arrays(design, "Keras 3", _KERAS_USE, "ops", _KERAS, {("keras", ""), ("keras", "ops")}),
    "json": lambda design: design.to_json() + "\n",
}
