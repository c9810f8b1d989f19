"""The whole way in one command: derive, verify, design, export, train from the export, report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click

from gpsym.files import Output, bears_mark, shown

__all__ = ["demo"]

LEAST_ACCURACY = 0.9
_INITIALIZER = "initializer.py"
_PARTS = {_INITIALIZER, "run", ".run.lock", "report"}
_WISHES = ["--sparsity", "0.85", "--slope", "0.7"]
_RUN = ["--data", "digits", "--activation", "crelu", *_WISHES, "--depth", "10", "--width", "300", "--seed", "0"]

# Run apart from gpsym: builds the same network from the exported file alone and prints the digest of its weights.
_REBUILD = """
import importlib.util, json, sys
sys.modules["gpsym"] = None  # an import of gpsym would fail
import torch
from training.digest import digest
from training.models import mlp
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
sys.modules["exported"] = exported
spec.loader.exec_module(exported)
config = json.load(open(sys.argv[2]))
model = mlp(config["inputs"], config["classes"], width=config["width"], depth=config["depth"],
            activation=exported.Activation)
exported.init_(model, input_mean_square=config["input_mean_square"],
               generator=torch.Generator().manual_seed(config["seed"]))
print(digest(model))
"""


def demo(folder: Path) -> None:
    """Do every step as a user would, with its command printed, into `folder`, in place of an earlier demo there.

    Raises ValueError for a folder that holds anything else than a demo. Raises ClickException if a step fails, if the
    network was not trained from the exported initializer's weights, or if its test accuracy on digits is below
    `LEAST_ACCURACY`.
    """
    _clear(folder)
    initializer, run = folder / _INITIALIZER, folder / "run"
    _step("1. Derive the variance map", "gpsym", "derive", "crelu", "--quantity", "variance")
    _step("2. Verify every formula against its definition", "gpsym", "verify", "--digits", "50", "--points", "20")
    _step("3. Design 85 % zeros at the edge of chaos", "gpsym", "design", "crelu", *_WISHES)
    _step("4. Export", "gpsym", "export", "crelu", *_WISHES, "--framework", "torch", "--output", str(initializer))
    _step("5. Train from the export", "training", "run", *_RUN, "--initializer", str(initializer), "--output", str(run))
    summary = json.loads((run / "summary.json").read_text())
    _check_weights(initializer, run / "config.json", summary["initial_weights_sha256"])
    _check_accuracy(summary)
    _step("6. Report", "gpsym", "report", "--output", str(folder / "report"), "--run", str(run))
    click.echo(f"\nAll done. Open {folder / 'report' / 'index.html'}.")


def _clear(folder: Path) -> None:
    """Make the folder, or remove an earlier demo from it, whose initializer bears gpsym's mark."""
    Output(folder, force=True).inside(_INITIALIZER).require_free()
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    own = _PARTS if bears_mark(folder / _INITIALIZER) else set()
    if foreign := sorted(there - own):
        raise ValueError(
            f"demo: need a folder that is new, empty or an earlier demo's, got {shown(folder)}, which holds "
            f"{shown(Path(foreign[0]))}; pass another --output."
        )
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.rmtree(folder / "report", ignore_errors=True)
    (folder / _INITIALIZER).unlink(missing_ok=True)  # last, so that what is left of a demo is known as one
    folder.mkdir(exist_ok=True)


def _step(title: str, program: str, *arguments: str) -> None:
    shown = "python -m training" if program == "training" else program
    click.echo(f"\n== {title}\n$ {shown} {' '.join(arguments)}")
    module = "gpsym.cli" if program == "gpsym" else program
    if subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode:
        raise click.ClickException(f"demo: step failed: {title}.")


def _check_weights(initializer: Path, config: Path, trained_from: str) -> None:
    rebuilt = subprocess.run(
        [sys.executable, "-c", _REBUILD, str(initializer), str(config)], capture_output=True, text=True, check=False
    )
    if rebuilt.stdout.strip() != trained_from:
        raise click.ClickException(
            f"demo: need the exported initializer's weights {rebuilt.stdout.strip() or rebuilt.stderr.strip()}, "
            f"got {trained_from}: the network was trained from others."
        )
    click.echo(f"trained from the exported initializer's weights: sha256 {trained_from[:16]}...")


def _check_accuracy(summary: dict) -> None:
    accuracy = summary["test_accuracy"]
    if accuracy < LEAST_ACCURACY:
        raise click.ClickException(f"demo: need a test accuracy of {LEAST_ACCURACY}, got {accuracy:.4f}.")
    click.echo(f"test accuracy {accuracy:.4f} with {summary['test_sparsity']:.1%} of the hidden activations zero")
