import json
import subprocess
import sys

import pytest
import sympy as sp

from gpsym.formula import M, Q
from proofs.__main__ import THEOREMS
from proofs.decide import Proved, Undecided, all_of, positive, zero


@pytest.mark.parametrize(("theorem", "activation"), [(t, a) for t in THEOREMS for a in t.DOMAINS], ids=str)
def test_every_theorem_is_proved(theorem, activation):
    assert isinstance(theorem.prove(activation), Proved)


@pytest.mark.parametrize(
    ("theorem", "activation"), [("marginality", "clipped-relu"), ("instability", "relu"), ("stability", "relu")]
)
def test_what_is_false_is_not_proved(theorem, activation):
    """Clipped activations are not marginal, V'' is 0 for ReLU, and ReLU has V' = chi_1."""
    module = next(t for t in THEOREMS if theorem == t.TITLE)
    assert isinstance(module.prove(activation), Undecided)


def test_steps():
    x = sp.Symbol("x", real=True)
    assert isinstance(zero(sp.exp(-M) * (M + 1) - M * sp.exp(-M) - sp.exp(-M)), Proved)
    assert isinstance(zero(sp.exp(-M) - sp.erfc(M)), Undecided)
    assert isinstance(positive(M * sp.exp(-Q)), Proved)
    assert isinstance(positive(x**2), Undecided)
    assert isinstance(positive(-M), Undecided)
    assert all_of(zero(M - M), positive(x)) == positive(x)


def test_the_command_prints_every_row():
    done = subprocess.run([sys.executable, "-m", "proofs", "--json"], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["theorems"]
    assert len(rows) == sum(len(theorem.DOMAINS) for theorem in THEOREMS)
    assert {row["verdict"] for row in rows} == {"Proved"}
