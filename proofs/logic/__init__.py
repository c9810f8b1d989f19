"""What a proof is here: statements, the rules that lead from statements to statements, and certificates of both.

A proof is a tree.  Each node is a statement about one expression on a box of parameters (`statements`), and the
rule by which it follows from those below it (`rules`, `roots`).  A rule checks its conditions when it is applied,
and raises `Open` where it cannot see that they hold: what was built is proved.
"""

from proofs.logic.statements import Claim, Domain, Open, Proof, Statement, domain

__all__ = ["Claim", "Domain", "Open", "Proof", "Statement", "domain"]
