# Targets: build run test test-tahoe race soak fuzz lint bench clean. All need Go; test, test-tahoe and soak install the rest by test/setup.sh.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
FIGURES := $(CURDIR)/.run/soak-figures.jsonl

# What these test runs in servers and mounts, which are other processes, where the race detector sees nothing: they run
# without it in "make test", and with it in "make race". The longest is begun first.
APART   := ^sharefs/(test|cmd/sharefs$$|provider/(s3|swift)$$)
UNIT     = $(shell go list ./... | grep -Ev '$(APART)')
REST     = $(shell go list ./test ./... | grep -E '$(APART)')
TIMEOUT := 40m
FUZZTIME ?= 10m

.PHONY: build run test test-tahoe race soak fuzz lint bench clean prepare

build:
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sharefs ./cmd/sharefs

# Builds, mounts the embedded store below .run/, writes and reads through it, and says how to go on.
run: build
	bash cmd/sharefs/demo.sh

# What tests need: programs from packages, and the servers, built once into the user's cache directory.
prepare:
	bash test/setup.sh
	go run ./test/servers/build

# Both halves run even if the first fails.
test: build prepare
	@failed=0; \
	go test -race -timeout $(TIMEOUT) $(UNIT) || failed=1; \
	go test -parallel 4 -timeout $(TIMEOUT) $(REST) || failed=1; \
	exit $$failed

# Tahoe-LAFS's own storage server, with its own tests, on mounts: five minutes, and two more the first time. Its own tests run on MinIO,
# or where asked for: make test-tahoe SHAREFS_TEST_KINDS=swift,swift-s3api. make soak has all kinds.
test-tahoe: build prepare
	SHAREFS_TAHOE=1 go test -count=1 -timeout 40m -v ./test/tahoe

race: build prepare
	go test -race -timeout 60m ./...

# The long counts. Their figures go to docs/soak.md, with the commit.
soak: build prepare
	@mkdir -p $(dir $(FIGURES)) && rm -f $(FIGURES)
	SOAK=1 SOAK_FIGURES=$(FIGURES) go test -count=1 -timeout 6h -v -run Soak ./...
	go run ./test/soak/report -figures $(FIGURES) -out docs/soak.md
	$(MAKE) fuzz

# Every fuzz target, each for FUZZTIME.
fuzz:
	FUZZTIME=$(FUZZTIME) bash test/fuzz.sh

lint:
	go test -count=1 ./test/lint

bench:
	go test -run '^$$' -bench . -benchmem ./...

# What is still mounted below .run/ is left alone.
clean:
	rm -rf --one-file-system bin .run
