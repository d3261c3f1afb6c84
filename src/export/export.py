"""A trained network → a file for other runtimes: ONNX, MINDIR or AIR, with everything inside that its user must know,
and compared with the network before it gets its name.

Axes: N crops, I hypotheses, K keypoints, H, W input, h, w heatmap.
"""
import argparse
import json
import os
import shutil
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import Tensor, nn

from ..config import input_shape, load_recipe, to_json
from ..models.common.flip_test import AllHypotheses
from ..models.common.normalise import build_normaliser
from ..models.record import HYPOTHESIS_NAMES, PIXELS_PER_CELL
from ..models.registry import build_flip_test, model_of, network_name, num_hypotheses
from ..system.device import available_targets
from ..system.errors import PoseError
from .folding import fold_batch_norms
from .onnx_cells import follow
from .onnx_graph import OnnxGraph, Value, import_onnx
from .runtimes import ModelFile, write_user_info

FILE_FORMATS = {'ONNX': '.onnx', 'MINDIR': '.mindir', 'AIR': '.air'}
# Names of the network's own nodes in an ONNX graph begin like this, and those of the decoder like that.
NETWORK_SCOPE, DECODER_SCOPE = 'predictor.network', 'decoder'
# Largest difference between a float32 file and the network: heatmaps as a part of their largest value, keypoints in
# crop pixels, scores as a part of the largest.
HEATMAP_TOLERANCE, KEYPOINT_TOLERANCE = 1e-4, 1e-3
# Crops in one call of a file that takes any number.
MOST_AT_ONCE = 8


@dataclass(frozen=True)
class ExportPlan:
    """What a file computes.

    Attributes:
        file_format: one of FILE_FORMATS.
        input_kind: 'images' (N, 3, H, W) float32, normalised; or 'pixels' (N, H, W, 3) uint8, BGR.
        with_decode: keypoints (N, K, 2) in crop pixels and scores (N, K) come out, instead of heatmaps (N, K, h, w).
        flip_test: the mean with the mirrored crop is inside.
        batch_size: N; 0 for any.
        opset: of ONNX.
        all_hypotheses: a MIPNet computes all people of a box in one go, their parts of the outputs (I * N, …) one after
            the other; instead of the one whose code comes in (N, 2).
    """

    file_format: str
    input_kind: str = 'images'
    with_decode: bool = False
    flip_test: bool = False
    batch_size: int = 0
    opset: int = 17
    all_hypotheses: bool = False

    def __post_init__(self):
        if self.batch_size < 0:
            raise PoseError(f'the batch size should be positive, or 0 for any, is {self.batch_size}')

    def __str__(self) -> str:
        parts = [self.file_format + (f' opset {self.opset}' if self.file_format == 'ONNX' else ''),
                 f'batch {self.batch_size or "of any size"}', f'{self.input_kind} -> {" and ".join(self.output_names)}']
        return ', '.join(parts + ['flip test inside'] * self.flip_test + ['all hypotheses'] * self.all_hypotheses)

    @property
    def output_names(self) -> Tuple[str, ...]:
        return ('keypoints', 'scores') if self.with_decode else ('heatmaps',)

    def takes_codes(self, config: EasyDict) -> bool:
        """Whether the file of a configuration has the input `codes`."""
        return num_hypotheses(config) > 1 and not self.all_hypotheses


def read_plan(arguments: argparse.Namespace) -> Tuple[ExportPlan, str]:
    """Return the plan that the flags of export.py make, and the path of its file.

    Raises:
        PoseError: they contradict each other or cannot be.
    """
    by_ending = next((name for name, ending in FILE_FORMATS.items()
                      if arguments.file_name.lower().endswith(ending)), '')
    file_format = arguments.file_format or by_ending or 'MINDIR'
    if by_ending and (file_format != by_ending or not arguments.file_name.endswith(FILE_FORMATS[by_ending])):
        raise PoseError(f'--file_name {arguments.file_name} should end in {FILE_FORMATS[file_format]}, or have no '
                        f'ending, for --file_format {file_format}')
    batch_size = arguments.batch_size or ('dynamic' if file_format == 'ONNX' else '1')
    if batch_size != 'dynamic' and not (batch_size.isascii() and batch_size.isdigit() and int(batch_size)):
        raise PoseError(f'--batch_size should be a positive number or dynamic, is {batch_size!r}')
    if arguments.int8 and (file_format != 'ONNX' or not arguments.data_url):
        raise PoseError('--int8 makes ONNX files, calibrated on pictures: --file_format ONNX --data_url PICTURES '
                        '[--det_file_url BOXES]')
    if arguments.calibration_people < 1:
        raise PoseError(f'--calibration_people should be positive, is {arguments.calibration_people}')
    ending = FILE_FORMATS[file_format]
    path = arguments.file_name.removesuffix(ending) + ending
    if os.path.basename(path) == ending:
        raise PoseError(f'--file_name {arguments.file_name!r} should be the name of a file')
    return ExportPlan(file_format, arguments.input, with_decode=arguments.with_decode,
                      flip_test=arguments.flip_test, opset=arguments.opset,
                      batch_size=0 if batch_size == 'dynamic' else int(batch_size),
                      all_hypotheses=arguments.hypotheses == 'all'), path


class ExportedModel(nn.Cell):
    """What a file computes: crops, and the codes of a MIPNet -> heatmaps, or keypoints and scores."""

    def __init__(self, predictor: nn.Cell, decoder: Optional[nn.Cell]):
        super().__init__(auto_prefix=False)
        self.predictor, self.decoder = predictor, decoder

    def construct(self, crops, *codes):
        heatmaps = self.predictor(crops, *codes)
        return heatmaps if self.decoder is None else self.decoder(heatmaps)


def build_exported_model(config: EasyDict, network: nn.Cell, plan: ExportPlan, flip_index: np.ndarray
                         ) -> ExportedModel:
    """Return the cell of an export, in eval mode, with the BatchNorms of `network` folded away for good.

    Args:
        config: resolved.
        flip_index: (K,).

    Raises:
        PoseError: all hypotheses are wanted of a network with a single one.
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


# What belongs to the machine that exports, not to the model.
LOCAL_KEYS = ('DEVICE.TARGET', 'DEVICE.ID', 'DATASET.ROOT', 'DATASET.TRAIN_JSON', 'DATASET.TEST_JSON',
              'MODEL.PRETRAINED', 'TEST.MODEL_FILE', 'TEST.COCO_BBOX_FILE', 'TRAIN.CKPT_SAVE_PATH')


def exported_config(config: EasyDict, plan: ExportPlan) -> EasyDict:
    """Return the recipe that goes into a file: without the exporter's paths and device, and with the flip test that the
    file does, and no shifts, where nobody can add them later."""
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
    """Return what a file says of itself, {key: JSON}: the keys are METADATA_KEYS of `runtimes.py`."""
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
    """Return what a file says of the codes that it takes; nothing where it takes none."""
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
        ImportError: ONNX is wanted and onnx is not installed.
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
    # MindSpore takes names of letters, digits and a few signs only, in every folder of the path.
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, f'pose{FILE_FORMATS[plan.file_format]}')
        ms.export(model, *examples, file_name=plain, file_format=plan.file_format, **options)
        shutil.move(plain, path)


def check_air(plan: ExportPlan) -> None:
    """Raise PoseError if an AIR file is wanted that cannot be made here."""
    if plan.file_format != 'AIR':
        return
    if 'Ascend' not in available_targets():
        raise PoseError('AIR files are made by the Ascend back end of MindSpore only: run export.py --file_format AIR '
                        'on an Ascend server with CANN; elsewhere export ONNX and convert it there with atc')
    if not plan.batch_size:
        raise PoseError('an AIR file has a fixed batch size: --batch_size N')


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


class Difference(NamedTuple):
    """Between a file and the network.

    Attributes:
        worst: heatmaps: the largest difference as a part of the largest value; keypoints: in crop pixels.
        compared: heatmap values or keypoints that were compared.
        undecided: keypoints that were not, since a difference below the tolerance in a heatmap moves them; None for
            heatmaps.
    """

    worst: float
    compared: int
    undecided: Optional[int] = None

    def __str__(self) -> str:
        if self.undecided is None:
            return (f'{self.compared} heatmap values differ by at most {self.worst:.1e} of the largest '
                    f'({HEATMAP_TOLERANCE:.0e} is allowed)')
        undecided = f'; {self.undecided} more hang on differences of that size' if self.undecided else ''
        return (f'{self.compared} keypoints differ by at most {self.worst:.1e} crop pixels ({KEYPOINT_TOLERANCE:.0e} '
                f'is allowed){undecided}')


def compare(model: ModelFile, crops: np.ndarray, heatmaps: np.ndarray, decode: Callable) -> Difference:
    """Run a float32 file on crops (N, H, W, 3) uint8 and compare what comes out with the network's heatmaps for them.

    Args:
        decode: heatmaps -> (keypoints (N, K, 2) in crop pixels, scores (N, K)): the NumPy decoder.

    Raises:
        PoseError: the difference is above the tolerance.
    """
    outputs = run_in_batches(model, crops)
    if not model.has_decoder:
        worst = relative_difference(outputs[0], heatmaps)
        _demand(worst, HEATMAP_TOLERANCE, model, 'heatmaps', 'of their largest value')
        return Difference(worst, heatmaps.size)
    keypoints, scores = decode(heatmaps)
    is_decided = np.ones(scores.shape, bool)
    rng, reach = np.random.default_rng(0), np.float32(HEATMAP_TOLERANCE * np.abs(heatmaps).max())
    for _ in range(4):
        noise = rng.uniform(-reach, reach, heatmaps.shape).astype(np.float32)
        is_decided &= np.abs(decode(heatmaps + noise)[0] - keypoints).max(axis=2) < KEYPOINT_TOLERANCE
    worst = float(np.abs(outputs[0] - keypoints).max(axis=2)[is_decided].max(initial=0))
    _demand(worst, KEYPOINT_TOLERANCE, model, 'keypoints', 'crop pixels')
    _demand(relative_difference(outputs[1][is_decided], scores[is_decided]), HEATMAP_TOLERANCE, model, 'scores',
            'of the largest')
    return Difference(worst, int(is_decided.sum()), int((~is_decided).sum()))


def compare_all(files: Sequence[ModelFile], crops: Mapping[str, np.ndarray], run: Callable, decode: Callable
                ) -> Iterator[str]:
    """Compare files with the network on several kinds of crops; yield a line for each file and kind.

    Args:
        crops: {what they show: (N, H, W, 3) uint8}.
        run: the network: crops -> (heatmaps,).
        decode: see `compare`.

    Raises:
        PoseError: a difference is above the tolerance, or there was nothing to compare.
    """
    compared = [0] * len(files)
    for what, some in crops.items():
        heatmaps, = run(some)
        for number, file in enumerate(files):
            difference = compare(file, some, heatmaps, decode)
            compared[number] += difference.compared
            yield f'checked in {file.runtime} on {what}: {difference}'
    if not all(compared):
        raise PoseError('the decoder could not be checked: no keypoint of the network stands out from rounding. Is '
                        'the checkpoint trained? Nothing is kept')


def run_in_batches(model: ModelFile, crops: np.ndarray) -> Tuple[np.ndarray, ...]:
    """Return the outputs of a file for any number of crops, whatever its batch size; their first axis is I * N, first
    all crops of the first hypothesis."""
    size = model.batch_size or min(len(crops), MOST_AT_ONCE)
    outputs = []
    for begin in range(0, len(crops), size):
        part = crops[begin:begin + size]
        outputs.append([each.reshape(model.num_hypotheses, size, *each.shape[1:])[:, :len(part)]
                        for each in model.run(np.resize(part, (size, *part.shape[1:])))])
    return tuple(np.concatenate(parts, axis=1).reshape(-1, *parts[0].shape[2:]) for parts in zip(*outputs))


def relative_difference(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference as a part of the largest absolute value of the reference."""
    if values.shape != reference.shape:
        return float('inf')
    return float(np.abs(values - reference).max(initial=0) / max(np.abs(reference).max(initial=0), 1e-30))


def _demand(difference: float, tolerance: float, model: ModelFile, what: str, unit: str) -> None:
    # A comparison with NaN is false: it never passes for equal.
    if not difference <= tolerance:
        raise PoseError(f'the exported file does not compute in {model.runtime} what the network computes: {what} '
                        f'differ by {difference:.1e} {unit}, {tolerance:.0e} is allowed. Nothing is kept')
