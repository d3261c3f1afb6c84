"""Draw poses: python infer.py PICTURE|FOLDER|VIDEO|CAMERA … [--detector FILE.onnx] [--ckpt_path CKPT], or on numbered
pictures with boxes of a file: python infer.py --ckpt_path CKPT [--data_url …] [--det_file_url …]."""
import argparse

from src.datasets.registry import configured_skeleton
from src.evaluation.load_model import add_source_flags, fetch_named_weights, open_source
from src.flags import TEST_FLAGS, add_config_flags, read_overrides
from src.inference.bundled import name_default_weights
from src.inference.command import add_input_flags, run_inputs
from src.inference.numbered import CLASSIC_FOLDER, CLASSIC_SCORE, run_numbered
from src.models.registry import model_of
from src.system.command_line import run_command, say
from src.system.device import set_up_device
from src.system.printing import ArgumentParser

# Without the flags of pictures and boxes, which have another meaning here than those of the data set in a recipe.
INFER_FLAGS = {flag: key for flag, key in TEST_FLAGS.items() if flag not in ('data_url', 'gt_file_url', 'det_file_url')}


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    add_source_flags(parser, 'checkpoint', precision='auto')
    add_input_flags(parser)
    parser.add_argument('--score_thresh', type=float, help='people above are drawn, further people of a box above '
                        f'MIPNET.DECAY_THRE times that (default: {CLASSIC_SCORE}; with INPUT by network, and then the '
                        'score of the box does not count)')
    parser.add_argument('--keypoint_thresh', type=float, help='keypoints above are drawn (default: by network)')
    parser.add_argument('--data_url', help=f'folder of pictures (default: {CLASSIC_FOLDER}; of an annotation file as '
                        'INPUT its own)')
    parser.add_argument('--det_file_url', help='detection JSON (default: all in annotation/det_json)')
    parser.add_argument('--img_save_dir', default='./res_img', help='output folder (default: %(default)s)')
    add_config_flags(parser, INFER_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    fetch_named_weights(arguments)
    if not arguments.ckpt_path and not arguments.model_file:
        name_default_weights(arguments)
    source, config, _ = open_source(arguments, arguments.ckpt_path,
                                    lambda recipe: read_overrides(arguments, INFER_FLAGS, recipe))
    target = set_up_device(config.DEVICE.TARGET, config.DEVICE.ID) if source.needs_mindspore else 'CPU'
    say(f'network: {source.describe(config)}, device: {target}')
    skeleton = configured_skeleton(config)
    if not arguments.inputs:
        run_numbered(arguments, config, source, skeleton, target)
        return
    for key, value in (('score_thresh', model_of(config).draw_person_threshold),
                       ('keypoint_thresh', model_of(config).draw_threshold)):
        if getattr(arguments, key) is None:
            setattr(arguments, key, value)
    run_inputs(arguments, config, source, skeleton)


if __name__ == '__main__':
    run_command(main)
