"""Commands on designs: what they are, how stable they are, and files for others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from gpsym.cli.options import (
    activation_argument,
    design_of,
    excursion_of,
    json_option,
    size_options,
    wish_options,
)
from gpsym.design import CriticalInit
from gpsym.export import FRAMEWORKS, export_text
from gpsym.files import read_array, write_array, write_text

__all__ = ["design_command", "export", "kernel", "stability_command"]


@click.command("design")
@activation_argument
@wish_options
@size_options
@click.option("--risk", type=float, help="Probability of a failure to allow.  [default: 0.01]")
@click.option("--classes", type=int, default=10, show_default=True, help="Outputs, which gradients have to tell apart.")
@json_option
def design_command(
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float | None,
    risk: float | None,
    classes: int,
    as_json: bool,
    **wishes: Any,
) -> None:
    """The initialization at the edge of chaos for a wanted sparsity (and slope).

    With a width and a depth in place of the slope: the largest slope whose networks keep the risk.  A network fails if
    it has an excursion or is dead (see gpsym stability).  With a slope, or an activation without one, a risk that is
    not kept is said on stderr, and so is a q* that is not stable.

    With a width and a depth also learning rates of theory, for inputs like a hidden layer's: the scale of Adam's, and
    the largest that is stable for SGD; how many directions of a gradient come through; and the alpha of residual layers
    that let --classes less one through.
    """
    found = design_of(activation, width=width, depth=depth, risk=risk, excursion=excursion, **wishes)
    sized = {} if width is None or depth is None else _for_size(found, width, depth, excursion, classes)
    if as_json:
        click.echo(json.dumps(found.to_dict() | {"stability": found.stability} | sized, indent=2))
    else:
        lines = (f"{name}  {'-' if value is None else format(value, '.4g')}" for name, value in sized.items())
        click.echo("\n".join([str(found), *lines]))


def _for_size(
    design: CriticalInit, width: int, depth: int, excursion: float | None, classes: int
) -> dict[str, float | None]:
    from gpsym.directions import gradient_directions, mixing_of_directions
    from gpsym.finite_width import finite_width
    from gpsym.learning_rate import adam_rate, sgd_rate

    found = finite_width(design, width=width, depth=depth, **excursion_of(excursion))
    layers = depth + 1  # the first hidden one counts
    return {
        "escape_probability": found.escape_probability,
        "excursion_probability": found.excursion_probability,
        "dead_probability": found.dead_probability,
        "failure_probability": found.failure_probability,
        "log_gradient_mean": found.log_gradient_mean,
        "log_gradient_sd": found.log_gradient_sd,
        "learning_rate_adam": adam_rate(design, width=width, depth=layers),
        "learning_rate_sgd": sgd_rate(design, width=width, depth=layers, classes=classes),
        "gradient_directions": gradient_directions(design, width=width, depth=depth),
        "residual_alpha": mixing_of_directions(design, width=width, depth=depth, directions=classes - 1),
    }


@click.command("stability")
@activation_argument
@wish_options
@size_options
@click.option("--correlation", type=float, help="Of two inputs' first hidden layers, to follow with --width, --depth.")
@click.option("--alpha", type=float, help="Of residual layers sqrt(1 - alpha^2) h + alpha (W phi(h) + b).")
@json_option
def stability_command(
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float | None,
    correlation: float | None,
    alpha: float | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Fixed points of a design's variance map, the basin of q*, and at finite width the risk of leaving it.

    gain_margin is the factor by which all weight variances may grow before the variance jumps away from q*'s branch.

    escape_probability is that of a variance above the basin in one of --depth layers, excursion_probability that of
    one above --excursion times q*, or above the basin; log_gradient_sd is the spread of log ||g||^2 from the last layer
    to the first, and dead_probability that of g = 0; failure_probability is that of an excursion or g = 0;
    gradient_directions is how many of its directions come through.
    With --alpha escapes are not known, and the spreads to leading order in 1 / width.
    """
    if (width is None) != (depth is None):
        raise ValueError(f"stability: need width and depth together, got {width} and {depth}; pass both.")
    if excursion is not None and (width is None or alpha is not None):
        raise ValueError("stability: need width and depth, and no alpha, with an excursion; pass such.")
    if correlation is not None and (width is None or alpha is not None):
        raise ValueError("stability: need width and depth, and no alpha, to follow a correlation; pass such.")
    design = design_of(activation, **wishes)
    fields = _wide(design, alpha) | dict.fromkeys((*_AT_WIDTH, "gradient_directions"))
    if width is not None and depth is not None:
        fields |= _at_width(design, width, depth, excursion) if alpha is None else _mixed(design, alpha, width, depth)
        fields["gradient_directions"] = _directions(design, width, depth, alpha)
        fields |= {} if correlation is None else _pairs(design, correlation, width, depth)
    click.echo(json.dumps(fields, indent=2) if as_json else _stability_table(design, fields))


def _wide(design: CriticalInit, alpha: float | None) -> dict[str, Any]:
    """What holds at every width."""
    from gpsym.depth_scales import correlation_rate
    from gpsym.layers import residual
    from gpsym.stability import basin, fixed_points, gain_margin

    margin = gain_margin(design)
    points = fixed_points(design) if alpha is None else residual.fixed_points(design, alpha)
    return {
        "stability": design.stability,
        "fixed_points": [vars(point) for point in points],
        "basin": basin(design),
        "gain_margin": margin if math.isfinite(margin) else None,
        "correlation_rate": correlation_rate(design) * (1 if alpha is None else alpha**2),
    }


_AT_WIDTH = (  # None unless asked for; escapes of residual layers are not known
    "escape_probability", "escape_by_depth", "excursion_probability", "outside_probability", "mean_exit_depth",
    "log_gradient_mean", "log_gradient_sd", "dead_probability", "failure_probability", "error",
)  # fmt: skip


def _at_width(design: CriticalInit, width: int, depth: int, excursion: float | None) -> dict[str, Any]:
    from gpsym.finite_width import finite_width

    found = finite_width(design, width=width, depth=depth, **excursion_of(excursion))
    return {name: getattr(found, name) for name in _AT_WIDTH}


def _mixed(design: CriticalInit, alpha: float, width: int, depth: int) -> dict[str, Any]:
    from gpsym.layers.fluctuation import spread

    # The skip passes every gradient on.
    dead = {} if alpha == 1 else {"dead_probability": 0.0}
    return dead | vars(spread(design, alpha=alpha, width=width, depth=depth))


def _directions(design: CriticalInit, width: int, depth: int, alpha: float | None) -> float:
    from gpsym.directions import gradient_directions

    return gradient_directions(design, width=width, depth=depth, alpha=1.0 if alpha is None else alpha)


def _pairs(design: CriticalInit, correlation: float, width: int, depth: int) -> dict[str, Any]:
    from gpsym.finite_width.correlation import correlation_spread

    found = correlation_spread(design, width=width, depth=depth, correlation=correlation)
    return {"correlation_by_depth": found.correlation.tolist(), "correlation_sd_by_depth": found.sd.tolist()}


def _stability_table(design: CriticalInit, fields: dict[str, Any]) -> str:
    low, high = fields["basin"]
    rows = [("activation", design.activation), ("stability", f"{design.stability}: {design.stability.meaning}")]
    rows += [("basin", f"({low:.6g}, {_end(high)})"), ("gain_margin", _end(fields["gain_margin"]))]
    for point in fields["fixed_points"]:
        shown = f"{point['q']:.6g}  V' {point['slope']:.4g}  chi_1 {point['chi_1']:.4g}  {point['kind']}"
        rows.append(("fixed point", shown))
    # Of a list by depth the last number.
    last = {name: value[-1] if name.endswith("_by_depth") and value else value for name, value in fields.items()}
    rows += [
        (name.removesuffix("_by_depth"), f"{value:.4g}")
        for name, value in last.items()
        if isinstance(value, float) and name not in ("escape_by_depth", "gain_margin")
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _end(number: float | None) -> str:
    return "oo" if number is None else f"{number:.6g}"


@click.command()
@activation_argument
@wish_options
@click.option("--framework", required=True, help=f"One of {', '.join(FRAMEWORKS)}.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="File to write.")
def export(activation: str, framework: str, output: Path, **wishes: Any) -> None:
    """Write a design to a file that needs no gpsym."""
    write_text(output, export_text(design_of(activation, **wishes), framework))
    click.echo(f"wrote {output}")


@click.command()
@activation_argument
@wish_options
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
    design = design_of(activation, **wishes)
    found = kernels(arrays[0], design, depth=depth, input_mean_square=input_mean_square, other=arrays[1])
    write_array(output, found.kind(kind))
    click.echo(f"wrote {output}")
