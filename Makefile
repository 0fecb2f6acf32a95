# Everything runs in a virtual environment of the project's own, .venv, which is made on first use.
PYTHON ?= python3
IN_VENV = .venv/bin/python

# What the locks are for: `make lock` checks that each of these Pythons finds wheels of all releases on each of these
# systems. A Python newer than these finds none of some.
PYTHONS = 3.10 3.11 3.12 3.13 3.14
PLATFORMS = x86_64-manylinux_2_28 aarch64-manylinux_2_28 x86_64-apple-darwin aarch64-apple-darwin x86_64-pc-windows-msvc

# uv reads none of pip's settings, so it gets the index that pip is configured to use. It finds pyenv's Pythons too.
UV = index=$${PIP_INDEX_URL:-$$($(IN_VENV) -m pip config get global.index-url 2>/dev/null)}; \
	[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; \
	PATH="$$PATH:$$(echo "$$HOME"/.pyenv/versions/3.*/bin | tr ' ' :)" \
	UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never $(IN_VENV) -m uv

.PHONY: demo test test-slow test-lowest test-newest lint lock clean

demo: .venv/ready  ## run the whole pipeline on a small synthetic dataset and draw a preview
	$(IN_VENV) -m demo

# A file's tests share what they have made, so a process takes whole files, in the order of names: those of tests/unit,
# which are short, come last. More processes than there are cores, since many tests wait.
DEFAULT_TESTS = -m pytest -m "not slow" -n 4 --dist loadfile --no-loadscope-reorder
test: .venv/ready  ## the tests, three minutes
	$(IN_VENV) $(DEFAULT_TESTS)

# These wait most of the time, and the longest are of one file.
test-slow: .venv/ready  ## the longer tests, some minutes
	$(IN_VENV) -m pytest -m slow -n 4 --dist worksteal

# The tests of what calls other packages.
LIBRARY_TESTS = test_video or test_packets or test_annotations or test_segments or test_poses or test_exports
test-lowest test-newest: test-%: .venv/%/ready  ## some tests with the oldest, or the newest, releases that are allowed
	@.venv/$*/bin/python --version
	@$(UV) pip freeze --quiet --python .venv/$*/bin/python | tr '\n' ' '; echo
	.venv/$*/bin/python $(DEFAULT_TESTS) -k "$(LIBRARY_TESTS) or test_download.py"

lint: .venv/ready
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	.venv/bin/lint-imports

# requirements-dev.lock has no hashes, since pip accepts none in constraints for packages without a version.
# macOS 14 is the oldest on arm64 that av has wheels for.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock, for Python $(PYTHONS)"; export UV_CUSTOM_COMPILE_COMMAND; \
	$(UV) pip compile --quiet --universal --fork-strategy fewest --python-version $(firstword $(PYTHONS)) \
	--only-binary :all: --emit-build-options --no-annotate requirements.txt
lock: .venv/ready  ## the locks again, from the newest releases
	@rm -f requirements.lock requirements-dev.lock
	@$(COMPILE) --generate-hashes --output-file requirements.lock
	@$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@export MACOSX_DEPLOYMENT_TARGET=14.0; \
	for python in $(PYTHONS); do for platform in $(PLATFORMS); do \
		echo "wheels for Python $$python on $$platform"; \
		$(UV) pip install --quiet --dry-run --target .venv/none --python-version "$$python" \
			--python-platform "$$platform" --requirements requirements-dev.lock || exit 1; \
	done; done

.venv/ready: requirements.lock requirements-dev.lock
	@case " $(PYTHONS) " in *" $$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') "*) ;; *) \
		echo "$$($(PYTHON) --version): expected one of $(PYTHONS); choose one, as in: make PYTHON=python3.13" >&2; exit 2; \
	esac
	@echo "installing into .venv; this takes a minute the first time"
	$(PYTHON) -m venv .venv
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

# The oldest and the newest Python that the tests run on, or the one in use where there is none of them.
.venv/lowest/ready: WITH = 3.10
.venv/newest/ready: WITH = 3.13
.venv/lowest/ready: RESOLUTION = lowest-direct
.venv/newest/ready: RESOLUTION = highest
.venv/lowest/ready .venv/newest/ready: .venv/%/ready: .venv/ready requirements.txt pyproject.toml
	@echo "installing the $* releases that requirements.txt and pyproject.toml allow, into .venv/$*"
	@$(UV) venv --quiet --clear --python $(WITH) .venv/$* 2>/dev/null || \
		{ $(UV) venv --quiet --clear --python "$(CURDIR)/$(IN_VENV)" .venv/$*; }
	@$(UV) pip install --quiet --python .venv/$*/bin/python --resolution $(RESOLUTION) --only-binary :all: \
		--requirements requirements.txt --group dev
	@touch $@

.PHONY: mutants
# Some of them with MUTANTS="h36m.cameras.* h36m.storage.*"; `mutmut show NAME` has the change.
mutants: .venv/ready  ## which small changes of the code does no test notice? Ten minutes
	$(IN_VENV) -m mutmut run $(MUTANTS)
	$(IN_VENV) -m mutmut results

clean:
	rm -rf .venv demo-run .pytest_cache .hypothesis .ruff_cache mutants
