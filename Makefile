# make run   sets everything up and shows one whole charging session on virtual hardware
# make test  sets everything up, checks style and types, and runs every test
# make bench measures speed and memory beside their budget, into build/bench.json; COMPARE=file shows the change against an
#            earlier run's JSON, SUITES="bus queue" runs only these
# make torture kills, cuts and stalls the real station for MINUTES=10 and compares the books; SEED=n does a round again
# make simulate SEEDS=1000 lets that many simulated days pass on all cores and reports seeds a minute; FIRST=n begins elsewhere
# make proof is the long version of the proofs: the power cut at every write of the money path, a real disk that fills up or
#            turns read-only (as root), each symptom of the field guide acted out, each clause broken on purpose,
#            100,000 frames of any kind into a running link (FUZZ_SEED and FUZZ_FRAMES repeat a run),
#            each promise of the design broken on purpose, which the simulation has to find, and the clean root
# make release makes the one file that a depot installs from, without a network; MACHINE=aarch64 PYTHON_VERSION=3.11 for other boards
# make clean-root installs, upgrades, takes back and removes it in a Debian made for the purpose (needs root and mmdebstrap);
#            BOOTED=1 does so under a real systemd
PYTHON ?= python3
VENV := .venv
WORKERS ?= 6
READY := $(VENV)/.ready

.PHONY: run test torture simulate proof release clean-root bench check style clean
run: $(READY)
	$(VENV)/bin/station demo

# Most tests of whole stations wait for processes and virtual cars, so that more of them than cores run at a time, and mypy, which
# takes 20 s on a clean checkout, finds its time beside them. It speaks at the end, and only if it has something to say.
test: style
	$(VENV)/bin/mypy >.mypy.out 2>&1 & typed=$$!; \
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal; tested=$$?; \
	wait $$typed || { cat .mypy.out; exit 1; }; exit $$tested

torture: $(READY)
	$(VENV)/bin/python -m tests.torture --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

simulate: $(READY)
	$(VENV)/bin/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

proof: $(READY)
	$(VENV)/bin/python -m tests.powercut
	$(VENV)/bin/python -m tests.real_disk
	$(VENV)/bin/python -m tests.field_guide
	$(VENV)/bin/python -m tests.conformance.break_clauses
	FUZZ_FRAMES=$${FUZZ_FRAMES:-100000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(VENV)/bin/python -m pytest -s tests/fuzz
	$(VENV)/bin/python -m tests.simulation.mutations
	$(VENV)/bin/python -m tests.clean_root --every 1
	$(VENV)/bin/python -m tests.clean_root --booted

release: $(READY)
	PYTHON=$(VENV)/bin/python deploy/release.sh

clean-root: $(READY)
	$(VENV)/bin/python -m tests.clean_root $(if $(EVERY),--every $(EVERY)) $(if $(BOOTED),--booted)

bench: $(READY)
	mkdir -p build
	$(VENV)/bin/python -m tests.bench $(SUITES) --json build/bench.json $(if $(COMPARE),--compare $(COMPARE))

check: style
	$(VENV)/bin/mypy

style: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(READY): setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=23"
	$(VENV)/bin/python -m pip install --quiet --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .mypy.out
