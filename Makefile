# Each target works on a bare Debian (root, package registries) and installs only what is missing.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-clean lab lab-status lab-down test unit lint format test-guest bench bench-fleet bench-install soak proto wheel release changelog clean
SHELL := /bin/bash
BIN := .venv/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=
FLEET_ARGS ?=
INSTALL_ARGS ?=
SOAK_ARGS ?=
GUEST_ARGS ?=
# Hundreds of agents are started from the same files: who forbids Python to keep what it compiled means others.
unexport PYTHONDONTWRITEBYTECODE
LAB := PYTHONPATH=tools $(BIN)/python -m lab

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

setup:  ## system packages and the virtual environment with everything for development
	@tools/setup.sh test

demo:  ## from nothing to a container that an Ansible playbook runs; leaves everything running
	@tools/setup.sh demo
	@PYTHONPATH=tests/support $(BIN)/python tools/demo.py up

demo-clean:  ## removes every trace of the demo, and checks that none is left
	@tools/setup.sh demo
	@PYTHONPATH=tests/support $(BIN)/python tools/demo.py clean

lab:  ## N nodes with systemd and sshd in namespaces of this machine, and a registry; make lab N=5
	@tools/setup.sh test
	@$(LAB) up $(if $(N),--nodes $(N))

lab-status:  ## what runs of the lab
	@$(LAB) status

lab-down:  ## takes the lab away
	@$(LAB) down

test:  ## lint, types, then unit, conformance, integration and fault tests, and the collection's sanity
	@tools/setup.sh test
	@tools/lint.sh
	@$(BIN)/python -m pytest -n 3 --dist loadscope $(PYTEST_ARGS)

unit:  ## only the tests that need neither root nor other programs
	@tools/setup.sh test
	@$(BIN)/python -m pytest -m 'not root and not integration and not faults and not sanity' $(PYTEST_ARGS)

lint:  ## ruff, mypy, shellcheck, yamllint, ansible-lint
	@tools/setup.sh test
	@tools/lint.sh

format:  ## let ruff format the Python code
	@tools/setup.sh test
	@$(BIN)/ruff format .

test-guest:  ## what this machine's kernel can't show (rounds of memory, cgroup v2), under Debian's in qemu (an hour); GUEST_ARGS="--minutes 90"
	@tools/setup.sh test
	@PYTHONPATH=tools $(BIN)/python -m guest_kernel $(GUEST_ARGS)

bench:  ## Tricorn beside two releases of containerd; BENCH_ARGS="--quick --only run,memory"
	@tools/setup.sh bench
	@PYTHONPATH=tests/support $(BIN)/python tests/bench/run.py $(BENCH_ARGS)

bench-fleet:  ## one Ansible task over 5 to 50 light nodes on this machine; FLEET_ARGS="--nodes 5,10 --rounds 1"
	@tools/setup.sh test
	@PYTHONPATH=tools:tests/support $(BIN)/python tests/bench/fleet_scale.py $(FLEET_ARGS)

bench-install:  ## the agent on one more node of a lab: seconds for the bundle, for the whole role; INSTALL_ARGS="--rounds 1"
	@tools/setup.sh test
	@PYTHONPATH=tools:tests/support $(BIN)/python tests/bench/fleet_install.py $(INSTALL_ARGS)

soak:  ## 2,000 cycles of run, exec, kill, delete, the agent killed every 100: nothing may be left; SOAK_ARGS="--cycles 200"
	@tools/setup.sh test
	@PYTHONPATH=tests/support $(BIN)/python tests/bench/soak.py $(SOAK_ARGS)

proto:  ## agent/proto compiled into the package, after a change there
	@tools/setup.sh test
	@$(BIN)/python tools/compile_protos.py

wheel:  ## dist/tricorn-*.whl: the agent, the command line and the collection
	@tools/setup.sh demo
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -l dist

release:  ## dist/: that wheel, the collection's own archive, and their SHA-256 sums
	@tools/setup.sh demo
	@tools/release.sh
	@cat dist/SHA256SUMS

changelog:  ## the collection's changelog from its fragments, for the version in its galaxy.yml
	@tools/setup.sh test
	@tools/changelog.sh

clean:  ## removes what the targets above made in this directory (after demo-clean)
	@if [ -e .demo ]; then echo "the demo is still there: run make demo-clean first" >&2; exit 1; fi
	@rm -rf .venv dist build .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible
	@find agent tests tools collections -name __pycache__ -type d -prune -exec rm -rf {} +
