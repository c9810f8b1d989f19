"""Derivatives and transformations of formulas on tensors."""

import pytest
import torch

from gpsym import lambdify, maps, member

AT = {"q": 1.7, "tau": 0.9, "m": 1.3, "sigma_w2": 2.5, "sigma_b2": 0.2, "q1": 1.7, "q2": 0.6, "rho": 0.55, "theta": 1.5}
CRELU = member("crelu")
Q = torch.linspace(0.5, 2, 5, dtype=torch.float64)


def leaves(formula):
    return [
        torch.tensor([AT[str(v)], 1.01 * AT[str(v)]], dtype=torch.float64, requires_grad=True)
        for v in formula.variables
    ]


VARIANCE, KERNEL = (lambdify(f(CRELU), "torch") for f in (maps.variance_map, maps.kernel))


def variance(q):
    return VARIANCE(q, 0.9, 1.3, 2.0, 0.1)


def kernel(q):
    return KERNEL(q, q, 0.3, 0.9, 1.3)


@pytest.mark.parametrize("quantity", ["variance", "slope", "kernel", "correlation_slope", "correlation_curvature"])
@pytest.mark.parametrize("name", ["clipped-relu", "clipped-soft-threshold", "hard-shrink"])
def test_first_derivatives_in_all_arguments(name, quantity):
    formula = maps.derive(member(name), quantity)
    assert torch.autograd.gradcheck(lambdify(formula, "torch"), leaves(formula), atol=1e-8)


@pytest.mark.parametrize("quantity", ["variance", "correlation_slope"])
def test_second_derivatives_in_all_arguments(quantity):
    formula = maps.derive(CRELU, quantity)
    assert torch.autograd.gradgradcheck(lambdify(formula, "torch"), leaves(formula), atol=1e-7)


def test_second_derivatives_of_kernels_are_closed_forms():
    """d^2 kernel / drho^2 = q1 q2 E[phi'' phi''] = sqrt(q1 q2) R'' for sigma_w2 = 1."""
    rho = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64, requires_grad=True)
    k = lambdify(maps.kernel(CRELU), "torch")(1.7, 0.6, rho, 0.9, 1.3)
    (first,) = torch.autograd.grad(k.sum(), rho, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), rho)
    curvature = lambdify(maps.correlation_curvature(CRELU), "torch")(1.7, 0.6, rho.detach(), 0.9, 1.3, 1.0)
    torch.testing.assert_close(second, (1.7 * 0.6) ** 0.5 * curvature, rtol=1e-11, atol=0)


def test_vmap_grad_and_jacrev():
    slope, curvature = (lambdify(f(CRELU), "torch")(Q, 0.9, 1.3, 2.0) for f in (maps.slope, maps.curvature))
    close = {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(torch.func.vmap(variance)(Q), variance(Q), **close)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(variance))(Q), slope, **close)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(torch.func.grad(variance)))(Q), curvature, **close)
    torch.testing.assert_close(torch.func.vmap(kernel)(Q), kernel(Q), **close)
    jacobian = torch.func.jacrev(kernel)(Q)
    q = Q.clone().requires_grad_()
    kernel(q).sum().backward()
    torch.testing.assert_close(jacobian, torch.diag(q.grad), **close)


def test_vmap_over_some_arguments_of_other_shapes():
    tau = torch.linspace(0.1, 1, 3, dtype=torch.float64)[:, None]
    function = lambdify(maps.variance_map(CRELU), "torch")
    expected = torch.stack([function(Q, t, 1.3, 2.0, 0.1) for t in tau])
    mapped = torch.func.vmap(lambda t: function(Q, t, 1.3, 2.0, 0.1))(tau)
    torch.testing.assert_close(mapped, expected, rtol=0, atol=0)


def test_the_kernel_is_compiled_as_one_graph():
    """Its gradient too; the operator stays a node."""
    torch.compiler.reset()
    compiled = torch.compile(kernel, fullgraph=True, backend="aot_eager")
    q, reference = (Q.clone().requires_grad_() for _ in range(2))
    torch.testing.assert_close(compiled(q), kernel(reference), rtol=0, atol=0)
    compiled(q).sum().backward()
    kernel(reference).sum().backward()
    torch.testing.assert_close(q.grad, reference.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_is_rounded_once(dtype):
    q = Q.to(dtype)
    value = variance(q)
    assert value.dtype == dtype
    torch.testing.assert_close(value, variance(q.double()).to(dtype), rtol=0, atol=0)


def test_parameters_get_gradients():
    """Of tau and m, which stand in knots and widths: dV/dm = sigma_w2 2 m P(U > tau + m)."""
    m = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    value = lambdify(maps.variance_map(CRELU), "torch")(1.7, 0.9, m, 2.0, 0.1)
    (gradient,) = torch.autograd.grad(value, m)
    tail = torch.special.ndtr(-torch.tensor(2.2, dtype=torch.float64) / 1.7**0.5)
    torch.testing.assert_close(gradient, 2.0 * 2 * 1.3 * tail, rtol=1e-13, atol=0)
