"""From a formula to numbers, for every backend.

printing    `source` writes a formula as code
compiled    its stable form as code for arrays of numpy and tensors of torch
arrays      `lambdify` makes it a function of such arrays
moments     the truncated moments of one input that such functions are made of; logarithms of tail moments
rectangles  those of two inputs; logarithms of bivariate tails
pairs       expectations of two inputs for kernel matrices, to absolute accuracy; `tables` interpolates them
precise     `evaluate` runs it in mpmath, to any number of digits
balls       `enclose` runs it in Arb, as a ball that contains the value (imports flint)
"""

from gpsym.numeric.arrays import lambdify
from gpsym.numeric.precise import Mpf, at_precision, context, evaluate, precise, to_mpf
from gpsym.numeric.printing import BACKENDS, source

__all__ = ["BACKENDS", "Mpf", "at_precision", "context", "evaluate", "lambdify", "precise", "source", "to_mpf"]
