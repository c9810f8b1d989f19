"""Commands on closed forms: their values, derivation, verification and proofs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from gpsym import maps, numeric
from gpsym.activation import Activation
from gpsym.cli.options import (
    activation_argument,
    activations_of,
    expression_options,
    json_option,
    names_of,
    parameter_options,
)
from gpsym.formats import FORMATS, format_formula
from gpsym.formula import Formula, Q
from gpsym.limits import budget, shown
from gpsym.members import MEMBERS, member
from gpsym.verify import Check, Verified, verify_activation

if TYPE_CHECKING:
    from gpsym.testing import LawCheck

__all__ = ["derive", "maps_command", "prove", "verify"]


@click.command("maps")
@activation_argument
@parameter_options
@click.option("--q", type=float, required=True, help="Pre-activation variance, > 0.")
@click.option("--sigma-w2", type=float, default=1.0, show_default=True, help="Weight variance times fan-in, > 0.")
@click.option("--sigma-b2", type=float, default=0.0, show_default=True, help="Bias variance, >= 0.")
@json_option
def maps_command(
    activation: str, q: float, sigma_w2: float, sigma_b2: float, as_json: bool, **given: float | None
) -> None:
    """Values of the variance map, its slope and curvature, chi_1 and sparsity, to all float64 digits."""
    family = member(activation)
    member(activation, **given)
    missing = [f"--{p}" for p in map(str, family.parameters) if given[p] is None]
    if missing:
        raise ValueError(f"maps: {family.name} needs {' and '.join(missing)}, got none; pass {' and '.join(missing)}.")
    values = {"q": q, "sigma_w2": sigma_w2, "sigma_b2": sigma_b2, **given}
    formulas = {name: quantity(family) for name, quantity in maps.QUANTITIES.items()}
    numbers = {name: float(numeric.evaluate(formula, values)) for name, formula in formulas.items()}
    for name, number in numbers.items():
        if not math.isfinite(number) and formulas[name].expression.is_finite is not False:
            raise ValueError(f"maps: need {name} within float64, got more; choose a smaller q or sigma_w2.")
    shown = {name: value for name, value in given.items() if name != "a" or value is not None}
    _print_fields(
        {"activation": family.name, **shown, "q": q, "sigma_w2": sigma_w2, "sigma_b2": sigma_b2, **numbers}, as_json
    )


@click.command(
    epilog=f"""Quantities of one input: {names_of(maps.ONE_INPUT)}; J, K and N stand for orders 0, 1, 2, ...
    Quantities of two inputs: {names_of(maps.TWO_INPUTS)}."""
)
@click.argument("activation", metavar="[ACT]", required=False)
@expression_options
@click.option("--quantity", required=True, help="What to derive; see below.")
@click.option("--rho", type=float, help="Correlation -1, 0 or 1, at which quantities of two inputs are elementary.")
@click.option("--same-variance", is_flag=True, help="Take q1 = q2 = q, as at a fixed point.")
@click.option("--residual", is_flag=True, help="Of the layer sqrt(1 - alpha^2) h + alpha (W phi(h) + b).")
@click.option("--format", "style", default="text", show_default=True, help=f"One of {', '.join(FORMATS)}.")
def derive(
    activation: str | None,
    expression: str | None,
    assume: tuple[str, ...],
    quantity: str,
    rho: float | None,
    same_variance: bool,
    residual: bool,
    style: str,
) -> None:
    """The closed form of a quantity, in q (or q1, q2, rho), the activation's parameters, sigma_w2 and sigma_b2."""
    if activation is None and expression is None:
        raise ValueError("derive: need one of ACT and --expr, got neither; pass one.")
    (phi,) = activations_of("derive", [] if activation is None else [activation], expression, assume)
    if residual and rho is not None:
        raise ValueError("derive: need no rho with --residual, got one; leave it out and put it into the formula.")
    at = {"rho": rho} if rho is not None else {}
    variances = {"variances": (Q, Q)} if same_variance else {}
    with _bounded("derive"):
        formula = _residual(quantity)(phi) if residual else maps.derive(phi, quantity, **at, **variances)
        text = format_formula(formula, style)
    click.echo(text)


# Steps of a derivation: a kernel of 12 knots and degree 1 takes most of them.
_STEPS = 320_000


def _bounded(command: str) -> AbstractContextManager[None]:
    advice = "take fewer knots, lower degrees or lower orders, or call gpsym.maps from Python, which has no limit"
    return budget(command, _STEPS, advice)


def _residual(quantity: str) -> Callable[[Activation], Formula]:
    from gpsym.layers.residual import QUANTITIES

    name = quantity.replace("-", "_")
    if name not in QUANTITIES:
        raise ValueError(
            f"derive: need one of {names_of(QUANTITIES)} with --residual, got {shown(quantity)}; choose one."
        )
    return QUANTITIES[name]


@click.command()
@click.argument("activations", metavar="[ACT]...", nargs=-1)
@expression_options
@click.option("--laws", is_flag=True, help="Also the laws and theorems of gpsym.testing; always with --expr.")
@click.option(
    "--quantity", "quantities", multiple=True, help="As derive takes it; may be repeated. [default: the five of maps]"
)
@click.option("--digits", type=int, default=50, show_default=True, help="Significant digits to agree on.")
@click.option("--points", type=int, default=100, show_default=True, help="Points per formula.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the points.")
@json_option
@click.pass_context
def verify(
    context: click.Context,
    activations: tuple[str, ...],
    expression: str | None,
    assume: tuple[str, ...],
    laws: bool,
    quantities: tuple[str, ...],
    digits: int,
    points: int,
    seed: int,
    as_json: bool,
) -> None:
    """Check all forms of formulas against quadrature, and laws; exit 1 if anything is not verified."""
    families = activations_of("verify", activations if activations or expression else [*MEMBERS], expression, assume)
    with _bounded("verify"):  # before anything is printed
        for family in families:
            for name in (*(quantities or maps.QUANTITIES), *(["kernel"] if expression else [])):
                maps.derive(family, name)
    checks: list[Check] = []
    law_checks: list[LawCheck] = []
    for family in families:
        found = verify_activation(family, quantities, digits=digits, points=points, seed=seed)
        checks += found
        if not as_json:
            for check in found:
                click.echo(f"{check.activation:<24}{check.quantity:<23}{_verdict(check)}")
        for check in _law_checks(family) if laws or expression else ():
            law_checks.append(check)
            if not as_json:
                click.echo(f"{check.activation:<24}{check.law:<39}{check}")
    verified = all(isinstance(check.verdict, Verified) for check in checks) and all(c.passed for c in law_checks)
    if as_json:
        fields = {"verified": verified, "checks": [check.to_dict() for check in checks]}
        fields |= {"laws": [check.to_dict() for check in law_checks]} if law_checks else {}
        click.echo(json.dumps(fields, indent=2))
    context.exit(0 if verified else 1)


def _law_checks(phi: Activation) -> Iterable[LawCheck]:
    from gpsym.testing import check_laws  # costs half a second to import

    return check_laws(phi)


def _verdict(check: Check) -> str:
    verdict = check.verdict
    fields = ", ".join(f"{name} {value}" for name, value in vars(verdict).items())
    return f"{type(verdict).__name__} ({fields})"


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
@click.pass_context
def prove(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Prove the theorems of these names, all by default, from a checkout; exit 1 if a verdict is not Proved."""
    if find_spec("proofs") is None:
        raise ImportError("prove: need a checkout of gpsym, got an installed one, which has no proofs; run it there.")
    from proofs.cli import prove as command

    context.invoke(command, names=names, false=False, certificates=None, as_json=as_json)


def _print_fields(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        # JSON has no infinity: it becomes a string, which float() reads.
        exact = {k: str(v) if isinstance(v, float) and math.isinf(v) else v for k, v in fields.items()}
        click.echo(json.dumps(exact, indent=2))
    else:
        click.echo("\n".join(f"{name:<12}{'-' if value is None else value}" for name, value in fields.items()))
