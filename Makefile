# Everything from a fresh checkout: `make` lists the targets. Needs a POSIX shell, GNU make 3.81 or later and
# Python 3.11 to 3.13; nothing else on the network but Python's package index.
#
#   PYTHON=/path/to/python3.12   Python to make the environment with; default: the first fitting one of
#                                python3, python3.13, python3.12, python3.11
#   VENV=folder                  where the environment is kept; default: .venv
#   GOLDEN_DIR=folder            golden data for the tests; default: tests/golden

VENV = .venv
PYTHON ?=
RUN = "$(VENV)/bin/python"

# A data folder that the shell happens to name must not get into a demo, a test or a benchmark.
unexport ENCORE_DATA

.DEFAULT_GOAL := help
.PHONY: help venv venv-dev demo test test-slow test-golden bench results faults lint docs lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

PROBE = import sys; print("%d.%d" % sys.version_info[:2]); import ensurepip, venv; \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# $(call install,FILE) brings the environment up to what FILE pins. A stamp inside records what was installed and
# for which checkout, so a changed lock, a moved checkout and an interrupted installation are noticed and mended.
define install
@set -eu; venv="$(VENV)"; stamp="$$venv/installed-$(1)"; \
want="$$(cat requirements*.txt pyproject.toml | cksum) $$(pwd -P)"; \
have="$$("$$venv/bin/python" -c 'import pip; $(PROBE)' 2>/dev/null)" || have=; \
if [ -z "$$have" ] || [ -n "$(PYTHON)" ]; then \
	found=; tried=; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11); do \
		if version="$$("$$python" -c '$(PROBE)' 2>/dev/null)"; then found="$$version"; break; fi; \
		tried="$$tried, $$python is $${version:-missing}"; \
	done; \
	if [ -z "$$found" ]; then \
		echo "error: Python 3.11, 3.12 or 3.13 with its venv module is needed ($${tried#, });" \
			"name one: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	if [ "$$found" != "$$have" ]; then \
		echo "Making $$venv with Python $$found ($$python)"; \
		if [ -e "$$venv/pyvenv.cfg" ]; then "$$python" -m venv --clear "$$venv"; else "$$python" -m venv "$$venv"; fi; \
	fi; \
fi; \
if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$want" ]; then \
	echo "Installing $(1) into $$venv$(if $(2), ($(2)))"; \
	rm -f "$$stamp"; \
	"$$venv/bin/python" -m pip --disable-pip-version-check install $(if $(CI),--quiet) -r $(1); \
	echo "$$want" > "$$stamp"; \
fi
endef

# Two stages in one environment: the demo need not wait for the tools, and the tools add little to it.
venv: ## make or refresh .venv with the pinned dependencies and the project itself
	$(call install,requirements.txt,the first time some minutes and 3 GB of disk)

venv-dev: venv ## the same, with what tests and lint need
	$(call install,requirements-dev.txt)

# The sample even where the released files are installed: training on those takes hours.
demo: venv ## train SeER on the synthetic sample, compare weights of Keras 2.2.4, explain recommendations
	@set -eu; \
	for file in data/seer/triplets.txt data/seer/released/triplets.txt; do \
		if [ -e "$$file" ]; then \
			export ENCORE_DATA="$$(pwd -P)/data/demo"; \
			echo "The demo leaves $$file alone and uses a sample of its own in data/demo."; \
		fi; \
	done; \
	step() { echo; echo "== python $$*"; $(RUN) "$$@"; }; \
	step seer/train.py; \
	step seer/train.py --variant dot; \
	step seer/train.py --data-dir tests/golden/seer/Data --weights tests/golden/seer/weights/*.h5 \
		--epochs 0 --protocol released; \
	echo; echo "Tables (report.md, metrics.json) and pictures (*.png) of the three runs:"; \
	for folder in $$(ls -td runs/seer/*/ | head -n 3 | sort); do ls "$$folder"report.md "$$folder"*.png; done; \
	step seer/recommend_explain.py --user_number 12

test: venv-dev ## run the tests, but for the slow ones
	$(RUN) -m pytest -n 2 --dist worksteal -q -m "not slow"

test-slow: venv-dev ## run the slow tests: kills, two workers, fresh checkouts, learning
	$(RUN) -m pytest -n 2 --dist worksteal -q -m slow

test-golden: venv-dev ## compare with numbers that the released code produced, in GOLDEN_DIR
	$(RUN) -m pytest -n 2 -q -m golden

# Options as those of the recorded figures; made-up files of several GB lie below data/, which git ignores.
bench: venv ## measure the claims about speed and memory (benchmarks/*.py)
	@set -eu; for script in benchmarks/*.py; do \
		set -- "$$script"; \
		case "$$script" in \
			*/seer_pop909.py | */gpu.py | */measuring.py) continue;; \
			*/seer_full_size.py) set -- "$$script" --folder data/seer/full_size;; \
			*/seer_batching.py) set -- "$$script" --seconds 60;; \
			*/dtnmr_preprocess.py) set -- "$$script" --rows 7377418 --folder data/kkbox/full_size;; \
			*/dtnmr_training.py) set -- "$$script" --threads 1;; \
			*/mssd_preprocess.py) if [ "$$(id -u)" = 0 ]; then set -- "$$script" --larger 20000000; fi;; \
		esac; \
		echo; echo "== python $$*"; $(RUN) "$$@"; \
	done

# Finished runs below runs/ are used again, interrupted ones continued; ONLY="seer gru4rec/sample" names some tables.
results: venv ## run what the results tables of the pages still lack (hours), and write the tables anew
	$(RUN) -m common.results $(if $(ONLY),--only $(ONLY))

# PART is kills, disk, permissions, mutations or hostile; ONLY="seer gru4rec" names trainers or formats.
faults: venv-dev ## kill trainers, fill the disk, take permissions away, damage files on purpose (hours)
	$(RUN) -m faults $(PART) $(if $(ONLY),--only $(ONLY))

lint: venv-dev ## check style and types, and the dependencies for known vulnerabilities
	@failed=0; for tool in "ruff check" "ruff format --check" mypy; do \
		echo "== $$tool"; $(RUN) -m $$tool || failed=1; \
	done; echo "== faults.audit"; $(RUN) -m faults.audit || failed=1; \
	exit $$failed

# The sources are read, not imported: the site needs neither TensorFlow nor the rest of requirements.txt.
docs: ## build the site from the pages and docstrings, in build/site; links that lead nowhere are errors
	$(call install,requirements-docs.txt)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "Open build/site/index.html in a browser; the site needs no server and no network."

# One version of each package for all three Pythons (fork-strategy fewest), so all of them run the same code.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--no-annotate --no-header --no-emit-index-url

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	@set -eu; work="$$(mktemp -d)"; trap 'rm -rf "$$work"' EXIT; \
	$(COMPILE) pyproject.toml -o "$$work/run"; \
	$(COMPILE) pyproject.toml --extra dev -c "$$work/run" -o "$$work/dev"; \
	$(COMPILE) --group docs -c "$$work/dev" -o "$$work/docs"; \
	{ echo "# All that Encore runs with, on Python 3.11 to 3.13, and the project itself in editable mode."; \
	echo "# Install from the root of the checkout: pip install -r requirements.txt"; \
	echo "# Compiled from pyproject.toml by make lock (uv pip compile --universal --python-version 3.11)."; \
	cat "$$work/run"; echo "-e ."; } > requirements.txt; \
	{ echo "# Tests and lint, on top of requirements.txt. Compiled from the extra dev of pyproject.toml by make lock."; \
	echo "-r requirements.txt"; grep -vxFf "$$work/run" "$$work/dev"; } > requirements-dev.txt; \
	{ echo "# What make docs builds the site with, alone or beside the others. Compiled from the group docs of"; \
	echo "# pyproject.toml by make lock."; cat "$$work/docs"; } > requirements-docs.txt
