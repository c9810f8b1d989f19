"""Options and arguments that commands share, and what they stand for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from gpsym.activation import Activation
from gpsym.design import CriticalInit, DesignWarning, edge_of_chaos
from gpsym.expression import parse_activation
from gpsym.members import member

__all__ = [
    "activation_argument",
    "activations_of",
    "design_of",
    "excursion_of",
    "expression_options",
    "json_option",
    "names_of",
    "parameter_options",
    "size_options",
    "wish_options",
]


def _together(*options: Callable) -> Callable:
    """Several click options as one decorator, in the order given."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def names_of(table: Iterable[str]) -> str:
    """Names as they are typed."""
    return ", ".join(name.replace("_", "-") for name in table)


activation_argument = click.argument("activation", metavar="ACT")
parameter_options = _together(
    click.option("--tau", type=float, help="Threshold."),
    click.option("--m", type=float, help="Clip level, > 0; clipped activations only."),
    click.option("--a", type=float, help="Slope left of zero; prelu only."),
)
wish_options = _together(
    click.option("--sparsity", type=float, help="Wanted fraction of zeros."),
    click.option("--slope", type=float, help="Wanted V'(q*) in (0, 1); clipped activations only."),
    click.option("--q-star", type=float, default=1.0, show_default=True, help="Pre-activation variance."),
    parameter_options,
)
expression_options = _together(
    click.option("--expr", "expression", help="In place of ACT: an expression in x, as max(0, x - tau)."),
    click.option("--assume", multiple=True, help="With --expr: a relation of its parameters, as 'm > 0'; repeatable."),
)
size_options = _together(
    click.option("--width", type=int, help="Units in every layer."),
    click.option("--depth", type=int, help="Layers after the first hidden one."),
    click.option("--excursion", type=float, help="Multiple of q* not to be exceeded.  [default: 2]"),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def activations_of(
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


def design_of(activation: str, a: float | None, **wishes: Any) -> CriticalInit:
    """What the activation, `parameter_options` and `wish_options` ask for; its weaknesses are said on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DesignWarning)
        design = edge_of_chaos(member(activation, a=a), **wishes)
    sentences = [str(warning.message) for warning in caught]
    if design.instability:
        sentences.append(design.instability)
    click.get_current_context().call_on_close(lambda: _say(sentences))
    return design


def _say(sentences: Sequence[str]) -> None:
    """Warnings on stderr, a line each; none where the command failed, whose own sentence stands there alone."""
    for sentence in sentences if sys.exc_info()[0] is None else ():
        click.echo(f"gpsym: warning: {sentence}", err=True)


def excursion_of(excursion: float | None) -> dict[str, Any]:
    """The keyword argument of an --excursion that was given; none leaves the default of what is called."""
    return {} if excursion is None else {"excursion": excursion}
