# What a clean Debian machine needs is installed and started by the tests and
# the demo themselves; only Go must be there. Run as root for a real domain.

GO ?= go

# What -version says; where git does not know, what the Go toolchain recorded.
VERSION := $(shell git describe --tags --always --abbrev=12 --dirty=+dirty 2>/dev/null)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
STAMP := -X writeback/internal/obs.version=$(VERSION) -X writeback/internal/obs.commit=$(COMMIT)

.PHONY: demo test bin lint cc bench bench-audit chaos fuzz docs soak idle upgrade-test outage compose-test lint-windows release clean

# Everything on this machine: a domain controller, the broker, two consumers, a
# publisher. DEMO holds flags, for example: make demo DEMO='-once -directory fake'
demo: bin
	bin/demo $(DEMO)

# All tests, with the race detector, on one real domain that they share. Those of
# whole systems wait more than they work, so more of them run than there are cores.
test: bin lint cc
	$(GO) build -o bin/ ./internal/testkit/withdomain
	bin/withdomain $(GO) test -race -shuffle=on -parallel 4 -timeout 20m $(TEST) ./...
	cd tools && $(GO) test -shuffle=on ./...

# The programs, and the broker that go.mod names.
bin:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(STAMP)' -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ github.com/nats-io/nats-server/v2

# The tables of docs/configuration.md, from the code.
docs:
	WRITEBACK_UPDATE_DOCS=1 $(GO) test -count=1 -p 1 -run '^TestReference$$' ./cmd/... ./internal/guard ./internal/docs/...

# The race detector needs a C compiler.
cc:
	command -v gcc >/dev/null || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; }

lint:
	test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(MAKE) lint-windows
	$(GO) mod tidy -diff
	cd tools && $(GO) vet ./... && $(GO) tool staticcheck ./... && $(GO) mod tidy -diff

# Archives, Debian packages and what belongs to them, in dist/; the same commit gives the
# same bytes.
release:
	cd tools && $(GO) run ./release -root .. -out ../dist

# What is built for Windows; what its tests run on is not there, so that they are
# taken for missing.
lint-windows:
	$(GO) build -modfile=tools/go.mod -o bin/ honnef.co/go/tools/cmd/staticcheck
	@set -e; export GOOS=windows GOARCH=amd64 CGO_ENABLED=0; tests=$$(mktemp); trap "rm $$tests" EXIT; \
	own() { $(GO) list -deps -f "{{with .Module}}{{if .Main}}$$1{{end}}{{end}}" ./cmd/audit ./cmd/consumer; }; \
	{ echo '{"Replace": {'; for kind in TestGoFiles XTestGoFiles; do own "{{range \$$.$$kind}}\"{{\$$.Dir}}/{{.}}\": \"\",{{end}}"; done; echo '"none": ""}}'; } >$$tests; \
	echo 'vet and staticcheck for Windows'; \
	$(GO) vet -overlay $$tests $$(own '{{$$.ImportPath}}'); \
	bin/staticcheck -tests=false $$(own '{{$$.ImportPath}}')

# How long a reset takes, directly and through the whole system, in one run.
bench: bin
	$(GO) run ./internal/lab/bench
	$(GO) run ./internal/lab/bench -replicas

# How fast RECORDS records are replayed, verified and exported, and in how much memory;
# and what a replay does to resets.
RECORDS ?= 1000000
bench-audit: bin
	$(GO) run ./internal/testkit/life/bench -records $(RECORDS)
	$(GO) run ./internal/lab/bench -audited -resets 1000

# Breaks the system for TIME, as SEED says, with a broker of NODES (1 or 3) and a
# DIRECTORY (fake or samba); before that, kills programs at every step.
SEED ?= 1
TIME ?= 10m
NODES ?= 1
DIRECTORY ?= fake
chaos: bin
	$(GO) run ./internal/chaos/campaign -points -nodes $(NODES) -directory $(DIRECTORY)
	$(GO) run ./internal/chaos/campaign -seed $(SEED) -time $(TIME) -nodes $(NODES) -directory $(DIRECTORY)

# Works for SOAK at a steady rate, with restarts, and fails if something grows that must
# not. Needs root, as `make idle` does, which says what a system costs that has nothing to do.
SOAK ?= 1h
soak: bin
	$(GO) run ./internal/lab/soak -time $(SOAK) -directory $(DIRECTORY)

IDLE ?= 5m
idle: bin
	$(GO) run ./internal/lab/soak -idle $(IDLE) -directory $(DIRECTORY)

# Upgrades and rolls back everything under traffic, from the programs of an earlier
# commit; `make test` has a shorter form. Both need a clone with its history.
upgrade-test: bin
	$(GO) test -race -count=1 -v -run 'TestUpgrade|TestMixedVersions' ./internal/lab -upgrade-all

# Takes the broker, and all domain controllers, away for OUTAGE, and says what that does.
OUTAGE ?= 1h
outage: bin
	WRITEBACK_OUTAGE=$(OUTAGE) $(GO) test -count=1 -v -timeout 24h -run TestOutage ./internal/lab

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 1m
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$pkg; \
	  done; done

# compose.yaml, with Docker: brings it up, resets through it, kills parts of it, resets
# again, and takes it down.
compose-test:
	WRITEBACK_VERSION=$(VERSION) WRITEBACK_COMMIT=$(COMMIT) compose/test

clean:
	rm -rf bin dist
