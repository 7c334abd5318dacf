# AlexNet, from JPEGs to the averaged ensemble. `make` lists what it can do.
#
#   make full-pipeline                            the whole pipeline on a built-in sample, nothing installed before
#   make full-pipeline DATA=/path/to/pictures     the same on your own: train/<class>/* and val/, or <class>/* alone
#   make contest DATA=… FALL2011=…                the contest entry of 2012, from the files as they ship (contest.mk)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY ?= $(VENV)/.ready
ALEXNET ?= $(BIN)/alexnet

.PHONY: help setup lock test test-all test-gpu lint types bench bench-gpu clean full-pipeline

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------------------- setup, tests

setup: $(READY)  ## prepare .venv: alexnet with everything it needs, and pillow-simd if there is a compiler

$(VENV)/.ready: pyproject.toml requirements.lock scripts/install.sh scripts/pillow_simd.sh
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "Python 3.11 or newer is needed: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	scripts/install.sh $(BIN)/python -e '.[sample,ilsvrc,dev]'
	scripts/pillow_simd.sh $(BIN)/python
	@touch $@

.PHONY: lock
lock: setup  ## write requirements.lock from what .venv has
	@{ grep '^#' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable --exclude alexnet --exclude pillow \
	    --exclude pillow-simd | sed -E '/^(nvidia|cuda|triton)/s/$$/ ; sys_platform == "linux"/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

test: setup lint types  ## what CI runs: style, types, tests
	$(BIN)/python -m pytest -n auto --maxprocesses 8

test-all: setup  ## the slow tests too
	$(BIN)/python -m pytest -m ""

test-gpu: setup  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu -rs

lint: setup  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

bench: setup  ## every script in benchmarks/ that needs no GPU
	@for script in $(filter-out benchmarks/gpu.py,$(sort $(wildcard benchmarks/*.py))); do echo "== $$script"; $(BIN)/python $$script || exit; done

bench-gpu: setup  ## training, loading and kernels on a CUDA device, as tables in Markdown
	@$(BIN)/python benchmarks/gpu.py

clean:  ## remove caches and build leftovers; .venv and what the pipeline wrote stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find src stages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --------------------------------------------------------------------------------------------------------- full pipeline
## variables of full-pipeline, for example `make full-pipeline DATA=pictures RECIPE=paper`:
##   DATA       pictures: DATA/train/<class>/*, and DATA/val/ or DATA/validation/; or DATA/<class>/*, or an archive of
##              classes, of which HOLDOUT is held out for validation (default: a built-in sample)
##   HOLDOUT    fraction of each class that is held out if DATA has no train/ and val/ (default: 0.1)
##   OUT        where everything is written (default: out)
##   RECIPE     recipe of `alexnet train`, see `alexnet recipe list` (default: quickstart; with DATA: small)
##   EPOCHS     passes over the training pictures (default: the recipe's)
##   MEMBERS    nets in the ensemble, trained with the seeds 1, 2, ... (default: 2)
##   DEVICES    auto, cpu, cuda, ... (default: auto)
##   PRECISION  fp32, tf32 (CUDA) or bf16, for training and evaluation (default: fp32)
##   CODEC      how crops are stored, raw or jpeg (default: raw)

DATA ?=
HOLDOUT ?= 0.1
OUT ?= out
RECIPE ?= $(if $(DATA),small,quickstart)
EPOCHS ?=
MEMBERS ?= 2
DEVICES ?= auto
PRECISION ?= fp32
CODEC ?= raw

NUMBERS = $(shell seq 1 $(call quote,$(MEMBERS)) 2>/dev/null | head -n 1000)
SOURCE := $(if $(DATA),$(DATA),$(OUT)/sample)
quote = '$(subst ','\'',$1)'
INTO = $(call quote,$(OUT))
WHERE = --devices $(call quote,$(DEVICES)) --precision $(call quote,$(PRECISION))
VAL = $(shell [ -d $(call quote,$(SOURCE)/validation) ] && echo validation || echo val)
# Not empty where DATA is one folder of classes, or an archive: it holds neither train/ nor val/ nor validation/.
WHOLE = $(if $(DATA),$(shell for part in train val validation; do [ ! -d $(call quote,$(DATA))/$$part ] || exit; done; echo whole))

ifneq ($(words $(OUT)),1)
$(error OUT='$(OUT)': must be a path without blanks)
endif

define APART
$(ALEXNET) preprocess $(call quote,$(SOURCE)/train) --out $(INTO)/train.lmdb --codec $(call quote,$(CODEC)) --update
$(ALEXNET) preprocess $(call quote,$(SOURCE)/$(VAL)) --out $(INTO)/val.lmdb --classes $(INTO)/train.lmdb --allow-missing \
    --codec $(call quote,$(CODEC)) --update
endef
define TOGETHER
$(ALEXNET) preprocess $(call quote,$(DATA)) --out $(INTO)/train.lmdb --holdout $(call quote,$(HOLDOUT)) \
    --holdout-out $(INTO)/val.lmdb --codec $(call quote,$(CODEC)) --update
endef
PREPROCESS = $(if $(WHOLE),$(TOGETHER),$(APART))

# With --update each command does nothing if its output was made from the same input and options; otherwise it makes it
# again. A trained net is never deleted: an unfinished one is resumed, and one of another recipe is refused.
full-pipeline: $(READY)  ## preprocess, pca, train, eval, ensemble: only what is out of date, resuming where it stopped
	@$(ALEXNET) check $(if $(DATA),--data $(call quote,$(DATA)) --holdout $(call quote,$(HOLDOUT))) --recipe $(call quote,$(RECIPE)) --members $(call quote,$(MEMBERS)) \
	    $(if $(EPOCHS),--epochs $(call quote,$(EPOCHS))) $(WHERE) --codec $(call quote,$(CODEC))
ifeq ($(DATA),)
	$(ALEXNET) sample $(INTO)/sample --update
endif
	$(PREPROCESS)
	$(ALEXNET) pca $(INTO)/train.lmdb --out $(INTO)/stats.h5 --update
	set -e; for seed in $(NUMBERS); do \
	    $(ALEXNET) train $(INTO)/train.lmdb --val $(INTO)/val.lmdb --stats $(INTO)/stats.h5 --recipe $(call quote,$(RECIPE)) \
	        $(if $(EPOCHS),--epochs $(call quote,$(EPOCHS))) $(WHERE) --seed $$seed \
	        --out $(INTO)/runs/$$seed --update; \
	    $(ALEXNET) eval $(INTO)/runs/$$seed $(INTO)/val.lmdb $(WHERE) \
	        --out $(INTO)/scores/$$seed.h5 --update; \
	done
	$(ALEXNET) ensemble $(NUMBERS:%=$(INTO)/scores/%.h5) --crops $(INTO)/val.lmdb --out $(INTO)/ensemble --update
	@echo "everything is up to date:" $(INTO)/ensemble/table.txt, nets in $(INTO)/runs

# ------------------------------------------------------------------------------------------------------ the contest entry

include $(dir $(lastword $(MAKEFILE_LIST)))contest.mk
include $(dir $(lastword $(filter %Makefile,$(MAKEFILE_LIST))))cifar.mk
