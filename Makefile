# Everything runs in a virtual environment of the project's own, .venv, which is made on first use.
PYTHON ?= python3
IN_VENV = .venv/bin/python

.PHONY: demo test test-slow lint lock clean

demo: .venv/ready  ## the whole pipeline on a small made-up release, to a picture
	$(IN_VENV) -m demo

# A file's tests share what they have made, so a process takes whole files. One process more than there are cores, since
# some tests wait.
test: .venv/ready  ## the tests, two to three minutes
	$(IN_VENV) -m pytest -m "not slow" -n 3 --dist loadfile

# These wait most of the time, and the longest are of one file.
test-slow: .venv/ready  ## the longer tests, some seven minutes
	$(IN_VENV) -m pytest -m slow -n 4 --dist worksteal

lint: .venv/ready
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	.venv/bin/lint-imports

# For the Python of the image, and once for each of the two architectures that images are built for: an entry holds the
# hashes of all wheels of a release, so one file serves both.
lock: .venv/ready  ## requirements.lock anew, from the newest releases
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check uv
	for architecture in x86_64 aarch64; do \
		UV_CUSTOM_COMPILE_COMMAND="make lock" $(IN_VENV) -m uv pip compile --quiet --upgrade --generate-hashes \
			--only-binary :all: --python-version "$$(sed -n 's/^FROM python:\([0-9.]*\).*/\1/p' Dockerfile)" \
			--python-platform "$$architecture-manylinux_2_28" --output-file ".venv/$$architecture.lock" \
			requirements.txt || exit 1; \
	done
	cmp .venv/x86_64.lock .venv/aarch64.lock
	cp .venv/x86_64.lock requirements.lock

.venv/ready: requirements.txt requirements-cluster.txt requirements-dev.txt
	@echo "installing into .venv; this takes a minute the first time"
	$(PYTHON) -m venv .venv
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv demo-run .pytest_cache .hypothesis .ruff_cache
