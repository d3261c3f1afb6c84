#!/bin/sh
# Evaluates a checkpoint or an exported file on several devices; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch eval_distributed "$@"
