"""`python -m proofs`: every theorem, one row for each activation that it speaks of; `python -m proofs check`."""

from gpsym.cli import run
from proofs.cli import main

if __name__ == "__main__":
    run(main, "python -m proofs")
