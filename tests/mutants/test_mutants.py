"""The mutation tester finds what tests notice and what they do not."""

import pytest

from tests.mutants.changes import mutants
from tests.mutants.runs import Module, outcome, suite

SOURCE = b"""
def clipped(x, m):
    return x if x <= m else m


def digits(n):
    count = 0
    while n > 0:
        n = n // 10
        count += 1
    return count
"""

TESTS = """
from planted import clipped, digits


def test_clipped():
    assert clipped(1, 2) == 1
    assert clipped(3, 2) == 2


def test_digits():
    assert digits(40) == 2
"""


@pytest.fixture
def module(tmp_path):
    (tmp_path / "planted.py").write_bytes(SOURCE)
    (tmp_path / "test_planted.py").write_text(TESTS)
    return Module(tmp_path, "planted.py", ("test_planted.py",))


def texts(source):
    return {m.text.decode() for m in mutants("planted.py", source.encode())}


@pytest.mark.deep
def test_a_planted_mutant_is_killed_one_survives_and_one_is_stopped(module, monkeypatch):
    monkeypatch.setattr("tests.mutants.runs.SECONDS_BESIDES", 3.0)
    tests = suite(module)
    assert {*tests.seconds["test_planted.py"]} == {"test_planted.py::test_clipped", "test_planted.py::test_digits"}
    ends = {
        mutant.diff: outcome(tests, mutant.text)
        for mutant in mutants("planted.py", SOURCE)
        if mutant.line == 3 or b"pass" in mutant.replacement
    }
    assert ends == {
        "-    return x if x <= m else m\n+    return x if (x < m) else m": "survived",  # the same at x = m
        "-    return x if x <= m else m\n+    return x if (not x <= m) else m": "killed",
        "-    return x if x <= m else m\n+    return None": "killed",
        "-        n = n // 10\n+        pass": "timed out",
        "-        count += 1\n+        pass": "killed",
    }


def test_tests_that_fail_on_the_true_module_are_refused(module):
    (module.root / "test_planted.py").write_text(TESTS + "    assert digits(0) == 1\n")
    with pytest.raises(ValueError, match=r"planted.py: its tests must pass before it is changed(.|\n)*assert 0 == 1"):
        suite(module)


@pytest.mark.deep
def test_the_file_of_the_module_is_left_alone(module):
    source = SOURCE.replace(b"<=", b">")
    assert outcome(suite(module), source) == "killed"
    assert (module.root / "planted.py").read_bytes() == SOURCE


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("a < b < c", {"(a <= b < c)", "(a < b <= c)"}),
        ("a ** b", {"(a * b)"}),
        ("a and b", {"(a or b)"}),
        ("-a", {"(a)"}),
        ("a[1]", {"a[(2)]", "a[(0)]"}),
        ("f(True)", {"f((False))"}),
        ("a if b else c", {"a if (not b) else c"}),
        ("a if b == c else d", {"a if (b != c) else d"}),  # once: that is the negation
        ("[a for a in b if c]", {"[a for a in b if (not c)]"}),
        ("'é' + a * b", {"'é' + (a / b)"}),  # places count bytes
    ],
)
def test_each_expression_has_its_mutants(source, changed):
    assert texts(f"v = {source}") == {f"v = {text}" for text in changed}


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("return a", {"return None"}),
        ("return None", set()),
        ("return False", {"return (True)"}),
        ("raise ValueError(f'{1 + 1}')", {"pass"}),
        ("a += b", {"pass", "a -= b"}),
        ("a = b", set()),
        ("a = f(a)", {"pass"}),
        ("a.b = c", {"pass"}),
        ("f(a)", {"pass"}),
        ("assert a > 1", set()),
        ("a: int = f(b, strict=True)", set()),
        ("'''Text.'''", set()),
    ],
)
def test_each_statement_has_its_mutants(source, changed):
    frame = "@cache\ndef f(a: T = b) -> T:\n    {}\n"
    assert texts(frame.format(source)) == {frame.format(text) for text in changed}
