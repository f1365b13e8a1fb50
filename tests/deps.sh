#!/bin/sh
# Installs what is missing to build and, with "test", to test. Says nothing when nothing is missing.
set -eu

build="make gcc libc6-dev pkg-config libfuse3-dev fuse3 libsqlite3-dev libsimde-dev libjansson-dev libcurl4-openssl-dev"
test="libcmocka-dev bats bats-support bats-assert bats-file busybox python3 rsync attr sqlite3 procps util-linux mandoc gnuplot-nox zsh curl jq python3-numpy perl mawk nodejs ruby tcl php-cli lua5.4"

# Packages that another one stands in for.
is_there() {
    case $1 in
    busybox | rsync | python3 | sqlite3 | bats | make | gcc | zsh | curl | jq | perl | mawk | ruby | lua5.4) command -v "$1" > /dev/null && return ;;
    pkg-config) command -v pkg-config > /dev/null && return ;;
    attr) command -v setfattr > /dev/null && return ;;
    procps) command -v ps > /dev/null && return ;;
    nodejs) command -v node > /dev/null && return ;;
    tcl) command -v tclsh > /dev/null && return ;;
    php-cli) command -v php > /dev/null && return ;;
    gnuplot-nox) command -v gnuplot > /dev/null && return ;;
    libcurl4-openssl-dev) command -v pkg-config > /dev/null && pkg-config --exists libcurl && return ;;
    fuse3) command -v fusermount3 > /dev/null && return ;;
    esac
    dpkg-query -W -f '${Status}\n' "$1" 2> /dev/null | grep -q 'ok installed$'
}

as_root() {
    $sudo env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes "$@"
}

apt_install() {
    as_root apt-get install -y -q --no-install-recommends "$@"
}

packages=$build
[ "${1:-}" != test ] || packages="$build $test"

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    for lib in fuse3 sqlite3 jansson libcurl; do
        if ! pkg-config --exists "$lib" 2> /dev/null; then
            echo "deps: this system has no apt-get: install by its own means what these Debian packages hold: $packages" >&2
            exit 1
        fi
    done
    exit 0
fi

missing=
for p in $packages; do
    is_there "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    if ! command -v sudo > /dev/null; then
        echo "deps: packages are missing, and installing them needs root; as root:" >&2
        echo "    apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
fi
echo "deps: installing$missing"
# The lists of a fresh machine are empty or old: fetch them only when what is there does not do.
# shellcheck disable=SC2086
apt_install $missing > /dev/null 2>&1 && exit 0
as_root apt-get update -q > /dev/null
# shellcheck disable=SC2086
apt_install $missing > /dev/null && exit 0
echo "deps: apt-get could not install them, see above" >&2
exit 1
