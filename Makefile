# The same few commands for people, hooks and CI.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# Libraries of this project do not phone home, and tests never reach for a hub.
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
# Two workers with a thread each are the fastest on two cores; files stay whole, for what their tests share.
WORKERS ?= 2
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 pytest -q -n $(WORKERS) --dist loadfile

.PHONY: repro check test test-long test-server postgresql chromium clean
.DEFAULT_GOAL := repro

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (a few minutes, once) ..."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

ifdef PROFILE
# A profile runs in a git worktree of its own: data, lock and registry of two projects never mix, also where
# dvc.lock is committed.
WORKSPACE := workspaces/$(PROFILE)
repro: $(VENV)/.installed
	@test -f profiles/$(PROFILE).yaml || { echo "profiles/$(PROFILE).yaml does not exist; there are: $(basename $(notdir $(wildcard profiles/*.yaml)))"; exit 1; }
	@test -d $(WORKSPACE) || { git worktree prune; git worktree add --quiet --detach $(WORKSPACE); rm -f $(WORKSPACE)/dvc.lock; }
	@cd $(WORKSPACE) && if [ -f dvc.lock ]; then cp dvc.lock .kept.lock; else rm -f .kept.lock; fi
	git -C $(WORKSPACE) checkout --quiet --force --detach $$(git rev-parse HEAD)
	@cd $(WORKSPACE) && if [ -f .kept.lock ]; then mv .kept.lock dvc.lock; else rm -f dvc.lock; fi
	cp profiles/$(PROFILE).yaml $(WORKSPACE)/params.yaml
	cd $(WORKSPACE) && dvc repro && echo "Look at $(WORKSPACE)/build/report/index.html"
else
repro: $(VENV)/.installed
	dvc repro
	@echo
	@echo "Reports:   build/report/index.html"
	@echo "Registry:  . .venv/bin/activate && compass status"
	@echo "MLflow:    mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db"
endif

check: $(VENV)/.installed
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test: $(VENV)/.installed
	$(PYTEST) -m "not long"

test-long: $(VENV)/.installed
	$(PYTEST) -m long

# The registry's tests on PostgreSQL behind an MLflow server with basic auth, all on the loopback.
test-server: $(VENV)/.installed postgresql
	HF_HUB_OFFLINE=1 python -m tests.server.run

postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  test $$(id -u) = 0 || { echo "PostgreSQL is missing; install Debian's package postgresql."; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql; }

# The tests that open the reports in a browser skip without it.
chromium:
	@command -v chromium >/dev/null || { \
	  test $$(id -u) = 0 || { echo "Chromium is missing; install Debian's package chromium."; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; }

clean:
	rm -rf build .memo
