import warnings

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

from gpsym import evaluate, lambdify, maps, member, shifted_relu
from gpsym.activation import MEMBERS
from gpsym.numeric import BACKENDS, precise, source

POINT = {"q": 1.7, "tau": 0.9, "m": 1.3, "sigma_w2": 2.5, "sigma_b2": 0.2}
ALL = [(name, quantity) for name in MEMBERS for quantity in maps.QUANTITIES]


def arguments(formula):
    return [POINT[str(v)] for v in formula.variables]


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_all_backends_agree(name, quantity):
    formula = maps.derive(member(name), quantity)
    exact = float(evaluate(formula, POINT))
    # A few operations on terms of the size of the result: some tens of rounding errors.
    for backend, rel in (("python", 1e-13), ("numpy", 1e-13), ("torch", 1e-13), ("mpmath", 1e-13)):
        assert float(lambdify(formula, backend)(*arguments(formula))) == pytest.approx(exact, rel=rel), backend
    single = [torch.tensor(a, dtype=torch.float32) for a in arguments(formula)]
    value = lambdify(formula, "torch")(*single)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=1e-5)


def test_every_backend_is_there():
    assert set(BACKENDS) == {"python", "numpy", "mpmath", "torch"}


def test_numpy_broadcasts_and_keeps_the_shape_of_a_constant():
    formula = maps.variance_map(member("crelu"))
    q, tau = np.linspace(1, 2, 5)[:, None], np.array([0, 1, 2])
    assert lambdify(formula)(q, tau, 1.0, 2.0, 0.1).shape == (5, 3)
    assert lambdify(maps.curvature(member("relu")))(np.ones(4), 2.0).shape == (4,)
    assert lambdify(maps.sparsity(member("relu")))(q=np.ones((2, 2), dtype=int)).tolist() == [[0.5, 0.5]] * 2


def test_numpy_float32_stays_float32():
    formula = maps.sparsity(member("st"))
    assert lambdify(formula)(np.ones(2, np.float32), np.float32(1)).dtype == np.float32
    assert lambdify(formula)(1, 1).dtype == np.float64


def test_torch_keeps_the_dtype_of_its_tensors():
    formula = maps.variance_map(member("cst"))
    q = torch.ones(3, dtype=torch.float32)
    assert lambdify(formula, "torch")(q, 1.0, 1.0, 2.0, 0.0).dtype == torch.float32


def test_torch_code_holds_no_function_of_constants():
    assert "sqrt(2" not in source(maps.variance_map(member("cst")), "torch")


@pytest.mark.parametrize("name", [n for n in MEMBERS if n != "relu"])
def test_autograd_of_the_variance_map_is_its_slope_and_curvature(name):
    phi = member(name)
    variance, slope, curvature = (maps.derive(phi, n) for n in ("variance", "slope", "curvature"))
    q = torch.tensor(POINT["q"], dtype=torch.float64, requires_grad=True)
    value = lambdify(variance, "torch")(q, *arguments(variance)[1:])
    (first,) = torch.autograd.grad(value, q, create_graph=True)
    (second,) = torch.autograd.grad(first, q)
    assert first.item() == pytest.approx(float(evaluate(slope, POINT)), rel=1e-12)
    assert second.item() == pytest.approx(float(evaluate(curvature, POINT)), rel=1e-11)


def test_gradcheck_in_all_parameters():
    formula = maps.variance_map(member("cst"))
    inputs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arguments(formula)]
    assert torch.autograd.gradcheck(lambdify(formula, "torch"), inputs)


def test_evaluate_keeps_digits_where_terms_cancel():
    """E phi'^2 = p(1) m (1 - m / 2 + ...): 12 and 200 digits cancel in the difference of two tails."""
    for m in (1e-12, 1e-200):
        value = evaluate(maps.chi_1(member("crelu")), {"q": 1, "tau": 1, "m": m, "sigma_w2": 1}, digits=20)
        with mpmath.workdps(30):
            assert abs(value / (mpmath.npdf(1) * mpmath.mpf(m)) - (1 - mpmath.mpf(m) / 2)) < mpmath.mpf("1e-20")
    naive = lambdify(maps.chi_1(member("crelu")))(1.0, 1.0, 1e-12, 1.0)
    assert abs(float(naive) / 2.4197e-13 - 1) > 1e-4


def test_evaluate_does_not_touch_the_global_precision():
    before = mpmath.mp.prec
    assert mpmath.nstr(evaluate(maps.sparsity(member("relu")), {"q": 1}, digits=200), 3) == "0.5"
    assert mpmath.mp.prec == before


def test_an_exact_zero_is_zero():
    a = sp.Symbol("a", positive=True)
    assert precise(sp.erfc(-a) + sp.erfc(a) - 2, {a: 1}) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"q": 1}, "need a value for tau, sigma_w2"),
        ({"q": -1, "tau": 1, "sigma_w2": 1}, "need q > 0, got q = -1"),
        ({"q": 1, "tau": float("nan"), "sigma_w2": 1}, "need a finite real tau, got tau = nan"),
        ({"q": 1, "tau": -1, "sigma_w2": 1}, "need tau >= 0, got tau = -1"),
    ],
)
def test_evaluate_refuses_what_is_outside_the_domain(values, message):
    with pytest.raises(ValueError, match=message):
        evaluate(maps.slope(member("st")), values)


def test_wrong_arguments_and_backends_are_refused():
    formula = maps.slope(member("st"))
    with pytest.raises(TypeError, match="takes q, tau, sigma_w2"):
        lambdify(formula)(1.0)
    with pytest.raises(ValueError, match="unknown backend 'jax'; choose from python, numpy"):
        lambdify(formula, "jax")


def test_a_parameter_may_have_the_name_of_a_step():
    step = sp.Symbol("t0", real=True)
    formula = maps.variance_map(shifted_relu(step))
    assert lambdify(formula)(1.0, 0.5, 1.0, 0.0) == lambdify(maps.variance_map(member("relu-tau")))(1.0, 0.5, 1.0, 0.0)


def test_no_warning_on_ordinary_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(lambdify(maps.variance_map(member("cst")))(np.logspace(-3, 3, 50), 1.0, 1.0, 1.0, 0.0)).all()
