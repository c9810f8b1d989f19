"""What a proof is here: statements, the rules that lead from statements to statements, and certificates of both.

A proof is a tree.  Each node is a statement about one expression on a box of parameters (`statements`), and the
rule by which it follows from those below it (`rules`, and with ball arithmetic `balls`).  A rule checks its conditions
when it is applied, and raises `Open` where it cannot see that they hold: what was built is proved.  `theorem` holds
what each theorem's file gives, and finds its verdict; `refute` looks for witnesses; `certificate` writes proofs down.
"""
