# Everything runs in a virtual environment of this folder, made on first use with the tested versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread a process: the certificates are no faster on a busy machine, and the tests no slower.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lint types contracts samples campaign-local bench-local bench-global bench-lower bench-attacks models ops golden picture docs fuzz fuzz-norms bench-norms clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,samples]'
	@touch $@

setup: $(READY)  ## make the virtual environment with the tested versions

demo: $(READY)  ## audit a trained model: bound, local, certify and gate, one after the other
	@PATH="$(abspath $(BIN)):$$PATH" sh sample_models/demo.sh

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -q -n 2

check: format lint types contracts test  ## what CI runs: format, lint, types, import contracts, tests

format: $(READY)  ## check the formatting
	$(BIN)/ruff format --check .

lint: $(READY)  ## run the linter
	$(BIN)/ruff check .

types: $(READY)  ## check the types
	$(BIN)/mypy

contracts: $(READY)  ## check which room imports which
	$(BIN)/lint-imports

samples: $(READY)  ## train and export the sample models again
	$(BIN)/python sample_models/build.py

bench-local: $(READY)  ## local Jacobian norms against the naive loop; bounds over balls and radii against what is met
	$(BIN)/python benchmarks/local.py
	$(BIN)/python benchmarks/regions.py
	$(BIN)/python benchmarks/local_peers.py

campaign-local: $(READY)  ## 100,000 attempts on certified radii and regional bounds of small random graphs
	$(BIN)/python -m tests.ranges.campaign --attempts 100000

bench-global: $(READY)  ## global bounds on the peers' own networks, beside what they are known to reach
	$(BIN)/python benchmarks/global_bounds.py
	$(BIN)/python benchmarks/conv_bounds.py

bench-norms: $(READY)  ## operator norms of convolutions against the published methods, in one run
	$(BIN)/python benchmarks/norms.py

bench-attacks: $(READY)  ## the attack of certify beside those of foolbox, where it is installed
	$(BIN)/python -m benchmarks.attacks

bench-lower: $(READY)  ## searches from below and exact constants, beside what others reach
	$(BIN)/python benchmarks/lower.py

models: $(READY)  ## audit the third-party networks beside the checkout and write docs/models.md
	$(BIN)/python benchmarks/models.py

ops: $(READY)  ## write docs/ops.md from the registry
	$(BIN)/python -m lipaudit.ops.table

picture: demo  ## take the README's picture of the HTML report again (needs chromium)
	$(BIN)/python docs/picture.py

golden: $(READY)  ## write the golden picture files of the report formats again
	$(BIN)/python tests/render/golden.py

docs: $(READY)  ## build the documentation site into build/site; a broken link fails
	$(BIN)/mkdocs build --quiet

.PHONY: fuzz-fourier
fuzz-fourier: $(READY)  ## hold the Fourier recursion against thousands of small networks
	$(BIN)/python -m tests.laws.fourier_campaign

fuzz: $(READY)  ## audit 10,000 damaged models; see docs/fuzzing.md
	$(BIN)/python tests/fuzz/campaign.py --count 10000 --seed 0 --budget 3600

fuzz-norms: $(READY)  ## operator norms of 20,000 random maps against dense and ball arithmetic
	$(BIN)/python -m tests.fuzz.norms --count 20000 --seed 0

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
