#!/usr/bin/env bash
# Tests the page of demo.py in a browser: bash scripts/test_page.sh [pytest arguments]
# Needs the environment of scripts/test.sh, beside which it makes one with Gradio and Selenium, and Chromium with its
# driver, which it installs where apt-get can. Where there is no Chromium it says so and ends with success.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=common_functions.sh
. scripts/common_functions.sh
help_if_asked "scripts/$(basename -- "$0")" "$@"
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 || true
fi
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    echo 'the page was not tested: there is no Chromium with its driver, and apt-get could not install it'
    exit 0
fi
tested=$PWD/.venv-test
[ -x "$tested/bin/python" ] || { echo 'error: run scripts/test.sh first, which makes .venv-test' >&2; exit 2; }
# The packages of the tests are seen through a .pth file; pip does not change them.
if [ ! -e .venv-page/installed ]; then
    "$tested/bin/python" -m venv .venv-page
    site=$(.venv-page/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$tested/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/packages_of_the_tests.pth"
    .venv-page/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt selenium
    touch .venv-page/installed
fi
exec .venv-page/bin/python -m pytest -q -p no:xdist -rs "$@" tests/inference/test_demo_page.py
