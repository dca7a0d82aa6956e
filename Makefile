# The verbs of the project. Two are all a fresh machine needs: `make run` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
# uv does not read pip's configuration: hand over a local wheel folder where there is one.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# `make run TORCH_BACKEND=cpu` (or cu130, auto) chooses the build of torch; empty takes the registry's default.
TORCH_BACKEND ?=
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))

.PHONY: run test lint bench clean

run: $(VENV)/.core
	$(BIN)/landscope run

# Shapes are checked at run time in the first part; the second shows what a user sees, without that check.
test: $(VENV)/.dev lint
	$(BIN)/python -m pytest --jaxtyping-packages=landscope,shape_checker.checked --ignore=tests/bad_input
	$(BIN)/python -m pytest tests/bad_input

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/ty check src

# The peers come without what they need: they pin an older numpy, for parts that are not measured here.
bench: $(VENV)/.dev
	$(UV_INSTALL) --no-deps loss-landscapes==3.0.6 landscaper==1.3.1
	$(BIN)/python -m benchmarks --json docs/results/benchmark.json --markdown docs/results/benchmark.md --readme README.md

$(BIN)/uv:
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.core: $(BIN)/uv pyproject.toml constraints.txt
	$(UV_INSTALL) -e .
	touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt
	$(UV_INSTALL) -e ".[data,dev,huggingface,lightning]"
	touch $(VENV)/.core $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .import_linter_cache
