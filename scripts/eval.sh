#!/bin/sh
# Evaluates a checkpoint or an exported file on one device, in the background unless --foreground; --help tells more.
# shellcheck source=common_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/common_functions.sh"
launch eval "$@"
