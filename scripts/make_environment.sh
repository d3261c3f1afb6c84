#!/usr/bin/env bash
# Makes (once) a virtual environment from our requirement files and prints the path of its Python. With -c the packages
# are of the versions that a constraints file names.
# Usage: python=$(bash scripts/make_environment.sh FOLDER [-c CONSTRAINTS_FILE] REQUIREMENTS_FILE...)
set -eu
# shellcheck source=common_functions.sh
. "$(dirname -- "$0")/common_functions.sh"
help_if_asked "$0" "$@"
if [ $# -lt 2 ]; then
    echo "usage: bash scripts/make_environment.sh FOLDER [-c CONSTRAINTS_FILE] REQUIREMENTS_FILE..." >&2
    exit 2
fi
folder=$1
shift
stamp="$folder/.made-from"
wanted=$(cat requirements*.txt | cksum)" $*"
if [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    echo "$folder/bin/python"
    exit 0
fi
python=
for candidate in "${PYTHON:-}" python3 python python3.12 python3.11 python3.10 python3.9; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: no Python 3.9 to 3.12 found (MindSpore has no other wheels); name one with PYTHON=/path/to/python" >&2
    exit 2
fi
echo "making the environment $folder with $("$python" --version) (about 1 GB to download, once) ..." >&2
if [ -e "$folder" ] && [ ! -e "$folder/.made-by-scripts" ]; then
    echo "error: $folder is there and was not made by this script; move it away" >&2
    exit 2
fi
rm -rf "$folder"
if ! "$python" -m venv "$folder"; then
    echo "error: $python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2
    exit 2
fi
touch "$folder/.made-by-scripts"
flags=()
if [ "$1" = -c ]; then
    flags+=(-c "$2")
    shift 2
fi
for file in "$@"; do
    flags+=(-r "$file")
done
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${flags[@]}" >&2
echo "$wanted" > "$stamp"
echo "$folder/bin/python"
