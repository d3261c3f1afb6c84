"""The small network that is bundled with this package, for users without weights."""
import argparse
import importlib.util
import os
from typing import NamedTuple, Optional

from ..evaluation.load_model import USUAL_CHECKPOINTS, usual_checkpoint
from ..system.command_line import say
from ..system.errors import PoseError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Within the installed package, and beside `src` in the repository.
FOLDER = os.path.join(_PACKAGE if os.path.isdir(os.path.join(_PACKAGE, 'weights')) else os.path.dirname(_PACKAGE),
                      'weights')
NAME, RECIPE = 'pose_small', 'simplepose_mobilenetv2_small_people18k_192x160'
BETTER = ('better ones are published weights: --weights hrnet_w32_coco_256x192, or another name of '
          'python -m src.checkpoints.zoo list')


class BundledWeights(NamedTuple):
    """The path of a weight file, and its recipe; None if the recipe is inside the file."""

    path: str
    recipe: Optional[str] = None


def bundled_weights(folder: str = FOLDER) -> BundledWeights:
    """Return the bundled network: its ONNX file if ONNX Runtime is installed, which starts at once and is several times
    as fast on a CPU; otherwise its weights, for MindSpore.

    Raises:
        PoseError: the file does not exist; the message says what to give instead.
    """
    is_for_mindspore = importlib.util.find_spec('onnxruntime') is None
    path = os.path.join(folder, f'{NAME}.safetensors' if is_for_mindspore else f'{NAME}.onnx')
    if not os.path.isfile(path):
        raise PoseError(f'no weights were given and the bundled network {path} is not there; give the name of '
                        'published weights with --weights (python -m src.checkpoints.zoo list), a checkpoint with '
                        '--ckpt_path, or an exported model with --model_file')
    return BundledWeights(path, RECIPE if is_for_mindspore else None)


def default_weights() -> BundledWeights:
    """Return the weights to take if none are named: a course checkpoint in the current folder, or else the bundled
    network.

    Raises:
        PoseError: there is neither.
    """
    path = usual_checkpoint()
    return BundledWeights(path) if path else bundled_weights()


def name_default_weights(arguments: argparse.Namespace) -> None:
    """Put the default weights into the arguments of a command line that names none, and print which.

    Raises:
        PoseError: there are none.
    """
    path, recipe = default_weights()
    if path.endswith('.onnx'):
        arguments.model_file = path
    else:
        arguments.ckpt_path, arguments.recipe = [path], arguments.recipe or recipe
    faster = '; with `pip install onnxruntime` it starts at once' if path.endswith('.safetensors') else ''
    say(f'weights: {path}, since none are named{faster}' + ('' if path in USUAL_CHECKPOINTS else f'; {BETTER}'))
