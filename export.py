"""Export a checkpoint: python export.py --ckpt_path CKPT --file_format MINDIR|ONNX|AIR --file_name OUT …"""
import src.system.with_mindspore  # noqa: F401, I001  first
import argparse
import os

import numpy as np

from src.checkpoints.configuration import resolve_test_config
from src.checkpoints.load import adopt_source, load_weights, read_weights
from src.config import resolve
from src.datasets.registry import configured_skeleton
from src.evaluation.predictors import network_predictor
from src.export.compare import compare_all
from src.export.example_crops import CALIBRATION, find_example_crops
from src.export.plan import FILE_FORMATS, check_air, read_plan
from src.export.float16 import store_in_float16
from src.export.quantise import quantise
from src.export.model_file import INPUT_KINDS, open_model_file
from src.export.runtimes import installed_runtimes
from src.export.write import build_exported_model, describe, write_model
from src.flags import TEST_FLAGS, add_config_flags, read_overrides
from src.models.registry import build_empty_network, model_of, network_name
from src.system.command_line import run_command, say
from src.system.device import set_up_device
from src.system.errors import MissingPackageError
from src.system.files import check_writable, atomic_file
from src.system.printing import ArgumentParser

EXPORT_FLAGS = {flag: key for flag, key in TEST_FLAGS.items() if flag.startswith('device')}


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--ckpt_path', required=True, help='checkpoint, or weights that param_convert.py knows')
    parser.add_argument('--file_format', choices=list(FILE_FORMATS), type=str.upper,
                        help='default: by the ending of the name, else MINDIR')
    parser.add_argument('--file_name', default='pose', help='where to, with or without ending (default: %(default)s)')
    parser.add_argument('--batch_size', default='', help='a number, or dynamic (default: dynamic for ONNX, else 1)')
    parser.add_argument('--input', default='images', choices=INPUT_KINDS,
                        help='normalised (N, 3, H, W) float32 or (N, H, W, 3) uint8 BGR (default: %(default)s)')
    parser.add_argument('--with_decode', action='store_true', help='keypoints and scores instead of heatmaps')
    parser.add_argument('--flip_test', action='store_true', help='average with the mirrored crop inside the file')
    parser.add_argument('--hypotheses', default='one', choices=('one', 'all'), help='of MIPNet: one person of a box, '
                        'whom the input codes names, or all at once (default: %(default)s)')
    parser.add_argument('--opset', type=int, default=17, help='of ONNX (default: %(default)s)')
    parser.add_argument('--int8', action='store_true', help='quantise an ONNX file, calibrated on people of --data_url')
    parser.add_argument('--float16', action='store_true', help='store the weights of an ONNX file in float16: half the '
                        'size, computed in float32')
    parser.add_argument('--data_url', help='pictures that calibrate, and that the file is checked on')
    parser.add_argument('--det_file_url', help='boxes on them (default: all in annotation/det_json)')
    parser.add_argument('--calibration_people', type=int, default=64, help='that calibrate (default: %(default)s)')
    add_config_flags(parser, EXPORT_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    plan, path = read_plan(arguments)
    weights, carried = read_weights(arguments.ckpt_path)
    config, overrides = resolve_test_config(arguments.recipe, carried, arguments.ckpt_path,
                                            lambda recipe: read_overrides(arguments, EXPORT_FLAGS, recipe))
    adopt_source(config, carried, weights, overrides, arguments.ckpt_path)
    set_up_device(config.DEVICE.TARGET, config.DEVICE.ID)
    check_air(plan)
    runtimes = installed_runtimes(path) if plan.file_format != 'AIR' else []
    if plan.file_format == 'ONNX' and not runtimes:
        raise MissingPackageError('an ONNX file is checked in the runtime that will serve it: pip install -r '
                          'requirements-deploy.txt')
    check_writable(path)
    skeleton = configured_skeleton(config)
    crops = find_example_crops(config, skeleton, arguments.data_url, arguments.det_file_url,
                               arguments.calibration_people)
    network, folded = build_empty_network(config), build_empty_network(config)
    for each in (network, folded):
        load_weights(each, weights, config, arguments.ckpt_path)
    protocol = resolve(config, {'TEST.FLIP_TEST': plan.flip_test, 'TEST.MULTI_SHIFT': 0})
    reference = network_predictor(protocol, network, skeleton.flip_index)
    model = build_exported_model(config, folded, plan, skeleton.flip_index)
    with atomic_file(path) as temporary:
        write_model(temporary, model, config, plan, describe(config, plan, skeleton.keypoint_names))
        files = [open_model_file(temporary, runtime) for runtime in runtimes]
        # There may be many crops for calibration; two of each kind are enough for the comparison.
        for line in compare_all(files, {what: some[:2] for what, some in crops.items()}, reference.run,
                                model_of(config).codec.decode(config)):
            say(line)
        if arguments.int8:
            say(f'int8: {quantise(temporary, crops[CALIBRATION])}')
        if arguments.float16:
            say(f'float16: {store_in_float16(temporary, np.concatenate([some[:2] for some in crops.values()]))}')
    say(f'written: {path} ({network_name(config)}, {plan}{", int8" * arguments.int8}'
        f'{", weights in float16" * arguments.float16}, {os.path.getsize(path) / 1e6:.1f} MB)')
    if plan.with_decode and config.TEST.FLIP_TEST and not plan.flip_test:
        say('note: the flip test of the recipe is not inside, and nobody can add it to keypoints; --flip_test would')
    if plan.takes_codes(config):
        say('note: the file computes one person of a box at a time, whom its input codes names; eval.py and infer.py '
            'run it whole for each of them; --hypotheses all shares what does not depend on the code')
    if not runtimes:
        say(f'note: nothing here can load {plan.file_format} files; this one was not compared with the network')


if __name__ == '__main__':
    run_command(main)
