#!/bin/sh
# Evaluates a checkpoint or an exported file on several devices, in the background unless --foreground: logs in eval_parallelX/log.txt
# (X: rank) of this folder. RANK_TABLE and SERVER_ID: as for train_distributed.sh.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='RANK_TABLE|none CKPT DEVICE_NUM [--foreground] [-- more flags of eval.py]'
read_words "$@"
shift "$taken"
check_word_count 3 3
check_number DEVICE_NUM "$word_3" 1
read_environment
[ -f "$word_2" ] || fail "the checkpoint $word_2 is not there"
launch_many eval "$word_1" "$word_3" "$root/eval.py" "$(source_flag "$word_2")" "$word_2" ${target:+--device_target "$target"} "$@"
