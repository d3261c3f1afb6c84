"""Videos, pictures and a pose network without weights for tests of whole inferences."""
import json

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from src.config import load_recipe, resolve, to_json
from src.data.skeletons import COCO

# Of the network: input (H, W).
SHAPE = (96, 64)
# Two people of a detector with an input of 128 x 128: center x, center y, width, height, score.
BOXES = [(32, 64, 20, 60, 0.9), (80, 64, 20, 60, 0.6)]


def write_video(path, pictures, rate=10.0) -> str:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return str(path)


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened(), path
    found = []
    while True:
        is_there, picture = capture.read()
        if not is_there:
            return found, capture.get(cv2.CAP_PROP_FPS)
        found.append(picture)


def moving_square(count=12, size=(120, 160)):
    """Grey frames in which a white square moves by four pixels a frame."""
    frames = []
    for number in range(count):
        picture = np.full((*size, 3), 90, np.uint8)
        left = 20 + 4 * number
        picture[30:90, left:left + 30] = 250
        frames.append(picture)
    return frames


def write_pose_network(path, recipe: str, peak: float = 0.9) -> str:
    """A file like those of `export.py` whose heatmaps have their maxima on a stick figure in the middle of the crop."""
    config = resolve(load_recipe(recipe), {'MODEL.IMAGE_SIZE': f'{SHAPE[1]} {SHAPE[0]}', 'TEST.FLIP_TEST': 'false'})
    cells = (SHAPE[0] // 4, SHAPE[1] // 4)
    heatmaps = np.zeros((1, COCO.num_keypoints, *cells), np.float32)
    for index in range(COCO.num_keypoints):
        heatmaps[0, index, 2 + index, 4 + (3 * index) % 9] = peak
    nodes = [helper.make_node('ReduceMean', ['pixels_f'], ['mean'], axes=[1, 2, 3], keepdims=1),
             helper.make_node('Mul', ['mean', 'zero'], ['nothing']),
             helper.make_node('Add', ['heatmap_values', 'nothing'], ['heatmaps'])]
    nodes.insert(0, helper.make_node('Cast', ['pixels'], ['pixels_f'], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes, 'stick_figure', [helper.make_tensor_value_info('pixels', TensorProto.UINT8, ['N', *SHAPE, 3])],
        [helper.make_tensor_value_info('heatmaps', TensorProto.FLOAT, ['N', *heatmaps.shape[1:]])],
        [numpy_helper.from_array(heatmaps, 'heatmap_values'), numpy_helper.from_array(np.array(0, np.float32), 'zero')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    facts = {'network': 'stick_figure', 'input': {'kind': 'pixels'}, 'outputs': ['heatmaps'],
             'normalisation': {'factor': [1, 1, 1], 'shift': [0, 0, 0]}, 'keypoint_names': list(COCO.keypoint_names),
             'decoder': {'inside': False}, 'flip_test': {'inside': False}, 'versions': {}}
    for key, value in {'recipe': to_json(config), **{key: json.dumps(fact) for key, fact in facts.items()}}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    save(model, str(path))
    return str(path)
