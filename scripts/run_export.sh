#!/bin/sh
exec "${PYTHON:-python}" "$(dirname -- "$(readlink -f -- "$0")")/../export.py" "$@"
