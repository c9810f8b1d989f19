PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup test test-deep fuzz mutants lint prove demo clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## a virtual environment with everything, in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

# A worker for each core, each of one thread: small tensors lose more to threads than they gain.
test: setup  ## the tests, on all cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-deep: setup  ## all tests, the slow ones too, with many more random examples; takes long
	OMP_NUM_THREADS=1 GPSYM_TEST_PROFILE=deep $(BIN)/python -m pytest -n auto

fuzz: setup  ## hostile inputs at every door, a minute each; or ONLY="design expression" SECONDS=600
	$(BIN)/python -m tests.fuzz $(ONLY) $(if $(SECONDS),--seconds $(SECONDS))

mutants: setup  ## changes of the core that the tests notice; hours, or ONLY="gpsym/maps/*.py" SAMPLE=50 SEED=1
	$(BIN)/python -m tests.mutants $(foreach only,$(ONLY),'$(only)') $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

prove: setup  ## the theorems and the falsehoods; writes the certificates, and checks them
	$(BIN)/python -m proofs --certificates proofs/certificates
	$(BIN)/python -m proofs --falsehoods
	$(BIN)/python -m proofs check

demo: setup  ## derive, verify, design, export, train, report
	$(BIN)/python -m training demo

clean:  ## remove what the other targets made
	rm -rf $(VENV) demo .pytest_cache .ruff_cache .hypothesis
