"""Command line of `python -m training`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpsym.cli import run as run_command
from training.config import RunConfig
from training.demo import demo
from training.devices import is_first_process
from training.interruption import going_on
from training.predict import predict
from training.presets import PRESETS
from training.records import CONFIG
from training.trainer import resume, train, train_or_resume

if TYPE_CHECKING:
    from training.table import TrainAll

__all__ = ["main"]

# Epochs and batch size where none is given: small data sets need more passes in smaller steps.
_DEFAULTS = {"digits": {"epochs": 30, "batch_size": 32}}


def main() -> None:
    """Entry point of `python -m training`."""
    run_command(cli, "python -m training")


class _Interruptible(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        with going_on(lambda: None):
            return super().invoke(ctx)


@click.group(cls=_Interruptible)
def cli() -> None:
    """Train deep sparse networks from their design at the edge of chaos."""


def _option(name: str, text: str, kind: type | None = None, default: Any = None) -> Callable[[Any], Any]:
    """The option of a field of `RunConfig`, with its default; shown unless it is None."""
    found = {field.name: field.default for field in fields(RunConfig)}[name]
    default = default or found
    flag = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        return click.option(flag, is_flag=True, default=default, help=text)
    return click.option(flag, type=kind or type(default), default=default, show_default=default is not None, help=text)


# Where to run.
_DEVICE = _option("device", "auto (CUDA, else CPU), cpu or cuda.")
_DEVICES = _option("devices", "Processes, one for each device; or start this with torchrun.")
_STRATEGY = _option("strategy", "auto (ddp for several devices), ddp or fsdp.")
_DATA_DIR = _option("data_dir", "Folder with NAME/train.parquet and NAME/test.parquet; or set GPSYM_DATA_DIR.", str)


@cli.command("run")
@_option("data", "digits, mnist, fashion_mnist, cifar10, a .npz file or a folder of images.", str, "digits")
@_DATA_DIR
@_option("activation", "Name as in gpsym design.", str, "crelu")
@_option("sparsity", "Wanted fraction of zeros in the hidden layers.", float)
@_option("slope", "Wanted V'(q*) of the clipped activations.", float)
@_option("q_star", "Pre-activation variance.")
@_option("model", "mlp, cnn (3x3, two strides) or transformer (of patches).")
@_option("width", "Units or channels of a hidden layer.")
@_option("depth", "Number of hidden layers, or of the transformer's blocks.")
@_option("alpha", "Weight of the branch of residual layers [default: no skips; transformer 1/sqrt(2 depth)].", float)
@_option("input_scale", "unit, or hidden: of the size of a hidden layer's, so that the first layer learns no faster.")
@click.option("--epochs", type=int, help="Passes over the training split [default: 10; digits 30].")
@click.option("--batch-size", type=int, help="[default: 128; digits 32]")
@_option("accumulate", "Batches that one step takes together.")
@_option("optimizer", "sgd, adam or adamw.")
@_option("momentum", "Of sgd.")
@_option("weight_decay", "Decoupled for adamw.")
@_option("lr", "Peak learning rate [default: the best on the validation split of several around theory's].", float)
@_option("schedule", "cosine or constant.")
@_option("warmup", "Fraction of the steps over which the rate rises.")
@_option("clip_norm", "Largest norm of the gradient [default: no clipping].", float)
@_option("augment", "none, shift (by up to 4 pixels) or shift-flip.")
@_option("seed", "Of initialization, order and splits.")
@_option("precision", "32, or bf16 for autocast.", str)
@_option("compile", "Train with torch.compile.")
@_DEVICE
@_DEVICES
@_STRATEGY
@_option("telemetry", "Measure gradients by layer every so many epochs; 0 never.")
@_option("tensorboard", "Write event files for TensorBoard, too.")
@_option("checkpoint_every", "Checkpoint every so many steps, and after each epoch.")
@_option("initializer", "File of gpsym export --framework torch to initialize with.", str)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run [default: a new one in runs/].")
@click.option("--resume", "go_on", is_flag=True, help="Go on with the run in --output if there is one.")
def run_one(output: Path | None, go_on: bool, **options: Any) -> None:
    """Train one network and write config.json, metrics.jsonl, model.pt and summary.json."""
    given = {name: value for name, value in options.items() if value is not None}
    config = RunConfig(**{**_DEFAULTS.get(options["data"], {}), **given})
    if output is None:
        output = Path("runs", f"{Path(config.data).stem}-{config.activation}-{time.strftime('%Y%m%d-%H%M%S')}")
        output.parent.mkdir(exist_ok=True)
    with going_on(lambda: _how_to_resume(output)):
        summary = train_or_resume(config, output) if go_on else train(config, output)
    _report(summary, output)


@cli.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@_DEVICE
@_DEVICES
@_STRATEGY
@_DATA_DIR
@click.option("--initializer", help="File of the run's initializer, whose code is executed; needed if there is one.")
@click.pass_context
def resume_command(context: click.Context, run: Path, **place: Any) -> None:
    """Go on with the run in folder RUN from its last checkpoint; where it ran before, if no option says otherwise."""
    source = context.get_parameter_source
    given = {k: v for k, v in place.items() if source(k) is not click.core.ParameterSource.DEFAULT}
    with going_on(lambda: _how_to_resume(run)):
        summary = resume(run, **given)
    _report(summary, run)


def _how_to_resume(folder: Path) -> str | None:
    """How to go on with an interrupted run; None if nothing of it is there."""
    if not is_first_process() or not (folder / CONFIG).exists():
        return None
    return f"to go on, python -m training resume {shlex.quote(str(folder))}"


def _report(summary: dict[str, Any], folder: Path) -> None:
    if not is_first_process():
        return
    for name, value in summary.items():
        click.echo(f"{name:<24}{value}")
    click.echo(f"wrote {folder}")


@cli.command("table", epilog=f"Presets: {', '.join(PRESETS)}.")
@click.argument("preset")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the table [default: runs/PRESET].")
@_DATA_DIR
@click.option("--data", help="Another data set than the preset's.")
@click.option("--width", type=int, help="Another width.")
@click.option("--depth", type=int, help="Another depth.")
@click.option("--epochs", type=int, help="Another number of epochs.")
@click.option("--lr", type=float, help="Another learning rate.")
@click.option("--compile", is_flag=True, default=None, help="Train with torch.compile.")
@click.option("--together", type=int, help="Train at most so many runs at once, as one network [default: one by one].")
@_DEVICE
@click.option("--workers", type=int, help="Most runs at a time, by Ray, each on a core of its own [default: no Ray].")
@click.option("--cluster", metavar="HOST:PORT|auto", help="Ray cluster of the workers [default: this machine].")
def table_command(
    preset: str,
    output: Path | None,
    together: int | None,
    workers: int | None,
    cluster: str | None,
    **options: Any,
) -> None:
    """Train all runs of PRESET, one of those below; again, to go on.

    Writes table.md, table.json and table.svg: accuracy and zeros by activation, sparsity and slope over seeds, and
    diverged runs beside the probability that theory predicts.
    """
    from training.table import run_table  # loads scipy, which a run does without

    train_all = _way_to_train(together, workers, cluster)
    folder = output or Path("runs", preset)
    if output is None and preset in PRESETS:
        folder.parent.mkdir(exist_ok=True)
    with going_on(lambda: f"to go on, {shlex.join(['python', '-m', 'training', *sys.argv[1:]])}"):
        run_table(preset, folder, {name: value for name, value in options.items() if value is not None}, train_all)
    click.echo((folder / "table.md").read_text(encoding="utf-8"))


def _way_to_train(together: int | None, workers: int | None, cluster: str | None) -> TrainAll:
    """One by one, unless the options ask for another way."""
    from training.cluster import on_cluster
    from training.ensemble.together import in_ensembles
    from training.table import one_by_one

    if cluster and workers is None:
        raise click.UsageError("--cluster needs --workers, the most runs at a time; pass it.")
    if together is not None and workers is not None:
        raise click.UsageError("--together trains in one process, --workers in several; pass one of them.")
    if together is not None:
        return in_ensembles(together)
    return one_by_one if workers is None else on_cluster(workers, cluster)


@cli.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def predict_command(run: Path, file: Path | None, as_json: bool) -> None:
    """Class and probabilities, by the network of run RUN, of the rows of FILE (.npy), or of the test split."""
    found = predict(run, file)
    for label, probabilities in zip(found.classes.tolist(), found.probabilities.tolist(), strict=True):
        if as_json:
            click.echo(json.dumps({"class": label, "probabilities": probabilities}))
        else:
            click.echo(f"{label:4d}  " + " ".join(f"{p:.4f}" for p in probabilities))
    if found.accuracy is not None and not as_json:
        click.echo(f"accuracy {found.accuracy:.4f} of {len(found.probabilities)}")


@cli.command("demo")
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True,
              help="Folder to write into; emptied first.")  # fmt: skip
def demo_command(output: Path) -> None:
    """Derive, verify, design, export, train on digits from the export, report."""
    demo(output)
