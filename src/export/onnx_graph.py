"""Building ONNX graphs: nodes, constants, and values that stand for tensors. Independent of the networks."""
from typing import Dict, List, Sequence, Tuple, Union

import numpy as np

from ..system.errors import MissingPackageError, PoseError

OPSETS = range(13, 22)
LAST = np.iinfo(np.int64).max


def import_onnx():
    """Return the package onnx; it is imported only when ONNX files are built or edited.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError('ONNX files need the package onnx: pip install -r requirements-deploy.txt') from error
    return onnx


class Value:
    """A tensor of the graph.

    Attributes:
        graph: the graph.
        name: name of the tensor in the graph.
    """

    def __init__(self, graph: 'OnnxGraph', name: str):
        self.graph, self.name = graph, name

    def __add__(self, other) -> 'Value':
        return self.graph.add('Add', self, other)

    __radd__ = __add__

    def __sub__(self, other) -> 'Value':
        return self.graph.add('Sub', self, other)

    def __mul__(self, other) -> 'Value':
        return self.graph.add('Mul', self, other)

    __rmul__ = __mul__

    def __truediv__(self, other) -> 'Value':
        return self.graph.add('Div', self, other)

    def __lt__(self, other) -> 'Value':
        return self.graph.add('Less', self, other)

    def __gt__(self, other) -> 'Value':
        return self.graph.add('Greater', self, other)


class OnnxGraph:
    """Nodes and constants.

    Args:
        opset: version of ONNX's operators, one of OPSETS.

    Raises:
        ImportError: onnx is not installed.
        PoseError: the opset is not supported.
    """

    def __init__(self, opset: int):
        self._onnx = import_onnx()
        if opset not in OPSETS:
            raise PoseError(f'opset {opset} is not supported; use one from {OPSETS[0]} to {OPSETS[-1]}')
        self.opset = opset
        # Prefix of the names of nodes: the part of the network that they belong to.
        self.scope = ''
        self.nodes: list = []
        self.constants: Dict[str, object] = {}
        self._arrays: Dict[str, np.ndarray] = {}

    def add(self, operator: str, *inputs: Union[Value, np.ndarray, float], **attributes) -> Value:
        """Add a node with one output and return that; arrays and numbers among the inputs become constants."""
        names = [(each if isinstance(each, Value) else self.constant(each)).name for each in inputs]
        output = f'{self.scope}/{operator}_{len(self.nodes)}'
        self.nodes.append(self._onnx.helper.make_node(operator, names, [output], name=output, **attributes))
        return Value(self, output)

    def constant(self, value, label: str = '') -> Value:
        """Return a constant: int64 for integers, bool for bool, float32 for everything else. A constant with the same
        label and content is stored once."""
        array = np.asarray(value)
        array = array.astype({'b': bool, 'i': np.int64}.get(array.dtype.kind, np.float32))
        if label in self._arrays and np.array_equal(self._arrays[label], array):
            return Value(self, label)
        name = label if label and label not in self._arrays else f'constant_{len(self._arrays)}'
        self._arrays[name] = array
        # Not np.ascontiguousarray, which would turn a scalar into a vector.
        self.constants[name] = self._onnx.numpy_helper.from_array(np.array(array, order='C'), name)
        return Value(self, name)

    def reduce(self, operator: str, value: Value, axis: int) -> Value:
        """Return ReduceMax, ReduceMin or ReduceSum along an axis, which is kept with size 1."""
        # The axes are an input instead of an attribute: for ReduceSum from opset 13, for the others from 18.
        if operator == 'ReduceSum' or self.opset >= 18:
            return self.add(operator, value, np.array([axis]), keepdims=1)
        return self.add(operator, value, axes=[axis], keepdims=1)

    def slice(self, value: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
        """Return value[start:end:step] along an axis."""
        return self.add('Slice', value, *(np.array([number]) for number in (start, end, axis, step)))

    def mirror(self, value: Value, axis: int) -> Value:
        """Return the value with an axis reversed."""
        return self.slice(value, axis, -1, -LAST, -1)

    def model(self, inputs: Sequence[Tuple[str, type, Sequence]], outputs: Sequence[Tuple[str, Value, Sequence]],
              metadata: Dict[str, str]) -> bytes:
        """Return the finished, checked model as the content of a file.

        Args:
            inputs: (name, NumPy type, shape); in a shape, a text names a dynamic size.
            outputs: (name, value, shape), all float32.
        """
        helper = self._onnx.helper
        types = {each: helper.np_dtype_to_tensor_dtype(np.dtype(each)) for each in (np.float32, np.uint8)}
        nodes: List = self.nodes + [helper.make_node('Identity', [value.name], [name], name=f'output_{name}')
                                    for name, value, _ in outputs]
        graph = helper.make_graph(
            nodes, 'pose', [helper.make_tensor_value_info(name, types[kind], shape) for name, kind, shape in inputs],
            [helper.make_tensor_value_info(name, types[np.float32], shape) for name, _, shape in outputs],
            list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', self.opset)],
                                  producer_name='mindspore-pose')
        # The oldest IR version that has this opset, so that as many runtimes as possible can read the file.
        model.ir_version = helper.find_min_ir_version_for(model.opset_import)
        helper.set_model_props(model, metadata)
        try:
            self._onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # noqa: BLE001  its kinds of errors are its own
            raise PoseError(f'the ONNX graph is not valid: {" ".join(str(error).split())[:300]}') from None
        return model.SerializeToString()
