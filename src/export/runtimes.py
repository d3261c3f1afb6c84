"""Exported models and the runtimes that serve them: MindSpore's MINDIR, ONNX Runtime, OpenVINO.

A file says what it computes: `export.py` writes the entries below into ONNX's metadata and MINDIR's user info.
"""
import importlib.util
import json
import os
from dataclasses import dataclass
from math import prod
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from easydict import EasyDict

from ..config import from_json, input_shape
from ..models.registry import model_of, num_hypotheses
from ..system.device import instruction_sets_unlimited, usable_cores
from ..system.errors import MissingPackageError, PoseError
from ..system.files import parse_json

RUNTIMES = ('mindspore', 'mindir', 'onnxruntime', 'openvino')
# Not float16: OpenVINO would compute a decoder inside the file in it as well, whose places it cannot hold.
PRECISIONS = ('f32', 'bf16')
INPUT_KINDS = ('images', 'pixels')
# What every exported file carries, each as JSON.
METADATA_KEYS = ('recipe', 'network', 'input', 'normalisation', 'keypoint_names', 'outputs', 'decoder', 'flip_test',
                 'versions')


# Of the first picture that a graph of any height and width sees.
FREE_SIDE = 64
# Bytes of a number by the code of its type in a MINDIR file.
MINDIR_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 17: 8}


class UnsupportedPrecisionError(PoseError):
    """The processor cannot compute in it."""


class LoadedGraph(NamedTuple):
    """A file inside a runtime.

    Attributes:
        run: input arrays, in the file's order -> output arrays.
        metadata: the file's own, as text.
        shapes: of the inputs, None for sizes that are free.
        outputs: names, in the file's order.
    """

    run: Callable[..., List[np.ndarray]]
    metadata: Dict[str, str]
    shapes: Tuple[Tuple[Optional[int], ...], ...]
    outputs: Tuple[str, ...]


@dataclass(frozen=True)
class ModelFile:
    """An exported model, ready to run.

    Attributes:
        path: of the file.
        runtime, precision: that run it, and in which it computes.
        config: the recipe that it was exported with.
        facts: {key of METADATA_KEYS but recipe: what its JSON says}.
        graph: inside the runtime.
        has_decoder, has_flip_test: whether they are inside.
        input_kind: one of INPUT_KINDS.
        factor, shift: (3,) float32 of the normalisation, image = pixel * factor + shift, in the images' channel order.
        is_rgb: whether that order is R, G, B; pixels are always B, G, R.
        num_hypotheses: I, how many people it looks for in a crop.
        codes: (I, 2) float32 of those people, where the model takes the code of one; None where it computes all.
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
        """Of every call; 0 for any."""
        return self.graph.shapes[0][0] or 0

    def __str__(self) -> str:
        """Return runtime and numbers in words: 'openvino (f32)'."""
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
                            f'{_one_line(error)}') from None
        return tuple(parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*outputs))

    def calls(self, crops: np.ndarray) -> Iterator[Tuple[np.ndarray, ...]]:
        """Yield what goes into the model for crops (N, H, W, 3) uint8 BGR, call by call: once, or once for every
        code."""
        array = self.as_input(crops)
        if self.codes is None:
            yield (array,)
            return
        for code in self.codes:
            yield array, np.tile(code, (len(crops), 1))

    def as_input(self, crops: np.ndarray) -> np.ndarray:
        """Return crops as the model wants them: pixels as they are, or normalised images (N, 3, H, W) float32."""
        if self.input_kind == 'pixels':
            return crops
        images = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
        for channel in range(3):
            of_pixels = crops[..., 2 - channel if self.is_rgb else channel]
            np.multiply(of_pixels, self.factor[channel], out=images[:, channel], casting='unsafe')
            images[:, channel] += self.shift[channel]
        return images


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:300]


def default_runtime(path: str) -> str:
    """Return the runtime for a file by its ending.

    Raises:
        PoseError: no runtime reads such files.
    """
    for ending, runtime in (('.onnx', 'onnxruntime'), ('.mindir', 'mindir')):
        if path.endswith(ending):
            return runtime
    raise PoseError(f'the model file {path} should end in .onnx or .mindir')


def installed_runtimes(path: str) -> List[str]:
    """Return the runtimes here that read a file of this ending."""
    if default_runtime(path) == 'mindir':
        return ['mindir']
    return [name for name in ('onnxruntime', 'openvino') if importlib.util.find_spec(name)]


def open_model_file(path: str, runtime: str = '', *, precision: str = 'f32', threads: int = 0) -> ModelFile:
    """Load an exported model.

    Args:
        path: .onnx or .mindir.
        runtime: 'mindir', 'onnxruntime' or 'openvino', all on the CPU but mindir, which runs where MindSpore does; ''
            chooses by the ending.
        precision: what OpenVINO computes in; the other runtimes know 'f32' only.
        threads: of ONNX Runtime and OpenVINO; 0 leaves the choice to them.

    Raises:
        ImportError: the runtime is not installed; the message says how to.
        PoseError: the file is missing, damaged, of another kind or not one of `export.py`, or the flags do not fit;
            the message names it.
    """
    graph = load_graph(path, runtime, precision=precision, threads=threads)
    runtime = runtime or default_runtime(path)
    missing = [key for key in METADATA_KEYS if key not in graph.metadata]
    if missing:
        raise PoseError(f'{path} does not say what it computes ({", ".join(missing)} missing): only files that '
                        'export.py wrote can be used here')
    return _understand(path, runtime, precision, graph)


def load_graph(path: str, runtime: str, *, precision: str = 'f32', threads: int = 0, what: str = 'the model file'
               ) -> LoadedGraph:
    """Load a file into a runtime, whoever wrote it.

    Args:
        runtime: as of `open_model_file`.
        what: how messages call the file.

    Raises:
        ImportError: the runtime is not installed; the message says how to.
        PoseError: the file is missing or damaged, or the flags do not fit; the message names it.
    """
    if not os.path.isfile(path):
        raise PoseError(f'{what} {path} does not exist')
    if not os.fsencode(path).decode('utf-8', 'ignore') == path:
        raise PoseError(f'{what} {path} should lie where all names are UTF-8; the runtimes read no others')
    by_ending = default_runtime(path)
    runtime = runtime or by_ending
    if runtime not in LOADERS:
        raise PoseError(f'the runtime {runtime!r} is unknown or reads no files; use one of {", ".join(LOADERS)}')
    if (runtime == 'mindir') != (by_ending == 'mindir'):
        raise PoseError(f'{runtime} does not read {path}; it needs a file that ends in '
                        f'{".mindir" if runtime == "mindir" else ".onnx"}')
    _check_settings(runtime, precision, threads)
    try:
        return LOADERS[runtime](path, precision, threads)
    except (ImportError, UnsupportedPrecisionError):
        raise
    except Exception as error:  # noqa: BLE001  each runtime has its own kinds, all of which mean the same
        writer = 'no file of export.py' if what == 'the model file' else 'no ONNX file'
        raise PoseError(f'{path} ({os.path.getsize(path)} bytes) is damaged, {writer} or too new for the '
                        f'{runtime} here: {_one_line(error)}') from None


def _check_settings(runtime: str, precision: str, threads: int) -> None:
    if precision not in PRECISIONS:
        raise PoseError(f'the precision {precision!r} is unknown; use one of {", ".join(PRECISIONS)}')
    if precision != 'f32' and runtime != 'openvino':
        raise PoseError(f'{runtime} computes as the file says; precision {precision} is for openvino')
    if not 0 <= threads <= usable_cores():
        raise PoseError(f'threads should be from 1 to {usable_cores()}, the cores of this process, or 0 for the '
                        f"runtime's choice; is {threads}")
    if threads and runtime == 'mindir':
        raise PoseError('threads are for onnxruntime and openvino; MindSpore takes all cores of the process')


def _understand(path: str, runtime: str, precision: str, graph: LoadedGraph) -> ModelFile:
    """Read what the file says of itself, once and for all."""
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
        raise PoseError(f'{path} says something impossible of its {key} ({_one_line(error)}): only files that '
                        'export.py wrote can be used here') from None
    return ModelFile(path, runtime, precision, config, facts, graph, has_decoder, has_flip_test, kind, factor, shift,
                     is_rgb, hypotheses, codes)


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingPackageError(f'{name} is not installed: pip install -r requirements-deploy.txt') from error


def _load_with_onnxruntime(path: str, _precision: str, threads: int) -> LoadedGraph:
    onnxruntime = _import('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Errors only: it warns about things that nobody here can change.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    inputs = session.get_inputs()
    names = [each.name for each in inputs]
    shapes = tuple(tuple(size if isinstance(size, int) else None for size in each.shape) for each in inputs)
    return LoadedGraph(lambda *arrays: session.run(None, dict(zip(names, arrays))),
                       dict(session.get_modelmeta().custom_metadata_map), shapes,
                       tuple(each.name for each in session.get_outputs()))


def openvino_settings(precision: str, threads: int) -> Dict[str, Any]:
    """Return OpenVINO's own names of these settings."""
    settings = {'INFERENCE_PRECISION_HINT': precision, 'PERFORMANCE_HINT': 'LATENCY'}
    return {**settings, 'INFERENCE_NUM_THREADS': threads} if threads else settings


def _load_with_openvino(path: str, precision: str, threads: int) -> LoadedGraph:
    openvino = _import('openvino')
    core = openvino.Core()
    model = core.read_model(path)
    framework = model.get_rt_info()['framework'] if model.has_rt_info('framework') else {}
    metadata = {key: str(value.value) for key, value in framework.items()}
    shapes = tuple(tuple(None if size.is_dynamic else size.get_length() for size in each.partial_shape)
                   for each in model.inputs)
    with instruction_sets_unlimited():
        if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise UnsupportedPrecisionError('this processor has no bfloat16 for --precision bf16; f32 runs everywhere')
        compiled = core.compile_model(model, 'CPU', openvino_settings(precision, threads))
        request = compiled.create_infer_request()
        # Kernels are chosen now, while nothing limits them.
        request.infer([np.zeros([size or (FREE_SIDE if axis > 1 else 1) for axis, size in enumerate(shape)],
                                np.dtype(each.element_type.to_dtype())) for each, shape in zip(model.inputs, shapes)])

    def run(*arrays: np.ndarray) -> List[np.ndarray]:
        request.infer(list(arrays))
        # A copy: the next call writes into the same memory.
        return [np.array(each.data) for each in request.output_tensors]

    return LoadedGraph(run, metadata, shapes, tuple(each.get_any_name() for each in model.outputs))


def read_user_info(proto) -> Dict[str, str]:
    """Return the texts that a MINDIR message carries; MindSpore before 2.8 has them as a list of pairs."""
    entries = proto.user_info
    return dict(entries) if hasattr(entries, 'items') else {entry.key: entry.value for entry in entries}


def write_user_info(proto, texts: Dict[str, str]) -> None:
    """Put texts into a MINDIR message."""
    if hasattr(proto.user_info, 'items'):
        proto.user_info.update(texts)
        return
    for key, value in texts.items():
        proto.user_info.add(key=key, value=value)


def _check_lengths(proto) -> None:
    """Raise PoseError for a tensor that is not as long as its shape: MindSpore would fill it with zeros."""
    constants = [tensor for graph in (proto.graph, *proto.functions) for node in graph.node
                 for tensor in _tensors_in(node.attribute) if tensor.raw_data]
    for tensor in (*proto.graph.parameter, *constants):
        size = MINDIR_BYTES.get(tensor.data_type)
        if size is None:
            raise PoseError(f'{tensor.name} is of the unknown type {tensor.data_type}')
        if any(length < 0 for length in tensor.dims) or len(tensor.raw_data) != size * prod(tensor.dims):
            raise PoseError(f'{tensor.name} has {len(tensor.raw_data)} bytes for its shape {tuple(tensor.dims)} of '
                            f'{size} bytes each')


def _tensors_in(attributes) -> Iterator:
    for attribute in attributes:
        yield from attribute.tensors
        yield from _tensors_in(attribute.values)


def _load_mindir(path: str, _precision: str, _threads: int) -> LoadedGraph:
    import mindspore as ms
    from mindspore.train import mind_ir_pb2
    proto = mind_ir_pb2.ModelProto()
    with open(path, 'rb') as file:
        proto.ParseFromString(file.read())
    if not proto.graph.input:
        raise PoseError('it has no graph')
    _check_lengths(proto)
    metadata = read_user_info(proto)
    shapes = tuple(tuple(size if size > 0 else None for size in each.tensor[0].dims) for each in proto.graph.input)
    cell = ms.nn.GraphCell(ms.load(path))

    def run(*arrays: np.ndarray) -> List[np.ndarray]:
        outputs = cell(*map(ms.Tensor, arrays))
        return [each.asnumpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return LoadedGraph(run, metadata, shapes, tuple(json.loads(metadata.get('outputs', '{}'))))


LOADERS = {'mindir': _load_mindir, 'onnxruntime': _load_with_onnxruntime, 'openvino': _load_with_openvino}
