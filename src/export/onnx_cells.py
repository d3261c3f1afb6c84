"""A network → an ONNX graph, by tracing the network's own code.

`construct` of the networks is plain Python. Here it runs with `Value` objects in the place of tensors: a cell that is
listed in WRITERS adds its ONNX nodes, every other cell just runs its `construct`, and arithmetic adds arithmetic nodes.
So no network is defined twice, and a new network needs changes here only if it has a new kind of elementary cell.

Why not MindSpore's own exporter: `mindspore.export(…, file_format='ONNX')` is going away, its successor
`mindspore.onnx.export` (from 2.8) fails on convolutions with a bias in 2.10.0, and ONNX Runtime refuses the transposed
convolutions of both. Why not forward hooks of the cells: they receive tensors and must return tensors.
"""
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Sequence, Union

import numpy as np
from mindspore import nn

from ..models.common import graph_parts
from ..models.common.blocks import BatchNorm, BilinearResize, GlobalMean, NearestUpsample, Scale, StemPool
from ..models.common.flip_test import AllHypotheses, Mirror, MirrorBack
from ..models.common.normalise import PixelNormaliser
from ..system.errors import PoseError
from .onnx_graph import Value


def follow(network: nn.Cell, *inputs: Value) -> Value:
    """Add the nodes of `network` in eval mode to the graph of its inputs, and return its output.

    Raises:
        PoseError: it has a kind of cell that is not supported here; the message names it.
    """
    with _following(network):
        return network(*inputs)


@contextmanager
def _following(network: nn.Cell) -> Iterator[None]:
    """Within the block, a cell that is called with values of a graph adds its nodes to that graph.

    This replaces `nn.Cell.__call__` for the whole process. A cell that is called with tensors, say in another thread,
    still works as before, a little slower.
    """
    labels = {id(cell): name for name, cell in network.cells_and_names()}
    original = nn.Cell.__call__

    def call(cell, *arguments, **options):
        value = next((each for each in _flat(arguments) if isinstance(each, Value)), None)
        if value is None:
            return original(cell, *arguments, **options)
        label = labels.get(id(cell), '')
        outer, value.graph.scope = value.graph.scope, label
        try:
            return _write(cell, label, *arguments, **options)
        finally:
            value.graph.scope = outer

    nn.Cell.__call__ = call
    try:
        yield
    finally:
        nn.Cell.__call__ = original


def _write(cell: nn.Cell, label: str, *arguments, **options):
    write = next((each for kind, each in WRITERS.items() if isinstance(cell, kind)), None)
    if write:
        return write(cell, *arguments, label)
    if type(cell).__module__.startswith('mindspore.') and not isinstance(cell, nn.SequentialCell):
        raise PoseError(f'{label or "the network"} is a {type(cell).__name__}, which cannot be written as ONNX yet; '
                        'WRITERS in src/export/onnx_cells.py is the place to add it')
    try:
        return cell.construct(*arguments, **options)
    except TypeError as error:
        raise PoseError(f'{label or "the network"} ({type(cell).__name__}) calls a function that cannot be followed; '
                        'WRITERS in src/export/onnx_cells.py is the place to add the cell. MindSpore says: '
                        f'{" ".join(str(error).split())[:200]}') from None


def _flat(arguments) -> Iterator:
    for each in arguments:
        if isinstance(each, (tuple, list)):
            yield from _flat(each)
        else:
            yield each


# How each elementary cell is written: (cell, its inputs, its name in the network) -> output.

def _convolution(cell: Union[nn.Conv2d, nn.Conv2dTranspose], x: Value, label: str) -> Value:
    if cell.pad_mode != 'pad':
        raise PoseError(f'{label}: a convolution with pad_mode {cell.pad_mode!r} cannot be exported, only "pad"')
    top, bottom, left, right = (cell.padding,) * 4 if isinstance(cell.padding, int) else tuple(cell.padding)
    weight = cell.weight.asnumpy()
    inputs = [x, x.graph.constant(weight, f'{label}.weight')]
    if cell.has_bias:
        inputs.append(x.graph.constant(cell.bias.asnumpy(), f'{label}.bias'))
    attributes = {'kernel_shape': list(weight.shape[2:]), 'strides': _pair(cell.stride),
                  'pads': [top, left, bottom, right], 'dilations': _pair(cell.dilation), 'group': cell.group}
    if isinstance(cell, nn.Conv2dTranspose):
        return x.graph.add('ConvTranspose', *inputs, **attributes)
    return x.graph.add('Conv', *inputs, **attributes)


def _pair(value: Union[int, Sequence[int]]) -> list:
    return [value, value] if isinstance(value, int) else list(value)[-2:]


def _batch_norm(cell: BatchNorm, x: Value, label: str) -> Value:
    parameters = (x.graph.constant(each.asnumpy(), f'{label}.{name}') for name, each in (
        ('gamma', cell.gamma), ('beta', cell.beta), ('mean', cell.moving_mean), ('variance', cell.moving_variance)))
    return x.graph.add('BatchNormalization', x, *parameters, epsilon=float(cell.eps))


def _stem_pool(cell: StemPool, x: Value, _label: str) -> Value:
    before = cell.pad.paddings[2][0]
    # ONNX pads with minus infinity, which after a ReLU gives the same result as zero.
    return x.graph.add('MaxPool', x, kernel_shape=[3, 3], strides=[2, 2], pads=[before, before, 1, 1])


def _resize(cell: BilinearResize, x: Value, _label: str) -> Value:
    if cell.identity:
        return x
    scales = np.array([1, 1, *(out / each for each, out in zip(cell.shape_in, cell.shape_out))], np.float32)
    return x.graph.add('Resize', x, Value(x.graph, ''), scales, mode='linear',
                       coordinate_transformation_mode='align_corners')


def _nearest(cell: NearestUpsample, x: Value, _label: str) -> Value:
    scales = np.array([1, 1, cell.factor, cell.factor], np.float32)
    return x.graph.add('Resize', x, Value(x.graph, ''), scales, mode='nearest', nearest_mode='floor',
                       coordinate_transformation_mode='asymmetric')


def _dense(cell: nn.Dense, x: Value, label: str) -> Value:
    inputs = [x, x.graph.constant(cell.weight.asnumpy(), f'{label}.weight')]
    if cell.has_bias:
        inputs.append(x.graph.constant(cell.bias.asnumpy(), f'{label}.bias'))
    return x.graph.add('Gemm', *inputs, transB=1)


def _global_mean(_cell: GlobalMean, x: Value, _label: str) -> Value:
    return x.graph.add('Flatten', x.graph.add('GlobalAveragePool', x), axis=1)


def _scale(_cell: Scale, x: Value, factors: Value, _label: str) -> Value:
    return x * x.graph.add('Unsqueeze', factors, np.array([2, 3]))


def _normaliser(cell: PixelNormaliser, pixels: Value, _label: str) -> Value:
    graph, (factor, shift) = pixels.graph, cell.factor_and_shift()
    channels_first = graph.add('Transpose', pixels, perm=[0, 3, 1, 2])
    if cell.color_rgb:
        channels_first = graph.add('Gather', channels_first, np.array([2, 1, 0]), axis=1)
    return graph.add('Cast', channels_first, to=1) * factor + shift


def _mirror_back(cell: MirrorBack, heatmaps: Value, _label: str) -> Value:
    graph = heatmaps.graph
    mirrored = graph.add('Gather', graph.mirror(heatmaps, 3), np.asarray(cell.flip_index.asnumpy(), np.int64), axis=1)
    if not cell.shift_heatmap:
        return mirrored
    return graph.add('Concat', graph.slice(mirrored, 3, 0, 1), graph.slice(mirrored, 3, 0, -1), axis=3)


def _all_hypotheses(cell: AllHypotheses, images: Value, _label: str) -> Value:
    # One code for all crops, by broadcasting: the graph works for any batch size.
    graph, network = images.graph, cell.network
    features, codes = network.trunk(images), network.codes.asnumpy()
    return graph.add('Concat', *(network.modulate(features, graph.constant(code[None])) for code in codes), axis=0)


def _pad(cell: graph_parts.Frame, x: Value, _label: str) -> Value:
    return x.graph.add('Pad', x, np.array([0, cell.radius, cell.radius] * 2))


def _shape_of(cell: graph_parts.Reshape, x: Value, _label: str) -> Value:
    return x.graph.add('Reshape', x, np.array(cell.shape))


WRITERS: Dict[type, Callable[..., Value]] = {
    nn.Conv2dTranspose: _convolution, nn.Conv2d: _convolution, nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda cell, x, _: x.graph.add('Relu', x),
    nn.ReLU6: lambda cell, x, _: x.graph.add('Clip', x, np.float32(0), np.float32(6)),
    nn.Sigmoid: lambda cell, x, _: x.graph.add('Sigmoid', x),
    nn.Dense: _dense, StemPool: _stem_pool, BilinearResize: _resize, NearestUpsample: _nearest,
    GlobalMean: _global_mean, Scale: _scale,
    PixelNormaliser: _normaliser, Mirror: lambda cell, x, _: x.graph.mirror(x, 3), MirrorBack: _mirror_back,
    AllHypotheses: _all_hypotheses,
    graph_parts.Reshape: _shape_of, graph_parts.Frame: _pad,
    graph_parts.Window: lambda cell, x, _: x.graph.slice(x, cell.axis, cell.start, cell.start + cell.size),
    graph_parts.Elementwise: lambda cell, x, _: x.graph.add(cell.name.capitalize(), x),
    graph_parts.Reduce: lambda cell, x, _: x.graph.reduce(f'Reduce{cell.name.capitalize()}', x, 1),
    graph_parts.Equal: lambda cell, one, other, _: other.graph.add('Equal', one, other),
    graph_parts.Choose: lambda cell, condition, one, other, _: condition.graph.add('Where', condition, one, other),
    graph_parts.Join: lambda cell, *columns: columns[0].graph.add('Concat', *columns[:-1], axis=1)}
