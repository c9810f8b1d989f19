"""Command line of `python -m training`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gpsym.cli import run as run_command
from training.demo import demo
from training.trainer import RunConfig, train

__all__ = ["main"]

# Epochs and batch size where none is given: small data sets need more passes in smaller steps.
_DEFAULTS = {"digits": {"epochs": 30, "batch_size": 32}}


def main() -> None:
    """Entry point of `python -m training`."""
    run_command(cli, "python -m training")


@click.group()
def cli() -> None:
    """Train deep sparse networks from their design at the edge of chaos."""


@cli.command()
@click.option("--data", default="digits", show_default=True,
              help="digits, mnist, fashion_mnist, cifar10, a .npz file or a folder of images.")  # fmt: skip
@click.option("--data-dir", help="Folder with NAME/train.parquet and NAME/test.parquet; or set GPSYM_DATA_DIR.")
@click.option("--activation", default="crelu", show_default=True, help="Name as in gpsym design.")
@click.option("--sparsity", type=float, help="Wanted fraction of zeros in the hidden layers.")
@click.option("--slope", type=float, help="Wanted V'(q*) of the clipped activations.")
@click.option("--q-star", type=float, default=1.0, show_default=True, help="Pre-activation variance.")
@click.option("--width", type=int, default=300, show_default=True, help="Units of a hidden layer.")
@click.option("--depth", type=int, default=10, show_default=True, help="Number of hidden layers.")
@click.option("--epochs", type=int, help="Passes over the training split [default: 10; digits 30].")
@click.option("--batch-size", type=int, help="[default: 128; digits 32]")
@click.option("--lr", type=float, help="Peak learning rate [default: the best of several on the validation split].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of initialization, order and splits.")
@click.option("--device", default="auto", show_default=True, help="auto (CUDA, else CPU), cpu or cuda.")
@click.option("--initializer", help="File of gpsym export --framework torch to initialize with.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run [default: a new one in runs/].")
def run(output: Path | None, **options: Any) -> None:
    """Train one network and write config.json, metrics.jsonl, model.pt and summary.json."""
    given = {name: value for name, value in options.items() if value is not None}
    config = RunConfig(**{**_DEFAULTS.get(options["data"], {}), **given})
    if output is None:
        output = Path("runs", f"{Path(config.data).stem}-{config.activation}-{time.strftime('%Y%m%d-%H%M%S')}")
        output.parent.mkdir(exist_ok=True)
    summary = train(config, output)
    for name, value in summary.items():
        click.echo(f"{name:<24}{value}")
    click.echo(f"wrote {output}")


@cli.command("demo")
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True,
              help="Folder to write into; emptied first.")  # fmt: skip
def demo_command(output: Path) -> None:
    """Derive, verify, design, export, train on digits from the export, report."""
    demo(output)
