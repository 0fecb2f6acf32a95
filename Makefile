# Everything runs in a virtual environment of the project's own, .venv, which is made on first use.
PYTHON ?= python3
IN_VENV = .venv/bin/python

# What the *.lock files are for: `make lock` checks that each of these Pythons finds wheels of all releases on each of
# these systems. A Python newer than these finds none of some.
PYTHONS = 3.10 3.11 3.12 3.13 3.14
PLATFORMS = x86_64-manylinux_2_28 aarch64-manylinux_2_28 x86_64-apple-darwin aarch64-apple-darwin x86_64-pc-windows-msvc
LOCKS = requirements.lock requirements-cluster.lock requirements-dev.lock

# uv reads none of pip's settings, so it gets the index that pip is configured to use.
UV = index=$${PIP_INDEX_URL:-$$($(IN_VENV) -m pip config get global.index-url 2>/dev/null)}; \
	[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; \
	UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never $(IN_VENV) -m uv

# The first Python of PYTHONS that runs here, where the system or pyenv has one; else the one in use.
OLDEST = $$(for version in $(PYTHONS); do \
		for python in $$(command -v python$$version) "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
			"$$python" -c "" 2>/dev/null && echo "$$python" && exit; \
		done; \
	done; echo "$(CURDIR)/$(IN_VENV)")

.PHONY: demo test test-lowest test-slow lint lock clean

demo: .venv/ready  ## run the whole pipeline on a small synthetic dataset and draw a preview
	$(IN_VENV) -m demo

# A file's tests share what they have made, so a process takes whole files. One process more than there are cores, since
# some tests wait.
DEFAULT_TESTS = -m pytest -m "not slow" -n 3 --dist loadfile
test: .venv/ready  ## the tests, three minutes
	$(IN_VENV) $(DEFAULT_TESTS)

test-lowest: .venv/lowest/ready  ## the same with the oldest Python here and the oldest releases that requirements*.txt allow
	@.venv/lowest/bin/python --version
	@$(UV) pip freeze --quiet --python .venv/lowest/bin/python | tr '\n' ' '; echo
	.venv/lowest/bin/python $(DEFAULT_TESTS)

# These wait most of the time, and the longest are of one file.
test-slow: .venv/ready  ## the longer tests, a quarter of an hour
	$(IN_VENV) -m pytest -m slow -n 4 --dist worksteal

lint: .venv/ready
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	.venv/bin/lint-imports

# Each file has the releases of the one before it. macOS 14 is the oldest on arm64 that av has wheels for.
lock: .venv/ready  ## requirements*.lock again, from the newest releases
	@rm -f $(LOCKS)
	@export UV_CUSTOM_COMPILE_COMMAND="make lock, for Python $(PYTHONS)"; before=requirements-lock.txt; \
	for lock in $(LOCKS); do \
		$(UV) pip compile --quiet --universal --fork-strategy fewest --python-version $(firstword $(PYTHONS)) \
			--generate-hashes --only-binary :all: --emit-build-options --no-annotate \
			--constraint requirements-lock.txt --constraint "$$before" --output-file "$$lock" "$${lock%.lock}.txt" || exit 1; \
		before=$$lock; \
	done
	@export MACOSX_DEPLOYMENT_TARGET=14.0; \
	for python in $(PYTHONS); do for platform in $(PLATFORMS); do \
		echo "wheels for Python $$python on $$platform"; \
		$(UV) pip install --quiet --dry-run --target .venv/none --python-version "$$python" \
			--python-platform "$$platform" --requirements $(lastword $(LOCKS)) || exit 1; \
	done; done

.venv/ready: requirements-dev.lock
	@case " $(PYTHONS) " in *" $$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') "*) ;; *) \
		echo "$$($(PYTHON) --version): expected one of $(PYTHONS); choose one, as in: make PYTHON=python3.13" >&2; exit 2; \
	esac
	@echo "installing into .venv; this takes a minute the first time"
	$(PYTHON) -m venv .venv
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.venv/lowest/ready: .venv/ready requirements.txt requirements-cluster.txt requirements-dev.txt
	@echo "installing the oldest releases that requirements-dev.txt allows, into .venv/lowest"
	@$(UV) venv --quiet --clear --python "$(OLDEST)" .venv/lowest
	@$(UV) pip install --quiet --python .venv/lowest/bin/python --resolution lowest-direct --only-binary :all: \
		-r requirements-dev.txt
	@touch $@

.PHONY: mutants
# Some of them with MUTANTS="h36m.cameras.* h36m.storage.*"; `mutmut show NAME` has the change.
mutants: .venv/ready  ## which small changes of the code does no test notice? Ten minutes
	$(IN_VENV) -m mutmut run $(MUTANTS)
	$(IN_VENV) -m mutmut results

clean:
	rm -rf .venv demo-run .pytest_cache .hypothesis .ruff_cache mutants
