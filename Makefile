# What a person or CI calls. Every target installs what it needs on a fresh Debian 12 machine (as root).
SHELL := /bin/bash
PYTHON := /usr/bin/python3.11
VENV := .venv
BIN := $(VENV)/bin
NODE_CLIENT := tests/foreign/node
PIP_VERSION := 26.3
# what nodes of kind uml run, and the tests in a guest
APT_UML := user-mode-linux kmod ipvsadm ipset iptables iproute2
# commands that clusterip runs -> the Debian packages that bring them
APT_RUN := python3.11 python3.11-venv runc conmon nftables ca-certificates
APT_TEST := busybox-static iproute2 curl bind9-dnsutils haproxy etcd-server frr bird2 $(APT_UML)
# a machine that has node and npm from elsewhere keeps them: Debian's would take their place
APT_NODE := $(shell command -v node >/dev/null && command -v npm >/dev/null || echo nodejs npm)
APT_BENCH := wrk dnsperf gcc libc6-dev libssl-dev etcd-server
ONLY ?=
POLICY := /usr/sbin/policy-rc.d

.PHONY: help install system demo check test lessons bench soak clean
.DEFAULT_GOAL := help

help:  ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Routers and proxies are installed for their programs: none of them may start here, now or at the next boot. A policy
# that forbids it stands while packages are installed; the machine's own is put aside, and back however this ends.
GUARD = [ ! -e $(POLICY) ] || [ -e $(POLICY).own ] || mv $(POLICY) $(POLICY).own; \
	trap 'rm -f $(POLICY); [ ! -e $(POLICY).own ] || mv $(POLICY).own $(POLICY)' EXIT; trap 'exit 1' INT TERM HUP; \
	printf '\#!/bin/sh\nexit 101\n' >$(POLICY); chmod 755 $(POLICY)
NEXT_BOOT = { ! command -v systemctl >/dev/null || dpkg -L $$missing 2>/dev/null | \
	sed -n 's,.*/systemd/system/\([^/@]*\.service\)$$,\1,p' | xargs -r systemctl disable -q 2>/dev/null || true; }

system:
	@missing=; for package in $(APT_RUN) $(APT_EXTRA); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	[ -z "$$missing" ] || { echo "installing$$missing"; $(GUARD); apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null && $(NEXT_BOOT); }

$(VENV)/.installed: pyproject.toml hatch_build.py constraints.txt
	@$(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check pip==$(PIP_VERSION)
	$(BIN)/pip install -q -c constraints.txt -e ".[etcd]"
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt --group check --group test
	@touch $@

# the Node client, as its lock file pins it; one test needs it, so that a machine without npm's registry runs all the others
$(NODE_CLIENT)/node_modules/.installed: $(NODE_CLIENT)/package.json $(NODE_CLIENT)/package-lock.json
	@{ $(MAKE) --no-print-directory system APT_EXTRA="$(APT_NODE)" && \
	npm ci --prefix $(NODE_CLIENT) --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error && touch $@; } || \
	{ rm -rf $(NODE_CLIENT)/node_modules; echo "the Node client cannot be installed: tests/foreign/test_node.py is skipped"; }

install: $(VENV)/.installed  ## put clusterip and what it needs into .venv

demo: $(VENV)/.installed  ## start a cluster, play the ClusterIP lesson on it, leave it up
	@$(MAKE) --no-print-directory system
	$(BIN)/clusterip image build
	$(BIN)/clusterip up
	$(BIN)/clusterip demo

check: $(VENV)/.developing  ## format, lint, types, names in tests and benches, import law
	$(BIN)/ruff format --check src tests bench hatch_build.py
	$(BIN)/ruff check src tests bench hatch_build.py
	$(BIN)/mypy & types=$$!; $(BIN)/mypy --config-file tests/mypy.ini && wait $$types || { wait $$types; exit 1; }
	$(BIN)/lint-imports

# Whole clusters are tested although something else failed, so that one run tells everything.
# Workers take whole files, since tests of one share what they start; xdist_group marks mean nothing to this pytest.
test: $(VENV)/.developing $(NODE_CLIENT)/node_modules/.installed  ## everything that can run here: pure tests, kernel tests, packets, lessons
	@$(MAKE) --no-print-directory system APT_EXTRA="$(APT_TEST)"
	$(BIN)/clusterip image build
	failed=; $(BIN)/pytest -n 3 --dist loadfile -m "not cluster" || failed=1; \
	$(BIN)/pytest -m cluster $$(grep -rl 'mark\.cluster' tests --include='test_*.py' | sort) || failed=1; \
	[ -z "$$failed" ]

lessons: $(VENV)/.developing  ## the lessons' commands with a real kubectl, printed like documentation, and what became of each
	@$(MAKE) --no-print-directory system APT_EXTRA="$(APT_TEST)"
	$(BIN)/clusterip image build
	$(BIN)/pytest -s -m lessons tests/e2e

bench: $(VENV)/.developing  ## figures as a table and JSON; ONLY=up|memory|pods|ready|proxy|api|dns|... chooses, QUICK=1 is small
	@$(MAKE) --no-print-directory system APT_EXTRA="$(APT_BENCH)"
	$(BIN)/clusterip image build
	$(BIN)/python -m bench $(ONLY)

soak: $(VENV)/.developing  ## the long counts of the faults' tests
	CLUSTERIP_SOAK=1 $(BIN)/pytest -m "cluster or root"
	CLUSTERIP_SOAK=1 $(BIN)/pytest tests/apiserver/test_killed.py tests/store/test_power_loss.py

clean:  ## remove what make made here
	rm -rf $(VENV) $(NODE_CLIENT)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
