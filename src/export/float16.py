"""ONNX files whose weights are stored in float16: half the size. Runtimes turn them back when they load the file, so
everything is computed in float32."""
import numpy as np

from .onnx_graph import import_onnx
from .replace import replace_by

# Largest allowed difference of the heatmaps, relative to their largest value; float16 has three digits.
FLOAT16_TOLERANCE = 0.02
# Smaller arrays are left: they hardly take any room.
LEAST_NUMBERS = 256


def store_in_float16(path: str, crops: np.ndarray) -> str:
    """Replace an exported ONNX file by one with its weights in float16, check it in every installed runtime, and return
    a report. Arrays with numbers beyond float16's largest, 65504, stay float32.

    Args:
        path: of the file, which is replaced.
        crops: (N, H, W, 3) uint8 for the comparison.

    Raises:
        ImportError: onnx is not installed.
        PoseError: the heatmaps differ too much.
    """
    onnx = import_onnx()
    model = onnx.load(path)
    casts, halved = [], 0
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.dtype != np.float32 or values.size < LEAST_NUMBERS or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f'{name}.float16'))
        casts.append(onnx.helper.make_node('Cast', [constant.name], [name], name=f'{name}.float32',
                                           to=onnx.TensorProto.FLOAT))
        halved += values.size
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return f'{halved} weights; {replace_by(path, model, "float16", crops, FLOAT16_TOLERANCE)}'
