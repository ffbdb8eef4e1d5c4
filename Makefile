# make demo · demo-tables · test · test-fast · test-long · lint · docs · bench · setup: each sets up what it needs, and is quick when it is there.
# STACK=card takes Python 3.11 and the paper's TensorFlow 2.15, in an environment of its own.

STACK ?= current
ifeq ($(STACK),current)
VENV := .venv
PYTHONS := 3.13 3.12 3.11
else ifeq ($(STACK),card)
VENV := .venv-card
PYTHONS := 3.11
else
$(error STACK=$(STACK): it is current or card)
endif
UV := $(shell command -v uv)
# The newest on the PATH; where uv is, also the newest that it has or can fetch.
PYTHON ?= $(shell for v in $(PYTHONS); do for p in python$$v python3 python; do \
	command -v $$p >/dev/null && test "$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $$v \
	&& echo $$p && exit; done; done; test -z "$(UV)" || echo $(firstword $(PYTHONS)))
RUN := $(VENV)/bin/python
MAIN := $(VENV)/.ready
ALL := $(VENV)/.ready-all
FITS = -c 'import sys; v = "%d.%d" % sys.version_info[:2]; raise SystemExit(v not in "$(PYTHONS)".split())' \
	|| { echo "$(PYTHON) is not Python $(PYTHONS), which STACK=$(STACK) needs" >&2; exit 1; }
# The locks hold every package there is to install.
ifdef UV
CREATE = $(UV) venv --quiet --seed --clear --python $(PYTHON) $(VENV) && { $(RUN) $(FITS); }
INSTALL = $(UV) pip install --python $(RUN) --no-deps
else
CREATE = rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
INSTALL = $(RUN) -m pip install --disable-pip-version-check --no-compile --no-deps
endif
# A file's tests stay in one process; a process that dies ends the run.
PYTEST := $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: demo demo-tables test test-fast test-long smoke lint docs bench setup locks

demo: $(MAIN)
	$(RUN) scripts/pretrain.py --pairs playlist_co

demo-tables: $(MAIN)
	$(RUN) scripts/tables.py --plan experiments/demo.toml --workers 2

test: $(ALL)
	$(PYTEST) -m "not long"

test-fast: $(ALL)
	$(PYTEST) -m "not slow and not long"

test-long: $(ALL)
	$(PYTEST) -m long

smoke: $(ALL)
	$(RUN) -m pytest @tests/smoke.txt

lint: $(ALL)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(ALL)
	$(RUN) -m mkdocs build --strict

bench: $(ALL)
	$(RUN) benchmarks/front_end.py
	$(RUN) benchmarks/records.py
	$(RUN) benchmarks/windows.py
	$(RUN) benchmarks/index.py
	$(RUN) benchmarks/remote.py
	$(RUN) benchmarks/train_step.py
	$(RUN) benchmarks/micro_batch.py
	$(RUN) benchmarks/essentia_package.py
	$(RUN) benchmarks/embed.py
	$(RUN) benchmarks/playlists.py
	$(RUN) benchmarks/pairs.py
	$(RUN) benchmarks/search.py

setup: $(ALL)

# An environment of another lock is made anew: packages that are no longer wanted must not stay.
$(MAIN): constraints/$(STACK).txt setup.cfg pyproject.toml
ifeq ($(strip $(PYTHON)),)
	@echo "playlist_pretrain (STACK=$(STACK)) needs Python $(PYTHONS) and found none on the PATH. Get it with" >&2
ifeq ($(STACK),card)
	@echo "  Debian 12:     apt install python3.11 python3.11-venv" >&2
	@echo "  Ubuntu:        add-apt-repository ppa:deadsnakes/ppa && apt install python3.11 python3.11-venv" >&2
	@echo "  Fedora:        dnf install python3.11" >&2
else
	@echo "  Debian 12, 13: apt install python3 python3-venv" >&2
	@echo "  Ubuntu 24.04:  apt install python3 python3-venv" >&2
	@echo "  Fedora:        dnf install python3.13" >&2
endif
	@echo "  any, with uv:  uv python install $(firstword $(PYTHONS))" >&2
	@echo "or name one: make $(MAKECMDGOALS) STACK=$(STACK) PYTHON=/path/to/python" >&2
	@exit 1
else
ifndef UV
	@$(PYTHON) $(FITS)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments." \
		"Debian, Ubuntu: apt install python3-venv (or pythonX.Y-venv); any: install uv" >&2; exit 1; }
endif
	@cmp -s $< $(VENV)/lock.txt || { \
		echo "installing up to 3 GB of packages into $(VENV): this takes some minutes, once" \
		&& $(CREATE) && $(INSTALL) --require-hashes -r $< && cp $< $(VENV)/lock.txt; }
	$(INSTALL) --quiet --no-build-isolation --editable .
	@touch $@
endif

$(ALL): $(MAIN) constraints/$(STACK)-all.txt
	$(INSTALL) --require-hashes -r constraints/$(STACK)-all.txt
	@touch $@

# UPGRADE=--upgrade takes the newest versions that fit; else those that fit are kept.
COMPILE = $(UV) pip compile setup.cfg --python-version 3.11 --generate-hashes --quiet $(UPGRADE) \
	--custom-compile-command "make locks" --excludes constraints/dropped.txt
CPU := --excludes constraints/cpu.txt
TRAIN := --extra train --extra page
EVERY := $(TRAIN) --extra beam --extra faiss --extra remote --extra gs --extra docs --extra tests
CURRENT := --universal --fork-strategy fewest
CARD := constraints/card.in --extra card --python-platform linux

locks:
	$(COMPILE) $(CPU) $(EVERY) $(CURRENT) constraints/current.in -o constraints/current-all.txt
	$(COMPILE) $(CPU) $(TRAIN) $(CURRENT) constraints/current.in -c constraints/current-all.txt -o constraints/current.txt
	$(COMPILE) $(TRAIN) --extra gpu $(CURRENT) -c constraints/current-all.txt -o constraints/current-gpu.txt
	$(COMPILE) $(CPU) $(EVERY) $(CARD) -o constraints/card-all.txt
	$(COMPILE) $(CPU) $(TRAIN) $(CARD) -c constraints/card-all.txt -o constraints/card.txt
