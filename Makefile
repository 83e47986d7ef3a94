# What a developer runs. "make" alone explains the targets; the gate is .ci/run.

GO ?= go
FUZZTIME ?= 10s

# Tools are pinned in modules of their own, so that their dependencies do not
# become ours, and are compiled without C. The first compile of buf, sqlc and
# golangci-lint takes minutes; after that the go command has them in its cache.
TOOL = CGO_ENABLED=0 $(GO) tool -modfile=tools
BUF = $(TOOL)/buf/go.mod buf

# govulncheck's database: a local copy if there is one, else the public server.
VULNDB ?= $(wildcard $(CURDIR)/../shared/vulndb)

.PHONY: help build test race torture torture-lite lint lint-go lint-proto generate fuzz cross vuln fsck thirdparty memory memory-large certs grpcurl compose-test netns-test outsider ci

help: ## explain every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the program, into bin/
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/...

test: ## all tests
	$(GO) test ./...

# Not under the race detector: tests of data that have no concurrency, and of which each takes many seconds then, such as
# vectors, and every bit of a file changed; and the one that kills processes, which are built without the detector.
# -short lowers how often the tests of repetition and flood repeat, and nothing else.
NO_RACE = ^(TestVectors.*|TestBitFlips|TestTruncated|TestChangedBetweenPasses|TestConstantMemory|TestExport|TestVerifyExport.*|TestVerifyHomeFinds.*|TestVerifyHomeMemory|TestEveryByte|TestParts|TestReportOfMany|TestWitnessKilled|TestVerifyHomeOfDamagedPages|TestKilledAtAnyMoment|TestTreatyKilledAtAnyMoment|TestThousandSlowStreams|TestThreeDaysApart)$$

# Nor is SQLite itself, which is C translated to Go: it keeps its data outside of Go's memory, where the detector sees nothing, and watching
# it took half of all the time. Our code, the driver and SQLite's locks are watched.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false

race: ## the tests of internal/ under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test $(RACE) -short -timeout 30m -skip '$(NO_RACE)' ./internal/...

torture-lite: ## kill -9 of nodes during 100 transfers of 64 MiB (ROUNDS=, MIB=, SEED=)
	ENTENTE_KILL_ROUNDS=$(or $(ROUNDS),100) ENTENTE_KILL_MIB=$(or $(MIB),64) ENTENTE_KILL_SEED=$(SEED) \
		ENTENTE_TREATY_ROUNDS=$(or $(ROUNDS),100) ENTENTE_TREATY_SEED=$(SEED) \
		$(GO) test ./internal/lab -run '^(TestKilled|TestTreatyKilled)AtAnyMoment$$' -count=1 -timeout 2h -v

torture: ## thousands of crashes, failing system calls and power cuts: needs Linux, root and strace (CRASHES=, ERRORS=, CUTS=, SEED=, DIR=)
	.ci/torture $(or $(CRASHES),3000) $(or $(ERRORS),500) $(or $(CUTS),500)

lint: lint-proto lint-go ## golangci-lint and buf lint

lint-go:
	$(TOOL)/lint/go.mod golangci-lint run --allow-parallel-runners -j 2 ./...

lint-proto:
	$(BUF) lint

generate: ## Go code from .proto files and SQL queries
	$(BUF) generate
	$(TOOL)/sqlc/go.mod sqlc generate

fuzz: ## every fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

cross: ## compile and vet for the other systems
	@for target in darwin/arm64 windows/amd64 linux/arm64; do \
		echo "$$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build ./... || exit 1; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) vet ./... || exit 1; \
	done

vuln: ## known vulnerabilities in what we call (VULNDB: folder of a local database)
	$(TOOL)/go.mod govulncheck $(if $(VULNDB),-db file://$(abspath $(VULNDB))) ./...

fsck: ## have a demo's log checked by a program that is not ours
	.ci/fsck

thirdparty: ## a witness and a tile checker that are not ours accept our logs
	$(GO) vet -tags thirdparty ./internal/node
	$(GO) test -tags thirdparty ./internal/node -run '^Test(Litewitness|Fsck)$$' -count=1 -timeout 10m -v

memory: ## send a document of 1 GiB and bound the memory that it takes
	.ci/memory

memory-large: ## the same for one document of 8 GiB, and for 16 of 1 GiB at once (50 GiB of disk)
	SIZE=8G DEMO_MIB= .ci/memory
	COUNT=16 NODE_MIB=256 DEMO_MIB= .ci/memory

certs: build ## development keys: homes of alpha, bravo and charlie in certs/
	bin/entente found alpha bravo charlie --home certs --once --agreement harbour-watch \
		--person alpha/alice --person bravo/bob --person charlie/carol

grpcurl: ## grpcurl, into bin/
	CGO_ENABLED=0 $(GO) build -modfile=tools/grpcurl/go.mod -o bin/grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl

compose-test: build grpcurl ## three members in containers: needs root, an engine and Compose
	$(GO) vet -tags compose ./cmd/entente
	$(GO) test -tags compose ./cmd/entente -run '^TestCompose' -count=1 -timeout 15m -v

netns-test: ## two nodes in network namespaces, with a bad line between them: needs Linux, root and iproute2
	$(GO) vet -tags netns ./internal/lab
	$(GO) test -tags netns ./internal/lab -run '^TestNamespaces$$' -count=1 -timeout 10m -v

outsider: ## a test in a module of somebody else's, 20 times under the race detector
	CGO_ENABLED=1 ENTENTE_OUTSIDER="$(RACE)" $(GO) test ./ententetest -run '^TestOutsider$$' -count=1 -timeout 20m -v

ci: ## the whole gate, as it runs before a change is taken
	.ci/run
