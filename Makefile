# AlexNet, from JPEGs to the averaged ensemble. `make` lists what it can do.
#
#   make full-pipeline                            the whole pipeline on a built-in sample, nothing installed before
#   make full-pipeline DATA=/path/to/pictures     the same on your own: train/<class>/*, and val/ or validation/
#   make contest DATA=… FALL2011=…                the contest entry of 2012, from the files as they ship (contest.mk)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY ?= $(VENV)/.ready
ALEXNET ?= $(BIN)/alexnet

.PHONY: help setup test test-all test-gpu lint types bench clean full-pipeline FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------------------- setup, tests

setup: $(READY)  ## prepare .venv: alexnet with everything it needs, pillow-simd where a compiler is there

$(VENV)/.ready: pyproject.toml requirements.lock scripts/install.sh scripts/pillow_simd.sh
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "Python 3.11 or newer is needed: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	scripts/install.sh $(BIN)/python -e '.[sample,ilsvrc,dev]'
	scripts/pillow_simd.sh $(BIN)/python
	@touch $@

.PHONY: lock
lock: setup  ## write requirements.lock anew, from what .venv has
	@{ grep '^#' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable --exclude alexnet --exclude pillow \
	    --exclude pillow-simd | sed -E '/^(nvidia|cuda|triton)/s/$$/ ; sys_platform == "linux"/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

test: setup lint types  ## what CI runs: style, types, tests
	$(BIN)/python -m pytest

test-all: setup  ## the slow tests too
	$(BIN)/python -m pytest -m ""

test-gpu: setup  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu -rs

lint: setup  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

bench: setup  ## every script in benchmarks/
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit; done

clean:  ## remove caches and build leftovers (not .venv, not what the pipeline wrote)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find src stages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --------------------------------------------------------------------------------------------------------- full pipeline
## variables of full-pipeline, such as `make full-pipeline DATA=pictures RECIPE=paper`:
##   DATA       pictures: DATA/train/<class>/*, and DATA/val/ or DATA/validation/ (default: a built-in sample)
##   OUT        where everything is written (default: out)
##   RECIPE     recipe of `alexnet train` (default: quickstart; with DATA: small)
##   EPOCHS     how many, instead of the recipe's
##   MEMBERS    nets in the ensemble, trained with the seeds 1, 2, ... (default: 2)
##   DEVICES    auto, cpu, cuda, ... (default: auto)
##   PRECISION  fp32, tf32 (CUDA) or bf16, for training and evaluation (default: fp32)
##   CODEC      how crops are stored, raw or jpeg (default: raw)

DATA ?=
OUT ?= out
RECIPE ?= $(if $(DATA),small,quickstart)
EPOCHS ?=
MEMBERS ?= 2
DEVICES ?= auto
PRECISION ?= fp32
CODEC ?= raw

# An artifact's last file is written when all of it is there: that file is make's target.
NUMBERS := $(shell seq 1 $(MEMBERS) 2>/dev/null)
STORES := $(OUT)/train.lmdb/manifest.json $(OUT)/val.lmdb/manifest.json
RUNS := $(NUMBERS:%=$(OUT)/runs/%/manifest.json)
SCORES := $(NUMBERS:%=$(OUT)/scores/%.h5)
ENSEMBLE := $(OUT)/ensemble/manifest.json

# $(SETTINGS)/NAME holds the variables that an artifact was made with. Where they differ from today's, the artifact
# gets FORCE as a prerequisite. They are compared while make reads this file and written only when the work is done, so
# that `make -n`, `make -q` and a run that is stopped at once change nothing.
SETTINGS := $(OUT)/.settings
quote = '$(subst ','\'',$1)'
# $(call changed,NAME,text): FORCE unless $(SETTINGS)/NAME begins with this line.
changed = $(shell [ "$$(head -n 1 $(SETTINGS)/$1 2>/dev/null)" = $(call quote,$2) ] || echo FORCE)
# $(call grown,NAME,folder): FORCE where the folder, or a class folder in it, changed after $(SETTINGS)/NAME was begun.
grown = $(shell find -L $(call quote,$2)/ -maxdepth 1 -type d -newer $(SETTINGS)/$1 2>/dev/null | sed -n '1s/.*/FORCE/p')

SOURCE := $(if $(DATA),$(DATA),$(OUT)/sample)
VAL := $(shell [ -d $(call quote,$(SOURCE)/validation) ] && echo validation || echo val)
SAMPLE := $(if $(DATA),,$(OUT)/sample/sample.json)
STORE_SETTINGS = $(SOURCE) $(CODEC)
RUN_SETTINGS := $(RECIPE) $(EPOCHS) $(PRECISION)
RECIPE_FILE := $(wildcard src/alexnet_cli/recipes/$(RECIPE).toml)
ENSEMBLE_SETTINGS := $(NUMBERS)

ifneq ($(words $(OUT)),1)
$(error OUT='$(OUT)': must be a path without blanks)
endif
ifneq ($(filter full-pipeline $(OUT)/%,$(MAKECMDGOALS)),)
ifeq ($(NUMBERS),)
$(error MEMBERS=$(MEMBERS): must be a number, 1 or more)
endif
ifneq ($(DATA),)
ifneq ($(shell [ -d $(call quote,$(DATA)/train) ] && [ -d $(call quote,$(DATA)/$(VAL)) ] && echo yes),yes)
$(error DATA=$(DATA): must hold the folders train/<class>/ and val/<class>/ (or validation/<class>/))
endif
endif
endif

# With -q there is nothing to say: a recipe here would make everything look out of date.
full-pipeline: $(ENSEMBLE)  ## preprocess, pca, train, eval, ensemble: only what is out of date, going on where it stopped
ifeq ($(findstring q,$(firstword x$(MAKEFLAGS))),)
	@if [ -e $(SETTINGS)/shown ] && ! [ $(ENSEMBLE) -nt $(SETTINGS)/shown ]; then \
	    echo "everything is up to date: $(OUT)/ensemble"; cat $(OUT)/ensemble/table.txt; \
	else \
	    touch $(SETTINGS)/shown; echo "done: $(OUT)/ensemble/table.txt, nets in $(OUT)/runs"; \
	fi
endif

$(OUT)/sample/sample.json: | $(READY)
	$(ALEXNET) sample $(OUT)/sample --overwrite

# What is written while pictures are read must be noticed next time: the settings file's time is the start of the work.
$(OUT)/train.lmdb/manifest.json: $(SAMPLE) $(call changed,train,$(STORE_SETTINGS)) $(call grown,train,$(SOURCE)/train) | $(READY)
	@mkdir -p $(SETTINGS) && echo $(call quote,$(STORE_SETTINGS)) > $(SETTINGS)/train.begun
	$(ALEXNET) preprocess $(call quote,$(SOURCE)/train) --out $(OUT)/train.lmdb --codec $(CODEC) --overwrite
	@mv $(SETTINGS)/train.begun $(SETTINGS)/train && touch $@

$(OUT)/val.lmdb/manifest.json: $(OUT)/train.lmdb/manifest.json $(call changed,val,$(STORE_SETTINGS)) \
    $(call grown,val,$(SOURCE)/$(VAL)) | $(READY)
	@mkdir -p $(SETTINGS) && echo $(call quote,$(STORE_SETTINGS)) > $(SETTINGS)/val.begun
	$(ALEXNET) preprocess $(call quote,$(SOURCE)/$(VAL)) --out $(OUT)/val.lmdb \
	    --classes $(OUT)/train.lmdb --allow-missing --codec $(CODEC) --overwrite
	@mv $(SETTINGS)/val.begun $(SETTINGS)/val && touch $@

$(OUT)/stats.h5: $(OUT)/train.lmdb/manifest.json | $(READY)
	$(ALEXNET) pca $(OUT)/train.lmdb --out $@ --overwrite
	@touch $@

# A run goes on (--resume) as long as what shapes it is the same: the variables, the recipe, the crops' digests. Otherwise
# it is made anew. They are written before training here, since the run's folder is theirs from its first step.
$(foreach i,$(NUMBERS),$(eval $(OUT)/runs/$(i)/manifest.json: $(call changed,run-$(i),$(RUN_SETTINGS))))
$(RUNS): $(OUT)/runs/%/manifest.json: $(STORES) $(OUT)/stats.h5 $(RECIPE_FILE) | $(READY)
	@mkdir -p $(SETTINGS); { echo $(call quote,$(RUN_SETTINGS)); grep -h '"digest"' $(STORES); \
	    cat /dev/null $(RECIPE_FILE); } > $(SETTINGS)/run-$*.now; \
	cmp -s $(SETTINGS)/run-$*.now $(SETTINGS)/run-$* || rm -rf $(OUT)/runs/$*; \
	mv $(SETTINGS)/run-$*.now $(SETTINGS)/run-$*
	[ -e $@ ] || $(ALEXNET) train $(OUT)/train.lmdb --val $(OUT)/val.lmdb --stats $(OUT)/stats.h5 --recipe $(RECIPE) \
	    $(if $(EPOCHS),--epochs $(EPOCHS)) --devices $(DEVICES) --precision $(PRECISION) --seed $* --out $(OUT)/runs/$* --resume
	@touch $@

$(SCORES): $(OUT)/scores/%.h5: $(OUT)/runs/%/manifest.json $(OUT)/val.lmdb/manifest.json | $(READY)
	$(ALEXNET) eval $(OUT)/runs/$* $(OUT)/val.lmdb --devices $(DEVICES) --precision $(PRECISION) --out $@ --overwrite
	@touch $@

$(ENSEMBLE): $(SCORES) $(call changed,ensemble,$(ENSEMBLE_SETTINGS)) | $(READY)
	$(ALEXNET) ensemble $(SCORES) --crops $(OUT)/val.lmdb --out $(OUT)/ensemble --overwrite
	@touch $@; echo $(ENSEMBLE_SETTINGS) > $(SETTINGS)/ensemble

# ------------------------------------------------------------------------------------------------------ the contest entry

include $(dir $(lastword $(MAKEFILE_LIST)))contest.mk
