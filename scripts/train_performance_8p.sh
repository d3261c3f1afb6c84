#!/bin/sh
# Measures the speed of training on several devices; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch train_performance_8p "$@"
