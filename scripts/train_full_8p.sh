#!/bin/sh
# Trains on several devices and evaluates the checkpoint; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch train_full_8p "$@"
