"""Theorems about variance maps, proved by computer for every parameter value, and checked by a second program.

One theorem a file: its statement and the proof in words, the statements as SymPy objects, and the derivation, each
step of which is decided by a rule of `proofs.logic`.  `proofs.checker` checks the certificates, with code of its own.
Runs from a checkout: `python -m proofs`, `python -m proofs check`.
"""
