"""The accuracy bench finds errors that are planted."""

from argparse import Namespace

import mpmath
import numpy as np
import pytest

from tests.bench import accuracy
from tests.bench.lines import Line

OPTIONS = {"points": 600, "sample": 5, "seed": 0}


def measured(only):
    return list(accuracy.lines(Namespace(only=only, **OPTIONS)))


def planted(monkeypatch, change):
    """The functions under test, changed."""
    true = accuracy.lambdify
    monkeypatch.setattr(accuracy, "lambdify", lambda *args: lambda *points: change(true(*args)(*points)))


def test_a_relative_error_is_found_to_its_size(monkeypatch):
    planted(monkeypatch, lambda values: values * (1 + 1e-9))
    line, infinite, wrong, *_ = measured("shifted-relu V'' to 10 float64")
    assert 1e-10 < line.value < 1.01e-9  # less than 1e-9 in so far as V'' is less than the integral of absolute values
    assert line.met is False
    assert (infinite.value, wrong.value) == (0, 0)


def test_nan_and_wrong_signs_are_counted_among_all_points(monkeypatch):
    def change(values):
        values[-3:], values[-7:-3] = np.nan, -values[-7:-3]
        return values

    planted(monkeypatch, lambda values: change(values) if len(values) > 1 else values)
    _, infinite, wrong, *_ = measured("shifted-relu chi_1 to 10 float64")
    assert (infinite.value, wrong.value) == (3, 4)


def test_a_lost_value_is_an_error_of_1(monkeypatch):
    planted(monkeypatch, lambda values: np.where(np.arange(len(values)) == len(values) - 1, 0, values))
    line, *_ = measured("shifted-relu chi_1 to 10 float64")
    assert line.value == 1


def test_two_inputs_in_float32():
    *_, line, infinite, _ = measured("shifted-relu slope kernel to 12 float32")
    assert line.value > 0
    assert "rho=" in line.note
    assert infinite.value == 0


@pytest.mark.parametrize("activation", ["clipped-soft-threshold", "shifted-relu"])
def test_what_errors_of_the_curvature_are_relative_to(activation):
    """sigma_w2 E[abs(f'(X)) (abs(X)^3 + 3 q abs(X))] / (4 q^3)."""
    q, tau, m, sigma_w2 = 2.0, 0.5, 0.75, 1.5
    case = accuracy.Case(activation, "V''", (1e-8, 10.0), "float64", 1e-14)
    points = {"q": np.array([q]), "tau": np.array([tau]), "m": np.array([m]), "sigma_w2": np.array([sigma_w2])}
    end = tau + m if "clipped" in activation else mpmath.inf
    half = mpmath.quad(lambda x: 2 * (x - tau) * (x**3 + 3 * q * x) * mpmath.npdf(x, 0, mpmath.sqrt(q)), [tau, end])
    expected = (2 if "soft" in activation else 1) * sigma_w2 * half / (4 * q**3)
    assert accuracy._curvature_scales(case, points)[0] == pytest.approx(float(expected), rel=1e-12)


def test_a_line_shows_its_note():
    shown = str(Line("V", 2e-9, unit="error", aim=1e-14, note="at q=1"))
    assert " ".join(shown.split()) == "V 2.0e-09 <= 1.0e-14 NOT MET at q=1"
