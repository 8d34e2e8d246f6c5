# Runledger. "make" alone lists what can be done.

# The tools, each at one version. A change here builds the tool anew at its next use.
# oapi-codegen has its version where it is called, in api/client/client.go.
SQLC_VERSION          := v1.31.1
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0
CYCLONEDX_VERSION     := v1.10.0
REDOCLY_VERSION       := 2.77.0

# What this build calls itself: the tag, else the commit, with "-dirty" for uncommitted changes.
ifndef VERSION
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
endif
# The name that "make image" gives the image and docker-compose.yml runs.
IMAGE   ?= runledger:local
PROXY_IMAGE ?= runledger-proxy:local
# Flags of "runledger dev", as in: make run ARGS='--fresh --addr 127.0.0.1:9000'
ARGS    ?=
# Flags of "go test", as in: make test TESTFLAGS='-run Gate -v'
TESTFLAGS ?=
# Where govulncheck reads its database, if not from vuln.go.dev: file:///path or https://mirror.
GOVULNDB  ?=

BIN := $(CURDIR)/.bin
COMPOSE ?= docker compose
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

## Use

.PHONY: run
run: build ## Run everything on this machine, with demonstration data (ARGS: flags of "runledger dev")
	@./runledger dev $(ARGS)

.PHONY: build
build: ## Build ./runledger, static and reproducible
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.release=$(VERSION)' -o runledger ./cmd/runledger

.PHONY: sbom
sbom: build $(BIN)/cyclonedx-gomod ## Write runledger.cdx.json, what ./runledger is made of (CycloneDX)
	cyclonedx-gomod bin -json -std -noserial -notimestamp -output runledger.cdx.json -version '$(VERSION)' ./runledger

## Check

.PHONY: test
test: c-compiler ## Run all tests with the race detector, on a real PostgreSQL (TESTFLAGS: flags of "go test")
	go test -race -timeout 25m $(TESTFLAGS) ./...

.PHONY: test-faults
test-faults: c-compiler ## Run the tests of faults and races at full length (about half an hour)
	RUNLEDGER_TEST_OUTAGE_MS=10000 RUNLEDGER_TEST_TERMINATIONS=50 RUNLEDGER_TEST_FIGURES=1 \
	  go test -count=1 -timeout 30m -parallel 1 -v ./internal/faults -run 'TestAnOutage|TestAServerThatIsTold'
	RUNLEDGER_TEST_OPERATIONS=40000 RUNLEDGER_TEST_KILLS=100 \
	  go test -count=1 -timeout 60m -v ./internal/faults -skip 'TestAnOutage|TestAServerThatIsTold'
	RUNLEDGER_TEST_IDENTITIES=1000 RUNLEDGER_TEST_RACES=50 RUNLEDGER_TEST_STEPS=100000 \
	  go test -count=1 -timeout 60m -v ./internal/server -run 'TestOfMany|TestEveryMove|TestTheServiceDoes'

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## Fuzz every target by turns (FUZZTIME: for how long each, 30s)
	@for package in $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	  done; \
	done

.PHONY: screenshots
screenshots: ## Take the pictures of the console in docs/console anew (needs chromium)
	RUNLEDGER_PICTURES='$(CURDIR)/docs/console' go test -count=1 ./internal/console -run "^TestEveryViewIsAccessible$$"

.PHONY: test-upgrade
test-upgrade: ## Run the release before this one on the schema of this one (builds it from git)
	RUNLEDGER_TEST_UPGRADE=1 go test -count=1 -timeout 10m -v ./cmd/runledger -run TestTheReleaseBefore

.PHONY: bench
bench: ## Measure the built server, of a tree without changes, and write docs/performance.md (ARGS: flags of internal/bench, such as -only lists)
	go run ./internal/bench $(ARGS)

.PHONY: soak
soak: ## Load the built server with a realistic mix, then with too much (ARGS: such as -soak 2h)
	go run ./internal/bench -soak 12m $(ARGS)

.PHONY: bench-check
bench-check: ## Measure again and fail if a ratio is worse than docs/performance.md says, or a bar that held there (ARGS: such as -tolerance 0.4)
	go run ./internal/bench -check $(ARGS)

.PHONY: check
check: lint check-generated test ## Everything that must hold before a change goes in

.PHONY: lint
lint: lint-go lint-api lint-vulnerabilities check-licences ## Look for what reviewers would object to

.PHONY: lint-go
lint-go: $(BIN)/golangci-lint ## Lint the Go code, the direction of its imports included
	golangci-lint run

.PHONY: lint-api
lint-api: ## Lint the description of the HTTP interface (needs Node.js 20 or later)
	@command -v npx >/dev/null || { echo 'The linter of api/openapi.yaml needs Node.js 20.19 or later.' >&2; exit 1; }
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --yes @redocly/cli@$(REDOCLY_VERSION) lint api/openapi.yaml

.PHONY: lint-vulnerabilities
lint-vulnerabilities: $(BIN)/govulncheck ## Look for known vulnerabilities in what the code calls (GOVULNDB: another database)
	govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./...

.PHONY: lint-monitoring
lint-monitoring: ## Check the alert rules, run their tests and parse the dashboard (needs promtool)
	@command -v promtool >/dev/null || { echo 'The alert rules are checked by promtool: apt-get install prometheus' >&2; exit 1; }
	promtool check rules docs/monitoring/alerts.yml
	promtool test rules docs/monitoring/alerts_test.yml
	go test -count=1 ./cmd/runledger -run '^TestThePanelsOfTheDashboardArePromQL$$'

.PHONY: check-licences
check-licences: ## Fail if a library's licence is not among those that may be in, or docs/licences.md is not current
	go run ./internal/licences | diff docs/licences.md - || { echo 'docs/licences.md is not current: make licences' >&2; exit 1; }

# The second build shares nothing with the first: another directory, no repository, an empty cache.
.PHONY: check-reproducible
check-reproducible: build ## Build again elsewhere, from nothing, and fail if the binary differs
	@elsewhere=$$(mktemp -d) && trap 'rm -rf "$$elsewhere"' EXIT && mkdir "$$elsewhere/src" "$$elsewhere/cache" && \
	  git ls-files -z | xargs -0 cp --parents -t "$$elsewhere/src" && \
	  GOCACHE="$$elsewhere/cache" $(MAKE) --no-print-directory -C "$$elsewhere/src" build VERSION='$(VERSION)' && \
	  sha256sum runledger "$$elsewhere/src/runledger" && cmp runledger "$$elsewhere/src/runledger"

.PHONY: check-generated
check-generated: $(BIN)/sqlc ## Fail if generated code is not what its sources say, or a query leaves its workspace
	cd sql && sqlc vet && sqlc diff
	go generate ./api/...
	@test -z "$$(git status --porcelain -- api internal/dbsqlc)" || { \
	  git status --short -- api internal/dbsqlc; echo 'Generated code is not what is committed: make generate' >&2; exit 1; }

## Change

.PHONY: generate
generate: $(BIN)/sqlc ## Generate the database code, the API client and the list of licences
	cd sql && sqlc generate
	go generate ./api/...
	$(MAKE) --no-print-directory licences

.PHONY: licences
licences: ## List the licences of all libraries in docs/licences.md
	go run ./internal/licences >docs/licences.md.new && mv docs/licences.md.new docs/licences.md

.PHONY: format
format: $(BIN)/golangci-lint ## Format the Go code and sort its imports
	golangci-lint fmt

## Containers

.PHONY: image
image: ## Build the container image (IMAGE: its name; DOCKER_BUILD_FLAGS: more flags)
	docker build --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' $(DOCKER_BUILD_FLAGS) .

.PHONY: proxy-image
proxy-image: ## Build the image of the composition's proxy (PROXY_IMAGE: its name)
	docker build -t '$(PROXY_IMAGE)' $(filter --network=%,$(DOCKER_BUILD_FLAGS)) docs/proxy

.PHONY: have-compose
have-compose:
	@docker version >/dev/null && $(COMPOSE) version >/dev/null || { \
	  echo 'The composition needs a Docker engine and Compose ($(COMPOSE)): apt-get install docker.io docker-compose, and COMPOSE=docker-compose' >&2; exit 1; }

.PHONY: compose-up
compose-up: have-compose image proxy-image .env ## Bring up PostgreSQL, the migrations and two servers behind a proxy, and wait until they are ready
	$(composed) up --detach --no-build
	@for i in $$(seq 60); do \
	  $(composed) exec -T server-a /usr/local/bin/runledger healthcheck && \
	  $(composed) exec -T server-b /usr/local/bin/runledger healthcheck --url http://proxy:8080 && exit; sleep 1; \
	done; echo 'The servers are not ready after a minute: $(COMPOSE) logs' >&2; exit 1

.PHONY: compose-down
compose-down: ## Stop them; the data stays in its volume
	$(composed) down

composed = RUNLEDGER_IMAGE='$(IMAGE)' RUNLEDGER_PROXY_IMAGE='$(PROXY_IMAGE)' $(COMPOSE)

# Fresh secrets for a first look; a deployment brings its own.
.env:
	@umask 077 && { \
	  echo "POSTGRES_PASSWORD=$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"; \
	  echo "RUNLEDGER_JWT_HS256_SECRET=$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"; \
	} >$@ && echo 'wrote .env with fresh secrets'

## Other

.PHONY: clean
clean: ## Remove what was built, tools included
	rm -rf runledger runledger.cdx.json '$(BIN)' coverage.out

.PHONY: help
help: ## Show this
	@awk 'BEGIN { FS = ":.*## " } \
	  /^## / { printf "\n%s\n", substr($$0, 4) } \
	  /^[a-z][a-z-]*:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' Makefile

.PHONY: c-compiler
c-compiler:
	@command -v "$$(go env CC)" >/dev/null || { \
	  echo 'The race detector needs a C compiler: apt-get install gcc libc6-dev' >&2; exit 1; }

# tool: $(1) the command, $(2) its package, $(3) its version. The version is in the name of the
# stamp, so another one builds anew.
define tool
$(BIN)/$(1): $(BIN)/.$(1)-$(3)
$(BIN)/.$(1)-$(3):
	@echo 'building $(1) $(3)'
	@rm -f $(BIN)/.$(1)-*
	@GOBIN='$(BIN)' CGO_ENABLED=0 go install $(2)@$(3)
	@touch $$@
endef

$(eval $(call tool,sqlc,github.com/sqlc-dev/sqlc/cmd/sqlc,$(SQLC_VERSION)))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION)))
$(eval $(call tool,cyclonedx-gomod,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod,$(CYCLONEDX_VERSION)))
$(eval $(call tool,govulncheck,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION)))
