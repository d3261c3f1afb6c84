#!/usr/bin/env bash
# Measures the speed of training on one device: some steps of train.py, whose line of figures is printed last.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='--data_path=COCO [--recipe=RECIPE] [--steps=120] [--device_id=0] [--ckpt_dir=DIR] [-- more flags of train.py]'
data_path='' recipe='' steps=120 device_id=0 ckpt_dir=ckpt_performance_1p
read_flags 'data_path recipe steps device_id ckpt_dir' "$@"
shift "$taken"
check_folder --data_path "$data_path"
check_number --steps "$steps" 1
check_number --device_id "$device_id"
catch_stop
run_to_end sh "$root/scripts/train_standalone.sh" "$device_id" "$ckpt_dir" ${recipe:+"$recipe"} --foreground -- \
    --data_url "$data_path" --max_steps "$steps" "$@" || exit
print_line 'speed: {' "train_log$device_id.txt"
