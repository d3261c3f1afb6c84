#!/usr/bin/env bash
# Runs the tests in an environment of their own: bash scripts/test.sh [--quick] [pytest arguments]
# --quick: only the quick tests, in under 90 seconds; all tests take a quarter of an hour.
# MINDSPORE=2.7.0 in front tests with another supported version, NEWEST=1 with the newest packages that the bounds allow
# instead of those of requirements-tested.txt.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=common_functions.sh
. scripts/common_functions.sh
help_if_asked "scripts/$(basename -- "$0")" "$@"
version=${MINDSPORE:-}
if [ "${1:-}" = --quick ]; then
    shift
    set -- -m quick "$@"
fi
if [ -n "${NEWEST:-}" ]; then
    python=$(bash scripts/make_environment.sh ".venv-newest${version:+-$version}" requirements-dev.txt)
else
    python=$(bash scripts/make_environment.sh ".venv-test${version:+-$version}" -c requirements-tested.txt \
        requirements-dev.txt)
fi
if [ -n "$version" ] && ! "$python" -c "import importlib.metadata as m; assert m.version('mindspore') == '$version'" \
        2>/dev/null; then
    # MindSpore up to 2.9 breaks on NumPy 2.
    "$python" -m pip install --quiet --disable-pip-version-check "mindspore==$version" "numpy<2"
fi
"$python" -m ruff check .
# Two processes, each with whole files, because fixtures are costly and made once per file. Files run in the order of
# their names: ordered by number of tests, the files with few but long tests would come last, and one process would wait
# for the other. If a process dies, the run ends instead of waiting for it.
exec "$python" -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 "$@" tests
