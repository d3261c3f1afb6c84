"""Replacing an exported ONNX file by a smaller version of itself, after its heatmaps have been compared."""
import json
import os
from typing import Any

import numpy as np

from ..system.errors import PoseError
from .compare import relative_difference, run_in_batches
from .model_file import open_model_file
from .onnx_graph import import_onnx
from .runtimes import installed_runtimes
from .write import DECODER_SCOPE


def replace_by(path: str, smaller: Any, weights: str, crops: np.ndarray, tolerance: float, *,
               remedy: str = '') -> str:
    """Replace an exported ONNX file by a model that computes nearly the same, and return a report.

    Args:
        path: of the file, which is replaced.
        smaller: the model (an ONNX message); it gets the metadata of the file.
        weights: what its weights are, for the metadata.
        crops: (N, H, W, 3) uint8 for the comparison, in every installed runtime.
        tolerance: largest allowed difference of heatmaps, relative to their largest value.
        remedy: a sentence for the message if they differ more.

    Raises:
        PoseError: the heatmaps differ more; the file stays.
    """
    onnx = import_onnx()
    file = open_model_file(path, 'onnxruntime')
    versions = json.dumps({**file.facts['versions'], 'weights': weights})
    onnx.helper.set_model_props(smaller, {**file.graph.metadata, 'versions': versions})
    new_path = f'{path}.{weights}.onnx'
    onnx.save(smaller, new_path)
    differences, expected = [], _heatmaps(path, 'onnxruntime', crops)
    for runtime in installed_runtimes(path):
        difference = relative_difference(_heatmaps(new_path, runtime, crops), expected)
        differences.append(f'{difference:.2g} in {runtime}')
        if not difference <= tolerance:
            raise PoseError(f'the {weights} file computes something else in {runtime}: heatmaps differ by '
                            f'{difference:.2f} of their largest value, {tolerance} is allowed. {remedy}Nothing is kept')
    os.replace(new_path, path)
    return f'heatmaps differ by at most {", ".join(differences)} of their largest value ({tolerance} is allowed)'


def _heatmaps(path: str, runtime: str, crops: np.ndarray) -> np.ndarray:
    """Return the heatmaps of a file (N, K, h, w), even if they go into a decoder inside the file."""
    onnx = import_onnx()
    model = onnx.load(path)
    taken = next((node.input[0] for node in model.graph.node if node.name.startswith(DECODER_SCOPE)), None)
    if taken is None:
        return run_in_batches(open_model_file(path, runtime), crops)[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(taken, onnx.TensorProto.FLOAT, None))
    probe = f'{path}.probe.onnx'
    onnx.save(model, probe)
    try:
        return run_in_batches(open_model_file(probe, runtime), crops)[-1]
    finally:
        os.remove(probe)
