import json

import click
import pytest

from gpsym import edge_of_chaos
from gpsym.export import export_text
from gpsym.files import Output
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


# The folder.


def test_what_a_demo_did_not_write_is_kept(tmp_path, monkeypatch):
    """Neither a folder with other files, nor one with a demo and other files, is emptied."""
    monkeypatch.setattr(demo, "_step", lambda *_: pytest.fail("began"))
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match=r"new, empty or an earlier demo's, got .*, which holds mine"):
        demo.demo(tmp_path)
    Output(tmp_path / "initializer.py").write_text("", "py")
    with pytest.raises(ValueError, match="which holds mine; pass another --output"):
        demo.demo(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "initializer.py"}


def test_an_initializer_of_somebody_else_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_step", lambda *_: pytest.fail("began"))
    (tmp_path / "initializer.py").write_text("mine")
    with pytest.raises(ValueError, match=r"which holds initializer\.py"):
        demo.demo(tmp_path)
    assert (tmp_path / "initializer.py").read_text() == "mine"


@pytest.mark.parametrize(("folder", "message"), [("file", "got .*file/initializer.py; choose another"),
                                                 ("no/demo", "create .*/no first")])  # fmt: skip
def test_a_demo_needs_a_place(tmp_path, folder, message):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=message):
        demo.demo(tmp_path / folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_earlier_demo_is_replaced(tmp_path, monkeypatch):
    class Begun(Exception):
        pass

    def begin(*_):
        raise Begun

    monkeypatch.setattr(demo, "_step", begin)
    Output(tmp_path / "initializer.py").write_text("", "py")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(Begun):
        demo.demo(tmp_path)
    assert list(tmp_path.iterdir()) == []
