"""What options make of the steps: accumulation, clipping, precision, compilation, models, augmentation, telemetry."""

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tqdm import tqdm

from training import checkpoint, devices, epochs, trainer
from training.data import load
from training.epochs import Epochs
from training.measure import gradient_norms
from training.start import Start, hidden_activations
from training.trainer import train

# Sums of float32 in another order, after some forty steps of Adam, whose steps forget the size of small gradients.
ROUNDING = 1e-3


@pytest.fixture
def begun(small_config):
    """The epochs of a small run before the first, on the CPU."""

    def start(**changes: Any) -> Epochs:
        config = small_config(**changes)
        begun = Start.of(config)
        return Epochs(begun, devices.make_fabric(config), begun.data, 1e-3)

    return start


def advanced(begun: Epochs, count: int) -> Epochs:
    with tqdm(disable=True) as bar:
        for _ in range(count):
            begun.next(bar)
    return begun


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Sixty noisy images of three stripes, as bytes."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = rng.integers(0, 100, (60, 1, 8, 8))
    for image, label in zip(x, labels, strict=True):
        image[:, 2 * label + 1] += 150
    np.savez(tmp_path / "images.npz", x=x.astype(np.uint8), y=labels)
    return str(tmp_path / "images.npz")


def assert_same_metrics(one: list[dict], other: list[dict], tolerance: float) -> None:
    for ours, theirs in zip(one, other, strict=True):
        for name in ("train_loss", "validation_loss", "test_loss", "layer_variance", "layer_sparsity"):
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance)


# Steps


@pytest.mark.parametrize(("accumulate", "batch_size"), [(4, 8), (2, 16), (3, 11)])
def test_accumulated_batches_are_one_batch_as_large(run, accumulate, batch_size):
    parts = run(batch_size=batch_size, accumulate=accumulate)
    whole = run(batch_size=batch_size * accumulate)
    assert_same_metrics(parts.metrics, whole.metrics, ROUNDING)
    assert parts.metrics[-1]["train_loss"] < parts.metrics[0]["train_loss"]


def test_the_loss_of_a_step_is_the_mean_over_its_examples_however_many_are_left(begun):
    """1294 examples in batches of 1290: by SGD at rate r the second step moves by r times the mean gradient of four."""
    run = begun(optimizer="sgd", momentum=0.0, batch_size=1290, schedule="constant", warmup=0.0)
    run.order.set_state(run.order_before)
    order = torch.randperm(1294, generator=run.order)
    run._one_step(order[:1290])
    before = {name: weight.clone() for name, weight in run.network.named_parameters()}
    x, y = run.data.x_train[order[1290:]], run.data.y_train[order[1290:]]
    loss = torch.nn.functional.cross_entropy(run.network(x), y)
    gradients = torch.autograd.grad(loss, list(run.network.parameters()))
    run._one_step(order[1290:])
    for (name, weight), gradient in zip(run.network.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(weight, before[name] - 1e-3 * gradient)


@pytest.mark.parametrize("norm", [1e-3, 1e3])
def test_gradients_above_the_norm_are_scaled_to_it_and_others_left(begun, norm):
    """By SGD at rate 1 the first step has length min(norm, |gradient|)."""
    lengths = {}
    for clip_norm in (None, norm):
        run = begun(optimizer="sgd", clip_norm=clip_norm, schedule="constant", warmup=0.0)
        run.lr = 1.0
        before = torch.cat([weight.detach().flatten() for weight in run.network.parameters()])
        run._one_step(torch.arange(32))
        after = torch.cat([weight.detach().flatten() for weight in run.network.parameters()])
        lengths[clip_norm] = (after - before).norm().item()
    assert 1e-2 < lengths[None] < 1e2
    # Weights of about 0.1 are rounded to 1e-8, and there are some thousand of them.
    assert lengths[norm] == pytest.approx(min(norm, lengths[None]), rel=1e-3)


def test_the_rate_of_each_step_follows_the_schedule(begun, monkeypatch):
    run, seen = begun(epochs=2, batch_size=400), []
    step = Epochs._one_step
    monkeypatch.setattr(
        Epochs, "_one_step", lambda self, g: (step(self, g), seen.append(self.optimizer.param_groups[0]["lr"]))
    )
    advanced(run, 3)
    expected = [1e-3 * min(1, 0.5 * (1 + math.cos(math.pi * k / 8))) for k in range(8)]
    assert seen == pytest.approx(expected)


def test_the_loss_of_an_epoch_is_the_mean_over_its_examples_as_seen(begun, monkeypatch):
    """Without steps that is the loss of the network as it is."""
    run = advanced(begun(batch_size=100), 1)
    monkeypatch.setattr(run.fabric_optimizer, "step", lambda: None)
    row = advanced(run, 1).history.rows[1]
    assert row["train_loss"] == pytest.approx(run.history.rows[0]["train_loss"], rel=1e-6)
    assert row["train_accuracy"] == run.history.rows[0]["train_accuracy"]


# Precision and compilation


def test_bfloat16_trains_as_float32_up_to_its_rounding(run, finished):
    """Eight bits make a relative error of 0.4 % in each of some sums, which two epochs do not blow up."""
    rounded = run(precision="bf16")
    assert_same_metrics(rounded.metrics, finished.metrics, 0.05)
    assert rounded.timeless_metrics != finished.timeless_metrics
    assert {weight.dtype for weight in rounded.weights.values()} == {torch.float32}


# Importing Inductor imports torch.utils.mkldnn, which torch itself has deprecated.
@pytest.mark.deep
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_training_is_the_same_up_to_rounding(run):
    one_size = {"batch_size": 647}  # half of the training split: one shape to compile
    assert_same_metrics(run(compile=True, **one_size).metrics, run(**one_size).metrics, ROUNDING)


def test_compilation_compiles(small_config, begun, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    begun(compile=False)
    assert compiled == []
    run = begun(compile=True)
    assert compiled == [run.network]


# Models


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize("model", ["mlp", "cnn", "transformer"])
def test_every_model_trains_all_its_weights(run, begun, images, model, alpha):
    options = {"data": images, "model": model, "alpha": alpha, "width": 16, "depth": 3, "batch_size": 8, "lr": 1e-2}
    trained = run(**options, epochs=4)
    rows = trained.metrics
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert len(rows[0]["layer_sparsity"]) == len(trained.written_config["theory_variance"]) == 3
    ours = advanced(begun(**options), 2)
    initial = dict(Start.of(ours.config).network().named_parameters())
    for name, weight in ours.network.named_parameters():
        assert not torch.equal(weight, initial[name]), name


@pytest.mark.parametrize("model", ["mlp", "cnn", "transformer"])
def test_every_model_starts_near_the_variances_of_theory(run, images, model):
    """Networks of one draw, 64 wide, so that q varies by a few tenths; with the role of a layer mistaken by the factor
    sigma_w2 = 7.3 and more."""
    started = run(data=images, model=model, width=64, depth=3, epochs=0)
    theory = np.array(started.written_config["theory_variance"])
    found = np.array(started.metrics[0]["layer_variance"]) / theory
    assert ((found > 0.6) & (found < 1.7)).all()


def test_kept_weights_do_not_follow_the_network(begun):
    run = begun()
    kept = devices.weights_of(run.network)
    run._one_step(torch.arange(32))
    initial = Start.of(run.config).network().state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in initial.items())


@pytest.mark.parametrize("model", ["mlp", "cnn", "transformer"])
def test_an_exported_initializer_starts_every_model(run, images, tmp_path, small_config, model):
    from gpsym.export import export_text

    (tmp_path / "initializer.py").write_text(export_text(small_config().design, "torch"))
    options = {"data": images, "model": model, "width": 8, "alpha": 0.5}
    ours, theirs = run(**options), run(**options, initializer=str(tmp_path / "initializer.py"))
    assert ours.timeless_metrics == theirs.timeless_metrics


def test_sgd_tries_rates_of_its_own(run, monkeypatch):
    monkeypatch.setattr(Start, "theory_lr", lambda _: 1.0)
    monkeypatch.setattr(trainer, "SGD_RATE_FACTORS", (1e-7, 3e-2))
    assert run(optimizer="sgd", lr=None, epochs=1).summary["lr"] == 3e-2


# Augmentation


def test_augmentation_changes_training_alone(run, images):
    options = {"data": images, "model": "cnn", "width": 8, "lr": 1e-9}  # which leaves the weights as they are
    plain, shifted, flipped = (run(**options, augment=name).metrics[1] for name in ("none", "shift", "shift-flip"))
    assert plain["test_loss"] == pytest.approx(shifted["test_loss"], rel=1e-4)
    assert plain["validation_loss"] == pytest.approx(flipped["validation_loss"], rel=1e-4)
    losses = [row["train_loss"] for row in (plain, shifted, flipped)]
    assert min(abs(losses[i] - losses[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-5  # rounding is 1e-7


def test_each_epoch_has_shifts_of_its_own(begun, images, monkeypatch):
    drawn = []
    draw = epochs.draw
    monkeypatch.setattr(epochs, "draw", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    advanced(begun(data=images, model="cnn", width=8, augment="shift", batch_size=100), 3)
    first, second = drawn
    assert not torch.equal(first, second)


def test_features_are_not_augmented(small_config, tmp_path):
    with pytest.raises(ValueError, match=r"need images .* for augment shift, got inputs of shape \(64,\) in digits"):
        train(small_config(augment="shift"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Telemetry


def test_gradients_by_layer_are_measured_every_so_many_epochs(run, finished):
    watched = run(epochs=4, telemetry=2)
    assert [row["epoch"] for row in watched.metrics if "layer_gradient_norm" in row] == [0, 2, 4]
    start = Start.of(watched.config)
    network, data = start.network(), load("digits")
    x, y = data.x_train[:32], data.y_train[:32]
    expected = gradient_norms(network, hidden_activations(network, start.activation), x, y)
    assert watched.metrics[0]["layer_gradient_norm"] == list(expected)
    assert all(norm > 0 for norm in expected)


def test_telemetry_changes_nothing_else(run, finished):
    rows = run(telemetry=1).timeless_metrics
    for row in rows:
        assert len(row.pop("layer_gradient_norm")) == 2
    assert rows == finished.timeless_metrics


def test_tensorboard_is_refused_where_it_is_not_installed(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr("training.records.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="need the package tensorboard for --tensorboard, got none; pip install"):
        train(small_config(tensorboard=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_number_of_every_row(run, monkeypatch):
    """A stand-in for torch's writer, which needs the package."""
    written: dict[tuple[str, int], float] = {}

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int):
            self.folder, self.purge_step = folder, purge_step
            opened.append(self)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written[name, step] = value

        def flush(self) -> None: ...

        def close(self) -> None: ...

    opened: list[SummaryWriter] = []
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr("training.records.find_spec", lambda _: True)
    shown = run(tensorboard=True, telemetry=1)
    assert [(writer.folder, writer.purge_step) for writer in opened] == [(str(shown.folder), 0)]
    for row in shown.metrics:
        for name, value in row.items():
            if name.startswith("layer_"):
                found = [written[f"{name}/{layer}", row["epoch"]] for layer in (1, 2)]
                assert found == value
            elif name != "epoch":
                assert written[name, row["epoch"]] == value
    assert len(written) == 3 * (12 - 1 - 2 + 3 * 2 + 1)


# State


def test_a_state_brings_back_everything(begun, images, tmp_path):
    """Between epochs, into a fresh network."""
    options = {"data": images, "model": "cnn", "width": 8, "augment": "shift-flip", "optimizer": "sgd", "batch_size": 9}
    first = advanced(begun(**options), 2)
    checkpoint.save(tmp_path, first.state(), {})
    second = begun(**options)
    second.restore(checkpoint.load(tmp_path, {}, dict)[0])
    advanced(first, 1), advanced(second, 1)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))
    names = set(first.history.rows[2]) - {"seconds"}
    assert {name: first.history.rows[2][name] for name in names} == {
        name: second.history.rows[2][name] for name in names
    }


def test_denormal_numbers_are_flushed_while_a_run_lasts(run, monkeypatch):
    seen, launched = [], trainer._launched

    def watched(*arguments):
        seen.append(torch.tensor(1e-40).mul(1.0).item())
        return launched(*arguments)

    monkeypatch.setattr(trainer, "_launched", watched)
    run(epochs=0)
    assert seen == [0]
    assert torch.tensor(1e-40).mul(1.0).item() > 0
