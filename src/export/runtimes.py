"""The runtimes for exported files: MindSpore for MINDIR, ONNX Runtime and OpenVINO for ONNX."""
import importlib.util
import json
import os
from math import prod
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ..system.device import instruction_sets_unlimited, is_fast_in_bfloat16, usable_cores
from ..system.errors import MissingPackageError, PoseError

RUNTIMES = ('mindspore', 'mindir', 'onnxruntime', 'openvino')
# Not float16: OpenVINO would also run a decoder inside the file in it, and coordinates need more precision. 'auto' is
# bfloat16 in OpenVINO where the processor computes faster in it, otherwise float32.
PRECISIONS = ('f32', 'bf16', 'auto')
# Height and width of the first, empty input for a graph with dynamic height and width.
FREE_SIDE = 64
# {type code in a MINDIR file: bytes per number}.
MINDIR_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 17: 8}


class UnsupportedPrecisionError(PoseError):
    """The processor does not support this precision."""


class LoadedGraph(NamedTuple):
    """A file that is loaded in a runtime.

    Attributes:
        run: input arrays, in the file's order -> output arrays.
        metadata: metadata of the file, {key: text}.
        shapes: shapes of the inputs, None for dynamic sizes.
        outputs: names of the outputs, in the file's order.
        precision: what it computes in: 'f32' (or what the file says) or 'bf16'.
    """

    run: Callable[..., List[np.ndarray]]
    metadata: Dict[str, str]
    shapes: Tuple[Tuple[Optional[int], ...], ...]
    outputs: Tuple[str, ...]
    precision: str = 'f32'


def one_line(error: Exception) -> str:
    """Return the beginning of an error message, without line breaks."""
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


def quickest_runtime(path: str, precision: str) -> str:
    """Return the runtime for a file if none is named: by its ending, but OpenVINO for an ONNX file if the precision is
    `auto`, it is installed, and the processor is known to compute faster in bfloat16.

    Raises:
        PoseError: no runtime reads such files.
    """
    by_ending = default_runtime(path)
    is_quicker = by_ending == 'onnxruntime' and precision == 'auto' and is_fast_in_bfloat16()
    return 'openvino' if is_quicker and importlib.util.find_spec('openvino') else by_ending


def installed_runtimes(path: str) -> List[str]:
    """Return the installed runtimes that can read a file with this ending."""
    if default_runtime(path) == 'mindir':
        return ['mindir']
    return [name for name in ('onnxruntime', 'openvino') if importlib.util.find_spec(name)]


def load_graph(path: str, runtime: str, *, precision: str = 'f32', threads: int = 0, what: str = 'the model file'
               ) -> LoadedGraph:
    """Load a file into a runtime; the file need not be from export.py.

    Args:
        runtime: as for `open_model_file`.
        what: what messages call the file.

    Raises:
        ImportError: the runtime is not installed; the message says how to install it.
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
                        f'{runtime} here: {one_line(error)}') from None


def _check_settings(runtime: str, precision: str, threads: int) -> None:
    if precision not in PRECISIONS:
        raise PoseError(f'the precision {precision!r} is unknown; use one of {", ".join(PRECISIONS)}')
    if precision == 'bf16' and runtime != 'openvino':
        raise PoseError(f'{runtime} computes as the file says; precision {precision} is for openvino')
    if not 0 <= threads <= usable_cores():
        raise PoseError(f'threads should be from 1 to {usable_cores()}, the cores of this process, or 0 for the '
                        f"runtime's choice; is {threads}")
    if threads and runtime == 'mindir':
        raise PoseError('threads are for onnxruntime and openvino; MindSpore takes all cores of the process')


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
    # Errors only: its warnings are about things that the user cannot change.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    inputs = session.get_inputs()
    names = [each.name for each in inputs]
    shapes = tuple(tuple(size if isinstance(size, int) else None for size in each.shape) for each in inputs)
    return LoadedGraph(lambda *arrays: session.run(None, dict(zip(names, arrays))),
                       dict(session.get_modelmeta().custom_metadata_map), shapes,
                       tuple(each.name for each in session.get_outputs()))


def openvino_settings(precision: str, threads: int) -> Dict[str, Any]:
    """Return these settings under OpenVINO's own names."""
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
        if precision == 'auto':
            # OpenVINO's own choice, but never float16, nor bfloat16 that is slower than float32.
            own = core.get_property('CPU', 'INFERENCE_PRECISION_HINT')
            precision = 'bf16' if own == openvino.Type.bf16 and is_fast_in_bfloat16() else 'f32'
        if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise UnsupportedPrecisionError('this processor has no bfloat16 for --precision bf16; f32 runs everywhere')
        compiled = core.compile_model(model, 'CPU', openvino_settings(precision, threads))
        request = compiled.create_infer_request()
        # A first call, so that the kernels are chosen now, while no limit on instruction sets applies.
        request.infer([np.zeros([size or (FREE_SIDE if axis > 1 else 1) for axis, size in enumerate(shape)],
                                np.dtype(each.element_type.to_dtype())) for each, shape in zip(model.inputs, shapes)])

    def run(*arrays: np.ndarray) -> List[np.ndarray]:
        request.infer(list(arrays))
        # A copy, because the next call writes into the same memory.
        return [np.array(each.data) for each in request.output_tensors]

    return LoadedGraph(run, metadata, shapes, tuple(each.get_any_name() for each in model.outputs), precision)


def read_user_info(proto) -> Dict[str, str]:
    """Return the user info of a MINDIR message, {key: text}; MindSpore before 2.8 stores it as a list of pairs."""
    entries = proto.user_info
    return dict(entries) if hasattr(entries, 'items') else {entry.key: entry.value for entry in entries}


def write_user_info(proto, texts: Dict[str, str]) -> None:
    """Add texts to the user info of a MINDIR message."""
    if hasattr(proto.user_info, 'items'):
        proto.user_info.update(texts)
        return
    for key, value in texts.items():
        proto.user_info.add(key=key, value=value)


def _check_lengths(proto) -> None:
    """Raise PoseError if the data of a tensor does not fit its shape: MindSpore would fill it with zeros."""
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
