# A fresh machine needs two of these: `make run` and `make test`. `make help` lists all.
VENV ?= .venv
BIN := $(VENV)/bin
# uv does not read pip's configuration: hand over a local wheel folder where there is one.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# `make run TORCH_BACKEND=cpu` (or cu130, auto) chooses the build of torch; empty takes the registry's default.
TORCH_BACKEND ?=
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))

# Two processes of one thread each: threads that wait for each other on two cores cost more than they bring.
WORKERS ?= 2
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# Bytecode is kept with the environment, whatever the shell says: without it each process compiles 4,500 modules anew.
BYTECODE = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(abspath $(VENV))/bytecode
PYTEST = $(ONE_THREAD) $(BYTECODE) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
SHAPES = --jaxtyping-packages=landscope,shape_checker.checked --ignore=tests/bad_input
# Trainings, studies and figures call each function many times; shapes take a third of their time. The slow tests check them.
WHOLE = tests/study tests/reproduction tests/cli tests/adapters tests/memory tests/sharded tests/reliability tests/monitoring
WHOLE += tests/recorder tests/storage tests/trajectory tests/report
WHOLE += tests/test_readme.py tests/test_docs_code.py tests/test_docs_tutorials.py tests/test_gallery.py tests/test_docs_processes.py tests/test_notebooks.py

.PHONY: help run test test-slow test-device lint docs pictures bench bench-device bench-scale release-check clean

run: $(VENV)/.core  ## Install landscope, train on the built-in digits, and write runs/digits/report.html
	$(BIN)/landscope run

# The first part checks array shapes at run time; the second shows what a user sees, without that check.
test: $(VENV)/.dev lint  ## Run the linters, the type checker and all tests but the slow ones
	$(PYTEST) -m "not slow" $(SHAPES) $(WHOLE:%=--ignore=%) --durations 10
	$(PYTEST) -m "not slow" $(WHOLE) tests/bad_input --durations 10

test-slow: $(VENV)/.dev  ## Run the tests that take minutes each, and those of whole studies with shapes checked
	$(PYTEST) -m slow $(SHAPES) --durations 10
	$(PYTEST) -m "not slow" $(SHAPES) $(WHOLE)

# One process, because a GPU is shared; DEVICE=cpu runs the same code without one.
DEVICE ?= cuda

test-device: $(VENV)/.dev  ## Compare a GPU with the processor, and count waits for it; less than four minutes
	$(ONE_THREAD) $(BYTECODE) $(BIN)/python -m pytest --device $(DEVICE) --device-tests tests/device tests/risk/test_device.py --durations 5 -rs

bench-device: $(VENV)/.dev  ## Measure steps and flatness on a GPU, and write docs/results/device.md; less than four minutes
	$(BIN)/python -m benchmarks.device --device $(DEVICE) --markdown docs/results/device.md

lint: $(VENV)/.dev  ## Run the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/ty check src

# -W: a warning is an error; -n (in conf.py): so is a reference that leads nowhere.
docs: $(VENV)/.dev  ## Build the site into docs/_build/html
	$(ONE_THREAD) $(BYTECODE) $(BIN)/sphinx-build -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html

pictures: $(VENV)/.dev  ## Draw the pictures of the README and of the site into docs/figures
	$(ONE_THREAD) $(BYTECODE) $(BIN)/python docs/figures/draw.py

# The peers come without what they need: they pin an older numpy, for parts that are not measured here.
bench: $(VENV)/.dev  ## Measure speed beside the alternatives, and write docs/results/benchmark.md
	$(UV_INSTALL) --no-deps loss-landscapes==3.0.6 landscaper==1.3.1 rebasin==0.0.47 torchview==0.2.7 graphviz==0.21 pyhessian==0.1 hessian-eigenthings==1.0.0a5
	$(UV_INSTALL) --no-deps curvlinops-for-pytorch==3.0.1 backpack-for-pytorch==1.7.1 linear-operator einops einconv unfoldNd
	$(BIN)/python -m benchmarks --json docs/results/benchmark.json --markdown docs/results/benchmark.md

bench-scale: $(VENV)/.dev  ## Measure recording, modes and memories up to 1e8 weights, and write docs/results/scale.md
	$(ONE_THREAD) $(BIN)/python -m benchmarks.scale --markdown docs/results/scale.md

# `make release-check PYTHONS="3.12 3.13"` installs and runs there; each brings a torch of its own.
release-check: $(VENV)/.dev  ## Walk through the check list of a release: files, wheel, sdist, a fresh install and a run
	$(BIN)/python -m tools.release_check --oldest $(if $(PYTHONS),--python $(PYTHONS))

$(BIN)/uv:
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.core: $(BIN)/uv pyproject.toml constraints.txt
	$(UV_INSTALL) -e .
	touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt
	$(UV_INSTALL) -e ".[data,dev,docs,huggingface,lightning]"
	touch $(VENV)/.core $@

clean:  ## Delete the environment, the runs and the caches
	rm -rf $(VENV) runs docs/_build .pytest_cache .ruff_cache .import_linter_cache

help:  ## Show these lines
	@sed -n 's/^\([a-z-]*\):.*  ## /\1:\t/p' Makefile | expand -t 16
