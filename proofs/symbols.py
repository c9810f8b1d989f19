"""The threshold with the sign that a theorem supposes."""

import sympy as sp

POSITIVE_TAU = sp.Symbol("tau", positive=True)
NONNEGATIVE_TAU = sp.Symbol("tau", nonnegative=True)
