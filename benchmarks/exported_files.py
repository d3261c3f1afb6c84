"""What the benchmarks of exported models share: the files, and the ways to run them."""
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from src.checkpoints.load import load_weights
from src.config import resolve
from src.data.skeletons import COCO
from src.evaluation.predict import Predictor
from src.evaluation.predictors import file_predictor, network_predictor
from src.export.model_file import open_model_file
from src.export.plan import ExportPlan
from src.export.quantise import quantise
from src.export.write import build_exported_model, describe, write_model
from src.models.registry import build_configured_network


class Way(NamedTuple):
    """One way to run a network: a runtime, the precision in which it computes, and its file."""

    runtime: str
    precision: str
    file_name: str = ''

    def __str__(self) -> str:
        return f'{self.runtime}, {"int8" if "int8" in self.file_name else self.precision}'


WAYS = (Way('mindspore', 'f32'), Way('mindir', 'f32', 'pose.mindir'), Way('onnxruntime', 'f32', 'pose.onnx'),
        Way('openvino', 'f32', 'pose.onnx'), Way('openvino', 'bf16', 'pose.onnx'),
        Way('onnxruntime', 'f32', 'pose.int8.onnx'), Way('openvino', 'f32', 'pose.int8.onnx'))


def configured_network(config, weights: Optional[dict], where: str):
    """Return the network of a configuration, with the given weights or initial ones."""
    network = build_configured_network(config)
    if weights is not None:
        load_weights(network, weights, config, where)
    return network


def write_files(folder: Path, config, weights: Optional[dict], where: str, crops: np.ndarray) -> List[str]:
    """Write pose.onnx, pose.int8.onnx (calibrated on crops) and pose.mindir; return remarks to print."""
    for name, file_format in (('pose.onnx', 'ONNX'), ('pose.int8.onnx', 'ONNX'), ('pose.mindir', 'MINDIR')):
        plan = ExportPlan(file_format, input_kind='pixels')
        model = build_exported_model(config, configured_network(config, weights, where), plan, COCO.flip_index)
        write_model(str(folder / name), model, config, plan, describe(config, plan, COCO.keypoint_names))
    return [quantise(str(folder / 'pose.int8.onnx'), crops)]


def build_predictors(folder: Path, config, weights: Optional[dict], where: str, *, flip_test: bool
                     ) -> Dict[Way, Predictor]:
    """Return a predictor for every way, from the files of `write_files`."""
    config = resolve(config, {'TEST.FLIP_TEST': flip_test})
    predictors = {}
    for way in WAYS:
        if way.runtime == 'mindspore':
            network = configured_network(config, weights, where)
            predictors[way] = network_predictor(config, network, COCO.flip_index)
        else:
            model = open_model_file(str(folder / way.file_name), way.runtime, precision=way.precision)
            predictors[way] = file_predictor(config, model, COCO.flip_index)
    return predictors
