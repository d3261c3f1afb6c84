"""ONNX models in OpenVINO, apart from the package's own loader."""
from typing import Dict, List

import numpy as np
import openvino

from src.system.device import instruction_sets_unlimited


def run_in_openvino(content: bytes, inputs: Dict[str, np.ndarray], precision: str = 'f32') -> List[np.ndarray]:
    """Return the outputs of a model.

    Without a limit on the instruction sets, as in the package: whoever computes first in a process decides for all
    that comes after, and under ours bfloat16 would be missing in the tests that run later.
    """
    core = openvino.Core()
    with instruction_sets_unlimited():
        model = core.compile_model(core.read_model(content), 'CPU', {'INFERENCE_PRECISION_HINT': precision})
        return list(model(inputs).values())
