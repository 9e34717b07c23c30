# What a developer does here, by name. Each target installs what it lacks on a Debian with Rust, as root, and says so.
#
#   make demo    a site is made, backed up twice and brought back before your eyes
#   make check   every test, and what `make lint` looks at
#   make mysql   the package with MySQL, on Debian's sid in a container; not a part of `make check`
#   make bench   how fast, beside rsync, mariadb-dump, tar, restic and borg
#   make deb     the Debian package, in target/debian/
#   make deb-arm64   the same for arm64, in target/debian/arm64/, where Rust's library for that is installed

CARGO ?= cargo
PACKAGES := $(or $(CARGO_TARGET_DIR),target)/debian
SHELLCHECKED := .ci/run debian/build.sh debian/postinst debian/prerm debian/postrm \
	$(wildcard tests/*.sh tests/containers/*.sh)

.PHONY: demo check lint test containers mysql bench deb deb-arm64 deps

demo: deps
	$(CARGO) test --release --quiet --test demo

check: lint test containers

lint: deps deb
	tests/install-deps.sh lintian man-db mandoc
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --features failpoints -- -D warnings
	shellcheck $(sort $(SHELLCHECKED))
	find tests/pocket-moodle src -name '*.php' -print0 | xargs -0 -n1 php -l >/dev/null
	tests/man-pages.sh man/*.[578]
	bash -n completions/moodle-backup.bash
	zsh -n completions/_moodle-backup
	fish --no-execute completions/moodle-backup.fish
	# Where texts lie side by side in a binary, they make words that nobody wrote.
	lintian --display-info --display-experimental --pedantic --allow-root \
		--suppress-tags spelling-error-in-binary \
		--fail-on error,warning,info,pedantic,experimental $(PACKAGES)/*.deb

# With failpoints: the fault tests make runs fail, hang and die at each step.
test: deps
	$(CARGO) test --features failpoints

# The package on Debian 11, 12 and 13, each booted in a container.
containers: deb
	tests/install-deps.sh autopkgtest mmdebstrap piuparts systemd-container
	$(CARGO) test --features failpoints --test containers
	tests/containers/policy.sh $(PACKAGES)/*.deb

# Sid changes daily, so nothing else stands on it.
mysql: deb
	tests/install-deps.sh mmdebstrap systemd-container
	$(CARGO) test --features failpoints --test containers -- --ignored --exact mysql

bench: deps
	tests/install-deps.sh restic borgbackup
	$(CARGO) bench --bench site

deb: deps
	tests/install-deps.sh python3-venv
	debian/build.sh

# Says what is missing where it cannot be built.
deb-arm64: deps
	tests/install-deps.sh binutils-aarch64-linux-gnu python3-venv
	ARCH=arm64 debian/build.sh

deps:
	tests/install-deps.sh
