# The gates of the collection. `make` lists the targets; CONTRIBUTING.md says when to use which.
# A gate prints one line and its time while it passes, and its whole output when it fails.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Python 3.11 to 3.13, to make the virtual environment with.
PYTHON ?= python3
VENV := .venv
CACHE := .cache

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(CACHE)/collections
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled files would travel in the bundle's collection tarball.
export PYTHONDONTWRITEBYTECODE := 1

# As tests/lab finds it.
LAB_CACHE = $${AIRGAP_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/airgap-inference}
COLLECTION := $(CACHE)/collections/ansible_collections/airgap/inference
GATE = @tests/gates/gate $@
# The longest first, so that two at a time end together.
STATIC := sanity units ansible-lint docs-lint galaxy docs-check yamllint ruff mypy shellcheck roles-check lab-check changelog

.PHONY: help
help: ## List the targets
	@sed -n -E 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | column -t -s '|'

.PHONY: test
test: venv ## Run everything: the static gates two at a time, then staging, then the molecule scenario
	@$(MAKE) -k -j2 --output-sync=target static
	@$(MAKE) staging
	@$(MAKE) molecule
	@echo "All gates passed."

.PHONY: static
static: $(STATIC) ## All gates that need no containers

.PHONY: demo
demo: venv ## The whole way in a lab on this machine: stage, bootstrap, import, deploy, verify, and ask the model
	@$(VENV)/bin/python tests/lab/demo.py

.PHONY: demo-down
demo-down: ## Remove the demo's hosts from this machine; what the lab built stays in its cache
	@python3 tests/lab/lab.py down --name demo

.PHONY: bench
bench: venv ## Measure the way and print ratios
	@$(VENV)/bin/python tests/bench/bench.py

# Two files at a time, see tests/staging/conftest.py.
BESIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The tests call modules by their full names, and run playbooks.
.PHONY: staging
staging: venv ## The connected side with real tools: packages, images, models, rehearsals, progress
	@$(VENV)/bin/python tests/lab/lab.py build
	@PYTHONPATH=$(CURDIR)/$(CACHE)/collections pytest tests/staging -m "not slow and not driver" $(BESIDE) --durations=10

.PHONY: test-driver
test-driver: venv ## NVIDIA's drivers built by DKMS for Debian 12 and 13, from real packages: several minutes
	@$(VENV)/bin/python tests/lab/lab.py build host
	@PYTHONPATH=$(CURDIR)/$(CACHE)/collections pytest tests/staging -m driver --durations=10

.PHONY: judge
judge: venv ## Real vLLM: what model_placement says of 21 kinds of models, pictures, rankings, embeddings: an hour
	@$(VENV)/bin/python tests/lab/lab.py build
	@PYTHONPATH=$(CURDIR)/$(CACHE)/collections pytest tests/staging/test_placement_judge.py tests/staging/test_vllm_tasks.py --durations=10

.PHONY: molecule
molecule: venv ## The molecule scenario in the lab: check, converge, idempotence, verify
	@molecule test -s default

.PHONY: lint
lint: ansible-lint yamllint ruff mypy shellcheck ## The five linters

.PHONY: ansible-lint
ansible-lint: venv ## ansible-lint, profile production and the opt-in rules of .ansible-lint
	$(GATE) ansible-lint --nocolor

.PHONY: yamllint
yamllint: venv ## yamllint on every YAML file
	$(GATE) yamllint --strict .

.PHONY: ruff
ruff: venv ## ruff: rules and format
	$(GATE) bash -c 'ruff check --quiet . && ruff format --quiet --diff .'

.PHONY: format
format: venv ## Let ruff mend what it can
	@ruff check --quiet --fix --exit-zero . && ruff format --quiet .

.PHONY: mypy
mypy: venv ## mypy --strict on the plugins, the lab and the gates
	$(GATE) tests/gates/types

.PHONY: shellcheck
shellcheck: venv ## shellcheck on every shell script
	$(GATE) tests/gates/shell

.PHONY: sanity
sanity: venv ## ansible-test sanity, all tests
	$(GATE) python tests/gates/ansible_test.py sanity

.PHONY: units
units: venv ## ansible-test units: the plugins
	$(GATE) python tests/gates/ansible_test.py units tests/unit/plugins/

.PHONY: roles-check
roles-check: venv ## Defaults, argument specs and templates of the roles agree
	$(GATE) pytest tests/unit/roles

.PHONY: lab-check
lab-check: venv ## The lab's own tests
	$(GATE) pytest tests/unit/lab

.PHONY: docs
docs: venv ## Generate docs/reference, the reference of modules and roles
	@python tests/gates/reference.py

.PHONY: docs-check
docs-check: venv ## docs/reference is what `make docs` would generate
	$(GATE) python tests/gates/reference.py --check

.PHONY: docs-lint
docs-lint: venv ## antsibull-docs lint: markup and references in the documentation of modules and roles
	$(GATE) antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs dependent .

.PHONY: changelog
changelog: venv ## antsibull-changelog lint: the fragments
	$(GATE) antsibull-changelog lint

.PHONY: galaxy
galaxy: venv ## Build the tarball and let galaxy-importer read it
	$(GATE) python tests/gates/galaxy.py

.PHONY: venv
venv: $(VENV)/.complete $(COLLECTION) ## The virtual environment with everything that the gates need, pinned

$(VENV)/.complete: requirements/test.txt requirements/debian-gates.txt
	@tests/gates/debian-packages requirements/debian-gates.txt
	@tests/gates/virtual-environment $(PYTHON) $(VENV) requirements/test.txt
	@touch $@

# Ansible finds a collection by its path only.
$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

.PHONY: clean
clean: ## Remove what the gates made; the virtual environment and the lab's images stay
	@rm -rf .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output
	@rm -rf $(CACHE)/collections $(CACHE)/galaxy $(CACHE)/gates $(CACHE)/reference $(CACHE)/sanity $(CACHE)/units

.PHONY: clean-cache
clean-cache: clean ## Remove the virtual environment and ansible-test's as well; tells where the lab's cache is
	@rm -rf $(VENV) $(CACHE)/ansible-test
# Rooms that are up use it, and a bundle's own cache, with the key of its package repository, lies beneath it by default.
	@echo "The lab's cache stays: $(LAB_CACHE) (remove it after \`make demo-down\`, all but its folder bundle)"
