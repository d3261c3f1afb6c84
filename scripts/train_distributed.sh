#!/bin/sh
# Trains on several devices, in the background unless --foreground: logs in train_parallelX/log.txt (X: rank) of this
# folder, checkpoint CKPT_DIR/pose.ckpt. RANK_TABLE `none`: MindSpore's msrun starts the processes (GPU, CPU, Ascend).
# With a table of several servers SERVER_ID says which one this is; all variables: launch_functions.sh.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='RANK_TABLE|none CKPT_DIR DEVICE_NUM [RECIPE] [--foreground] [-- more flags of train.py]'
read_words "$@"
shift "$taken"
check_word_count 3 4
check_number DEVICE_NUM "$word_3" 1
read_environment
make_folder "$word_2"
launch_many train "$word_1" "$word_3" "$root/train.py" --ckpt_save_path "$word_2/pose.ckpt" \
    ${word_4:+--recipe "$word_4"} ${target:+--device_target "$target"} "$@"
