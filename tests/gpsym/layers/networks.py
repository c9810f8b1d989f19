"""Random networks of real torch modules, and what is measured on them."""

import math

import torch

import gpsym.torch as gt

__all__ = ["Networks", "assert_within_standard_errors"]


def assert_within_standard_errors(samples, expected, errors=4.0, bias=0.0):
    """The mean of the first dimension is the expected value, up to standard errors and a bias that is known."""
    standard_error = samples.std(0) / math.sqrt(len(samples))
    expected = torch.as_tensor(expected, dtype=samples.dtype)
    assert (standard_error > 0).all()
    assert ((samples.mean(0) - expected).abs() <= errors * standard_error + bias).all(), (
        samples.mean(0),
        expected,
        standard_error,
    )


class Networks:
    """Many residual networks at once: one input each, (networks, width) at every layer, weights of their own."""

    def __init__(self, design, *, width, networks, seed=0):
        self.design, self.width, self.networks = design, width, networks
        self.generator = torch.Generator().manual_seed(seed)
        self.phi = gt.activation_module(design)

    def normal(self, *shape):
        return torch.randn(self.networks, *shape, generator=self.generator)

    def first(self, correlation=None):
        """Pre-activations of the first layer, of variance q_star; with a correlation, of two inputs."""
        h, other = (self.normal(self.width) * math.sqrt(self.design.q_star) for _ in range(2))
        return h if correlation is None else (h, correlation * h + math.sqrt(1 - correlation**2) * other)

    def layer(self, *inputs):
        """W phi(h) + b for each of the inputs, with one W and b for all."""
        w = self.normal(self.width, self.width) * math.sqrt(self.design.sigma_w2 / self.width)
        b = self.normal(self.width) * math.sqrt(self.design.sigma_b2)
        return [torch.bmm(w, self.phi(h).unsqueeze(2)).squeeze(2) + b for h in inputs]

    def mixed(self, alpha, *inputs):
        """A residual layer of each."""
        branches = self.layer(*inputs)
        return [math.sqrt(1 - alpha**2) * h + alpha * y for h, y in zip(inputs, branches, strict=True)]

    def variances_after(self, alpha, depth):
        """mean(h^2) after residual layers, (networks,), without weights: given h, W phi(h) + b is a Gaussian sample."""
        h = self.first()
        for _ in range(depth):
            v = self.design.sigma_w2 * self.phi(h).square().mean(1, keepdim=True) + self.design.sigma_b2
            h = math.sqrt(1 - alpha**2) * h + alpha * v.sqrt() * self.normal(self.width)
        return h.square().mean(1)

    def after(self, alpha, depth):
        """(mean(h^2), ||g||^2) after residual layers, (networks,): g in the first for a random one of norm 1 in the
        last."""
        start = self.first().requires_grad_()
        h = start
        for _ in range(depth):
            (h,) = self.mixed(alpha, h)
        g = self.normal(self.width)
        (gradient,) = torch.autograd.grad((h * g / g.norm(dim=1, keepdim=True)).sum(), start)
        return h.detach().square().mean(1), gradient.square().sum(1)
