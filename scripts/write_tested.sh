#!/usr/bin/env bash
# Prints requirements-tested.txt for the packages of an environment: bash scripts/write_tested.sh PYTHON
set -eu
# shellcheck source=common_functions.sh
. "$(dirname -- "$0")/common_functions.sh"
help_if_asked "$0" "$@"
python=$1
version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
cat << EOF
# The versions that the tests passed with on Python $version, of every package that requirements-dev.txt brings in:
#     pip install -r requirements.txt -c requirements-tested.txt
# scripts/test.sh and the quickstarts take them; scripts/renew_tested.sh writes this file anew. An older Python gets what
# the bounds of the requirement files allow: some of these versions are not made for it.
EOF
# pip and setuptools come with Python.
"$python" -m pip --disable-pip-version-check freeze --all --exclude pip --exclude setuptools \
    | sed "s/\$/; python_version >= \"$version\"/"
