"""neural-tangents at what tests.bench.speed measures; run by an interpreter that has it, without gpsym.

    python neural_tangents_peer.py INPUT.npz OUTPUT.npz

INPUT holds x, tau, m, the variances first_w2, sigma_w2 and sigma_b2, depth and repeats; OUTPUT the seconds of each run
after compilation, for the closed form of ReLU and the numerical CReLU, and the NTK of the latter.
"""

import sys
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from neural_tangents import stax

jax.config.update("jax_enable_x64", True)


def kernel(activation, depth, first_w2, sigma_w2, sigma_b2):
    """The compiled kernel function of a network."""
    layers = [stax.Dense(1, W_std=first_w2**0.5, b_std=sigma_b2**0.5)]
    for _ in range(depth):
        layers += [activation, stax.Dense(1, W_std=sigma_w2**0.5, b_std=sigma_b2**0.5)]
    return jax.jit(stax.serial(*layers)[2], static_argnames=("get",))


def measured(function, x, repeats):
    """Seconds of each run after the first, and the NTK."""
    times = []
    for _ in range(repeats + 1):
        start = perf_counter()
        found = function(x, None, get=("nngp", "ntk"))
        found.ntk.block_until_ready()
        times.append(perf_counter() - start)
    return times[1:], np.asarray(found.ntk)


def main(source, target):
    """Both networks on the same inputs."""
    given = dict(np.load(source))
    x, repeats, depth = given["x"], int(given["repeats"]), int(given["depth"])
    tau, m, *variances = (float(given[name]) for name in ("tau", "m", "first_w2", "sigma_w2", "sigma_b2"))
    relu, _ = measured(kernel(stax.Relu(), depth, 2.0, 2.0, 0.0), x, repeats)
    crelu = stax.ElementwiseNumerical(lambda h: jnp.clip(h - tau, 0.0, m), deg=25)
    numerical, ntk = measured(kernel(crelu, depth, *variances), x, max(1, repeats // 4))
    np.savez(target, relu=relu, numerical=numerical, ntk=ntk)


if __name__ == "__main__":
    main(*sys.argv[1:])
