"""Small ONNX files whose outputs are constant: detectors of every known format that find given boxes everywhere."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

SIDE = 128
CELLS = {stride: (SIDE // stride) ** 2 for stride in (8, 16, 32, 64)}


def write_graph(path, outputs: dict, *, side=SIDE, metadata=None, input_shape=None) -> str:
    """Write a graph whose outputs are arrays, plus nothing of its input."""
    shape = input_shape or [1, 3, side, side]
    nodes = [helper.make_node('ReduceMean', ['images'], ['mean'], keepdims=0),
             helper.make_node('Mul', ['mean', 'zero'], ['nothing'])]
    constants = [numpy_helper.from_array(np.array(0, np.float32), 'zero')]
    for name, array in outputs.items():
        constants.append(numpy_helper.from_array(np.asarray(array, np.float32), f'{name}_values'))
        nodes.append(helper.make_node('Add', [f'{name}_values', 'nothing'], [name]))
    graph = helper.make_graph(
        nodes, 'made_up', [helper.make_tensor_value_info('images', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, np.shape(array)) for name, array in outputs.items()],
        constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    save(model, str(path))
    return str(path)


def ultralytics(path, boxes, *, classes=80, metadata=None, person=0) -> str:
    """A YOLOv8 of boxes [(center x, center y, width, height, score)], in pixels of its input."""
    count = CELLS[8] + CELLS[16] + CELLS[32]
    values = np.zeros((1, 4 + classes, count))
    for number, (*box, score) in enumerate(boxes):
        values[0, :4, number], values[0, 4 + person, number] = box, score
    return write_graph(path, {'output0': values}, metadata=metadata)
