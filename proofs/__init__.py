"""Theorems about variance maps, proved by computer algebra for every parameter value; runs from a checkout.

One theorem a file: its statement in words, then what has to be decided, then the verdicts.  `python -m proofs`
prints them.  A step is an identity brought to normal form or a sign that follows from the signs of factors;
nothing is sampled and nothing depends on a simplifier's luck.
"""
