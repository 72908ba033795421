# Every target sets up what it needs; the only requirements are make and Python 3.9 or newer.
PYTHON ?= python3
VENV ?= .venv
VENV26 ?= .venv-paddle26
VENVX ?= .venv-paddlex
VENV_OLDEST ?= .venv-oldest
VENV_DOCS ?= .venv-docs
PYTHON_OLDEST ?= python3.9
PIP_FLAGS := -q --disable-pip-version-check
JOBS ?= 2
# pip compiles on one core what it installs; this does it on all. Some packages hold files that are no Python 3.
compile = $(1)/bin/python -m compileall -q -j 0 $(1)/lib >/dev/null 2>&1 || true

.PHONY: quickstart test test-paddle26 test-oldest test-paddlex sanitize benchmark lint docs clean

quickstart: $(VENV)/.quickstart
	$(VENV)/bin/python tools/quickstart.py

# The tests start hundreds of processes; where PYTHONDONTWRITEBYTECODE is set, each would compile the package again.
test: $(VENV)/.ready
	$(VENV)/bin/python -m compileall -q ppcls_light
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal

# A worker computes on one thread: teams of as many threads as there are cores would wait for each other's. What more
# threads change is tested by the tests that ask for them.
test test-paddle26 test-oldest: export OMP_NUM_THREADS = 1

# The public index's newest paddlepaddle-gpu is 2.6.2, so the code must run there, too.
test-paddle26: $(VENV26)/.ready
	$(VENV26)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

# The lowest versions that setup.py and requirements.txt allow. Paddle is 3.0, which paddle2onnx 2 needs; the lowest
# Paddle is in test-paddle26.
test-oldest: $(VENV_OLDEST)/.ready
	$(VENV_OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

# PaddleX pins versions of its own (PyYAML, OpenCV), so it gets an environment of its own.
test-paddlex: $(VENVX)/.ready
	$(VENVX)/bin/python -m pytest -m paddlex tests/export

# The C++ kernels under the address and undefined-behaviour sanitizers, and for 64-bit ARM; `make test` does so, too.
sanitize: $(VENV)/.ready
	$(VENV)/bin/python -m pytest tests/ops/test_sanitize.py

# Medians of three networks, in under a minute; leave the machine alone meanwhile.
benchmark: $(VENV)/.ready
	$(VENV)/bin/python tools/benchmarks/models.py PPLCNet_x1_0 FasterNet_T0 MicroNet_M0 --runs 50 --seconds 1

# The site of docs/, in site/; a broken link is an error.
docs: $(VENV_DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/python -m mkdocs build -q --strict && echo "site/index.html"

lint: $(VENV)/.ready
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

# What the quickstart needs, 1 GB where the tests need 2.9; modules compile as they are first imported.
$(VENV)/.quickstart: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-compile -e ".[cpu,serving,plot]"
	touch $@

$(VENV)/.ready: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile -e ".[cpu,dev]"
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --no-deps "pnnx>=20261020"  # which asks for torch, unused here
	$(call compile,$(VENV))
	touch $@

$(VENV26)/.ready: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV26)
	$(VENV26)/bin/python -m pip install $(PIP_FLAGS) -e ".[test]" "paddlepaddle==2.6.2" "numpy<2.3" setuptools
	touch $@

$(VENV_OLDEST)/.ready: setup.py requirements.txt
	@$(PYTHON_OLDEST) --version >/dev/null 2>&1 || \
	    { echo "$(PYTHON_OLDEST) does not run here; install Python 3.9, or say make test-oldest PYTHON_OLDEST=/path/to/it" >&2; exit 1; }
	$(PYTHON_OLDEST) -m venv $(VENV_OLDEST)
	$(VENV_OLDEST)/bin/python -m pip install $(PIP_FLAGS) uv
	$(VENV_OLDEST)/bin/uv pip install -q --python $(VENV_OLDEST)/bin/python --resolution lowest-direct \
	    -e ".[cpu,dev]" "paddlepaddle>=3.0"
	touch $@

$(VENVX)/.ready: setup.py requirements.txt
	$(PYTHON) -m venv $(VENVX)
	$(VENVX)/bin/python -m pip install $(PIP_FLAGS) -e ".[cpu,onnx,paddlex,test]"
	touch $@

$(VENV_DOCS)/.ready: setup.py requirements.txt
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/python -m pip install $(PIP_FLAGS) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV26) $(VENV_OLDEST) $(VENVX) $(VENV_DOCS) build *.egg-info .pytest_cache .ruff_cache output site
