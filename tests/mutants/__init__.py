"""Mutation tests of the mathematical core: `python -m tests.mutants --help`; MUTANTS.md has the results."""
