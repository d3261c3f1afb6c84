#!/usr/bin/env bash
# One hypothesis for a box against two, on synthetic people that overlap: a small SimplePoseNet and a small MIPNet learn
# from the same pictures and are scored on held-out pairs and on held-out single people.
#   bash scripts/quickstart_crowded.sh [FOLDER]       SEED=2 in front: other initial weights, order and augmentation
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=quickstart_functions.sh
. scripts/quickstart_functions.sh
out=${1:-quickstart_crowded}
seed=${SEED:-1}

say "Synthetic pairs and single people; two networks learn from them and are scored (seed $seed)"
mkdir -p "$out"
# If stdout has no reader, tee still writes the file, but its exit status is not 0.
"$python" -m benchmarks.crowded_pairs "$out" --seeds "$seed" | { tee "$out/comparison.txt" 2>/dev/null || :; }
pick_pictures "$out"
for recipe in simplepose_small_pairs_160x128 mipnet_small_pairs_160x128; do
    say "$recipe: poses on twelve held-out pictures of pairs"
    draw "$out" "$out/seed_$seed/$recipe"
done

say_done
table=$(grep '^|' "$out/comparison.txt")
tell "$table"
tell "what the second hypothesis wins and loses: $out/seed_$seed/heavy.html, moderate.html, singles.html"
for recipe in simplepose_small_pairs_160x128 mipnet_small_pairs_160x128; do
    tell "$recipe: pictures in $out/seed_$seed/$recipe/pictures, loss curve in $out/seed_$seed/$recipe/pose_curve.png"
done
