# `make demo`: set-up, sample smears, a report. `make test`: set-up and the tests. Both need Python 3.11+ and make, no more.
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
DEMO := .venv
TEST := .venv-test
YOLO := .venv-yolo
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := $(shell find src -type f ! -name '*.pyc' ! -path '*.egg-info/*' | sed 's/ /\\ /g')

.PHONY: help demo review docs prose test test-yolo lint screenshot table formats model-cards clean

help:
	@echo "make demo         set up, draw four patients, analyse them, compare with the truth, say where the report is"
	@echo "make test         set up with torch and run the tests"
	@echo "make test-yolo    set up with ultralytics (AGPL-3.0) too and run the tests that need it"
	@echo "make docs         build the documentation site into build/site, warnings are errors"
	@echo "make prose        break the lines of docs anew, one sentence a line, and say how long sentences are"
	@echo "make lint         ruff (rules and format), and mypy over what pyproject.toml holds to its types"
	@echo "make review       open the demo's patients in the reading room: correct, sign (prints an address)"
	@echo "make screenshot   draw docs/report.png anew from the demo's report"
	@echo "make table        write benchmarks/results into docs/results.md and the README"
	@echo "make model-cards  write docs/model-cards from the bundled models' cards"
	@echo "make clean        remove what the other targets made"

# One recipe makes either virtual environment; what is installed into it follows in the stamp's own rule.
%/bin/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found: install one, or say which: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) can't make virtual environments (venv or ensurepip is missing)."; \
	  echo "On Debian and Ubuntu: apt-get install python3-venv. Or use another one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $*

# Without torch: the package as a user installs it, not editable; a changed source installs it again.
$(DEMO)/.installed: pyproject.toml constraints.txt $(SOURCES) | $(DEMO)/bin/python
	$(DEMO)/bin/python $(PIP) .
	@touch $@

$(TEST)/.installed: pyproject.toml constraints.txt | $(TEST)/bin/python
	$(TEST)/bin/python $(PIP) -e '.[study,review-postgresql,dicom,test]'
	@touch $@

demo: $(DEMO)/.installed
	@rm -rf demo
	$(DEMO)/bin/leukoscope demo --out demo
	@echo "Open $(CURDIR)/demo/report/report.html in a browser."
	@echo "To correct and sign what was found: make review"

# The reading room over the demo's patients: an environment with the extra, the demo's run, then a server.
$(DEMO)/.review: $(DEMO)/.installed
	$(DEMO)/bin/python $(PIP) '.[review]'
	@touch $@

review: $(DEMO)/.review
	@test -f demo/report/record.json || $(MAKE) --no-print-directory demo
	$(DEMO)/bin/leukoscope review demo/report --db demo/reading-room.db

# Readers of FHIR and DICOM that are not ours (npm, Debian's dicom3tools). Without them their tests say so and are skipped.
$(TEST)/.validators: tests/validators/package.json | $(TEST)/.installed
	@mkdir -p $(TEST)/validators && cp $< $(TEST)/validators/
	@if npm install --prefix $(TEST)/validators --no-audit --no-fund --no-package-lock --silent --fetch-retries 1 \
	  --fetch-retry-mintimeout 1000 --fetch-retry-maxtimeout 3000 --fetch-timeout 60000; then touch $@; \
	  else echo "make: npm can't fetch the FHIR validators: their tests are skipped"; fi
	@command -v dciodvfy > /dev/null || { test "$$(id -u)" = 0 && apt-get install -y -qq dicom3tools; } \
	  || echo "make: no dciodvfy here (Debian's package dicom3tools): the tests that need it are skipped"

# Neighbours stay on one worker, which makes what a file's tests share once; who is done early takes from the other's end.
test: $(TEST)/.installed $(TEST)/.validators
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m pytest -q -n auto --dist worksteal

$(YOLO)/.installed: pyproject.toml constraints.txt | $(YOLO)/bin/python
	$(YOLO)/bin/python $(PIP) -e '.[study,yolo,test]'
	$(YOLO)/bin/python -m pip uninstall --quiet --yes opencv-python  # it wants a display's libraries; its twin does not
	$(YOLO)/bin/python $(PIP) --force-reinstall --no-deps opencv-python-headless
	@touch $@

# None of them may be left out: with the extra there is nothing to skip for.
test-yolo: $(YOLO)/.installed
	OMP_NUM_THREADS=1 $(YOLO)/bin/python -m pytest -q -rs tests/test_yolo.py tests/test_yolo_seg.py > $(YOLO)/log.txt; \
	  status=$$?; cat $(YOLO)/log.txt; exit $$status
	@! grep -q "^SKIPPED" $(YOLO)/log.txt || { echo "make: tests of the extra were skipped"; exit 1; }

docs: $(TEST)/.installed
	$(TEST)/bin/python $(PIP) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(TEST)/bin/python -m mkdocs build -q
	@echo "The site: $(CURDIR)/build/site/index.html"

prose:
	$(PYTHON) docs/prose.py --write

lint: $(TEST)/.installed
	$(TEST)/bin/python -m ruff check src tests benchmarks
	$(TEST)/bin/python -m ruff format --check src tests benchmarks
	$(TEST)/bin/python -m mypy

screenshot: $(TEST)/.installed demo
	$(TEST)/bin/python docs/make_screenshot.py demo/report/report.html docs/report.png

table: $(TEST)/.installed
	$(TEST)/bin/python -m benchmarks.table --write

formats: $(TEST)/.installed
	$(TEST)/bin/python docs/make_formats.py

model-cards: $(TEST)/.installed
	$(TEST)/bin/python docs/make_model_cards.py

clean:
	rm -rf .venv .venv-test .venv-yolo demo build src/*.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
