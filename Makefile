# What a developer does here, by name. Each target installs what it lacks on a Debian with Rust, as root, and says so.
#
#   make demo    a site is made, backed up twice and brought back before your eyes
#   make check   every test, and what `make lint` looks at
#   make bench   how fast, beside rsync, mariadb-dump, tar, restic and borg

CARGO ?= cargo
SHELLCHECKED := .ci/run tests/install-deps.sh $(wildcard tests/*.sh)

.PHONY: demo check lint test bench deps

demo: deps
	$(CARGO) test --release --quiet --test demo

check: lint test

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --features failpoints -- -D warnings
	shellcheck $(sort $(SHELLCHECKED))
	find tests/pocket-moodle src -name '*.php' -print0 | xargs -0 -n1 php -l >/dev/null

# With failpoints: the fault tests make runs fail, hang and die at each step.
test: deps
	$(CARGO) test --features failpoints

bench: deps
	tests/install-deps.sh restic borgbackup
	$(CARGO) bench --bench site

deps:
	tests/install-deps.sh
