#!/usr/bin/env bash
# Learn, score and draw poses on synthetic people with nothing but Python 3.9 to 3.12: bash scripts/quickstart.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=$(bash scripts/make_environment.sh .venv requirements-extra.txt)
out=${1:-quickstart}
start=$(date +%s)

step() {
    echo
    echo "== $* =="
}

step "1. Synthetic people"
"$python" -m src.annotations.synthetic --root "$out/data" --num_train 1200 --num_val 150 --seed 1
val_json="$out/data/annotations/person_keypoints_val2017.json"

# The pictures of the inference: the first twelve held-out ones.
mkdir -p "$out/infer_img"
cp "$out"/data/val2017/0000000000{01..12}.jpg "$out/infer_img/" 2>/dev/null || cp "$out"/data/val2017/00000000000?.jpg "$out/infer_img/"

for model in simplepose mspn; do
    recipe=${model}_small_synthetic_160x128
    folder="$out/$model"
    mkdir -p "$folder"
    step "2. $recipe: AP before training"
    "$python" train.py --recipe "$recipe" --data_url "$out/data" --ckpt_save_path "$folder/untrained.ckpt" \
        --set TRAIN.END_EPOCH=0 > "$folder/untrained.log"
    step "3. $recipe: training (log: $folder/train.log)"
    "$python" train.py --recipe "$recipe" --data_url "$out/data" --ckpt_save_path "$folder/pose.ckpt" > "$folder/train.log"
    "$python" -m src.curves "$folder/pose_metrics.jsonl" "$folder/loss.png" --title "$recipe"
    step "4. $recipe: AP on held-out people"
    "$python" eval.py --ckpt_path "$folder/pose.ckpt" --use_gt_bbox --save_path "$folder/results.json"
    step "5. $recipe: poses on held-out pictures"
    "$python" infer.py --ckpt_path "$folder/pose.ckpt" --data_url "$out/infer_img" \
        --det_file_url "$out/data/annotations/val2017_detections.json" --img_save_dir "$folder/pictures" --score_thresh 0.4
done
