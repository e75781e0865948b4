# make app: install and start the app.   make test: install and run every test.   make bench: measure.   PYTHON=... chooses the interpreter.
PYTHON ?=
PORT ?= 8501
TESTS ?=
BENCH ?=
BIN := .venv/bin
export PYTHON

.PHONY: setup setup-dev app test bench lint format python

setup: .venv/setup.done

setup-dev: .venv/setup-dev.done

app: setup
	@$(BIN)/python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null \
	  || { echo "Port $(PORT) is taken, by this app or another program: make app PORT=$$(($(PORT) + 1))"; exit 1; }
	@echo "The app: http://127.0.0.1:$(PORT)  (Ctrl-C stops it)"
	@$(BIN)/python .ci/warm_up $(PORT) &
	@$(BIN)/python -m streamlit run app.py --server.address 127.0.0.1 --server.port $(PORT)

test: setup-dev
	@.ci/chromium
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=15 $(TESTS)

bench: setup-dev
	@.ci/chromium
	@$(BIN)/python -m experiments.benchmarks $(BENCH)

lint: setup-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: setup-dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

python:
	@.ci/python >/dev/null

# torch goes in first and alone, by its exact version, so that nothing else chooses a build of it.
.venv/setup.done: requirements.txt | python
	@echo "Installing into .venv; the first time takes some minutes ..."
	@python=$$(.ci/python) && "$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/setup-dev.done: requirements-dev.txt .venv/setup.done
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
