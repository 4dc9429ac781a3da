#!/usr/bin/env bash
# `make release`: makes one file that a depot carries to a station without a network: chargebus, all that it depends on,
# and the installer. `release.sh [SOURCE]`; MACHINE=aarch64 PYTHON_VERSION=3.11 for another board than this one, OUT for
# another directory than SOURCE/build.
set -euo pipefail

source_dir=$(cd "${1:-$(dirname "$0")/..}" && pwd)
python=$(command -v "${PYTHON:-python3}")
if [ "${python#/}" = "$python" ]; then python=$PWD/$python; fi
machine=${MACHINE:-$(uname -m)}
python_version=${PYTHON_VERSION:-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
out=${OUT:-$source_dir/build}

main() {
    local version name
    version=$(cd "$source_dir" && "$python" -c 'from bus.version import VERSION; print(VERSION)')
    name=chargebus-$version-$machine-py$python_version
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/$name/wheels" "$out"
    gather_wheels "$work/$name/wheels"
    gather_files "$work/$name" "$version"
    (cd "$work/$name" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$work/SHA256SUMS"
    mv "$work/SHA256SUMS" "$work/$name/"
    tar --create --gzip --sort=name --owner=0 --group=0 --file "$work/$name.tar.gz" --directory "$work" "$name"
    mv "$work/$name.tar.gz" "$out/$name.tar.gz"
    echo "$out/$name.tar.gz"
}

# Only wheels: a station has no compiler. The platforms are those of every Debian since 12.
gather_wheels() {
    local platforms=() tag
    for tag in manylinux1 manylinux2010 manylinux2014 manylinux_2_17 manylinux_2_28 manylinux_2_31 manylinux_2_34; do
        platforms+=(--platform "${tag}_$machine")
    done
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python_version" "${platforms[@]}" \
        --dest "$1" --requirement "$source_dir/deploy/requirements.txt" 2>"$work/pip.log" || {
        cat "$work/pip.log" >&2
        return 1
    }
    # Built from a copy: setuptools leaves its own directories beside what it builds.
    cp -r "$source_dir/bus" "$source_dir/services" "$source_dir/deploy" "$work/"
    cp "$source_dir"/{setup.cfg,pyproject.toml,README.md,LICENSE} "$work/"
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$1" "$work" 2>"$work/pip.log" || {
        cat "$work/pip.log" >&2
        return 1
    }
}

gather_files() {
    cp -r "$source_dir/deploy/share" "$source_dir/deploy/profiles" "$source_dir/deploy/requirements.txt" "$1/"
    cp "$source_dir/deploy/install.sh" "$source_dir/deploy/README.md" "$source_dir/deploy/FIELD-GUIDE.md" "$1/"
    printf 'version=%s\npython=%s\nmachine=%s\n' "$2" "$python_version" "$machine" >"$1/RELEASE"
}

main
