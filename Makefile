# ruvectorfs: one Makefile, not recursive. `make help` lists the targets.
#
# The user's CC, CFLAGS, LDFLAGS, PREFIX and DESTDIR are never overwritten. SAN=address,undefined or SAN=thread, COVERAGE=1
# and DEV=1 (warnings are errors) each have a build directory of their own.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/ruvectorfs
SBINDIR ?= /sbin
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
VERSION := $(shell sed -n 's/^.define RUVECTORFS_VERSION "\(.*\)"/\1/p' src/base/version.h)
CLANG ?= clang
CLANG_FORMAT ?= clang-format

CFLAGS ?= -O2 -g
comma := ,
CONFIG := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),$(if $(COVERAGE),coverage,$(if $(DEV),dev,)))
BUILD := build$(if $(CONFIG),/$(CONFIG))
BIN := $(BUILD)/bin

LIBS := fuse3 sqlite3 jansson
RV_CFLAGS := -std=gnu11 -Isrc -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -pthread -fno-math-errno \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
RV_LDLIBS := -pthread -lm
RV_CFLAGS += $(if $(DEV),-Werror)
RV_CFLAGS += $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
RV_LDFLAGS += $(if $(SAN),-fsanitize=$(SAN))
# How many times as long a test may wait: for deadlines that catch what hangs.
SLOWER := $(if $(findstring thread,$(SAN)),6,$(if $(SAN),3,1))
RV_CFLAGS += $(if $(COVERAGE),--coverage -O0)
RV_LDFLAGS += $(if $(COVERAGE),--coverage)

# pkg-config is asked when a recipe needs it, so that `make deps` and `make help` work without it. fuse3 always has a flag.
FUSE_MIN := 3.14
PKG_CFLAGS = $(or $(shell pkg-config --cflags $(LIBS)),$(error libraries are missing ($(LIBS)): `make deps` installs them))$(if \
	$(shell pkg-config --atleast-version=$(FUSE_MIN) fuse3 && echo yes),,$(error libfuse $(FUSE_MIN) or newer is needed (Debian 12 has it), this is $(shell pkg-config --modversion fuse3)))
PKG_LIBS = $(shell pkg-config --libs $(LIBS))
CURL_CFLAGS = $(if $(shell pkg-config --exists libcurl && echo yes),$(shell pkg-config --cflags libcurl),$(error libcurl is missing: `make deps` installs it))
CURL_LIBS = $(shell pkg-config --libs libcurl)

MACHINE := $(shell uname -m)
ISA_x86_64 := avx2 avx512
ISA_aarch64 := neon
FLAGS_avx2 := -mavx2 -mfma -mf16c
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
FLAGS_neon :=
# The rotation of codes has to be equal to the bit on every instruction set: no products fused into sums.
FLAGS_codes := -ffp-contract=off
ISA := $(ISA_$(MACHINE))
ALL_ISA_SRC := $(wildcard src/vector/*_avx*.c src/vector/*_neon.c)
ISA_SRC := $(foreach i,$(ISA),src/vector/kernel_$(i).c src/vector/codes_$(i).c src/vector/hop_$(i).c)

LIB_SRC := $(filter-out $(ALL_ISA_SRC),$(wildcard src/*/*.c)) $(wildcard $(ISA_SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libruvectorfs.a
MOUNT_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard mount/*.c))
TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/ruvector*.c))
# libcurl is for the one that asks services; it alone gets it.
REMOTE_OBJ := $(BUILD)/tools/remote.o
TOOL_OBJ := $(filter-out $(REMOTE_OBJ),$(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TOOLS:%=tools/%.c),$(wildcard tools/*.c))))
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
PROGRAMS := $(if $(MOUNT_OBJ),$(BIN)/ruvectorfs) $(TOOLS:%=$(BIN)/%)

SOURCES := $(wildcard src/*/*.[ch] mount/*.[ch] tools/*.[ch] tests/unit/*.[ch] tests/crash/*.[ch] tests/fuzz/*.[ch])

.DEFAULT_GOAL := all
.PHONY: all deps test unit-programs crash-programs check-unit check-bats check-crash check-san check-fuzz fuzz-programs check-headers check-layers check-format check-tsa check-tidy check-cppcheck check-disk soak \
	coverage bench bench-open bench-many bench-neighbours bench-peers bench-plot demo install install-files uninstall dist clean help
.DELETE_ON_ERROR:

all: $(PROGRAMS)

$(BUILD)/src/vector/kernel_avx2.o: ISA_CFLAGS := $(FLAGS_avx2)
$(BUILD)/src/vector/kernel_avx512.o: ISA_CFLAGS := $(FLAGS_avx512)
$(BUILD)/src/vector/kernel_neon.o: ISA_CFLAGS := $(FLAGS_neon)
$(BUILD)/src/vector/codes_avx2.o: ISA_CFLAGS := $(FLAGS_avx2) $(FLAGS_codes)
$(BUILD)/src/vector/codes_avx512.o: ISA_CFLAGS := $(FLAGS_avx512) -mavx512vnni $(FLAGS_codes)
$(BUILD)/src/vector/hop_avx512.o: ISA_CFLAGS := $(FLAGS_avx512)
$(BUILD)/src/vector/codes_neon.o: ISA_CFLAGS := $(FLAGS_neon) $(FLAGS_codes)
$(BUILD)/src/vector/codes_scalar.o $(BUILD)/src/vector/codes.o: ISA_CFLAGS := $(FLAGS_codes)

# Loops of walks and kernels gain a fifth by it; who sets other CFLAGS has them everywhere.
$(BUILD)/src/index/%.o $(BUILD)/src/vector/%.o: HOT_CFLAGS := $(patsubst -O2,-O3,$(filter -O2,$(CFLAGS)))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(RV_CFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(HOT_CFLAGS) $(ISA_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BIN)/ruvectorfs: $(MOUNT_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

$(TOOLS:%=$(BIN)/%): $(BIN)/%: $(BUILD)/tools/%.o $(TOOL_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

$(REMOTE_OBJ): PKG_CFLAGS += $(CURL_CFLAGS)
$(BIN)/ruvector-embed: $(REMOTE_OBJ)
$(BIN)/ruvector-embed: PKG_LIBS += $(CURL_LIBS)

$(UNIT:%=$(BUILD)/tests/unit/%): %: %.o $(LIB)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS) -lcmocka

# Programs that crash and fail on purpose. They and the rooms that have named steps (base/fault.h) are compiled once more,
# with RV_FAULT_POINTS; the rest is taken from the ordinary build.
FAULT_SRC := $(wildcard src/base/*.c src/store/*.c src/engine/*.c src/tenant/*.c)
FAULT_LIB := $(BUILD)/faults/libruvectorfs.a
FAULT_OBJ := $(FAULT_SRC:%.c=$(BUILD)/faults/%.o) $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(FAULT_SRC),$(LIB_SRC)))
CRASH := $(patsubst tests/crash/%.c,%,$(wildcard tests/crash/crash_*.c))
CRASH_OBJ := $(patsubst %.c,$(BUILD)/faults/%.o,$(filter-out $(CRASH:%=tests/crash/%.c),$(wildcard tests/crash/*.c)))

# Not fortified, as Ubuntu's compiler does unasked: __open64_2 would be called past tests/crash/disk.c.
$(BUILD)/faults/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(RV_CFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) -U_FORTIFY_SOURCE -DRV_FAULT_POINTS -MMD -MP -c -o $@ $<

$(FAULT_LIB): $(FAULT_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/faults/bin/ruvectorfs: $(MOUNT_OBJ) $(FAULT_LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

$(BUILD)/faults/bin/ruvectorctl: $(BUILD)/faults/tools/ctl_repair.o $(filter-out %/ctl_repair.o,$(TOOL_OBJ)) $(BUILD)/tools/ruvectorctl.o $(FAULT_LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

.SECONDARY: $(CRASH:%=$(BUILD)/faults/tests/crash/%.o)
$(BUILD)/tests/crash/crash_fail: FAIL_MEMORY := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign
$(CRASH:%=$(BUILD)/tests/crash/%): $(BUILD)/tests/crash/%: $(BUILD)/faults/tests/crash/%.o $(CRASH_OBJ) $(FAULT_LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(FAIL_MEMORY) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

crash-programs: $(CRASH:%=$(BUILD)/tests/crash/%) $(BUILD)/faults/bin/ruvectorfs $(BUILD)/faults/bin/ruvectorctl

# Targets of the fuzzer, with the sizes of the programs above; and each with a main that replays its corpus.
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZED := $(BUILD)/mount/options.o $(FAULT_LIB)
REPLAY := $(FUZZ:fuzz_%=$(BUILD)/tests/fuzz/replay_%)

.SECONDARY: $(FUZZ:%=$(BUILD)/faults/tests/fuzz/%.o)
$(REPLAY): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/faults/tests/fuzz/fuzz_%.o $(BUILD)/faults/tests/fuzz/replay.o $(FUZZED)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS) -lcmocka

deps: ## install what is missing (Debian, Ubuntu)
	@tests/deps.sh test

test: deps ## build and run everything; ends with the totals
	@tests/all.sh $(MAKE) --no-print-directory

demo: ## install what is missing, build, and search this machine's package descriptions
	@tests/deps.sh
	@echo 'demo: building, which takes half a minute the first time'
	@$(MAKE) -s --no-print-directory $(if $(findstring j,$(filter-out --%,$(MAKEFLAGS))),,-j$(shell nproc)) all
	@RV_BIN=$(abspath $(BIN)) tools/demo.sh

unit-programs: $(UNIT:%=$(BUILD)/tests/unit/%) $(REPLAY)

check-unit: $(UNIT:%=$(BUILD)/tests/unit/%) $(REPLAY) ## cmocka, a binary a module; the fuzzer's corpora
	@RV_SLOWER=$(SLOWER) tests/unit/run.sh $^

check-bats: all ## bats, a file per visible file of the mount
	@RV_BIN=$(abspath $(BIN)) RV_SLOWER=$(SLOWER) tests/bats/run.sh $(BATS)

check-crash: all crash-programs ## kills at every step, ROUNDS=n of them; lost and reordered writes; failing calls; flipped bytes; repairs
	@BIN=$(abspath $(BIN)) FAULTS=$(abspath $(BUILD)/faults/bin) tests/crash/run.sh $(CRASH:%=$(BUILD)/tests/crash/%) tests/crash/repair.py $(abspath $(BUILD)/faults/bin/ruvectorfs)

check-san: ## both suites under address,undefined; the unit tests under thread, too
	$(MAKE) --no-print-directory SAN=address,undefined check-unit check-bats
	$(MAKE) --no-print-directory SAN=thread check-unit

# The library is built once more, by clang and with coverage for the fuzzer; FUZZ_SECONDS each. Found inputs stay in build/.
FUZZ_SECONDS ?= 20
FUZZ_TARGETS ?= $(FUZZ:fuzz_%=%)
check-fuzz: ## libFuzzer on every parser and file format, FUZZ_SECONDS each of FUZZ_TARGETS (clang, libclang-rt-dev)
	$(MAKE) --no-print-directory CC=clang SAN=fuzzer-no-link,address,undefined fuzz-programs
	@for f in $(FUZZ_TARGETS); do tests/fuzz/run.sh $(FUZZ_SECONDS) build/san-fuzzer-no-link-address-undefined/tests/fuzz/fuzz_$$f || exit 1; done

fuzz-programs: $(FUZZ:%=$(BUILD)/tests/fuzz/%)

$(FUZZ:%=$(BUILD)/tests/fuzz/%): $(BUILD)/tests/fuzz/%: $(BUILD)/faults/tests/fuzz/%.o $(FUZZED)
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer,address,undefined $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

check-disk: all ## a real small filesystem that is full, one whose disk fails, one that cannot be read (root, loop devices)
	@tests/crash/disk.py $(abspath $(BIN))

MINUTES ?= 2
soak: all ## MINUTES of mixed load; fails when memory or descriptors grow
	@tests/soak.sh $(abspath $(BIN))/ruvectorfs $(MINUTES)

HEADERS := $(wildcard src/*/*.h mount/*.h)
check-headers: ## each header compiles alone
	@n=0; for h in $(HEADERS); do \
		$(CC) $(RV_CFLAGS) -Werror $(PKG_CFLAGS) -fsyntax-only -x c -include $$h /dev/null || exit 1; \
		n=$$((n + 1)); \
	done; echo "check-headers: $$n headers, each compiles alone"

check-layers: ## includes only go down, each library is known to one room
	@tests/check-layers.sh

check-format: ## clang-format 14
	@bad=0; for f in $(filter %.c,$(SOURCES)); do \
		$(CLANG_FORMAT) --dry-run -Werror $$f 2> /dev/null || { echo "$$f: clang-format -i it"; bad=1; }; \
	done; [ $$bad -eq 0 ] && echo "check-format: clean"

check-tsa: ## clang's analysis of what lock guards what
	@for f in $(filter-out $(ALL_ISA_SRC),$(wildcard src/*/*.c)); do \
		$(CLANG) $(RV_CFLAGS) $(PKG_CFLAGS) -fsyntax-only -Wno-missing-field-initializers -Wthread-safety -Werror=thread-safety $$f || exit 1; \
	done; echo "check-tsa: clean"

TOOLED := $(filter-out $(ALL_ISA_SRC),$(wildcard src/*/*.c)) $(wildcard mount/*.c)
check-tidy: ## clang-tidy: the checks that .clang-tidy names (clang-tidy)
	@bad=0; for f in $(TOOLED); do \
		clang-tidy --quiet $$f -- $(RV_CFLAGS) $(PKG_CFLAGS) -w 2> /dev/null || bad=1; \
	done; [ $$bad -eq 0 ] && echo "check-tidy: clean"

check-cppcheck: ## cppcheck: errors, warnings, portability (cppcheck)
	@cppcheck --quiet --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --std=c11 \
		--suppressions-list=tests/cppcheck.txt -D__x86_64__ -D_GNU_SOURCE -Isrc -I. $(TOOLED) && echo "check-cppcheck: clean"

coverage: ## lines that the tests reach, by room
	$(MAKE) --no-print-directory COVERAGE=1 check-unit check-bats
	@tests/coverage.sh build/coverage

# base.fvecs, query.fvecs, gt.ivecs and gt_distance.fvecs, cosine; synthetic ones when they are not there
BENCH_DATA ?= $(wildcard ../shared/data/debpkg)
bench: all ## what docs/BENCHMARKS.md shows, on the vectors in BENCH_DATA=DIR
	@RV_BIN=$(abspath $(BIN)) tools/bench.sh "$(BENCH_DATA)"

# The peer is compiled for this machine: it has no dispatch at run time.
PEER_CXXFLAGS ?= -O3 -march=native
$(BIN)/peer-hnswlib: tools/peers/hnswlib.cpp
	@mkdir -p $(@D)
	@command -v $(CXX) > /dev/null || { echo 'bench-peers: no $(CXX): install g++' >&2; exit 1; }
	@echo '#include <hnswlib/hnswlib.h>' | $(CXX) -E -x c++ - > /dev/null 2>&1 || \
		{ echo 'bench-peers: no hnswlib/hnswlib.h: install libhnswlib-dev' >&2; exit 1; }
	$(CXX) -std=c++17 -pthread $(PEER_CXXFLAGS) -o $@ $<

bench-peers: all $(BIN)/peer-hnswlib ## the index beside hnswlib (libhnswlib-dev), alternating
	@RV_BIN=$(abspath $(BIN)) tools/bench-peers.sh "$(BENCH_DATA)"

bench-open: all ## the first answer of OPEN_N (1000000) x OPEN_DIM (256) vectors in a daemon that was just started
	@RV_BIN=$(abspath $(BIN)) tools/bench-open.sh $(or $(OPEN_N),1000000) $(or $(OPEN_DIM),256)

bench-many: all ## MANY (10000) tenants on one mount: making them, idle memory, restart, searches beside the others
	@RV_BIN=$(abspath $(BIN)) tools/bench-many.sh $(or $(MANY),10000)

# the mount of ruvector-bench neighbours is made and removed
bench-neighbours: all ## what a tenant notices of one that floods the mount; NEIGHBOURS="OPTIONS of ruvector-bench neighbours"
	@d=$$(mktemp -d) && mkdir $$d/mnt && $(BIN)/ruvectorfs $$d/data $$d/mnt && \
		{ $(BIN)/ruvector-bench neighbours --root $$d/mnt $(NEIGHBOURS); rc=$$?; umount $$d/mnt || fusermount3 -u $$d/mnt; sleep 1; \
		rm -rf --one-file-system $$d; exit $$rc; }

# PLOT.tsv and PLOT.svg are written; PLOT_FROM=docs/bench.tsv draws what was measured before.
PLOT ?= docs/bench
PLOT_FROM ?=
bench-plot: $(if $(PLOT_FROM),,all $(BIN)/peer-hnswlib) ## bench-peers, kept in docs/bench.tsv and drawn to docs/bench.svg (gnuplot-nox)
ifeq ($(PLOT_FROM),)
	@RV_BIN=$(abspath $(BIN)) tools/bench-peers.sh "$(BENCH_DATA)" > $(BUILD)/bench.tsv
	@cp $(BUILD)/bench.tsv $(PLOT).tsv
endif
	@tools/bench-plot.sh $(or $(PLOT_FROM),$(PLOT).tsv) $(PLOT).svg

DOCS := $(wildcard README.md CHANGELOG.md LICENSE docs/*.md docs/bench.svg docs/bench.tsv)
MAN1 := $(wildcard docs/man/*.1)
MAN5 := $(wildcard docs/man/*.5)
MAN8 := $(wildcard docs/man/*.8)

COMPLETED := ruvectorfs mount.ruvectorfs ruvector-bench ruvector-embed ruvectorctl

install: all ## programs to BINDIR, the mount helper to SBINDIR, manuals, documents and completion
	@$(MAKE) -s --no-print-directory install-files

install-files:
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(DOCDIR) $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR)
	install -m 755 $(PROGRAMS) $(DESTDIR)$(BINDIR)
	sed 's#:/usr/local/bin #:$(BINDIR) #' tools/mount.ruvectorfs > $(DESTDIR)$(SBINDIR)/mount.ruvectorfs
	chmod 755 $(DESTDIR)$(SBINDIR)/mount.ruvectorfs
	ln -sf mount.ruvectorfs $(DESTDIR)$(SBINDIR)/mount.fuse.ruvectorfs
	$(if $(DOCS),install -m 644 $(DOCS) $(DESTDIR)$(DOCDIR))
	$(if $(MAN1),install -d $(DESTDIR)$(MANDIR)/man1 && install -m 644 $(MAN1) $(DESTDIR)$(MANDIR)/man1)
	$(if $(MAN5),install -d $(DESTDIR)$(MANDIR)/man5 && install -m 644 $(MAN5) $(DESTDIR)$(MANDIR)/man5)
	$(if $(MAN8),install -d $(DESTDIR)$(MANDIR)/man8 && install -m 644 $(MAN8) $(DESTDIR)$(MANDIR)/man8)
	install -m 644 tools/completion/_ruvectorfs $(DESTDIR)$(ZSHDIR)
	for p in $(COMPLETED); do install -m 644 tools/completion/ruvectorfs.bash $(DESTDIR)$(BASHDIR)/$$p || exit 1; done

uninstall: ## what install put there
	rm -f $(patsubst $(BIN)/%,$(DESTDIR)$(BINDIR)/%,$(PROGRAMS)) $(DESTDIR)$(SBINDIR)/mount.ruvectorfs $(DESTDIR)$(SBINDIR)/mount.fuse.ruvectorfs
	rm -f $(MAN1:docs/man/%=$(DESTDIR)$(MANDIR)/man1/%) $(MAN5:docs/man/%=$(DESTDIR)$(MANDIR)/man5/%) \
		$(MAN8:docs/man/%=$(DESTDIR)$(MANDIR)/man8/%)
	rm -f $(patsubst %,$(DESTDIR)$(DOCDIR)/%,$(notdir $(DOCS)))
	rm -f $(COMPLETED:%=$(DESTDIR)$(BASHDIR)/%) $(DESTDIR)$(ZSHDIR)/_ruvectorfs
	-rmdir $(DESTDIR)$(DOCDIR)

dist: ## ruvectorfs-VERSION.tar.gz of what is committed
	git archive --format=tar.gz --prefix=ruvectorfs-$(VERSION)/ -o ruvectorfs-$(VERSION).tar.gz HEAD

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{ printf "  %-16s %s\n", $$1, $$2 }'

clean: ## remove build/
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
