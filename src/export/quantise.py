"""Float32 ONNX files → int8, by ONNX Runtime's static post-training quantisation, calibrated on crops.

Convolutions and the operators between them compute in 8 bits (QuantizeLinear and DequantizeLinear around each, which
ONNX Runtime and OpenVINO both turn into integer kernels); normalisation, flip test and decoder stay in float32.
"""
import contextlib
import logging
import os
from typing import Iterator

import numpy as np

from ..system.errors import MissingPackageError
from .model_file import open_model_file
from .onnx_graph import import_onnx
from .replace import replace_by
from .write import NETWORK_SCOPE

QUANTISED_OPERATORS = ('Conv', 'ConvTranspose', 'Add', 'MaxPool', 'Resize')
# Largest allowed difference of the heatmaps on the calibration crops, relative to their largest value. Networks whose
# poses stay the same show 0.04 to 0.08; a calibration that went wrong shows 0.3 and more.
INT8_TOLERANCE = 0.15


def quantise(path: str, crops: np.ndarray) -> str:
    """Replace an exported ONNX file by its int8 version, check it in every installed runtime, and return a report.

    Args:
        path: of the file, which is replaced.
        crops: (N, H, W, 3) uint8, similar to those that the model will be used on.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        PoseError: the heatmaps of the int8 file differ too much.
    """
    onnx = import_onnx()
    float_file = open_model_file(path, 'onnxruntime')
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise MissingPackageError(f'quantisation needs onnxruntime with its tools: {error}') from error
    size = float_file.batch_size or 1
    model = onnx.load(path)
    input_names = [each.name for each in model.graph.input]
    batches = (np.resize(crops[begin:begin + size], (size, *crops.shape[1:])) for begin in range(0, len(crops), size))
    calls = (arrays for batch in batches for arrays in float_file.calls(batch))

    class Crops(CalibrationDataReader):
        """The inputs for calibration, one call at a time: each batch, or each batch with each code if the model takes
        codes."""

        def get_next(self):
            arrays = next(calls, None)
            return None if arrays is None else dict(zip(input_names, arrays))

    nodes = [node.name for node in model.graph.node
             if node.name.startswith(NETWORK_SCOPE) and node.op_type in QUANTISED_OPERATORS]
    int8_path = f'{path}.quantised.onnx'
    with _quiet():
        quantize_static(model, int8_path, Crops(), quant_format=QuantFormat.QDQ, per_channel=True,
                        op_types_to_quantize=list(QUANTISED_OPERATORS), nodes_to_quantize=nodes,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    quantised = onnx.load(int8_path)
    os.remove(int8_path)
    difference = replace_by(path, quantised, 'int8', crops, INT8_TOLERANCE,
                            remedy='More or other pictures may calibrate better. ')
    return f'{len(nodes)} operators, calibrated on {len(crops)} people; {difference}'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Hides the advice to preprocess the model first, which is already done: shapes are known and BatchNorms folded.
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
