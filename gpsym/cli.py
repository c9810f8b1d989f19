"""The command line: a person reads it; with --json a program does.

Exit status: 0 done, 1 something was not verified, 2 bad input (one line on stderr, nothing on stdout).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import gpsym
from gpsym import maps, numeric
from gpsym.activation import Activation
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.export import FRAMEWORKS, export_text
from gpsym.expression import parse_activation
from gpsym.files import read_array, write_array, write_figure, write_text
from gpsym.formats import FORMATS, format_formula
from gpsym.formula import Formula, Q
from gpsym.members import ALIASES, MEMBERS, member
from gpsym.verify import Check, Verified, verify_activation

if TYPE_CHECKING:
    from gpsym.testing import LawCheck

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `gpsym` command."""
    run(cli, "gpsym", arguments)


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run a click command and exit; bad input becomes one line on stderr and status 2."""
    try:
        status = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except (click.ClickException, ValueError, OSError, ImportError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        if isinstance(error, click.UsageError) and error.ctx:
            message += f" See {error.ctx.command_path} --help."
        click.echo(f"{name}: {' '.join(message.split())}", err=True)
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _options(*options: Callable) -> Callable:
    """Several click options as one decorator, in the order given."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _names(table: Iterable[str]) -> str:
    return ", ".join(name.replace("_", "-") for name in table)


_activation = click.argument("activation", metavar="ACT")
_parameters = _options(
    click.option("--tau", type=float, help="Threshold."),
    click.option("--m", type=float, help="Clip level, > 0; clipped activations only."),
    click.option("--a", type=float, help="Slope left of zero; prelu only."),
)
_wishes = _options(
    click.option("--sparsity", type=float, help="Wanted fraction of zeros."),
    click.option("--slope", type=float, help="Wanted V'(q*) in (0, 1); clipped activations only."),
    click.option("--q-star", type=float, default=1.0, show_default=True, help="Pre-activation variance."),
    _parameters,
)
_expression = _options(
    click.option("--expr", "expression", help="In place of ACT: an expression in x, as max(0, x - tau)."),
    click.option("--assume", multiple=True, help="With --expr: a relation of its parameters, as 'm > 0'; repeatable."),
)
_size = _options(
    click.option("--width", type=int, help="Units in every layer."),
    click.option("--depth", type=int, help="Layers after the first hidden one."),
    click.option("--excursion", type=float, default=2.0, show_default=True, help="Multiple of q* not to be exceeded."),
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog=f"Activations: {', '.join(MEMBERS)}; aliases {', '.join(ALIASES)}.")
@click.version_option(gpsym.__version__, prog_name="gpsym")
def cli() -> None:
    """Variance maps of sparse activations in closed form, and initializers at the edge of chaos."""


@cli.command("maps")
@_activation
@_parameters
@click.option("--q", type=float, required=True, help="Pre-activation variance, > 0.")
@click.option("--sigma-w2", type=float, default=1.0, show_default=True, help="Weight variance times fan-in, > 0.")
@click.option("--sigma-b2", type=float, default=0.0, show_default=True, help="Bias variance, >= 0.")
@_json
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


@cli.command(
    epilog=f"""Quantities of one input: {_names(maps.ONE_INPUT)}; J, K and N stand for orders 0, 1, 2, ...
    Quantities of two inputs: {_names(maps.TWO_INPUTS)}."""
)
@click.argument("activation", metavar="[ACT]", required=False)
@_expression
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
    (phi,) = _activations("derive", [] if activation is None else [activation], expression, assume)
    if residual:
        if rho is not None:
            raise ValueError("derive: need no rho with --residual, got one; leave it out and put it into the formula.")
        click.echo(format_formula(_residual(quantity)(phi), style))
        return
    at = {"rho": rho} if rho is not None else {}
    variances = {"variances": (Q, Q)} if same_variance else {}
    click.echo(format_formula(maps.derive(phi, quantity, **at, **variances), style))


def _residual(quantity: str) -> Callable[[Activation], Formula]:
    from gpsym.layers.residual import QUANTITIES

    name = quantity.replace("-", "_")
    if name not in QUANTITIES:
        raise ValueError(f"derive: need one of {_names(QUANTITIES)} with --residual, got {quantity}; choose one.")
    return QUANTITIES[name]


@cli.command("design")
@_activation
@_wishes
@_size
@click.option("--risk", type=float, default=0.01, show_default=True, help="Probability of an excursion to allow.")
@_json
def design_command(
    activation: str, width: int | None, depth: int | None, excursion: float, risk: float, as_json: bool, **wishes: Any
) -> None:
    """The initialization at the edge of chaos for a wanted sparsity (and slope).

    With a width and a depth in place of the slope: the largest slope whose networks keep the risk.
    """
    found = _design(activation, width=width, depth=depth, risk=risk, excursion=excursion, **wishes)
    risks = _risks(found, width, depth, excursion) if width is not None and depth is not None else {}
    if as_json:
        click.echo(json.dumps(found.to_dict() | risks, indent=2))
    else:
        click.echo("\n".join([str(found), *(f"{name}  {value:.4g}" for name, value in risks.items())]))


def _risks(design: CriticalInit, width: int, depth: int, excursion: float) -> dict[str, float]:
    from gpsym.finite_width import finite_width

    found = finite_width(design, width=width, depth=depth, excursion=excursion)
    return {"escape_probability": found.escape_probability, "excursion_probability": found.excursion_probability}


@cli.command("stability")
@_activation
@_wishes
@_size
@click.option("--correlation", type=float, help="Of two inputs' first hidden layers, to follow with --width, --depth.")
@click.option("--alpha", type=float, help="Of residual layers sqrt(1 - alpha^2) h + alpha (W phi(h) + b).")
@_json
def stability_command(
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float,
    correlation: float | None,
    alpha: float | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Fixed points of a design's variance map, the basin of q*, and at finite width the risk of leaving it.

    escape_probability is that of a variance above the basin in one of --depth layers, excursion_probability that of
    one above --excursion times q*, or above the basin; log_gradient_sd is the spread of log ||g||^2 from the last layer
    to the first, and dead_probability that of g = 0.  With --alpha escapes are not known, and the spreads to leading
    order in 1 / width.
    """
    if (width is None) != (depth is None):
        raise ValueError(f"stability: need width and depth together, got {width} and {depth}; pass both.")
    if correlation is not None and (width is None or alpha is not None):
        raise ValueError("stability: need width and depth, and no alpha, to follow a correlation; pass such.")
    design = _design(activation, **wishes)
    fields = _wide(design, alpha) | dict.fromkeys(_AT_WIDTH)
    if width is not None and depth is not None:
        fields |= _at_width(design, width, depth, excursion) if alpha is None else _mixed(design, alpha, width, depth)
        fields |= {} if correlation is None else _pairs(design, correlation, width, depth)
    click.echo(json.dumps(fields, indent=2) if as_json else _stability_table(design, fields))


def _wide(design: CriticalInit, alpha: float | None) -> dict[str, Any]:
    """What holds at every width."""
    from gpsym.depth_scales import correlation_rate
    from gpsym.layers import residual
    from gpsym.stability import basin, fixed_points

    points = fixed_points(design) if alpha is None else residual.fixed_points(design, alpha)
    return {
        "fixed_points": [vars(point) for point in points],
        "basin": basin(design),
        "correlation_rate": correlation_rate(design) * (1 if alpha is None else alpha**2),
    }


_AT_WIDTH = (  # None unless asked for; escapes of residual layers are not known
    "escape_probability", "escape_by_depth", "excursion_probability", "outside_probability", "mean_exit_depth",
    "log_gradient_mean", "log_gradient_sd", "dead_probability", "error",
)  # fmt: skip


def _at_width(design: CriticalInit, width: int, depth: int, excursion: float) -> dict[str, Any]:
    from gpsym.finite_width import finite_width

    found = finite_width(design, width=width, depth=depth, excursion=excursion)
    return {name: getattr(found, name) for name in _AT_WIDTH}


def _mixed(design: CriticalInit, alpha: float, width: int, depth: int) -> dict[str, Any]:
    from gpsym.layers.fluctuation import spread

    return vars(spread(design, alpha=alpha, width=width, depth=depth))


def _pairs(design: CriticalInit, correlation: float, width: int, depth: int) -> dict[str, Any]:
    from gpsym.finite_width.correlation import correlation_spread

    found = correlation_spread(design, width=width, depth=depth, correlation=correlation)
    return {"correlation_by_depth": found.correlation.tolist(), "correlation_sd_by_depth": found.sd.tolist()}


def _stability_table(design: CriticalInit, fields: dict[str, Any]) -> str:
    low, high = fields["basin"]
    rows = [("activation", design.activation), ("basin", f"({low:.6g}, {'oo' if high is None else f'{high:.6g}'})")]
    for point in fields["fixed_points"]:
        shown = f"{point['q']:.6g}  V' {point['slope']:.4g}  chi_1 {point['chi_1']:.4g}  {point['kind']}"
        rows.append(("fixed point", shown))
    # Of a list by depth the last number.
    last = {name: value[-1] if name.endswith("_by_depth") and value else value for name, value in fields.items()}
    rows += [
        (name.removesuffix("_by_depth"), f"{value:.4g}")
        for name, value in last.items()
        if isinstance(value, float) and name != "escape_by_depth"
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


@cli.command()
@_activation
@_wishes
@click.option("--framework", required=True, help=f"One of {', '.join(FRAMEWORKS)}.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="File to write.")
def export(activation: str, framework: str, output: Path, **wishes: Any) -> None:
    """Write a design to a file that needs no gpsym."""
    write_text(output, export_text(_design(activation, **wishes), framework))
    click.echo(f"wrote {output}")


@cli.command()
@_activation
@_wishes
@click.option("--depth", type=int, required=True, help="Number of activations.")
@click.option("--kind", default="nngp", show_default=True, help="nngp or ntk.")
@click.option(
    "--input-mean-square", type=float, help="Mean of x^2, which the first layer brings to q*; else as all layers."
)
@click.option("--input", "rows", type=click.Path(path_type=Path), required=True, help=".npy file, (n, features).")
@click.option("--other", type=click.Path(path_type=Path), help=".npy file of other rows. [default: those of --input]")
@click.option("--output", type=click.Path(path_type=Path), required=True, help=".npy file to write, (n, n').")
def kernel(
    activation: str,
    depth: int,
    kind: str,
    input_mean_square: float | None,
    rows: Path,
    other: Path | None,
    output: Path,
    **wishes: Any,
) -> None:
    """Write the kernel matrix of a deep network with a design's weights: rows against rows."""
    from gpsym.kernel import kernels

    arrays = read_array(rows), None if other is None else read_array(other)
    design = _design(activation, **wishes)
    found = kernels(arrays[0], design, depth=depth, input_mean_square=input_mean_square, other=arrays[1])
    write_array(output, found.kind(kind))
    click.echo(f"wrote {output}")


@cli.command()
@click.argument("activations", metavar="[ACT]...", nargs=-1)
@_expression
@click.option("--laws", is_flag=True, help="Also the laws and theorems of gpsym.testing; always with --expr.")
@click.option(
    "--quantity", "quantities", multiple=True, help="As derive takes it; may be repeated. [default: the five of maps]"
)
@click.option("--digits", type=int, default=50, show_default=True, help="Significant digits to agree on.")
@click.option("--points", type=int, default=100, show_default=True, help="Random points per formula.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the points.")
@_json
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
    """Check formulas against quadrature of their definitions, and laws; exit 1 if anything is not verified."""
    families = _activations("verify", activations if activations or expression else [*MEMBERS], expression, assume)
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


@cli.command()
@click.argument("figure", metavar="FIGURE")
@_activation
@_wishes
@_size
@click.option("--output", type=click.Path(path_type=Path), required=True, help="File to write: .png, .svg or .pdf.")
def plot(
    figure: str,
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float,
    output: Path,
    **wishes: Any,
) -> None:
    """Draw a figure.

    FIGURE is map, the variance map of a design with its fixed points, basin and a cobweb; phase, which sparsities and
    slopes have one fixed point and which three, and with --width and --depth the risk of an excursion; or spread, the
    variance of networks of a width layer by layer, computed and simulated.
    """
    from gpsym.plot import phase_figure, spread_figure, variance_map_figure

    if figure == "map":
        drawn = variance_map_figure(_design(activation, **wishes))
    elif figure == "phase":
        drawn = phase_figure(activation, width=width, depth=depth, excursion=excursion)
    elif figure == "spread":
        if width is None or depth is None:
            raise ValueError(f"plot: need width and depth for spread, got {width} and {depth}; pass both.")
        drawn = spread_figure(_design(activation, **wishes), width=width, depth=depth, excursion=excursion)
    else:
        raise ValueError(f"plot: need map, phase or spread, got {figure}; choose one.")
    write_figure(output, drawn)
    click.echo(f"wrote {output}")


@cli.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_json
@click.pass_context
def prove(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Prove the theorems of these names, all by default, from a checkout; exit 1 if a verdict is not Proved."""
    if find_spec("proofs") is None:
        raise ImportError("prove: need a checkout of gpsym, got an installed one, which has no proofs; run it there.")
    from proofs.cli import prove as command

    context.invoke(command, names=names, false=False, certificates=None, as_json=as_json)


@cli.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write index.html into.")
@click.option("--run", "run_folder", type=click.Path(path_type=Path), help="Folder of a training run to include.")
def report(output: Path, run_folder: Path | None) -> None:
    """Write formulas, designs, plots and verification as one HTML page that opens offline."""
    from gpsym.report import write_report

    click.echo(f"wrote {write_report(output, run=run_folder)}")


def _activations(
    command: str, names: Sequence[str], expression: str | None, assume: tuple[str, ...]
) -> list[Activation]:
    """Those of these names, or the one that the expression describes."""
    if names and expression is not None:
        raise ValueError(f"{command}: need one of ACT and --expr, got both; pass one.")
    if assume and expression is None:
        raise ValueError(
            f"{command}: need --expr for --assume, got ACT, whose parameters have their ranges; leave it out."
        )
    return [member(name) for name in names] if expression is None else [parse_activation(expression, assume)]


def _law_checks(phi: Activation) -> Iterable[LawCheck]:
    from gpsym.testing import check_laws  # costs half a second to import

    return check_laws(phi)


def _design(activation: str, a: float | None, **wishes: Any) -> CriticalInit:
    return edge_of_chaos(member(activation, a=a), **wishes)


def _verdict(check: Check) -> str:
    verdict = check.verdict
    fields = ", ".join(f"{name} {value}" for name, value in vars(verdict).items())
    return f"{type(verdict).__name__} ({fields})"


def _print_fields(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        # JSON has no infinity: it becomes a string, which float() reads.
        exact = {k: str(v) if isinstance(v, float) and math.isinf(v) else v for k, v in fields.items()}
        click.echo(json.dumps(exact, indent=2))
    else:
        click.echo("\n".join(f"{name:<12}{'-' if value is None else value}" for name, value in fields.items()))


if __name__ == "__main__":
    main()
