"""Commands that draw: figures, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from gpsym.cli.options import (
    activation_argument,
    design_of,
    excursion_of,
    output_option,
    say_written,
    size_options,
    wish_options,
)
from gpsym.files import Output, figure_style

__all__ = ["plot", "report"]

# Each figure, and what of these options it is not drawn by.
_WISHES, _SIZES = ("sparsity", "slope", "q_star", "tau", "m", "a"), ("width", "depth", "excursion")
_FIGURES = {"map": _SIZES, "phase": _WISHES, "spread": ()}


@click.command()
@click.argument("figure", metavar="FIGURE")
@activation_argument
@wish_options
@size_options
@output_option("File to write: .png, .svg or .pdf.", "as SVG")
def plot(
    figure: str,
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float | None,
    output: Output,
    **wishes: Any,
) -> None:
    """Draw a figure.

    FIGURE is map, the variance map of a design with its fixed points, basin and a cobweb; phase, which sparsities and
    slopes have one fixed point and which three, and with --width and --depth the risk of an excursion; or spread, the
    variance of networks of a width layer by layer, computed and simulated.
    """
    if figure not in _FIGURES:
        raise ValueError(f"plot: need map, phase or spread, got {figure}; choose one.")
    _require_options_of(figure)
    output.require_free()
    figure_style(output)
    from gpsym.plot import phase_figure, spread_figure, variance_map_figure

    if figure == "map":
        drawn = variance_map_figure(design_of(activation, **wishes))
    elif figure == "phase":
        drawn = phase_figure(activation, width=width, depth=depth, **excursion_of(excursion))
    else:
        if width is None or depth is None:
            raise ValueError(f"plot: need width and depth for spread, got {width} and {depth}; pass both.")
        drawn = spread_figure(design_of(activation, **wishes), width=width, depth=depth, **excursion_of(excursion))
    output.write_figure(drawn)
    say_written(output)


def _require_options_of(figure: str) -> None:
    """Raise ValueError for an option that was given and that the figure is not drawn by."""
    context = click.get_current_context()
    for name in _FIGURES[figure]:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"plot: need no {option} for {figure}, got {option} {context.params[name]}; leave it out.")


@click.command()
@output_option("Folder to write index.html into.", "the page itself")
@click.option("--run", "run_folder", type=click.Path(path_type=Path), help="Folder of a training run to include.")
def report(output: Output, run_folder: Path | None) -> None:
    """Write formulas, designs, plots and verification as one HTML page that opens offline."""
    from gpsym.report import report_page

    page = output.inside("index.html")
    page.require_free()
    page.write_text(report_page(run_folder), "html")
    say_written(page)
