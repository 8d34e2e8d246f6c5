# Runledger. "make" alone lists what can be done.

# The tools, each at one version. A change here builds the tool anew at its next use.
# oapi-codegen has its version where it is called, in api/client/client.go.
SQLC_VERSION          := v1.31.1
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0
REDOCLY_VERSION       := 2.77.0

# What this build calls itself: the tag, else the commit, with "-dirty" for uncommitted changes.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The name that "make image" gives the image and docker-compose.yml runs.
IMAGE   ?= runledger:local
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
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' -o runledger ./cmd/runledger

## Check

.PHONY: test
test: c-compiler ## Run all tests with the race detector, on a real PostgreSQL (TESTFLAGS: flags of "go test")
	go test -race -timeout 25m $(TESTFLAGS) ./...

.PHONY: test-faults
test-faults: c-compiler ## Run the tests of faults and races at full length (about a quarter of an hour)
	RUNLEDGER_TEST_OPERATIONS=40000 RUNLEDGER_TEST_KILLS=100 go test -count=1 -timeout 60m -v ./internal/faults
	RUNLEDGER_TEST_IDENTITIES=1000 RUNLEDGER_TEST_RACES=50 RUNLEDGER_TEST_STEPS=100000 \
	  go test -count=1 -timeout 60m -v ./internal/server -run 'TestOfMany|TestEveryMove|TestTheServiceDoes'

.PHONY: screenshots
screenshots: ## Take the pictures of the console in docs/console anew (needs chromium)
	RUNLEDGER_PICTURES='$(CURDIR)/docs/console' go test -count=1 ./internal/console -run "^TestEveryViewIsAccessible$$"

.PHONY: bench
bench: ## Measure the built server and write docs/performance.md (ARGS: flags of internal/bench, such as -only lists)
	go run ./internal/bench $(ARGS)

.PHONY: bench-check
bench-check: ## Measure again and fail if a ratio is worse than docs/performance.md says (ARGS: such as -tolerance 0.4)
	go run ./internal/bench -check $(ARGS)

.PHONY: check
check: lint check-generated test ## Everything that must hold before a change goes in

.PHONY: lint
lint: lint-go lint-api lint-vulnerabilities ## Look for what reviewers would object to

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

.PHONY: check-generated
check-generated: $(BIN)/sqlc ## Fail if generated code is not what its sources say, or a query leaves its workspace
	cd sql && sqlc vet && sqlc diff
	go generate ./api/...
	@test -z "$$(git status --porcelain -- api internal/dbsqlc)" || { \
	  git status --short -- api internal/dbsqlc; echo 'Generated code is not what is committed: make generate' >&2; exit 1; }

## Change

.PHONY: generate
generate: $(BIN)/sqlc ## Generate the database code and the API client
	cd sql && sqlc generate
	go generate ./api/...

.PHONY: format
format: $(BIN)/golangci-lint ## Format the Go code and sort its imports
	golangci-lint fmt

## Containers

.PHONY: image
image: ## Build the container image (IMAGE: its name; DOCKER_BUILD_FLAGS: more flags)
	docker build --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' $(DOCKER_BUILD_FLAGS) .

.PHONY: compose-up
compose-up: image .env ## Bring up PostgreSQL, the migrations and the server, and wait until it is ready
	RUNLEDGER_IMAGE='$(IMAGE)' $(COMPOSE) up --detach --no-build
	@for i in $$(seq 60); do \
	  RUNLEDGER_IMAGE='$(IMAGE)' $(COMPOSE) exec -T server /usr/local/bin/runledger healthcheck && exit; sleep 1; \
	done; echo 'The server is not ready after a minute: $(COMPOSE) logs' >&2; exit 1

.PHONY: compose-down
compose-down: ## Stop them; the data stays in its volume
	RUNLEDGER_IMAGE='$(IMAGE)' $(COMPOSE) down

# Fresh secrets for a first look; a deployment brings its own.
.env:
	@umask 077 && { \
	  echo "POSTGRES_PASSWORD=$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"; \
	  echo "RUNLEDGER_JWT_HS256_SECRET=$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"; \
	} >$@ && echo 'wrote .env with fresh secrets'

## Other

.PHONY: clean
clean: ## Remove what was built, tools included
	rm -rf runledger '$(BIN)' coverage.out

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
$(eval $(call tool,govulncheck,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION)))
