"""A quick look at every door, and the harness itself on commands that are broken on purpose."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.doors import DOORS
from tests.fuzz.harness import CANARY, Door, TooSlow, assert_rule


@pytest.mark.parametrize("name", DOORS)
def test_hostile_inputs_are_answered_or_refused_in_one_sentence(name):
    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(DOORS[name].inputs)
    def knocked(value):
        assert_rule(DOORS[name], value)

    knocked()


def _door(act):
    @click.command()
    def command():
        act()

    return Door("planted", "planted", command, st.just(""), lambda _value, folder: os.chdir(folder) or [])


@pytest.fixture
def no_canary():
    yield
    if CANARY.exists():
        CANARY.rmdir()


def _raise(error):
    raise error


def _write_then_refuse():
    Path("half.json").write_text("{")
    raise ValueError("input: need a number, got none; pass one.")


def _print_then_refuse():
    click.echo("half an answer")
    raise ValueError("input: need a number, got none; pass one.")


BROKEN = {
    "a traceback": (lambda: _raise(KeyError("x")), KeyError, "x"),
    "code executed": (CANARY.mkdir, AssertionError, "was executed"),
    "half-written": (_write_then_refuse, AssertionError, "changed by a refusal"),
    "half-printed": (_print_then_refuse, AssertionError, "printed before it refused"),
    "no sentence": (lambda: _raise(SystemExit(2)), AssertionError, "without a word"),
    "memory": (lambda: bytearray(2**36), MemoryError, None),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.usefixtures("no_canary")
def test_the_rule_catches_a_command_that_breaks_it(name, monkeypatch, tmp_path):
    act, error, words = BROKEN[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        assert_rule(_door(act), "")


def _count(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass


@pytest.mark.parametrize(("limit", "hang"), [("SECONDS", _count), ("PATIENCE", time.sleep)])
def test_the_rule_catches_a_command_that_hangs(limit, hang, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"tests.fuzz.harness.{limit}", 0.2)
    with pytest.raises(TooSlow, match=r"within 0\.2 s"):
        assert_rule(_door(lambda: hang(5)), "")


def test_the_rule_holds_for_a_command_that_refuses(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert_rule(_door(lambda: _raise(ValueError("input: need a number, got none; pass one."))), "")
