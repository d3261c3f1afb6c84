#!/bin/sh
# Trains on one device, in the background unless --foreground: log in train_logX.txt (X: DEVICE_ID) of this folder,
# checkpoint CKPT_DIR/pose.ckpt. The environment variables that count are listed in launch_functions.sh.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='DEVICE_ID CKPT_DIR [RECIPE] [--foreground] [-- more flags of train.py]'
read_words "$@"
shift "$taken"
check_word_count 2 3
check_number DEVICE_ID "$word_1"
read_environment
make_folder "$word_2"
launch_one train "$word_1" "$root/train.py" --ckpt_save_path "$word_2/pose.ckpt" ${word_3:+--recipe "$word_3"} \
    --device_id "$word_1" ${target:+--device_target "$target"} "$@"
