#!/bin/sh
# Trains on one device from the weights of a file; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch train_finetune_1p "$@"
