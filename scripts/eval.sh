#!/bin/sh
# Evaluates a checkpoint or an exported file (.onnx, .mindir) on one device, in the background unless --foreground: log
# in eval_logX.txt (X: DEVICE_ID) of this folder. Without CKPT eval.py takes the recipe's own (TEST.MODEL_FILE).
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='DEVICE_ID [CKPT] [--foreground] [-- more flags of eval.py]'
read_words "$@"
shift "$taken"
check_word_count 1 2
check_number DEVICE_ID "$word_1"
read_environment
[ -z "$word_2" ] || [ -f "$word_2" ] || fail "the checkpoint $word_2 is not there"
launch_one eval "$word_1" "$root/eval.py" ${word_2:+"$(source_flag "$word_2")" "$word_2"} --device_id "$word_1" \
    ${target:+--device_target "$target"} "$@"
