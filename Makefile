# SPDX-License-Identifier: Apache-2.0
# The only door: everything this project does is a target here.

.DEFAULT_GOAL := help
.PHONY: help build demo demo-down test lint bench image image-binaries verifier vm fuzz clean
SHELL := /bin/bash

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the binaries, unoptimised: target/debug/fathom, fathom-agent, fathom-relay, fathom-cni, fathom-lab
	@ci/bootstrap
	cargo build --workspace --bins

demo: ## two nodes, a streaming platform and what it says, a policy that denies and stops denying (root); leaves the lab up
	@ci/bootstrap
	cargo build --workspace --bins
	target/debug/fathom-lab demo up

demo-down: ## removes every trace of the demo
	@test ! -x target/debug/fathom-lab || target/debug/fathom-lab demo down

test: ## every test: units, packet tables, namespaces, lab scenarios (root)
	@ci/bootstrap --software
	cargo build --workspace --bins
	cargo test --workspace

lint: ## formatting, clippy, boundaries between the rooms
	@ci/bootstrap --lint
	ci/lint

# Built as the benchmarks themselves build it, so that nothing is built twice.
BENCHES := --bench datapath --bench messages --bench ingest --bench get_flows --bench relay

bench: ## the benchmarks of SPECIFICATION.md, five to ten minutes (root); ARGS="--quick", "--json", "--only traffic"
	@ci/bootstrap --extras --software
	cargo build --release --workspace --bins $(BENCHES)
	@target/release/fathom-bench all $(ARGS)

image: image-binaries ## target/image/fathom.tar for `ctr images import`, `kind load image-archive` or `docker load`; needs no Docker
	ci/images/oci --bin-dir target/image --output target/image/fathom.tar
	ci/images/check target/image/fathom.tar

# The plugin runs on nodes, whatever their C library: it is linked statically.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

image-binaries:
	@ci/bootstrap
	cargo build --profile dist --bins -p fathom-cli -p fathom-node-agent -p fathom-relay
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile dist --bins -p fathom-cni --target $(HOST)
	mkdir -p target/image
	cp target/dist/fathom target/dist/fathom-agent target/dist/fathom-relay target/$(HOST)/dist/fathom-cni target/image/

verifier: ## instructions processed per program on this kernel (root)
	@ci/bootstrap
	cargo run -q -p fathom-bpf --bin fathom-verifier

vm: ## every program and packet table on Debian's 5.10, 6.1, 6.12 and newest kernels, under emulation
	@ci/bootstrap --vm
	ci/vm/matrix

fuzz: ## the fuzz targets, 10 minutes each
	@ci/bootstrap
	ci/fuzz

clean: ## what was built, downloaded and measured
	cargo clean
	rm -rf .cache
