#!/bin/sh
exec sh "$(dirname -- "$(readlink -f -- "$0")")/train_distributed.sh" "$@"
