#!/usr/bin/env bash
# Takes the newest packages that the bounds of the requirement files allow, runs all tests with them and, if they pass,
# writes down their versions in requirements-tested.txt: bash scripts/renew_tested.sh
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=common_functions.sh
. scripts/common_functions.sh
help_if_asked "scripts/$(basename -- "$0")" "$@"
rm -f .venv-newest/.made-from
NEWEST=1 bash scripts/test.sh
bash scripts/write_tested.sh .venv-newest/bin/python > requirements-tested.txt.new
mv requirements-tested.txt.new requirements-tested.txt
echo "written: requirements-tested.txt ($(grep -c == requirements-tested.txt) packages)"
