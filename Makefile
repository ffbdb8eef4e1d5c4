# make demo · demo-tables · test · test-fast · test-long · lint · docs · bench: each sets up what it needs, and is quick when it is there.

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))' 2>/dev/null && \
	echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# A file's tests stay in one process; a process that dies ends the run.
PYTEST := $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: demo demo-tables test test-fast test-long lint docs bench

demo: $(READY)
	$(RUN) scripts/pretrain.py --pairs playlist_co

demo-tables: $(READY)
	$(RUN) scripts/tables.py --plan experiments/demo.toml --workers 2

test: $(READY)
	$(PYTEST) -m "not long"

test-fast: $(READY)
	$(PYTEST) -m "not slow and not long"

test-long: $(READY)
	$(PYTEST) -m long

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(READY)
	$(RUN) -m mkdocs build --strict

bench: $(READY)
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

$(READY): setup.cfg pyproject.toml constraints.txt
ifeq ($(strip $(PYTHON)),)
	@echo "playlist_pretrain needs Python 3.11 and found none on the PATH." >&2
	@echo "It must be 3.11: TensorFlow 2.15 has no build for a newer Python, and 2.15 is the last" >&2
	@echo "TensorFlow that tensorflow-addons runs on." >&2
	@echo "Get it with: apt install python3.11 python3.11-venv (Debian 12, Ubuntu with deadsnakes)," >&2
	@echo "  brew install python@3.11, pyenv install 3.11, or uv python install 3.11;" >&2
	@echo "or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2
	@exit 1
else
	@$(PYTHON) -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11, which TensorFlow 2.15 and tensorflow-addons need" >&2; exit 1; }
	@echo "installing about 5 GB of packages into $(VENV): this takes some minutes, once"
	$(RUN) -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[train,card,page,beam,faiss,remote,docs,tests]'
	@touch $(READY)
endif
