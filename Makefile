# Two commands on a fresh machine: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
KITS := .venv-kits
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test lint types unit browser dicom3tools docs kits clean

demo: $(VENV)/.core
	$(BIN)/unireason demo --out demo

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev browser dicom3tools
	$(BIN)/pytest

# Pages are tested in a real Chromium; Debian's package is installed where that is possible, else those tests say why they skip.
browser:
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || true

# DICOM that is written is checked by dciodvfy; without it those tests skip.
dicom3tools:
	@command -v dciodvfy >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends dicom3tools >/dev/null; } || true

# The bridges against the real kits, in an environment of their own. VLMEvalKit and MedEvalKit are not on PyPI: name a checkout of each, as in
# `make kits VLMEVALKIT=../VLMEvalKit MEDEVALKIT=../MedEvalKit`; without one its tests skip.
kits: $(KITS)/.lmms-eval $(if $(VLMEVALKIT)$(MEDEVALKIT),$(KITS)/.checkouts)
	VLMEVALKIT="$(abspath $(VLMEVALKIT))" MEDEVALKIT="$(abspath $(MEDEVALKIT))" $(KITS)/bin/pytest -m kits -rPs tests/kits

$(KITS)/.lmms-eval: pyproject.toml constraints.txt tests/kits/lmms-eval.txt
	$(PYTHON) -m venv $(KITS)
	$(KITS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . datasets pytest pytest-timeout hypothesis
	$(KITS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/kits/lmms-eval.txt
	touch $@

$(KITS)/.checkouts: $(KITS)/.lmms-eval tests/kits/checkouts.txt
	$(KITS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/kits/checkouts.txt
	touch $@

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	touch $@

clean:
	rm -rf $(VENV) $(KITS) demo build dist .pytest_cache .ruff_cache .mypy_cache
