import ctypes
import importlib.util
import itertools
import math
import shutil
import subprocess
import sys
import types
import warnings

import mpmath
import numpy as np
import pytest
import scipy.special
import sympy as sp
import torch

from gpsym import evaluate, lambdify, maps, member, shifted_relu
from gpsym.formula import Q1, Q2, Formula, Q
from gpsym.members import MEMBERS, clipped_relu, relu
from gpsym.numeric import BACKENDS, precise, source
from gpsym.special import BivariateTail, TailMoment

POINT = {"q": 1.7, "tau": 0.9, "m": 1.3, "a": -0.3, "sigma_w2": 2.5, "sigma_b2": 0.2,
         "q1": 1.7, "q2": 0.6, "rho": 0.55, "theta": 1.5}  # fmt: skip
ALL = [(name, quantity) for name in MEMBERS for quantity in maps.QUANTITIES]
TWO = [
    (name, quantity)
    for name in ("clipped-relu", "soft-threshold", "leaky-relu", "hard-swish", "sign", "squared-relu")
    for quantity in ("kernel", "correlation_slope", "correlation_curvature", "ntk")
]
FORMULAS = {f"{name} {quantity}": maps.derive(member(name), quantity) for name, quantity in ALL + TWO}


def arguments(formula):
    return [POINT[str(v)] for v in formula.variables]


@pytest.mark.parametrize("name", FORMULAS)
def test_all_backends_agree(name):
    formula = FORMULAS[name]
    exact = float(evaluate(formula, POINT))
    # A few operations on terms of the size of the result: some tens of rounding errors.
    for backend in ("python", "numpy", "torch", "mpmath"):
        if backend == "mpmath" and formula.expression.has(BivariateTail):
            continue
        value = float(lambdify(formula, backend)(*arguments(formula)))
        assert value == pytest.approx(exact, rel=1e-13, abs=1e-14), backend
    if exact != float("inf"):
        single = [torch.tensor(a, dtype=torch.float32) for a in arguments(formula)]
        value = lambdify(formula, "torch")(*single)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact, rel=1e-5)


def test_every_backend_is_there():
    assert set(BACKENDS) == {"python", "numpy", "mpmath", "torch", "jax", "c"}


# C, compiled.


def compiled(sources, folder):
    """A loaded library of these C texts; warnings are errors."""
    text = "\n\n".join(dict.fromkeys(sources))
    (folder / "formulas.c").write_text(text)
    flags = [
        "-std=c99",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Wconversion",
        "-Werror",
        "-shared",
        "-fPIC",
        "-ffp-contract=off",
    ]
    subprocess.run(["cc", *flags, "-o", "formulas.so", "formulas.c", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "formulas.so"))


def called(library, name, numbers):
    function = getattr(library, name)
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * len(numbers)
    return function(*numbers)


def test_a_c_compiler_is_here():
    """Or the tests of C code below would say nothing."""
    assert shutil.which("cc")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Every formula in C, under a name of its own, with one copy of the bivariate tail."""
    texts = []
    for name, formula in FORMULAS.items():
        head, *parts = source(formula.renamed(_identifier(name)), "c").split("\n\n")
        texts += [head, *parts]
    return compiled(texts, tmp_path_factory.mktemp("c"))


def _identifier(name):
    return name.replace(" ", "_").replace("-", "_")


@pytest.mark.parametrize("name", FORMULAS)
def test_c_code_agrees(library, name):
    exact = float(evaluate(FORMULAS[name], POINT))
    value = called(library, _identifier(name), arguments(FORMULAS[name]))
    assert value == pytest.approx(exact, rel=1e-13, abs=1e-14)


def test_one_c_file_compiles_by_itself(tmp_path):
    library = compiled([source(FORMULAS["clipped-relu kernel"], "c")], tmp_path)
    exact = float(evaluate(FORMULAS["clipped-relu kernel"], POINT))
    assert called(library, "kernel", arguments(FORMULAS["clipped-relu kernel"])) == pytest.approx(exact, rel=1e-13)


# JAX, or what its functions do.


@pytest.fixture
def jax_here(monkeypatch):
    """jax, or a module of its names with NumPy's functions: the printing is what is tested."""
    if importlib.util.find_spec("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)
        return
    names = ["jax", "jax.numpy", "jax.scipy", "jax.scipy.special"]
    fakes = {name: types.ModuleType(name) for name in names}
    fakes["jax"].numpy, fakes["jax"].scipy = np, fakes["jax.scipy"]
    fakes["jax.scipy"].special = fakes["jax.scipy.special"]
    for function in ("erf", "erfc"):
        setattr(fakes["jax.scipy.special"], function, getattr(scipy.special, function))
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("name", FORMULAS)
def test_jax_code_agrees(jax_here, name):
    formula = FORMULAS[name]
    namespace = {}
    exec(source(formula, "jax"), namespace)
    value = namespace[formula.name](*(np.float64(a) for a in arguments(formula)))
    assert float(value) == pytest.approx(float(evaluate(formula, POINT)), rel=1e-13, abs=1e-14)


# Two inputs.

h, k, rho = sp.symbols("h k rho", real=True)
TAIL = Formula("orthant", "L", "", (h, k, rho), (), sp.S.Zero, BivariateTail(h, k, rho), "test")
PLACES = list(itertools.product((-6.0, 0.0, 1.25), (-2.0, 0.25), (-0.999999, -0.9, -0.3, 0.1, 0.7, 0.99, 0.999999)))


@pytest.fixture(scope="module")
def orthants():
    """The exact values at all PLACES."""
    return np.array([float(evaluate(TAIL, dict(zip("hkr", p, strict=True)) | {"rho": p[2]})) for p in PLACES])


@pytest.mark.parametrize("backend", ["python", "numpy", "torch", "jax", "c"])
def test_bivariate_tail_in_every_language(backend, orthants, jax_here, tmp_path):
    """To the absolute error that the code promises."""
    if backend == "c":
        library = compiled([source(TAIL, "c")], tmp_path)
        got = [called(library, "orthant", p) for p in PLACES]
    elif backend == "torch":
        columns = (torch.tensor(c, dtype=torch.float64) for c in zip(*PLACES, strict=True))
        got = lambdify(TAIL, "torch")(*columns).numpy()
    elif backend == "python":
        got = [lambdify(TAIL, backend)(*p) for p in PLACES]
    else:
        got = lambdify(TAIL, backend)(*map(np.array, zip(*PLACES, strict=True)))
    np.testing.assert_allclose(np.array(got, dtype=float), orthants, rtol=0, atol=1e-14)


def test_bivariate_tail_has_gradients_in_torch():
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, -0.8, 0.6)]
    assert torch.autograd.gradcheck(lambdify(TAIL, "torch"), inputs)


def test_mpmath_code_has_no_bivariate_tail():
    with pytest.raises(
        ValueError, match="need a formula without bivariate tail for mpmath code, got one; use evaluate"
    ):
        source(TAIL, "mpmath")


@pytest.mark.parametrize("name", ["clipped-relu", "hard-swish", "soft-threshold", "sign"])
@pytest.mark.parametrize("end", [-1, 0, 1])
def test_evaluate_at_the_ends_of_the_correlation(name, end):
    """Where the closed form has no value its limit counts, that of correlations nearby."""
    phi = member(name)
    formula, there = maps.kernel(phi), maps.kernel(phi, rho=end)
    # With a threshold below 0 the kernel of one-sided activations does not vanish at rho = -1.
    point = {**POINT, "tau": 0.9 if name == "soft-threshold" else -0.9}
    exact = evaluate(formula, {**point, "rho": end}, digits=25)
    with mpmath.workdps(40):
        assert abs(exact - evaluate(there, point, digits=25)) <= abs(exact) * mpmath.mpf("1e-23")
        near = evaluate(formula, {**point, "rho": end * (1 - sp.Rational(1, 10**20))}, digits=25)
        assert abs(exact - near) < mpmath.mpf("1e-9")


def test_correlations_next_to_1_are_not_rounded_to_it():
    """R'' of ReLU is sigma_w2 / (2 pi sqrt(1 - rho^2))."""
    gap = sp.Rational(1, 10**40)
    value = evaluate(maps.correlation_curvature(member("relu")), {"q1": 1, "q2": 1, "rho": 1 - gap, "sigma_w2": 1})
    assert float(value) == pytest.approx(1 / (2 * math.pi * math.sqrt(2) * 1e-20), rel=1e-15)


def test_kernel_of_one_input_is_its_second_moment():
    for name in ("relu", "clipped-relu", "hard-swish", "sign", "jump-relu"):
        values = {**POINT, "q1": 1.7, "q2": 1.7, "rho": 1}
        got = evaluate(maps.kernel(member(name)), values, digits=20)
        assert float(got) == pytest.approx(float(evaluate(maps.second_moment(member(name)), POINT)), rel=1e-15)


@pytest.mark.parametrize("backend", ["python", "numpy", "torch", "jax", "c", "mpmath"])
def test_the_greater_of_two_is_printed(backend, jax_here, tmp_path):
    formula = maps.kernel(clipped_relu(), rho=1)
    assert formula.expression.has(sp.Max)
    exact = float(evaluate(formula, POINT))
    if backend == "c":
        value = called(compiled([source(formula, "c")], tmp_path), "kernel", arguments(formula))
    else:
        value = float(lambdify(formula, backend)(*map(np.float64, arguments(formula))))
    assert value == pytest.approx(exact, rel=1e-13)


def test_arrays_broadcast_through_the_greater_of_two():
    formula = maps.kernel(clipped_relu(), rho=1)
    values = dict(zip(map(str, formula.variables), arguments(formula), strict=True))
    q = np.array([0.5, 1.0, 2.0])
    expected = [float(evaluate(formula, {**POINT, "q2": v})) for v in q]
    np.testing.assert_allclose(lambdify(formula)(**{**values, "q2": q}), expected, rtol=1e-13)
    got = lambdify(formula, "torch")(**{**values, "q2": torch.tensor(q)})
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13)


def test_float32_stays_float32_with_two_inputs():
    formula = maps.kernel(relu())
    q = np.ones(3, np.float32)
    assert lambdify(formula)(q, q, np.float32(0.5)).dtype == np.float32
    bivariate = maps.kernel(clipped_relu())
    single = [torch.tensor(POINT[str(v)], dtype=torch.float32) for v in bivariate.variables]
    value = lambdify(bivariate, "torch")(*single)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(float(evaluate(bivariate, POINT)), rel=1e-5)


def test_tail_moments_are_written_out():
    formula = Formula("moments", "M", "", (Q1, Q2), (), sp.S.Zero, TailMoment(2, Q1) * TailMoment(1, Q2), "test")
    exact = float(evaluate(formula, {"q1": 0.5, "q2": 1.5}))
    assert exact == pytest.approx(float((TailMoment(2, 0.5) * TailMoment(1, 1.5)).evalf(30)), rel=1e-14)
    assert float(lambdify(formula)(0.5, 1.5)) == pytest.approx(exact, rel=1e-13)
    assert "TailMoment" not in source(formula, "c")


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


@pytest.mark.parametrize(
    "name", [n for n in MEMBERS if sp.diff(maps.second_moment(MEMBERS[n]()).expression, Q, 2) != 0]
)
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
    naive, stable = (lambdify(maps.chi_1(member("crelu")), b)(1.0, 1.0, 1e-12, 1.0) for b in ("python", "numpy"))
    exact = float(mpmath.npdf(1)) * 1e-12
    assert abs(naive / exact - 1) > 1e-6
    assert float(stable) == pytest.approx(exact, rel=1e-12)


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
    with pytest.raises(ValueError, match="unknown backend 'cuda'; choose from python, numpy"):
        lambdify(formula, "cuda")


def test_a_parameter_may_have_the_name_of_a_step():
    step = sp.Symbol("t0", real=True)
    formula = maps.variance_map(shifted_relu(step))
    assert lambdify(formula)(1.0, 0.5, 1.0, 0.0) == lambdify(maps.variance_map(member("relu-tau")))(1.0, 0.5, 1.0, 0.0)


def test_no_warning_on_ordinary_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(lambdify(maps.variance_map(member("cst")))(np.logspace(-3, 3, 50), 1.0, 1.0, 1.0, 0.0)).all()
