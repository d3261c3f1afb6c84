"""Convert weights of other programs: python param_convert.py --recipe NAME --input FILE --output CKPT; and a checkpoint
of ours to PyTorch's names: python param_convert.py --input CKPT --output FILE.safetensors."""
import src.system.with_mindspore  # noqa: F401, I001  first
import argparse
import os
from typing import Sequence

import numpy as np

from src.checkpoints.ckpt import save_checkpoint
from src.checkpoints.configuration import resolve_test_config
from src.checkpoints.formats import Conversion, ConversionError, Row
from src.checkpoints.load import adopt_source, load_weights, read_weights, write_pytorch_safetensors
from src.config import recipe_names
from src.flags import add_config_flags, read_overrides
from src.models.registry import build_configured_network, network_name
from src.system.command_line import run_command, say
from src.system.device import set_up_device
from src.system.errors import PoseError
from src.system.files import check_writable
from src.system.printing import ArgumentParser

OUTPUT_ENDINGS = ('.ckpt', '.safetensors')


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--input', required=True, help='.pth, .pth.tar, .safetensors or .ckpt of a format that the '
                        'README lists')
    parser.add_argument('--output', required=True, help='.ckpt; or .safetensors, with PyTorch\'s names')
    parser.add_argument('--ignore', action='append', default=[], metavar='PATTERN',
                        help='names that may be left over, as a shell pattern such as "aux.*"; may be repeated')
    parser.add_argument('--first_stage_only', action='store_true',
                        help='put an ImageNet ResNet into the first stage of an MSPN instead of into all')
    parser.add_argument('--float16', action='store_true', help='write .safetensors of half the size, with numbers of '
                        'three digits instead of seven')
    add_config_flags(parser, {}, default_recipe='the one inside the input')
    return parser.parse_args()


def print_account(rows: Sequence[Row]) -> None:
    """Print the conversion report: one line per name of the file and parameter that it was loaded into."""
    lines = [('name in the file', 'our name', 'shape', '')]
    lines += [(row.source, row.target or '-', 'x'.join(map(str, row.shape)) or 'scalar', row.note) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        say('  '.join(f'{text:{width}}' for text, width in zip(line, widths)).rstrip())


def print_summary(conversion: Conversion, state: dict, network: str) -> None:
    left_over = sum(not row.target for row in conversion.rows)
    loaded = len(conversion.weights)
    say(f'format: {conversion.source.name}; {loaded} of {loaded + len(conversion.initial)} parameters of {network}, '
        f'{left_over} of {len(state)} names left over')
    if conversion.zero_biases:
        say(f'note: {conversion.zero_biases} of these are biases of zero; the format has none')
    if conversion.other_head:
        say(f'note: {conversion.other_head}')
    if conversion.initial:
        say(f'note: random initial values in {", ".join(conversion.initial_parts)}: a start for training, not a pose '
            'network')


def main() -> None:
    arguments = parse_arguments()
    if not arguments.output.endswith(OUTPUT_ENDINGS):
        raise PoseError(f'output {arguments.output} should end in {" or ".join(OUTPUT_ENDINGS)}')
    if arguments.float16 and not arguments.output.endswith('.safetensors'):
        raise PoseError(f'--float16 is for .safetensors; {arguments.output} would hold float32')
    if os.path.realpath(arguments.output) == os.path.realpath(arguments.input):
        raise PoseError(f'output {arguments.output} is the input; give it another name')
    state, carried = read_weights(arguments.input)
    if arguments.recipe is None and carried is None:
        raise PoseError(f'{arguments.input} does not say what network it is of; name its recipe with --recipe: '
                        f'{", ".join(recipe_names())}')
    config, overrides = resolve_test_config(arguments.recipe, carried, arguments.input,
                                            lambda recipe: read_overrides(arguments, {}, recipe))
    check_writable(arguments.output)
    adopt_source(config, carried, state, overrides, arguments.input)
    set_up_device('CPU')
    network = build_configured_network(config)
    try:
        conversion = load_weights(network, state, config, arguments.input, is_start=True, ignore=arguments.ignore,
                                  first_stage_only=arguments.first_stage_only)
    except ConversionError as error:
        print_account(error.rows)
        raise
    print_account(conversion.rows)
    print_summary(conversion, state, network_name(config))
    if arguments.output.endswith('.ckpt'):
        save_checkpoint(arguments.output, network, config)
    else:
        write_pytorch_safetensors(arguments.output, network, config,
                                  dtype=np.float16 if arguments.float16 else np.float32)
    say(f'written: {arguments.output}')


if __name__ == '__main__':
    run_command(main)
