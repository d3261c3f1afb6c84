#!/usr/bin/env bash
# Measures the speed of training on several devices of this server: some steps of train.py, whose line of figures is
# printed last.
set -u
# shellcheck source=launch_functions.sh
. "$(dirname -- "$(readlink -f -- "$0")")/launch_functions.sh"
usage='--data_path=COCO [--recipe=RECIPE] [--steps=120] [--rank_table=FILE] [--device_num=8] [--ckpt_dir=DIR]'
usage="$usage [-- more flags of train.py]"
data_path='' recipe='' steps=120 rank_table=none device_num=8 ckpt_dir=ckpt_performance_8p
read_flags 'data_path recipe steps rank_table device_num ckpt_dir' "$@"
shift "$taken"
check_folder --data_path "$data_path"
check_number --steps "$steps" 1
check_number --device_num "$device_num" 1
catch_stop
run_to_end sh "$root/scripts/train_distributed.sh" "$rank_table" "$ckpt_dir" "$device_num" ${recipe:+"$recipe"} \
    --foreground -- --data_url "$data_path" --max_steps "$steps" "$@" || exit
print_line 'speed: {' train_parallel0/log.txt
