"""Commands that draw: figures, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpsym.cli.options import activation_argument, design_of, excursion_of, size_options, wish_options
from gpsym.files import write_figure

__all__ = ["plot", "report"]


@click.command()
@click.argument("figure", metavar="FIGURE")
@activation_argument
@wish_options
@size_options
@click.option("--output", type=click.Path(path_type=Path), required=True, help="File to write: .png, .svg or .pdf.")
def plot(
    figure: str,
    activation: str,
    width: int | None,
    depth: int | None,
    excursion: float | None,
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
        drawn = variance_map_figure(design_of(activation, **wishes))
    elif figure == "phase":
        drawn = phase_figure(activation, width=width, depth=depth, **excursion_of(excursion))
    elif figure == "spread":
        if width is None or depth is None:
            raise ValueError(f"plot: need width and depth for spread, got {width} and {depth}; pass both.")
        drawn = spread_figure(design_of(activation, **wishes), width=width, depth=depth, **excursion_of(excursion))
    else:
        raise ValueError(f"plot: need map, phase or spread, got {figure}; choose one.")
    write_figure(output, drawn)
    click.echo(f"wrote {output}")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write index.html into.")
@click.option("--run", "run_folder", type=click.Path(path_type=Path), help="Folder of a training run to include.")
def report(output: Path, run_folder: Path | None) -> None:
    """Write formulas, designs, plots and verification as one HTML page that opens offline."""
    from gpsym.report import write_report

    click.echo(f"wrote {write_report(output, run=run_folder)}")
