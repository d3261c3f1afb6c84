#!/bin/sh
# Trains on several devices, in the background unless --foreground; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch train_distributed "$@"
