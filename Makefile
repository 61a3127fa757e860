# Everything a developer runs. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# The tools share one cargo cache and one target directory: side by side they only wait.
.NOTPARALLEL:

TOOLS := target/tools
CLOUD := $(TOOLS)/cloud/bin
SAM := $(TOOLS)/sam/bin
SCAN := $(TOOLS)/scan/bin
NODE := $(TOOLS)/node/node_modules/.bin
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny
CARGO_CYCLONEDX_VERSION := 0.5.9
CARGO_CYCLONEDX_ROOT := $(TOOLS)/cargo-cyclonedx-$(CARGO_CYCLONEDX_VERSION)
CARGO_CYCLONEDX := $(CARGO_CYCLONEDX_ROOT)/bin/cargo-cyclonedx
DEFINITIONS := statemachine/pipeline.asl.json statemachine/build.asl.json
TEMPLATE := infra/template.yaml
TEMPLATES := $(TEMPLATE) infra/consumer.yaml infra/source-account.yaml
# Of those who ask AWS itself; checked with the templates.
POLICIES := tools/aws_check/policy.json tools/aws_check/forwarding.yaml

# Lambda's names of the processor architectures.
MACHINE := $(shell uname -m)
ARCHITECTURE ?= $(if $(filter aarch64 arm64,$(MACHINE)),arm64,x86_64)

# cargo-lambda is found by `cargo` and by `sam`, zig by cargo-lambda.
export PATH := $(CURDIR)/$(SAM):$(PATH)
export SAM_CLI_TELEMETRY := 0
# Validation looks up which resources a region has, and asks for one.
export AWS_DEFAULT_REGION ?= us-east-1

# FAST=1 compiles aws-sdk-ec2 in a fraction of the time and memory. That crate says that most of it
# is never used, and stable cargo uses the hint only when it may use unstable features. The program
# does the same but has other bytes, so a release is made without it.
FAST ?= $(if $(filter dist dist-check,$(MAKECMDGOALS)),0,1)
ifeq ($(FAST),1)
export RUSTC_BOOTSTRAP := 1
export CARGO_UNSTABLE_PROFILE_HINT_MOSTLY_UNUSED := true
endif

say = @printf '\n== %s (%s)\n'
missing = command -v $(1) >/dev/null || { echo "$(1) is missing: $(2)" >&2; exit 1; }

.PHONY: help
help: ## List the targets
	@echo 'usage: make <target> [FAST=0] [ARCHITECTURE=arm64|x86_64]'
	grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 20

# ---- Tools

.PHONY: tools
tools: $(TOOLS)/cloud.stamp $(TOOLS)/sam.stamp $(TOOLS)/scan.stamp $(TOOLS)/node.stamp $(CARGO_DENY) ## Install the pinned tools under target/tools (minutes, once)

# An interrupted or outdated environment is made anew: pip does not take away what it no longer needs.
# Nothing comes in whose hash is not in the file, and no package's own code runs while it is installed.
# The file holds everything and is not resolved again: pip 23 would refuse a package that one other
# wants with extras and the next without, as the file can lock one form only. `pip check` sees to it.
$(TOOLS)/%.stamp: tools/python/requirements-%.txt
	$(call say) 'Python tools for $*: a minute or two' '$<'
	$(call missing,python3,install Python 3.11 or later)
	rm -rf $(TOOLS)/$*
	python3 -m venv $(TOOLS)/$*
	$(TOOLS)/$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps --only-binary :all: --requirement $<
	$(TOOLS)/$*/bin/python -m pip check
	touch $@

# What is wanted stands in the .in files. For every platform and Python from 3.11 on; what is locked
# already stays as it is unless its version was changed there or UPGRADE=1 is given.
.PHONY: locks
locks: $(TOOLS)/lock.stamp ## Lock the Python tools, with hashes, to what tools/python/requirements-*.in want [UPGRADE=1]
	$(call say) 'Locks of the Python tools: seconds' 'tools/python/requirements-*.txt'
	for wanted in tools/python/requirements-*.in; do
		$(TOOLS)/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
			--generate-hashes $(if $(UPGRADE),--upgrade) --custom-compile-command 'make locks' \
			--output-file "$${wanted%.in}.txt" "$$wanted"
	done

$(TOOLS)/node.stamp: tools/node/package.json tools/node/package-lock.json tools/node/.npmrc
	$(call say) 'Node tools: seconds' 'tools/node/package-lock.json'
	$(call missing,npm,install Node.js 18 or later with npm)
	mkdir -p $(TOOLS)/node
	cp $^ $(TOOLS)/node/
	# Unlike pip and cargo, npm gives up at the first name that does not resolve.
	for attempt in 1 2 3; do
		timeout 300 npm ci --prefix $(TOOLS)/node --ignore-scripts --no-fund --no-audit --loglevel error && break
		[ $$attempt -lt 3 ] || exit 1
		echo "npm failed; trying again in 10 s"
		sleep 10
	done
	touch $@

# Unoptimised: it compiles in a third of the time and still needs seconds for this workspace.
$(CARGO_DENY):
	$(call say) 'cargo-deny $(CARGO_DENY_VERSION), compiled: two or three minutes' '$@'
	$(call missing,cargo,install Rust from https://rustup.rs)
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --debug --quiet --root $(CARGO_DENY_ROOT)
	touch $@

$(CARGO_CYCLONEDX):
	$(call say) 'cargo-cyclonedx $(CARGO_CYCLONEDX_VERSION), compiled: a minute or two' '$@'
	$(call missing,cargo,install Rust from https://rustup.rs)
	cargo install cargo-cyclonedx --version $(CARGO_CYCLONEDX_VERSION) --locked --debug --quiet --root $(CARGO_CYCLONEDX_ROOT)
	touch $@

# Debian's packages, unpacked and not installed; nothing is registered with the kernel.
.PHONY: arm64-emulation
arm64-emulation: $(TOOLS)/arm64.stamp ## Unpack what runs arm64 programs here under target/tools

$(TOOLS)/arm64.stamp: tools/install/fetch_arm64_emulation.sh
	$(call say) 'qemu-user and a C library for arm64: half a minute' '$<'
	bash $< $(TOOLS)
	touch $@

# Debian's packages, unpacked and not installed; the benchmarks of pulling run on each of them.
.PHONY: containerd-versions
containerd-versions: $(TOOLS)/containerd.stamp ## Unpack containerd 1.6, 1.7 and 2.1 under target/tools

$(TOOLS)/containerd.stamp: tools/install/fetch_containerd.sh
	$(call say) 'containerd 1.6, 1.7 and 2.1: a minute' '$<'
	bash $< $(TOOLS)
	touch $@

.PHONY: system-packages
system-packages: ## Install the Debian packages of the real builder host (as root)
	@bash tools/install/install_system_packages.sh

# Without root the scripted builder host takes over, and says so.
.PHONY: host
host:
	@if [ "$$(id -u)" -eq 0 ]; then bash tools/install/install_system_packages.sh; fi

# The one that runs is used; otherwise root installs Debian's, and the tests start it themselves.
.PHONY: docker
docker:
	@bash tools/install/install_docker.sh

# ---- Build

# What must not get into a program: where it was compiled. A release is made with the same flags, so
# that what `sam build` compiled is not compiled again for it. cargo-lambda adds its own to these;
# with RUSTFLAGS they would be lost.
CARGO_DIRECTORY := $(or $(CARGO_HOME),$(HOME)/.cargo)
PLACELESS := --remap-path-prefix=$(CURDIR)=/frontload --remap-path-prefix=$(CARGO_DIRECTORY)=/cargo
COMPILED := CARGO_BUILD_RUSTFLAGS='$(PLACELESS)'

.PHONY: build
build: $(TOOLS)/sam.stamp ## Compile the Lambda binary and prepare the template for deployment
	$(call say) 'sam build for $(ARCHITECTURE): minutes when nothing is compiled yet' '$(TEMPLATE)'
	# sam hides the compiler's progress, so cargo-lambda compiles first, with the command that sam runs.
	[ -t 2 ] || quiet=--quiet
	$(COMPILED) cargo lambda build --release $(if $(filter arm64,$(ARCHITECTURE)),--arm64) --bin bootstrap $${quiet-}
	$(COMPILED) sam build --template-file $(TEMPLATE) --parameter-overrides Architecture=$(ARCHITECTURE)

# ---- Check

.PHONY: check
check: check-rust check-python check-shell check-infra ## Formatting, lints, licences, template and state machines

.PHONY: check-rust
check-rust: $(CARGO_DENY)
	$(call say) 'Rust formatting' 'cargo fmt'
	$(call missing,cargo,install Rust from https://rustup.rs)
	cargo fmt --all --check
	printf '\n== %s (%s)\n' 'Rust lints: minutes when nothing is compiled yet' 'cargo clippy'
	cargo clippy --workspace --all-targets --locked -- -D warnings
	printf '\n== %s (%s)\n' 'Rust documentation' 'cargo doc'
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked --quiet
	printf '\n== %s (%s)\n' 'Licences, banned crates and sources' 'cargo deny'
	$(CARGO_DENY) --workspace check --hide-inclusion-graph bans licenses sources
	printf '\n== %s (%s)\n' 'No AWS below domain and builder' 'cargo tree'
	for crate in frontload-domain frontload-builder; do
		tree=$$(cargo tree --package $$crate --edges normal --prefix none --locked)
		! grep -E '^(aws|lambda|hyper|tokio)' <<<"$$tree" || { echo "$$crate must not depend on it" >&2; exit 1; }
	done

# Not part of check: an advisory of tonight is no mistake of what was checked today, and the database
# is a repository on GitHub. Where that is out of reach, this says so and fails.
.PHONY: advisories
advisories: $(CARGO_DENY) ## Look up known vulnerabilities of the locked crates in RustSec's database
	$(call say) 'Known vulnerabilities, unmaintained and yanked crates' 'cargo deny, rustsec.org'
	timeout 300 $(CARGO_DENY) --workspace check --hide-inclusion-graph advisories

.PHONY: check-python
check-python: $(TOOLS)/sam.stamp
	$(call say) 'Python lints and formatting' 'ruff'
	$(SAM)/ruff check tests tools bench
	$(SAM)/ruff format --check tests tools bench

.PHONY: check-shell
check-shell: $(TOOLS)/sam.stamp ## Hold the builder's script and all others against shellcheck
	$(call say) 'Shell scripts' 'shellcheck'
	$(call missing,shellcheck,on arm64 Linux install your system's package of it: PyPI has none)
	$(SAM)/python -m tools.lint_shell shellcheck tools tests bench shared .ci/run

.PHONY: check-infra
check-infra: $(TOOLS)/sam.stamp $(TOOLS)/scan.stamp $(TOOLS)/node.stamp policies
	$(call say) 'Templates' 'sam validate, cfn-lint'
	for template in $(TEMPLATES); do sam validate --lint --template-file $$template; done
	$(SAM)/cfn-lint $(TEMPLATES) tools/aws_check/forwarding.yaml
	printf '\n== %s (%s)\n' 'What makes a stack unsafe: some seconds' 'checkov'
	$(SCAN)/checkov --config-file checkov.yaml --file $(TEMPLATES)
	printf '\n== %s (%s)\n' 'State machines' 'asl-validator, statelint'
	$(call missing,node,install Node.js 18 or later)
	$(SAM)/python tools/lint_state_machines.py $(NODE)/asl-validator $(SAM)/statelint $(DEFINITIONS)

.PHONY: policies
policies: $(TOOLS)/sam.stamp $(TOOLS)/node.stamp ## Hold every policy statement against AWS's reference [TEMPLATES="<other files>"]
	$(call say) 'Policies: actions, resources and condition keys' 'Service Authorization Reference'
	$(SAM)/python -m tools.policies.check $(TEMPLATES) \
		$(if $(filter file,$(origin TEMPLATES)),$(POLICIES))

# Needed when a policy names another action, or tools/node/package.json a newer reference.
.PHONY: authorization
authorization: $(TOOLS)/sam.stamp $(TOOLS)/node.stamp ## Write what the local cloud knows of AWS's reference anew
	PYTHONPATH=tests $(SAM)/python -m local_cloud.aws.extract

.PHONY: docs
docs: ## Write the table of a cache's fields and its JSON Schema from the Rust types
	$(call say) 'docs/configuration.md and docs/cache.schema.json' 'cargo test'
	UPDATE_DOCS=1 cargo test --package frontload-domain --locked --quiet -- schema::

.PHONY: format
format: $(TOOLS)/sam.stamp ## Bring Rust and Python into the form that check demands
	cargo fmt --all
	$(SAM)/ruff check --fix --quiet tests tools bench || true
	$(SAM)/ruff format tests tools bench

# ---- Test

.PHONY: test
test: $(TOOLS)/cloud.stamp $(TOOLS)/sam.stamp $(TOOLS)/scan.stamp $(TOOLS)/node.stamp host build ## Every test: Rust, then the local cloud
	$(call say) 'Rust tests: minutes when nothing is compiled yet' 'cargo test'
	cargo test --workspace --locked
	printf '\n== %s (%s)\n' 'Tests on the local cloud' 'pytest'
	# A file's tests share what they start, so a process takes whole files: three, as each has a cloud,
	# for which it waits as long as it works.
	FRONTLOAD_COMPARE_GRANTS=1 $(CLOUD)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests

# The soak alone would take the two minutes.
WITHOUT_CLOUD = tests/infra tests/benchmarks tests/aws_check/test_words.py tests/faults/test_points.py \
	tests/faults/test_rules.py tests/release/test_versions.py tests/statemachine/test_asl_rules.py

.PHONY: test-fast
test-fast: $(TOOLS)/cloud.stamp $(TOOLS)/sam.stamp $(TOOLS)/scan.stamp $(TOOLS)/node.stamp ## The tests that start no cloud: two minutes once it is compiled
	$(call say) 'Rust tests: minutes when nothing is compiled yet' 'cargo test'
	cargo test --workspace --locked -- --skip soak::
	printf '\n== %s (%s)\n' 'Tests without a cloud' 'pytest'
	$(CLOUD)/python -m pytest -n 2 --dist loadfile $(WITHOUT_CLOUD)

# For this machine's architecture: the containers run on it.
.PHONY: sam-local
sam-local: $(TOOLS)/cloud.stamp host docker build ## Every function in a container by sam local, then the state machines on them
	$(call say) 'Functions by sam local, state machines on top: two or three minutes' 'tests/sam_local'
	$(CLOUD)/python -m pytest tests/sam_local

# The seeds are given to a test that is ignored otherwise; its verdict is the last line again.
.PHONY: soak
soak: SEED ?= $(shell date +%s)
soak: ROUNDS ?= 10
soak: ## Soak the pushes with any seeds: a quarter of a minute each [SEED=<first, the time>] [ROUNDS=<seeds, 10>]
	$(call say) 'Pushes, lost events and deaths from seed $(SEED) on, $(ROUNDS) seeds' 'shared/simulation/src/soak'
	mkdir -p target
	held=0
	SOAK_SEED='$(SEED)' SOAK_ROUNDS='$(ROUNDS)' \
		cargo test --package frontload-simulation --locked -- --ignored --exact --nocapture soak::any_seed \
		2>&1 | tee target/soak.log || held=$$?
	grep '^soak: ' target/soak.log | tail -n 1
	exit $$held

# Minutes on two cores, counted from what is not there yet.
.PHONY: announce-demo
announce-demo:
	@parts='demo 2' minutes=2
	[ -e .aws-sam/build.toml ] || { parts="compilation 5, $$parts" minutes=$$((minutes + 5)); }
	[ -e $(TOOLS)/sam.stamp ] || { parts="tools 2, $$parts" minutes=$$((minutes + 2)); }
	echo "About $$minutes minutes on two cores: $$parts"

.PHONY: demo
demo: announce-demo $(TOOLS)/cloud.stamp host build ## From a push to a started node, on the local cloud [IMAGES=<directory of OCI layouts>]
	$(call say) 'From a push to a started node' 'bench/demo.py'
	IMAGES='$(IMAGES)' PYTHONPATH=tests $(CLOUD)/python -m bench.demo

.PHONY: soak-cloud
soak-cloud: $(TOOLS)/cloud.stamp build ## Pushes and killed builds on the local cloud [SEED=1] [PUSHES=500]
	PYTHONPATH=tests $(CLOUD)/python -m soak_cloud --seed $(or $(SEED),1) --pushes $(or $(PUSHES),500)

# The profile's region counts, not the one that validation is given above.
.PHONY: aws-check
aws-check: $(TOOLS)/cloud.stamp $(if $(LOCAL),$(TOOLS)/sam.stamp host build) ## Ask AWS itself, with your account, after a question: cents [STACK=frontload] [ARGUMENTS=--help] [LOCAL=1: the local cloud]
	$(call say) 'The program that prints a build'"'"'s command' 'cargo build'
	cargo build --workspace --locked --quiet --example ssm_command
	$(if $(filter file,$(origin AWS_DEFAULT_REGION)),unset AWS_DEFAULT_REGION)
	$(if $(LOCAL),PYTHONPATH=tests) $(CLOUD)/python -m tools.aws_check $(if $(LOCAL),--local) \
		--stack '$(or $(STACK),frontload)' $(ARGUMENTS)

.PHONY: faults
faults: $(TOOLS)/cloud.stamp build ## Let everything go wrong that can, in turn: hours [SECONDS=<a part of it>] [SEED=1] [ONLY=<text>]
	$(call say) 'Every AWS call of a run with every fault, every state stopped, every step delivered twice' 'tests/faults'
	PYTHONPATH=tests $(CLOUD)/python -m faults --seed $(or $(SEED),1) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only '$(ONLY)')

.PHONY: bench
bench: $(TOOLS)/cloud.stamp $(TOOLS)/containerd.stamp host build ## Measure everything, or some parts [PARTS="lambda cost"] [RUNS=<rounds, 5>]
	$(call say) 'The program that prints a build'"'"'s command' 'cargo build'
	cargo build --workspace --locked --quiet --example ssm_command
	RUNS='$(RUNS)' PYTHONPATH=tests $(CLOUD)/python -m bench $(PARTS)

.PHONY: bench-report
bench-report: $(TOOLS)/bench.stamp ## Write what was measured into docs/performance.md, with plots
	@PYTHONPATH=tests $(TOOLS)/bench/bin/python -m bench.report

# ---- Release

# `make dist` and `make dist-check` compile without FAST; the tests of a release have it.
.PHONY: dist
dist: ARCHITECTURES ?= x86_64 arm64
dist: $(TOOLS)/sam.stamp $(CARGO_CYCLONEDX) ## Make a release under target/dist: packages for both architectures, template, sums
	$(call say) 'The release for $(ARCHITECTURES)' 'target/dist'
	$(call missing,cargo,install Rust from https://rustup.rs)
	if command -v rustup >/dev/null; then
		for architecture in $(ARCHITECTURES); do
			rustup --quiet target add $${architecture/arm64/aarch64}-unknown-linux-gnu
		done
	fi
	$(COMPILED) $(SAM)/python -m tools.release.dist $(CARGO_CYCLONEDX) $(ARCHITECTURES)

.PHONY: dist-check
dist-check: dist ## Make one architecture's release again elsewhere, and compare the bytes [AGAIN=x86_64]
	$(call say) 'The release for $(or $(AGAIN),x86_64) again: minutes' 'target/dist-check'
	$(SAM)/python -m tools.release.check $(or $(AGAIN),x86_64)

.PHONY: arm64
arm64: $(TOOLS)/cloud.stamp $(TOOLS)/arm64.stamp dist ## Make a release, deploy it, and hold arm64's answers against x86_64's
	$(call say) 'The release on both architectures' 'tests/release'
	FRONTLOAD_REQUIRE_DIST=1 $(CLOUD)/python -m pytest tests/release

# ---- Tidy up

.PHONY: clean
clean: ## Remove what was built; the tools stay
	rm -rf .aws-sam
	[ ! -d target ] || find target -mindepth 1 -maxdepth 1 ! -name tools -exec rm -rf {} +

.PHONY: clean-tools
clean-tools: ## Remove the tools as well
	rm -rf $(TOOLS)
