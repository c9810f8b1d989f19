"""Predictions of finished runs for the test split and for rows of files."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from training import cli
from training.data import load
from training.predict import predict


@pytest.fixture
def raw_test_rows() -> np.ndarray:
    """The test split of the digits before normalisation: the first fifth in the order of a seed that is fixed."""
    from sklearn.datasets import load_digits

    digits = load_digits().data
    return digits[np.random.default_rng(0).permutation(len(digits))[: round(0.2 * len(digits))]]


def test_the_test_split_has_the_accuracy_of_the_summary(finished):
    found = predict(finished.folder)
    assert found.accuracy == finished.summary["test_accuracy"]
    assert found.probabilities.shape == (359, 10)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    loss = -np.log(found.probabilities[np.arange(359), found.labels]).mean()
    best = finished.metrics[finished.summary["best_epoch"]]
    assert loss == pytest.approx(best["test_loss"], rel=1e-5)  # summed in float32 there


def test_rows_of_a_file_are_normalised_as_the_training_split_was(finished, raw_test_rows, tmp_path):
    np.save(tmp_path / "rows.npy", raw_test_rows)
    found = predict(finished.folder, tmp_path / "rows.npy")
    assert found.labels is None
    assert found.accuracy is None
    np.testing.assert_array_equal(found.probabilities, predict(finished.folder).probabilities)


@pytest.mark.parametrize(
    "change", [np.asfortranarray, lambda rows: rows.astype(">f8"), lambda rows: rows.astype(">i2")]
)
def test_rows_in_another_layout_or_type_are_the_same_rows(finished, raw_test_rows, tmp_path, change):
    np.save(tmp_path / "rows.npy", change(raw_test_rows))
    found = predict(finished.folder, tmp_path / "rows.npy")
    np.testing.assert_array_equal(found.probabilities, predict(finished.folder).probabilities)


def test_inputs_are_scaled_as_they_were_in_training(run, raw_test_rows, tmp_path):
    np.save(tmp_path / "rows.npy", raw_test_rows)
    trained = run(input_scale="hidden")
    assert predict(trained.folder).accuracy == trained.summary["test_accuracy"]
    found = predict(trained.folder, tmp_path / "rows.npy")
    np.testing.assert_array_equal(found.probabilities, predict(trained.folder).probabilities)


@pytest.mark.parametrize("model", ["cnn", "transformer"])
def test_images_are_taken_as_bytes_in_shape_or_flat(run, model, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(60) % 4)
    trained = run(data=str(tmp_path / "images.npz"), model=model, width=8, epochs=1)
    np.save(tmp_path / "shaped.npy", images)
    np.save(tmp_path / "flat.npy", images.reshape(60, 64))
    shaped, flat = (predict(trained.folder, tmp_path / f"{name}.npy", batch_size=7) for name in ("shaped", "flat"))
    np.testing.assert_array_equal(shaped.probabilities, flat.probabilities)
    test = load(str(tmp_path / "images.npz")).test
    where = [np.flatnonzero((images == image.numpy()).all((1, 2, 3))).item() for image in test.inputs]
    of_the_split = predict(trained.folder).probabilities
    np.testing.assert_allclose(shaped.probabilities[where], of_the_split, rtol=1e-5)  # in batches of other sizes


@pytest.mark.parametrize(("rows", "message"), [
    (np.zeros((3, 63)), r"need rows of shape \(64,\) in .*, got \(3, 63\)"),
    (np.zeros(64), r"got \(64,\)"),
    (np.zeros((0, 64)), r"got \(0, 64\)"),
    (np.full((2, 64), np.inf), "need finite numbers"),
    (np.full((2, 64), 1e300), "need finite outputs of .*pass smaller inputs"),
    (np.array(1.0), r"got \(\)"),
    (np.zeros((2, 64), complex), "an array of complex128, which are no real numbers"),
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(finished, tmp_path, rows, message):
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match=message):
        predict(finished.folder, tmp_path / "rows.npy")


def test_missing_files_are_named(finished, tmp_path):
    with pytest.raises(ValueError, match=r"input: need a file by numpy\.save, got .*nosuch\.npy"):
        predict(finished.folder, tmp_path / "nosuch.npy")
    with pytest.raises(ValueError, match="need the folder of a run, got"):
        predict(tmp_path)
    (tmp_path / "run").mkdir()
    shutil.copy(finished.folder / "config.json", tmp_path / "run")
    with pytest.raises(ValueError, match=r"need weights in .*model\.pt, got none"):
        predict(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_damaged_weights_are_refused(finished, tmp_path, content):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"need weights of the run in .*model\.pt, got others"):
        predict(tmp_path / "run")
    torch.save({"1.weight": torch.zeros(3)}, tmp_path / "run" / "model.pt")
    with pytest.raises(ValueError, match=r"need weights of the run in .*model\.pt, got others"):
        predict(tmp_path / "run")


def test_the_command_prints_a_line_a_row_and_the_accuracy(finished, monkeypatch, capsys):
    expected = predict(finished.folder)
    for option in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["training", "predict", str(finished.folder), *option])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        if option:
            rows = [json.loads(line) for line in lines]
            assert [row["class"] for row in rows] == expected.classes.tolist()
            assert [row["probabilities"] for row in rows] == expected.probabilities.tolist()
        else:
            assert lines[-1] == f"accuracy {expected.accuracy:.4f} of 359"
            first = lines[0].split()
            assert int(first[0]) == expected.classes[0]
            assert [float(p) for p in first[1:]] == pytest.approx(expected.probabilities[0], abs=6e-5)  # four digits
            assert len(lines) == 360
