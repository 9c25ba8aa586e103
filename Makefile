# Everything is run from here, on Debian 12 as root; `make help` lists it. All that is made lands in build/.
# DEBIAN=trixie makes routers of Debian 13 instead of 12.

PYTHON := build/venv/bin/python
JUNIT := build/results
export DEBIAN
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis

# The lanes of `scenarios`, which makes the image for them; one that fails keeps no other from running.
LANES := molecule parallel timed
# Processes of the last two. Two keep two cores busy: three took as long. Two pairs at once passed in 610 s, once.
PROCESSES := 2
PAIRS := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv image lint sanity units scenarios $(LANES) provisioning kvm-hosts trixie test check demo bench failover chaos hostile mutants template template-test emulated reference docs importer clean

help: ## list what can be made
	@sed -n 's|^\([a-z-]*\):.*## |  make \1\t|p' Makefile | expand --tabs=18

venv: ## install absent Debian packages, and the Python tools into build/venv
	@python3 tests/checks/prepare.py

image: venv ## build localhost/cloudstack-virtual-router:latest
	@$(PYTHON) image/build

lint: venv ## run all static checks (tests/checks/lint.py says which)
	@$(PYTHON) -m tests.checks.lint

sanity: venv ## run ansible-test sanity in a copy of the tree
	@$(PYTHON) -m tests.checks.ansible_test sanity

units: venv ## run ansible-test units in a copy of the tree
	@$(PYTHON) -m tests.checks.ansible_test units

scenarios: image ## run molecule scenarios and traffic tests against real routers
	@python3 tests/checks/stages.py $(LANES)

molecule:
	@$(PYTHON) -m tests.checks.molecule_scenarios
parallel:
	@$(PYTHON) -m pytest tests/lab tests/scenarios -m "not timed" -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -v --durations=5 --junitxml=$(JUNIT)/parallel/parallel.xml
timed:
	@$(PYTHON) -m pytest tests/scenarios -m timed -n $(PAIRS) --dist loadfile --no-loadscope-reorder -v --durations=5 --junitxml=$(JUNIT)/timed/timed.xml

provisioning: venv ## type the commands of README on bare machines; not a part of `make test`, for its time
	@$(PYTHON) -m pytest tests/scenarios/provisioning.py -v -x --durations=9

kvm-hosts: venv ## build the networks of two KVM hosts by role kvm_host; not a part of `make test`, for its image
	@$(PYTHON) -m pytest tests/scenarios/kvm_hosts.py -v -x --durations=9

# One scenario of each kind.
TRIXIE := isolated_traffic isolated_state vpc_traffic dhcp_dns metadata load_balancer redundant_isolated shared_dhcp ways

trixie: ## build an image of Debian 13 and run one scenario of each kind with it
	@$(MAKE) --no-print-directory image DEBIAN=trixie
	@DEBIAN=trixie $(PYTHON) -m pytest $(TRIXIE:%=tests/scenarios/test_%.py) -n 2 --dist loadfile -v --durations=5

test: ## run lint, sanity, units and scenarios, with a time per stage
	@python3 tests/checks/stages.py venv sanity+image+lint units $(LANES)

check: ## run lint, sanity and units, without any router
	@python3 tests/checks/stages.py venv sanity+lint units

demo: image ## show an isolated network's router at work
	@$(PYTHON) -m tests.demo

bench: image ## measure converges and what passes meanwhile; writes docs/bench.md and docs/bench.svg
	@$(PYTHON) -m pip install --quiet --requirement tests/bench/requirements.txt
	@$(PYTHON) -m tests.bench

failover: image ## measure failures of a pair with 1,000 connections, at three intervals of its advertisements
	@for interval in 1 0.3 0.1; do CONNECTIONS=1000 INTERVAL=$$interval $(PYTHON) -m pytest tests/scenarios/test_redundant_isolated.py \
	  -q -k "lost or missed or freeze or lossy or heals" || exit 1; done

mutants: venv ## change the code in 300 ways and see which the unit tests notice; writes docs/mutants.md
	@$(PYTHON) -m pip install --quiet --requirement tests/mutants/requirements.txt
	@$(PYTHON) -m tests.mutants $(MUTANTS)

chaos: image ## kill converges and send bad drops, more than `make test` does
	@$(PYTHON) -m tests.chaos $(CHAOS)

hostile: image ## let VMs speak like a router for a minute, in a pair of an isolated network and of a VPC
	@HOSTILE_SECONDS=60 $(PYTHON) -m pytest tests/scenarios/test_redundant_services.py tests/scenarios/test_redundant_vpc.py \
	  -v -k "vm_is_not_taken_for_a_router"

template: venv ## build the disk of a router in the forms that hypervisors take, into build/template
	@$(PYTHON) -m pip install --quiet --requirement image/machine/requirements.txt
	@$(PYTHON) image/template

DISK_TESTS := $(addprefix tests/emulated/,test_disk.py test_forms.py test_boot.py)

template-test: template ## look into the disk and its forms, build it again and compare, and boot it
	@$(PYTHON) -m pytest $(DISK_TESTS) tests/emulated/again.py -v --durations=5

emulated: template ## ask routers that boot from the disk, with a kernel of their own, what containers are asked
	@timeout 1800 $(PYTHON) -m pytest tests/emulated $(DISK_TESTS:%=--ignore=%) -v --durations=5 --junitxml=$(JUNIT)/emulated/emulated.xml

reference: venv ## write docs/reference/drops.schema.json from the tables of the drops
	@$(PYTHON) -m tests.checks.drop_schema --write

docs: venv ## build the site of the documentation into build/docs/html
	@$(PYTHON) -m pip install --quiet --requirement docs/site/requirements.txt
	@$(PYTHON) docs/site/build.py

importer: venv ## ask Galaxy's importer whether it would take the collection
	@python3 -m venv build/importer && build/importer/bin/pip install --quiet 'galaxy-importer>=0.4.30,<0.5'
	@$(PYTHON) -m tests.checks.lint collection-builds
	@cd build && PATH=$(CURDIR)/build/importer/bin:$$PATH GALAXY_IMPORTER_CONFIG=$(CURDIR)/docs/site/importer.cfg \
	  importer/bin/python -m galaxy_importer.main galaxy/*.tar.gz

clean: ## remove all that was made
	rm -rf build tests/output
