# Everything runs in a virtual environment of the project's own, .venv, which is made on first use.
PYTHON ?= python3
IN_VENV = .venv/bin/python

.PHONY: demo test test-slow lint clean

demo: .venv/ready  ## the whole pipeline on a small made-up release, to a picture
	$(IN_VENV) -m demo

test: .venv/ready  ## the tests, some three minutes
	$(IN_VENV) -m pytest -m "not slow"

test-slow: .venv/ready  ## the longer tests
	$(IN_VENV) -m pytest -m slow

lint: .venv/ready
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .

.venv/ready: requirements.txt requirements-dev.txt
	@echo "installing into .venv; this takes a minute the first time"
	$(PYTHON) -m venv .venv
	$(IN_VENV) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv demo-run .pytest_cache .hypothesis .ruff_cache
