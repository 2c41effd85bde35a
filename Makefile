# Everything a person needs is here: `make up` starts a cloud, `make test` tests it. See README.md.
SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
HANOK := bin/hanok
IMAGE := build/hanok-guest.qcow2

.PHONY: up down purge build check test fuzz conformance packages image

build: $(HANOK)

.PHONY: $(HANOK)
$(HANOK):
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/hanok

packages:
	deploy/packages.sh run

image:
	deploy/packages.sh image
	images/build.sh --out $(IMAGE)

up: packages build image
	$(HANOK) up --demo --image $(CURDIR)/$(IMAGE)

down: build
	$(HANOK) down

purge: build
	$(HANOK) purge --yes
	rm -rf build

check:
	test/check.sh

test:
	test/run.sh

fuzz:
	test/fuzz.sh

conformance:
	test/conformance/run.sh
