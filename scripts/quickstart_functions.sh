# shellcheck shell=bash
# Shared by the quickstarts: their environment, headlines, and the pictures that they draw poses on. To be sourced from
# the root of the repository.

# shellcheck source=common_functions.sh
. scripts/common_functions.sh
help_if_asked "scripts/$(basename -- "$0")" "$@"
# The tested versions, so that a new release of a package cannot break the quickstart.
python=$(bash scripts/make_environment.sh .venv-quickstart -c requirements-tested.txt requirements.txt \
    requirements-extra.txt)
read_clock
quickstart_start=$now

say() {
    tell
    tell "== $* =="
}

say_done() {
    read_clock
    say "Done in $((now - quickstart_start)) s"
}

# Puts the first twelve pictures of the data set's val2017 into infer_img beside it.
pick_pictures() { # FOLDER
    rm -rf "$1/infer_img"
    mkdir -p "$1/infer_img"
    for number in 01 02 03 04 05 06 07 08 09 10 11 12; do
        cp "$1/data/val2017/0000000000$number.jpg" "$1/infer_img/"
    done
}

# Draws poses on the pictures of pick_pictures.
draw() { # FOLDER FOLDER_OF_CHECKPOINT
    "$python" infer.py --ckpt_path "$2/pose.ckpt" --data_url "$1/infer_img" \
        --det_file_url "$1/data/annotations/val2017_detections.json" --img_save_dir "$2/pictures" \
        --score_thresh 0.3 > "$2/infer.log"
    tell "$(tail -n 1 "$2/infer.log")"
}
