#!/usr/bin/env bash
# Draw poses on photos with the bundled network; then learn, score and draw poses on synthetic people. Needs nothing but
# Python 3.9 to 3.12.
#   bash scripts/quickstart.sh [FOLDER] [PHOTO...]
# FOLDER (default: quickstart) takes all results. Without a PHOTO, the portrait that comes with matplotlib is one.
set -eu
start=$PWD
cd "$(dirname "$0")/.."
# shellcheck source=quickstart_functions.sh
. scripts/quickstart_functions.sh
out=quickstart
if [ $# -gt 0 ] && ! [ -f "$start/$1" ] && ! [ -f "$1" ]; then
    case $1 in
        # Otherwise a mistake in the name of a photo would make a folder of that name.
        *.[jJ][pP][gG] | *.[jJ][pP][eE][gG] | *.[pP][nN][gG])
            echo "error: there is no picture $1" >&2
            exit 2
            ;;
    esac
    out=$1
    shift
fi
photos=()
for photo in "$@"; do
    case $photo in /*) ;; *) photo=$start/$photo ;; esac
    if ! [ -f "$photo" ]; then
        echo "error: there is no picture $photo" >&2
        exit 2
    fi
    photos+=("$photo")
done
recipes="simplepose_small_synthetic_160x128 mspn_small_synthetic_160x128"

# Prints only the last line of eval.py; its whole output is in the log.
score() { # RECIPE CHECKPOINT NAME
    "$python" eval.py --ckpt_path "$out/$1/$2" --data_url "$out/data" --use_gt_bbox \
        --save_path "$out/$1/results_$3.json" > "$out/$1/eval_$3.log"
    tell "$(tail -n 1 "$out/$1/eval_$3.log")"
}

say "Poses on photos with the bundled network"
rm -rf "${out:?}/photos" "${out:?}/painted"
mkdir -p "$out/photos"
if [ ${#photos[@]} -eq 0 ]; then
    # The portrait is a box as a whole; painted people come with theirs.
    "$python" -m src.synthetic --root "$out/painted" --num_train 1 --num_val 3 --seed 2 > /dev/null 2>&1
    photos=("$out/painted/annotations/person_keypoints_val2017.json")
    portrait=$("$python" -c 'import matplotlib as m; print(m.get_data_path() + "/sample_data/grace_hopper.jpg")')
    if [ -f "$portrait" ]; then
        photos=("$portrait" "${photos[@]}")
    fi
fi
"$python" infer.py "${photos[@]}" --img_save_dir "$out/photos" > "$out/photos/infer.log"
tell "$(cat "$out/photos/infer.log")"

say "Synthetic people: 1600 pictures to learn from, 100 held out"
"$python" -m src.synthetic --root "$out/data" --num_train 1600 --num_val 100 --seed 1
pick_pictures "$out"

for recipe in $recipes; do
    rm -rf "${out:?}/$recipe"
    mkdir -p "$out/$recipe"
    say "$recipe: score of the untrained network on held-out people"
    "$python" train.py --recipe "$recipe" --data_url "$out/data" --epoch 0 \
        --ckpt_save_path "$out/$recipe/untrained.ckpt" > "$out/$recipe/untrained.log"
    score "$recipe" untrained.ckpt untrained
    say "$recipe: training (every step's loss is in $out/$recipe/train.log)"
    "$python" train.py --recipe "$recipe" --data_url "$out/data" \
        --ckpt_save_path "$out/$recipe/pose.ckpt" > "$out/$recipe/train.log"
    say "$recipe: score of the trained network on held-out people"
    score "$recipe" pose.ckpt trained
    "$python" -m src.evaluation.report --gt "$out/data/annotations/person_keypoints_val2017.json" \
        --results "$out/$recipe/results_trained.json" --images "$out/data" \
        --report "$out/$recipe/report.html" > "$out/$recipe/report.log"
    say "$recipe: poses on twelve held-out pictures"
    draw "$out" "$out/$recipe"
done

say_done
tell "photos             $out/photos"
for recipe in $recipes; do
    tell "$recipe"
    tell "    before training  $(tail -n 1 "$out/$recipe/eval_untrained.log")"
    tell "    after training   $(tail -n 1 "$out/$recipe/eval_trained.log")"
    tell "    what is wrong    $out/$recipe/report.html"
    tell "    pictures         $out/$recipe/pictures/*_res.jpg"
    tell "    results          $out/$recipe/results_trained.json, $out/$recipe/pictures/results.json"
    tell "    loss curve       $out/$recipe/pose_curve.png"
done
