"""The largest slope that a network of given width and depth can afford.

The higher V'(q_star), the closer a clipped activation is to the unclipped one and the farther its variances wander.  The
risk is the probability of an excursion, `gpsym.finite_width`; it grows with the slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gpsym.activation import Activation
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import excursion_probability

__all__ = ["largest_slope"]

_STEPS = 1000  # slopes are multiples of 1/1000: three digits say all that a risk tells
