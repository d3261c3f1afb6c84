#!/usr/bin/env bash
# Trains on several devices of this server, evaluates the checkpoint on device 0 (with the boxes of the annotation file
# unless detections are given) and prints the lines of speed and AP last.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='--data_path=COCO [--recipe=RECIPE] [--det_path=FILE] [--rank_table=FILE] [--device_num=8] [--ckpt_dir=DIR]'
usage="$usage [-- more flags of train.py]"
data_path='' recipe='' det_path='' rank_table=none device_num=8 ckpt_dir=ckpt_full_8p
read_flags 'data_path recipe det_path rank_table device_num ckpt_dir' "$@"
shift "$taken"
check_folder --data_path "$data_path"
check_number --device_num "$device_num" 1
[ -z "$det_path" ] || [ -f "$det_path" ] || fail "--det_path: the file $det_path is not there"
catch_stop
run_to_end sh "$root/scripts/train_distributed.sh" "$rank_table" "$ckpt_dir" "$device_num" ${recipe:+"$recipe"} \
    --foreground -- --data_url "$data_path" "$@" || exit
# A training that was stopped ends with status 0 too, but it is not to be judged.
[ -z "$interrupted" ] || exit 0
if [ -n "$det_path" ]; then
    set -- --det_file_url "$det_path"
else
    set -- --use_gt_bbox
fi
run_to_end sh "$root/scripts/eval.sh" 0 "$ckpt_dir/pose.ckpt" --foreground -- --data_url "$data_path" \
    --save_path "$ckpt_dir/results.json" "$@" || exit
print_line 'speed: {' train_parallel0/log.txt
print_line 'AP ' eval_log0.txt
