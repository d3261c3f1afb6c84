"""Exported models: reading the metadata of a file, and running it on crops.

`export.py` writes the entries below, which describe the model, into ONNX's metadata or MINDIR's user info.
"""
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
from easydict import EasyDict

from ..config import from_json, input_shape
from ..models.registry import model_of, num_hypotheses
from ..system.errors import PoseError
from ..system.files import parse_json
from .runtimes import LoadedGraph, default_runtime, load_graph, one_line

INPUT_KINDS = ('images', 'pixels')
# What every exported file carries, each as JSON.
METADATA_KEYS = ('recipe', 'network', 'input', 'normalisation', 'keypoint_names', 'outputs', 'decoder', 'flip_test',
                 'versions')


@dataclass(frozen=True)
class ModelFile:
    """An exported model, ready to run.

    Attributes:
        path: of the file.
        runtime: name of the runtime that runs it.
        precision: what the runtime computes in.
        config: the recipe that it was exported with.
        facts: {key: parsed JSON}, for all METADATA_KEYS except recipe.
        graph: the file, loaded in the runtime.
        has_decoder, has_flip_test: whether the file contains them.
        input_kind: one of INPUT_KINDS.
        factor, shift: (3,) float32 of the normalisation, image = pixel * factor + shift, in the images' channel order.
        is_rgb: whether that order is R, G, B; pixels are always B, G, R.
        num_hypotheses: I, the number of people predicted in a crop.
        codes: (I, 2) float32, the codes of these people, if the model takes the code of one person as an input; None
            if it has no such input.
    """

    path: str
    runtime: str
    precision: str
    config: EasyDict
    facts: Dict[str, Any]
    graph: LoadedGraph
    has_decoder: bool
    has_flip_test: bool
    input_kind: str
    factor: np.ndarray
    shift: np.ndarray
    is_rgb: bool
    num_hypotheses: int
    codes: Optional[np.ndarray]

    @property
    def batch_size(self) -> int:
        """Number of crops in every call; 0 for dynamic."""
        return self.graph.shapes[0][0] or 0

    def __str__(self) -> str:
        """Return the runtime and the number format, such as 'openvino (f32)'."""
        return f'{self.runtime} ({"int8" if self.facts["versions"].get("weights") == "int8" else self.precision})'

    def run(self, crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Return the outputs for crops (N, H, W, 3) uint8 BGR: heatmaps, or keypoints and scores. Their first axis is
        I * N: all crops of the first hypothesis, then all of the next.

        Raises:
            PoseError: the runtime fails; the message names the file.
        """
        calls = list(self.calls(crops))
        try:
            outputs = [self.graph.run(*arrays) for arrays in calls]
        except Exception as error:  # noqa: BLE001  each runtime has its own kinds
            raise PoseError(f'{self.path} fails in {self.runtime} on an input of the shape {calls[0][0].shape}: '
                            f'{one_line(error)}') from None
        return tuple(parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*outputs))

    def calls(self, crops: np.ndarray) -> Iterator[Tuple[np.ndarray, ...]]:
        """Yield the inputs of the model for crops (N, H, W, 3) uint8 BGR: for one call, or for one call per code."""
        array = self.as_input(crops)
        if self.codes is None:
            yield (array,)
            return
        for code in self.codes:
            yield array, np.tile(code, (len(crops), 1))

    def as_input(self, crops: np.ndarray) -> np.ndarray:
        """Return crops as the model takes them: pixels as they are, or normalised images (N, 3, H, W) float32."""
        if self.input_kind == 'pixels':
            return crops
        images = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
        for channel in range(3):
            of_pixels = crops[..., 2 - channel if self.is_rgb else channel]
            np.multiply(of_pixels, self.factor[channel], out=images[:, channel], casting='unsafe')
            images[:, channel] += self.shift[channel]
        return images


def open_model_file(path: str, runtime: str = '', *, precision: str = 'f32', threads: int = 0) -> ModelFile:
    """Load an exported model.

    Args:
        path: .onnx or .mindir.
        runtime: 'mindir', 'onnxruntime' or 'openvino'; '' chooses by the ending. 'mindir' runs on MindSpore's device,
            the others on the CPU.
        precision: what OpenVINO computes in, one of PRECISIONS; the other runtimes compute as the file says.
        threads: number of threads of ONNX Runtime and OpenVINO; 0 leaves the choice to them.

    Raises:
        ImportError: the runtime is not installed; the message says how to install it.
        PoseError: the file is missing, damaged, of another kind or not from `export.py`, or the flags do not fit; the
            message names the file.
    """
    graph = load_graph(path, runtime, precision=precision, threads=threads)
    runtime = runtime or default_runtime(path)
    missing = [key for key in METADATA_KEYS if key not in graph.metadata]
    if missing:
        raise PoseError(f'{path} does not say what it computes ({", ".join(missing)} missing): only files that '
                        'export.py wrote can be used here')
    return _understand(path, runtime, graph)


def _understand(path: str, runtime: str, graph: LoadedGraph) -> ModelFile:
    """Read and check the metadata of a loaded file."""
    config = from_json(graph.metadata['recipe'], path)
    key = ''
    try:
        facts = {}
        for key in METADATA_KEYS[1:]:
            facts[key] = parse_json(graph.metadata[key])
        key = 'decoder'
        has_decoder = bool(facts['decoder']['inside'])
        key = 'flip_test'
        has_flip_test = bool(facts['flip_test']['inside'])
        key = 'input'
        kind = facts['input']['kind']
        is_rgb = kind == 'images' and facts['input']['channel_order'] == 'RGB'
        sizes = [{'images': (3, *input_shape(config)), 'pixels': (*input_shape(config), 3)}[kind]]
        hypotheses, codes = num_hypotheses(config), None
        if 'codes' in facts['input']:
            codes = model_of(config).codes(config)
            sizes.append(codes.shape[1:])
        taken = [tuple(shape[1:]) for shape in graph.shapes]
        if taken != sizes:
            raise PoseError(f'its graph takes {", ".join(map(str, taken))} instead of {", ".join(map(str, sizes))}')
        key = 'normalisation'
        factor, shift = (np.array(facts[key][name], np.float32).reshape(3) for name in ('factor', 'shift'))
        if not np.isfinite([factor, shift]).all():
            raise PoseError('it holds numbers that are not finite')
        key = 'versions'
        facts['versions'].get('weights')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PoseError(f'{path} says something impossible of its {key} ({one_line(error)}): only files that '
                        'export.py wrote can be used here') from None
    return ModelFile(path, runtime, graph.precision, config, facts, graph, has_decoder, has_flip_test, kind, factor,
                     shift, is_rgb, hypotheses, codes)
