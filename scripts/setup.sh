#!/bin/sh
# Everything `make setup` does, once: system libraries, a virtual environment, the package.
#
#   scripts/setup.sh [--dry-run] [VENV]
#
# System libraries are installed only where that is possible (Debian or Ubuntu, as root) and
# only when one is missing. pip is left to its own configuration: PIP_* variables and pip.conf
# decide where packages come from. --dry-run prints the commands instead of running them.
#
#   PYTHON=python3.12   the interpreter to build the environment with
#   EXTRAS=gui,demo     the extras to install (default: all,test,dev,docs)
set -eu

# What Qt and OpenGL need to open a window, and what a virtual display needs on top.
WINDOW_LIBRARIES="libegl1 libgl1 libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon0"
DISPLAY_LIBRARIES="xvfb libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1
    libxkbcommon-x11-0"

dry_run=
if [ "${1:-}" = "--dry-run" ]; then
    dry_run=1
    shift
fi
venv=${1:-.venv}
extras=${EXTRAS:-all,test,dev,docs}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$*"; exit 1; }
run() {
    if [ -n "$dry_run" ]; then
        printf '%s\n' "$*"
    else
        "$@"
    fi
}
is_debian() { command -v dpkg >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
is_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}
# The list of packages is fetched once, and only if something has to be installed.
apt_install() {
    run env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 update
    run env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@"
}

install_system_libraries() {
    if ! is_debian; then
        say "not Debian or Ubuntu: system libraries are left as they are"
        return 0
    fi
    missing=
    for name in $WINDOW_LIBRARIES $DISPLAY_LIBRARIES; do
        is_installed "$name" || missing="$missing $name"
    done
    if [ -z "$missing" ]; then
        return 0
    fi
    if ! is_root; then
        say "these system libraries are missing; windows or tests may not work without them:"
        say "    sudo apt-get install$missing"
        return 0
    fi
    say "installing$missing"
    # shellcheck disable=SC2086  # one word per package is meant
    apt_install $missing || say "apt-get failed: windows may not open. Install by hand:$missing"
}

# The first interpreter that is new enough.
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Debian ships python3 without venv; it comes by apt as root, else as pip's virtualenv.
make_environment() {
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        run "$python" -m venv "$venv"
        return 0
    fi
    if is_debian && is_root; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if apt_install "python$version-venv" && run "$python" -m venv --clear "$venv"; then
            return 0
        fi
        say "no venv module by apt; using virtualenv"
    fi
    # --target touches no system package, so it also works where pip is "externally managed".
    tools=$(mktemp -d)
    run "$python" -m pip install --quiet --target "$tools" virtualenv
    run env PYTHONPATH="$tools" "$python" -m virtualenv --clear "$venv"
    rm -rf "$tools"
}

python=$(find_python) || die "Python 3.11 or newer was not found. Install it, or name it: PYTHON=..."
install_system_libraries
make_environment
say "installing napari-normative[$extras] into $venv (several minutes the first time)"
# Most of what is installed is never imported: Python compiles what is, when it is.
run "$venv/bin/python" -m pip install --no-input --no-compile --progress-bar off -e ".[$extras]"
[ -n "$dry_run" ] || say "done"
