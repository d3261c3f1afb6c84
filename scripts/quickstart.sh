#!/usr/bin/env bash
# Learn, score and draw poses on synthetic people with nothing but Python 3.9 to 3.12: bash scripts/quickstart.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=$(bash scripts/make_environment.sh .venv-quickstart requirements.txt requirements-extra.txt)
out=${1:-quickstart}
recipes="simplepose_small_synthetic_160x128 mspn_small_synthetic_160x128"
start=$(date +%s)

say() {
    echo
    echo "== $* =="
}

# eval.py prints more than a first look needs; its whole output is in the log.
score() { # RECIPE CHECKPOINT NAME
    "$python" eval.py --ckpt_path "$out/$1/$2" --data_url "$out/data" --use_gt_bbox \
        --save_path "$out/$1/results_$3.json" > "$out/$1/eval_$3.log"
    tail -n 1 "$out/$1/eval_$3.log"
}

say "Synthetic people: 1600 pictures to learn from, 100 held out"
"$python" -m src.annotations.synthetic --root "$out/data" --num_train 1600 --num_val 100 --seed 1
rm -rf "$out/infer_img"
mkdir -p "$out/infer_img"
for number in 01 02 03 04 05 06 07 08 09 10 11 12; do
    cp "$out/data/val2017/0000000000$number.jpg" "$out/infer_img/"
done

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
    say "$recipe: poses on twelve held-out pictures"
    "$python" infer.py --ckpt_path "$out/$recipe/pose.ckpt" --data_url "$out/infer_img" \
        --det_file_url "$out/data/annotations/val2017_detections.json" --img_save_dir "$out/$recipe/pictures" \
        --score_thresh 0.3 > "$out/$recipe/infer.log"
    tail -n 1 "$out/$recipe/infer.log"
done

say "Done in $(($(date +%s) - start)) s"
for recipe in $recipes; do
    echo "$recipe"
    echo "    before training  $(tail -n 1 "$out/$recipe/eval_untrained.log")"
    echo "    after training   $(tail -n 1 "$out/$recipe/eval_trained.log")"
    echo "    pictures         $out/$recipe/pictures/*_res.jpg"
    echo "    results          $out/$recipe/results_trained.json, $out/$recipe/pictures/results.json"
    echo "    loss curve       $out/$recipe/pose_curve.png"
done
