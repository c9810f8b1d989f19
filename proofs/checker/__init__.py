"""A checker of proof certificates that shares no code with the prover.

It reads the texts of a certificate by a grammar of its own and decides every condition of every rule again.  It
trusts Python, its whole numbers and fractions, json, ast and hashlib, and of mpmath the intervals, whose operations
and square roots round outwards, and whose exponentials and pi are right to 16 units in the last place.  All else is
here: trees of expressions and their derivatives (`trees`), which statements leave to be carried out (`written`),
identities (`polynomials`, `normal`), signs by form (`terms`, `signs`), limits (`limits`), enclosures with erfc
(`intervals`), boxes (`boxes`), roots (`roots`), and the rules (`rules`, `steps`), whose docstrings say what is proved.
`budget` bounds the time that it takes.  It uses neither SymPy nor flint, and nothing else of this project.

What a certificate claims, in words and for which activation, it does not judge: `claims` gives what was proved.
"""

from proofs.checker.certificate import FORMAT, MOST_BYTES, check, claims, digest, read
from proofs.checker.parse import quoted
from proofs.checker.trees import Rejected

__all__ = ["FORMAT", "MOST_BYTES", "Rejected", "check", "claims", "digest", "quoted", "read"]
