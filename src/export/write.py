"""A trained network → a file for other runtimes (ONNX, MINDIR or AIR), with metadata on how to use it.

Axes: N crops, I hypotheses, K keypoints, H, W input, h, w heatmap.
"""
import json
import os
import shutil
import tempfile
from copy import deepcopy
from functools import partial
from typing import Dict, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import Tensor, nn

from ..config import input_shape, load_recipe, to_json
from ..models.common.flip_test import AllHypotheses
from ..models.common.normalise import build_normaliser
from ..models.record import HYPOTHESIS_NAMES, PIXELS_PER_CELL
from ..models.registry import build_flip_test, model_of, network_name, num_hypotheses
from ..system.errors import PoseError
from .folding import fold_batch_norms
from .onnx_cells import follow
from .onnx_graph import OnnxGraph, Value, import_onnx
from .plan import FILE_FORMATS, ExportPlan
from .runtimes import write_user_info

# Prefixes of the names of nodes in an ONNX graph: of the network itself, and of the decoder.
NETWORK_SCOPE, DECODER_SCOPE = 'predictor.network', 'decoder'


class ExportedModel(nn.Cell):
    """The cell to export: crops (for a MIPNet, also codes) -> heatmaps, or keypoints and scores."""

    def __init__(self, predictor: nn.Cell, decoder: Optional[nn.Cell]):
        super().__init__(auto_prefix=False)
        self.predictor, self.decoder = predictor, decoder

    def construct(self, crops, *codes):
        heatmaps = self.predictor(crops, *codes)
        return heatmaps if self.decoder is None else self.decoder(heatmaps)


def build_exported_model(config: EasyDict, network: nn.Cell, plan: ExportPlan, flip_index: np.ndarray
                         ) -> ExportedModel:
    """Return the cell to export, in eval mode. The BatchNorms of `network` are folded, which changes it permanently.

    Args:
        config: resolved configuration.
        flip_index: (K,).

    Raises:
        PoseError: the plan asks for all hypotheses of a network that has only one.
    """
    if plan.all_hypotheses and num_hypotheses(config) == 1:
        raise PoseError(f'--hypotheses all is for networks that look for several people in a box, not for '
                        f'{network_name(config)}')
    fold_batch_norms(network)
    if plan.all_hypotheses:
        network = AllHypotheses(network)
    predictor = build_flip_test(exported_config(config, plan),
                                build_normaliser(config) if plan.input_kind == 'pixels' else None, network,
                                flip_index if plan.flip_test else None)
    decoder = model_of(config).codec.graph_decoder(config) if plan.with_decode else None
    return ExportedModel(predictor, decoder).set_train(False)


# Settings of the machine that exports, which do not belong to the model.
LOCAL_KEYS = ('DEVICE.TARGET', 'DEVICE.ID', 'DATASET.ROOT', 'DATASET.TRAIN_JSON', 'DATASET.TEST_JSON',
              'DATASET.PRECUT', 'MODEL.PRETRAINED', 'TEST.MODEL_FILE', 'TEST.COCO_BBOX_FILE', 'TRAIN.CKPT_SAVE_PATH')


def exported_config(config: EasyDict, plan: ExportPlan) -> EasyDict:
    """Return the recipe to store in a file, without the paths and the device of the exporting machine. What cannot
    be added outside the file (TEST.FLIP_TEST, TEST.MULTI_SHIFT) is set to what the file does."""
    config, defaults = deepcopy(config), load_recipe('base')
    for key in LOCAL_KEYS:
        section, name = key.split('.')
        config[section][name] = defaults[section][name]
    if plan.flip_test or plan.with_decode:
        config.TEST.FLIP_TEST = plan.flip_test
    if plan.with_decode:
        config.TEST.MULTI_SHIFT = 0.0
    return config


def describe(config: EasyDict, plan: ExportPlan, keypoint_names: Sequence[str]) -> Dict[str, str]:
    """Return the metadata of a file, {key: JSON}; the keys are METADATA_KEYS of `model_file.py`."""
    height, width = input_shape(config)
    images = {'kind': 'images', 'axes': 'N, 3, H, W', 'type': 'float32', 'range': 'normalised'}
    pixels = {'kind': 'pixels', 'axes': 'N, H, W, 3', 'type': 'uint8', 'range': '0 to 255'}
    factor, shift = (each.ravel().tolist() for each in build_normaliser(config).factor_and_shift())
    channel_order = 'RGB' if config.DATASET.COLOR_RGB and plan.input_kind == 'images' else 'BGR'
    rows, people = 'N', ''
    if plan.all_hypotheses:
        names = HYPOTHESIS_NAMES[:num_hypotheses(config)]
        rows, people = 'I * N', '; ' + ', then '.join(f'N {name} people' for name in names)
    outputs = {'heatmaps': f'{rows}, K, h, w{people}'}
    if plan.with_decode:
        outputs = {'keypoints': f'{rows}, K, 2: x, y in pixels of the crop{people}', 'scores': f'{rows}, K{people}'}
    versions = {'mindspore': ms.__version__, 'file_format': plan.file_format, 'weights': 'float32'}
    if plan.file_format == 'ONNX':
        versions.update(onnx=import_onnx().__version__, opset=plan.opset)
    content = {
        'network': network_name(config),
        'input': {**(pixels if plan.input_kind == 'pixels' else images), 'channel_order': channel_order,
                  'height': height, 'width': width, **_describe_codes(config, plan)},
        'normalisation': {'formula': 'image = pixel * factor + shift, per channel', 'factor': factor, 'shift': shift,
                          'means': config.DATASET.MEANS, 'stds': config.DATASET.STDS,
                          'inside': plan.input_kind == 'pixels'},
        'keypoint_names': list(keypoint_names),
        'outputs': outputs,
        'decoder': {'inside': plan.with_decode, **model_of(config).codec.describe(config)},
        'flip_test': {'inside': plan.flip_test},
        'versions': versions}
    return {'recipe': to_json(exported_config(config, plan)),
            **{key: json.dumps(value) for key, value in content.items()}}


def _describe_codes(config: EasyDict, plan: ExportPlan) -> Dict[str, dict]:
    """Return the metadata on the input `codes`; {} if there is no such input."""
    if not plan.takes_codes(config):
        return {}
    values = model_of(config).codes(config).tolist()
    return {'codes': {'axes': 'N, 2', 'type': 'float32', 'values': dict(zip(HYPOTHESIS_NAMES, values))}}


def _inputs(config: EasyDict, plan: ExportPlan) -> Dict[str, Tuple[type, Tuple[int, ...]]]:
    """Return the NumPy type and the shape without N of each input, by its name."""
    height, width = input_shape(config)
    crops = (np.float32, (3, height, width)) if plan.input_kind == 'images' else (np.uint8, (height, width, 3))
    return {plan.input_kind: crops, **({'codes': (np.float32, (2,))} if plan.takes_codes(config) else {})}


def write_model(path: str, model: ExportedModel, config: EasyDict, plan: ExportPlan, metadata: Dict[str, str]) -> None:
    """Write the file; `path` has the ending of its format.

    Raises:
        ImportError: the format is ONNX and the package onnx is not installed.
        PoseError: the network has a part that ONNX cannot express.
        OSError: it cannot be written.
    """
    if plan.file_format == 'ONNX':
        content = _onnx_content(model, config, plan, metadata)
        with open(path, 'wb') as file:
            file.write(content)
        return
    examples = [Tensor(np.zeros((plan.batch_size or 1, *shape), kind))
                for kind, shape in _inputs(config, plan).values()]
    if not plan.batch_size:
        examples = [Tensor(shape=[None, *each.shape[1:]], dtype=each.dtype) for each in examples]
    options = {'custom_func': partial(write_user_info, texts=metadata)} if plan.file_format == 'MINDIR' else {}
    # MindSpore accepts only letters, digits and a few signs, anywhere in the path, so it writes to a temporary folder.
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, f'pose{FILE_FORMATS[plan.file_format]}')
        ms.export(model, *examples, file_name=plain, file_format=plan.file_format, **options)
        shutil.move(plain, path)


def _onnx_content(model: ExportedModel, config: EasyDict, plan: ExportPlan, metadata: Dict[str, str]) -> bytes:
    graph = OnnxGraph(plan.opset)
    (height, width), keypoints = input_shape(config), config.MODEL.NUM_JOINTS
    batch, inputs = plan.batch_size or 'N', _inputs(config, plan)
    times = num_hypotheses(config) if plan.all_hypotheses else 1
    rows = plan.batch_size * times or ('N' if times == 1 else f'{times}N')
    sizes = {'heatmaps': (rows, keypoints, height // PIXELS_PER_CELL, width // PIXELS_PER_CELL),
             'keypoints': (rows, keypoints, 2), 'scores': (rows, keypoints)}
    outputs = follow(model, *(Value(graph, name) for name in inputs))
    return graph.model([(name, kind, (batch, *shape)) for name, (kind, shape) in inputs.items()],
                       [(name, value, sizes[name]) for name, value in zip(
                           plan.output_names, outputs if isinstance(outputs, tuple) else (outputs,))], metadata)
