# Everything runs in an environment of its own: Python 3.11+ and a C++17 compiler are all that must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without an NVIDIA GPU, torch's CPU build: some 200 MB instead of several GB.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,--retries 1 --extra-index-url https://download.pytorch.org/whl/cpu)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO ?= demo
SOURCES := $(wildcard csrc/*.* csrc/*/*.*) CMakeLists.txt pyproject.toml constraints.txt

.PHONY: help demo test sanitize lint format install clean

help:
	@echo "make demo     simulate a planted brain, check it, train on it, evaluate, probe: ends with tables and a page, demo/run/report.html"
	@echo "make test     all tests"
	@echo "make sanitize the core under the address and undefined-behaviour sanitizers"
	@echo "make lint     ruff, mypy, clang-format"
	@echo "make format   let ruff and clang-format rewrite the files"
	@echo "make clean    remove the environment, builds and the demo"

install: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch, then brainwavlm_fast with its tools, into $(VENV): a few minutes"
	$(PIP) $(TORCH_INDEX) --no-deps torch
	$(PIP) -e '.[test,lint,bench]'
	touch $@

# Block size, learning rates and the missing regularizers suit 800 TRs and a tiny WavLM (chosen on a validation story);
# `bwlm train` alone has the paper's.
demo: install
	rm -rf $(DEMO)
	$(BIN)/bwlm simulate $(DEMO)/data --subjects S01
	$(BIN)/bwlm check --data $(DEMO)/data
	$(BIN)/bwlm train --subject S01 --roi nonac --data $(DEMO)/data --out $(DEMO)/run --model $(DEMO)/data/student \
	    --layer 2 --stride 0.5 --no-regularizers --lora-dropout 0 --block-size 25 --lr 3e-3 --lr-readout 1e-3 --epochs 8
	$(BIN)/bwlm evaluate $(DEMO)/run --epochs 4,8
	$(BIN)/bwlm probe $(DEMO)/run --layers all
	$(BIN)/bwlm report $(DEMO)/run

test: install
	$(BIN)/python -m pytest

sanitize: install
	tests/sanitize.sh $(BIN)/python

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy brainwavlm_fast cli
	$(BIN)/clang-format --dry-run --Werror $(wildcard csrc/*.* csrc/*/*.* tests/*.cpp)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(wildcard csrc/*.* csrc/*/*.* tests/*.cpp)

clean:
	rm -rf $(VENV) build dist $(DEMO)
