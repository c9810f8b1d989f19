"""From a formula to numbers, for every backend.

printing  `source` writes a formula as code
arrays    `lambdify` runs it on arrays of numpy and torch
precise   `evaluate` runs it in mpmath, to any number of digits
balls     `enclose` runs it in Arb, as a ball that contains the value (imports flint)
"""

from gpsym.numeric.arrays import lambdify
from gpsym.numeric.precise import Mpf, at_precision, context, evaluate, precise, to_mpf
from gpsym.numeric.printing import BACKENDS, source

__all__ = ["BACKENDS", "Mpf", "at_precision", "context", "evaluate", "lambdify", "precise", "source", "to_mpf"]
