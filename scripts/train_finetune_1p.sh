#!/usr/bin/env bash
# Trains on one device from the weights of a file; the line of speed figures is printed last.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='--data_path=COCO --pth_path=FILE [--recipe=RECIPE] [--device_id=0] [--ckpt_dir=DIR] [-- more flags of train.py]'
data_path='' pth_path='' recipe='' device_id=0 ckpt_dir=ckpt_finetune_1p
read_flags 'data_path pth_path recipe device_id ckpt_dir' "$@"
shift "$taken"
check_folder --data_path "$data_path"
check_number --device_id "$device_id"
[ -n "$pth_path" ] || usage_error "--pth_path is missing"
[ -f "$pth_path" ] || fail "--pth_path: the file $pth_path is not there"
catch_stop
run_to_end sh "$root/scripts/train_standalone.sh" "$device_id" "$ckpt_dir" ${recipe:+"$recipe"} --foreground -- \
    --data_url "$data_path" --pretrained_path "$pth_path" "$@" || exit
print_line 'speed: {' "train_log$device_id.txt"
