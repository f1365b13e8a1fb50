# ruvectorfs: one Makefile, not recursive. `make help` lists the targets.
#
# The user's CC, CFLAGS, LDFLAGS, PREFIX and DESTDIR are never overwritten. SAN=address,undefined or SAN=thread, COVERAGE=1
# and DEV=1 (warnings are errors) each have a build directory of their own.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man

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
RV_CFLAGS += $(if $(COVERAGE),--coverage -O0)
RV_LDFLAGS += $(if $(COVERAGE),--coverage)

# pkg-config is asked when a recipe needs it, so that `make deps` and `make help` work without it.
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBS))
PKG_LIBS = $(shell pkg-config --libs $(LIBS))

MACHINE := $(shell uname -m)
ISA_x86_64 := avx2 avx512
ISA_aarch64 := neon
FLAGS_avx2 := -mavx2 -mfma -mf16c
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
FLAGS_neon :=
ISA := $(ISA_$(MACHINE))
ALL_ISA_SRC := $(wildcard src/vector/kernel_avx*.c src/vector/kernel_neon.c)
ISA_SRC := $(foreach i,$(ISA),src/vector/kernel_$(i).c)

LIB_SRC := $(filter-out $(ALL_ISA_SRC),$(wildcard src/*/*.c)) $(wildcard $(ISA_SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libruvectorfs.a
MOUNT_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard mount/*.c))
TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/ruvector*.c))
TOOL_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TOOLS:%=tools/%.c),$(wildcard tools/*.c)))
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
PROGRAMS := $(if $(MOUNT_OBJ),$(BIN)/ruvectorfs) $(TOOLS:%=$(BIN)/%)

SOURCES := $(wildcard src/*/*.[ch] mount/*.[ch] tools/*.[ch] tests/unit/*.[ch])

.DEFAULT_GOAL := all
.PHONY: all deps test check-unit check-bats check-san check-headers check-layers check-format check-tsa \
	coverage bench demo install uninstall dist clean help
.DELETE_ON_ERROR:

all: $(PROGRAMS)

$(BUILD)/src/vector/kernel_avx2.o: ISA_CFLAGS := $(FLAGS_avx2)
$(BUILD)/src/vector/kernel_avx512.o: ISA_CFLAGS := $(FLAGS_avx512)
$(BUILD)/src/vector/kernel_neon.o: ISA_CFLAGS := $(FLAGS_neon)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(RV_CFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(ISA_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BIN)/ruvectorfs: $(MOUNT_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

$(TOOLS:%=$(BIN)/%): $(BIN)/%: $(BUILD)/tools/%.o $(TOOL_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS)

$(UNIT:%=$(BUILD)/tests/unit/%): %: %.o $(LIB)
	$(CC) $(RV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) $(RV_LDLIBS) -lcmocka

deps: ## install what is missing (Debian, Ubuntu)
	@tests/deps.sh

check-unit: $(UNIT:%=$(BUILD)/tests/unit/%) ## cmocka, a binary a module
	@tests/unit/run.sh $^

check-bats: all ## bats, a file per visible file of the mount
	@RV_BIN=$(abspath $(BIN)) tests/bats/run.sh $(BATS)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

clean: ## remove build/
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
