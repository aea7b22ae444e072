# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
TORCH ?= 2.13.0
VENV := .venv
RUN := runs/demo
GPTFACE := $(VENV)/bin/gptface
# No hub, and no second thread pool beside the training threads.
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: setup demo bundled test lint docs docs-serve distributions check-distributions check-wheel hf-kernels \
	check-hf-kernels clean
.DELETE_ON_ERROR:

NATIVE_SOURCES := setup.py pyproject.toml $(shell find csrc -type f)

setup: $(VENV)/.ready

# torch alone first, pinned; then the build tools; then this package without build isolation, so that it sees torch.
$(VENV)/.torch:
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel
	$(VENV)/bin/python -m pip install --quiet torch==$(TORCH)
	touch $@

$(VENV)/.ready: $(VENV)/.torch $(NATIVE_SOURCES)
	$(VENV)/bin/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $@

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

test: setup
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

# The documentation site, in build/docs/site: pages that follow from code are made, notebooks run, every link followed.
$(VENV)/.docs: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --group docs
	touch $@

docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m docsite

docs-serve: $(VENV)/.docs
	$(VENV)/bin/python -m docsite --serve

# The one wheel under another Python and another torch: make check-wheel UNDER=/path/to/python (with torch, pytest, hypothesis).
UNDER ?= python3
check-wheel: setup
	tests/check_wheel.sh $(UNDER)

# What a release consists of, built as one person: the sdist, and of it the wheel (docs/releasing.md).
distributions: setup
	rm -rf dist build/lib* build/bdist* && mkdir -p dist/unpacked
	$(VENV)/bin/python -m pip install --quiet build==1.6.1
	$(VENV)/bin/python -m build --sdist --no-isolation
	tar -xzf dist/*.tar.gz -C dist/unpacked
	GPTFACE_BUILD=required $(VENV)/bin/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist dist/unpacked/*
	rm -rf dist/unpacked
	$(VENV)/bin/python -m release.distribution_contents dist/*.tar.gz

# They are complete, and work wherever they are put: no compiler, umlauts, read-only, python -O, locale C, …
check-distributions: distributions
	$(VENV)/bin/python -m release.check_installations dist/*.tar.gz dist/*.whl

# The operators as a project of Hugging Face's kernel-builder, in build/hf-kernels.
hf-kernels: setup
	$(VENV)/bin/python -m release.hub_kernels build/hf-kernels

# The same, compiled for the CPU and compared with the package (minutes).
check-hf-kernels: setup
	GPTFACE_COMPILE_HUB_KERNELS=1 $(VENV)/bin/python -m pytest tests/packaging/test_hub_kernels.py

# Each stage leaves its result in $(RUN) and returns at once when it is complete, so a second `make demo` reuses everything.
# A killed stage goes on from its last checkpoint. The judge of its edits is the one inside the package.
DEMO := --config demo data.cache_directory=$(RUN)/cache

demo: setup
	$(GPTFACE) train tokenizer --output $(RUN)/tokenizer $(DEMO)
	$(GPTFACE) train parser --output $(RUN)/parser $(DEMO)
	$(GPTFACE) train pretrain --output $(RUN)/system --tokenizer $(RUN)/tokenizer --parser $(RUN)/parser $(DEMO)
	$(GPTFACE) train facegpt --output $(RUN)/facegpt --config demo
	$(GPTFACE) report --output $(RUN)/report --system $(RUN)/system --facegpt $(RUN)/facegpt \
		--run tokenizer $(RUN)/tokenizer/metrics.jsonl --run pre-training $(RUN)/system/metrics.jsonl \
		--run "faces in 3D" $(RUN)/facegpt/metrics.jsonl
	@echo "open $(RUN)/report/report.html"

# The system inside the package and its judge, anew: about three hours of one core. Then write its figures into its card.
BUNDLED := --config bundled data.cache_directory=runs/bundled/cache

bundled: setup
	$(GPTFACE) train tokenizer --output runs/bundled/codes $(BUNDLED)
	$(GPTFACE) train parser --output runs/bundled/parser $(BUNDLED) parser.minutes=17 parser.ema_decay=0.995
	$(GPTFACE) train parser --output runs/bundled/judge $(BUNDLED) data.seed=1 parser.seed=1 parser.minutes=19 \
		parser.augment=false parser.ema_decay=0.995
	$(GPTFACE) train pretrain --output runs/bundled/system --tokenizer runs/bundled/codes --parser runs/bundled/parser $(BUNDLED)
	$(GPTFACE) train tokenizer --output runs/bundled/decoder --tokenizer runs/bundled/codes $(BUNDLED) tokenizer.seed=1 \
		tokenizer.minutes=14
	$(GPTFACE) train tokenizer --output runs/bundled/sharp --tokenizer runs/bundled/decoder --parser runs/bundled/parser $(BUNDLED) \
		tokenizer.seed=1 tokenizer.minutes=5 tokenizer.losses.features=1 tokenizer.losses.adversarial=0.5 \
		tokenizer.losses.adversarial_channels=24 tokenizer.losses.adversarial_start=0.1
	rm -rf runs/bundled/system/tokenizer && cp -r runs/bundled/sharp/tokenizer runs/bundled/system/tokenizer
	$(VENV)/bin/python -m gptface.systems.gptface.bundled runs/bundled/system --judge runs/bundled/judge/parser

clean:
	rm -rf build dist runs *.egg-info gptface/_native_*.so
