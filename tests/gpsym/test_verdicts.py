"""One set of verdicts: every check of the project answers with the same classes."""

import sympy as sp

import gpsym
from gpsym import equality, verdicts, verify
from proofs.logic import theorem


def test_undecided_is_one_class():
    x = sp.Symbol("x", real=True)
    open_question = gpsym.equal(sp.Integral(sp.exp(-(x**2)), x), x)
    assert isinstance(open_question, gpsym.Undecided)
    assert {gpsym.Undecided, equality.Undecided, verify.Undecided, theorem.Undecided} == {verdicts.Undecided}


def test_verdicts_of_the_package_are_those_of_the_module():
    for name in verdicts.__all__:
        assert getattr(gpsym, name) is getattr(verdicts, name)
