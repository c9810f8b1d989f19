import json

import click
import pytest

from gpsym import edge_of_chaos
from gpsym.export import export_text
from training import demo
from training.trainer import RunConfig, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(initializer, run folder) of a tiny run from an exported initializer."""
    folder = tmp_path_factory.mktemp("demo")
    initializer = folder / "initializer.py"
    initializer.write_text(export_text(edge_of_chaos("crelu", sparsity=0.85, slope=0.7), "torch"))
    config = RunConfig("digits", "crelu", sparsity=0.85, slope=0.7, width=8, depth=2, epochs=0,
                       initializer=str(initializer), device="cpu")  # fmt: skip
    train(config, folder / "run")
    return initializer, folder / "run"


def test_the_exported_weights_are_recognised(trained, capsys):
    initializer, run = trained
    digest = json.loads((run / "summary.json").read_text())["initial_weights_sha256"]
    demo._check_weights(initializer, run / "config.json", digest)
    assert digest[:16] in capsys.readouterr().out


def test_other_weights_fail(trained):
    initializer, run = trained
    with pytest.raises(click.ClickException, match="trained from others"):
        demo._check_weights(initializer, run / "config.json", "0" * 64)


def test_low_accuracy_fails(capsys):
    demo._check_accuracy({"test_accuracy": 0.9, "test_sparsity": 0.83})
    assert "test accuracy 0.9000" in capsys.readouterr().out
    with pytest.raises(click.ClickException, match=r"need a test accuracy of 0\.9, got 0\.8999"):
        demo._check_accuracy({"test_accuracy": 0.8999, "test_sparsity": 0.83})


def test_a_failed_step_fails():
    with pytest.raises(click.ClickException, match="step failed: A bad step"):
        demo._step("A bad step", "gpsym", "maps", "nothing", "--q", "1")
