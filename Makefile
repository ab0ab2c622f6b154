# A thin front of CMake: `make` builds, `make run` generates text, `make test` tests. `make help` lists
# the rest. Only run, test and the checks install packages; make itself never does.
MODEL ?= models/rwkv7-byte-5.4m.safetensors
PROMPT ?= It is a truth
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 10
ROUNDS ?= 5

define build
cmake --preset $(1)
cmake --build --preset $(1)
endef

C_FILES = $(shell find bench bindings examples fuzz include src tests tools -name '*.[ch]')

all: ## build the optimised program, build/rwkv
	@sh tools/setup.sh --check build
	$(call build,release)

run: ## install what is missing, build, generate text with the bundled model
	@sh tools/setup.sh build
	$(call build,release)
	build/rwkv run -m $(MODEL) -p "$(PROMPT)" -n 64

test: ## install what is missing, build, run the tests
	@sh tools/setup.sh build test
	$(call build,release)
	ctest --preset release

check-asan: ## all tests under the address and undefined behaviour sanitizers
	@sh tools/setup.sh build test
	$(call build,asan)
	ctest --preset asan

check-tsan: ## the tests that use threads, under the thread sanitizer
	@sh tools/setup.sh build test
	$(call build,tsan)
	ctest --preset tsan

check-arm: ## base and kernels cross-compiled for 64-bit ARM, tested under qemu
	@sh tools/setup.sh build arm
	$(call build,aarch64)
	ctest --preset aarch64

fuzz: ## every reader on damaged input for FUZZ_SECONDS each
	@sh tools/setup.sh build clang
	$(call build,fuzz)
	sh tools/fuzz.sh $(FUZZ_SECONDS)

coverage: ## lines and branches that the tests run, as docs/results/coverage.md
	@sh tools/setup.sh build test coverage
	$(call build,coverage)
	find build-coverage -name '*.gcda' -delete
	ctest --preset coverage -LE kernels
	python3 tools/coverage.py build-coverage --page docs/results/coverage.md

mutants: ## break the code at 60 places and see which tests fail, as docs/results/mutants.md (hours)
	@sh tools/setup.sh build test
	python3 tools/mutants.py --table docs/results/mutants.md

lint: ## gcc and clang with warnings as errors, clang-tidy, cppcheck
	@sh tools/setup.sh build test clang lint
	$(call build,lint-gcc)
	$(call build,lint-clang)
	sh tools/lint.sh build-lint-clang

format: ## clang-format over all C files
	@sh tools/setup.sh format
	clang-format -i $(C_FILES)

check-format: ## fail when clang-format would change a C file
	@sh tools/setup.sh format
	@clang-format --dry-run --Werror $(C_FILES)

bench: ## build the benchmarks and run them
	@sh tools/setup.sh build bench
	cmake --preset release
	cmake --build --preset release --target bench
	set -e; for b in build/bench_*; do echo "== $$b"; $$b; done

performance: all ## measure against llama.cpp and torch, write docs/performance.md (half an hour, two quiet cores)
	bench/report -r $(ROUNDS)

install: all ## install program, library and header under PREFIX (and DESTDIR)
	cmake --preset release "-DCMAKE_INSTALL_PREFIX=$(PREFIX)"
	DESTDIR="$(DESTDIR)" cmake --install build
	cp build/install_manifest.txt build/installed.txt

uninstall: ## remove what `make install` has put there, with the same DESTDIR
	@test -f build/installed.txt || { echo "make uninstall: nothing was installed from this folder"; exit 1; }
	sed 's|^|$(DESTDIR)|' build/installed.txt | tr '\n' '\0' | xargs -0 rm -fv
	rm build/installed.txt

deb: all ## a Debian package of it all, in build/
	cd build && cpack -G DEB

clean: ## remove every build folder
	rm -rf build build-*/

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 14

.PHONY: all run test check-asan check-tsan check-arm fuzz check-format coverage mutants lint format bench performance install uninstall deb clean help
