"""The configuration: what is refused, and in which words."""

import math
from dataclasses import fields

import pytest

from training.config import RunConfig

BAD = {
    "data": (None, 3), "activation": (None,), "sparsity": ("0.85", math.nan), "slope": ("0.7", math.inf),
    "q_star": (None, math.nan), "width": (0, -3, 1.5, "300", None, True), "depth": (0, 2.0), "epochs": (-1, 0.5),
    "batch_size": (0, 1e3), "lr": (0.0, -1e-3, math.nan, math.inf, 1e31, "1e-3"), "seed": (-1, 2**32, 0.5),
    "device": ("tpu", None), "data_dir": (3,), "initializer": (3,), "model": ("rnn", None), "alpha": (0, 1.1, -0.5),
    "input_scale": ("half",), "optimizer": ("rmsprop",), "momentum": (-0.1, 1.0, None),
    "weight_decay": (-1e-4, math.inf),
    "schedule": ("linear",), "warmup": (-0.1, 1.1, math.nan), "accumulate": (0, 1.5), "clip_norm": (0, -1, math.inf),
    "augment": ("flip", True), "precision": ("16", 32), "compile": (1, "yes"), "devices": (0, "all"),
    "strategy": ("dp",), "telemetry": (-1,), "tensorboard": (None,), "checkpoint_every": (-1, 2.5),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_in_a_sentence_with_its_name(small_config, name, value):
    with pytest.raises(ValueError, match=rf"^run: need {name} .*, got ") as refusal:
        small_config(**{name: value})
    assert f"got {value}; " in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_every_field_has_bad_values_that_are_refused():
    assert {field.name for field in fields(RunConfig)} == set(BAD)


def test_the_ends_of_all_domains_are_taken(small_config):
    ends = {"alpha": (1, 1e-9), "momentum": (0,), "warmup": (0, 1), "clip_norm": (1e-9, 1e9), "lr": (1e30,),
            "seed": (0, 2**32 - 1), "epochs": (0,), "width": (1,), "telemetry": (0,)}  # fmt: skip
    for name, values in ends.items():
        for value in values:
            assert getattr(small_config(**{name: value}), name) == value


def test_a_configuration_comes_back_from_its_fields_and_takes_defaults_for_others(small_config):
    config = small_config(alpha=0.5, seed=3)
    assert RunConfig.from_dict(vars(config) | {"classes": 10}) == config
    assert RunConfig.from_dict({"data": "mnist", "activation": "relu"}) == RunConfig("mnist", "relu")
