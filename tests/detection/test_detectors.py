"""Detectors in ONNX: every known format is recognised and finds what its outputs say; what is none is refused."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_up_detectors import CELLS, SIDE, ultralytics, write_graph

from src.data.images import read_picture
from src.detection import PersonDetector
from src.detection.detector import letterbox
from src.detection.output_formats import Pixels
from src.system.errors import PoseError

SHARED = Path(__file__).resolve().parents[2].parent / 'shared' / 'data'
needs_detectors = pytest.mark.skipif(not (SHARED / 'detectors').is_dir(),
                                     reason='the real detectors (../shared/data/detectors) are not here')
PICTURE = np.zeros((256, 256, 3), np.uint8)
# One person from (16, 8) to (48, 56) in the detectors' input of 128 x 128, so twice that in the picture.
XYXY, XYWH_IN_PICTURE = (16, 8, 48, 56), [32, 16, 64, 96]
ALL_CELLS = CELLS[8] + CELLS[16] + CELLS[32]


def logit(score):
    return np.log(score / (1 - score))


def cell_of(stride, column, row, grids):
    """The number of a cell among those of all grids."""
    return sum(CELLS[each] for each in grids[:grids.index(stride)]) + row * (SIDE // stride) + column


def yolox(path):
    values = np.zeros((1, ALL_CELLS, 85))
    values[..., 2:4] = -3
    row = cell_of(8, 3, 3, (8, 16, 32))
    # Center (32, 32) in cells of 8 from (3, 3); sizes as logarithms.
    values[0, row, :6] = [1, 1, np.log(32 / 8), np.log(48 / 8), 0.9, 0.8]
    # A surer car: not a person.
    values[0, 0, :8] = [1, 1, 1, 1, 1, 0, 0, 1]
    return write_graph(path, {'output': values}), 0.72


def yolox_decoded(path):
    values = np.full((1, ALL_CELLS, 85), 20.0)
    values[..., 4:] = 0
    values[0, 5, :6] = [32, 32, 32, 48, 0.9, 0.8]
    return write_graph(path, {'output': values}), 0.72


def rtmdet_apart(path):
    outputs = {}
    for number, stride in enumerate((8, 16, 32)):
        outputs[f'class_{number}'] = np.full((1, 1, SIDE // stride, SIDE // stride), -9.0)
    for number, stride in enumerate((8, 16, 32)):
        outputs[f'side_{number}'] = np.ones((1, 4, SIDE // stride, SIDE // stride))
    # The point of cell (column 2, row 1) of stride 16 is its corner (32, 16).
    outputs['class_1'][0, 0, 1, 2] = logit(0.7)
    outputs['side_1'][0, :, 1, 2] = [16, 8, 16, 40]
    return write_graph(path, outputs), 0.7


def rtmdet_joint(path):
    outputs = {}
    # The grids in another order.
    for stride in (32, 8, 16):
        outputs[f'grid_{stride}'] = np.full((1, SIDE // stride, SIDE // stride, 5), -9.0)
    outputs['grid_16'][0, 1, 2] = [logit(0.7), 16, 8, 16, 40]
    return write_graph(path, outputs), 0.7


def rtmdet_suppressed(path):
    dets = np.zeros((1, 3, 5))
    dets[0, :, :4] = XYXY
    dets[0, :, 4] = [0.9, 0.7, 0.2]
    return write_graph(path, {'labels': np.array([[2, 0, 0]]), 'dets': dets}), 0.7


def bins_for(*distances):
    """Logits whose expectation over eight bins is a whole number."""
    rows = np.full((4, 8), -30.0)
    for side, distance in enumerate(distances):
        rows[side, int(distance)] = 30
    return rows.ravel()


def nanodet(path):
    outputs = {f'cls_pred_stride_{stride}': np.zeros((1, CELLS[stride], 80)) for stride in (8, 16, 32)}
    outputs.update({f'dis_pred_stride_{stride}': np.zeros((1, CELLS[stride], 32)) for stride in (8, 16, 32)})
    # The point of NanoDet is the middle of a cell: (28, 28) of stride 8 and column 3, row 3; distances in cells.
    row = cell_of(8, 3, 3, (8, 16, 32))
    outputs['cls_pred_stride_8'][0, row, 0] = 0.6
    outputs['dis_pred_stride_8'][0, row] = bins_for(1, 2, 2, 3)
    return write_graph(path, outputs), 0.6


def nanodet_plus(path):
    values = np.zeros((1, ALL_CELLS + CELLS[64], 112))
    row = cell_of(8, 4, 4, (8, 16, 32, 64))
    values[0, row, 0] = 0.6
    values[0, row, 80:] = bins_for(2, 3, 2, 3)
    return write_graph(path, {'output': values}), 0.6


def yolo(path):
    return ultralytics(path, [(32, 32, 32, 48, 0.8), (32, 33, 32, 48, 0.7)]), 0.8


def yolo_of_other_classes(path):
    return ultralytics(path, [(32, 32, 32, 48, 0.8)], classes=3, person=2,
                       metadata={'names': "{0: 'dog', 1: 'cat', 2: 'person'}"}), 0.8


def yolo_of_poses(path):
    return ultralytics(path, [(32, 32, 32, 48, 0.8)], classes=52), 0.8


def yolo_suppressed(path):
    rows = np.zeros((1, 300, 6))
    rows[0, :2] = [[*XYXY, 0.8, 0], [*XYXY, 0.9, 16]]
    return write_graph(path, {'output0': rows}), 0.8


FORMATS = {'YOLOX': (yolox, yolox_decoded), 'RTMDet': (rtmdet_apart, rtmdet_joint),
           'RTMDet with suppression': (rtmdet_suppressed,), 'NanoDet-Plus': (nanodet_plus,),
           'YOLOv8/YOLO11': (yolo, yolo_of_other_classes, yolo_of_poses), 'YOLO with suppression': (yolo_suppressed,)}
MAKERS = [(name, make) for name, makers in FORMATS.items() for make in makers]


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('name, make', MAKERS, ids=lambda each: getattr(each, '__name__', each))
def test_every_format_finds_its_person(name, make, runtime, tmp_path):
    path, score = make(tmp_path / 'detector.onnx')
    detector = PersonDetector(path, runtime=runtime)
    found = detector(PICTURE)
    assert detector.format_name == name and detector.input_shape == (SIDE, SIDE)
    np.testing.assert_allclose(found.boxes_xywh, [XYWH_IN_PICTURE], atol=1e-3)
    np.testing.assert_allclose(found.scores, [score], rtol=1e-5)


def test_nanodet_counts_from_the_middle_of_a_cell(tmp_path):
    path, score = nanodet(tmp_path / 'detector.onnx')
    found = PersonDetector(path)(PICTURE)
    # (28 - 8, 28 - 16) to (28 + 16, 28 + 24), twice.
    np.testing.assert_allclose(found.boxes_xywh, [[40, 24, 48, 80]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [score], rtol=1e-5)


def test_boxes_follow_the_picture_into_the_letterbox(tmp_path):
    """A picture twice as wide as high: shrunk by four, 32 rows of padding above it where the format centers it."""
    path = ultralytics(tmp_path / 'detector.onnx', [(32, 64, 16, 16, 0.8), (4, 42, 20, 20, 0.7), (32, 8, 8, 8, 0.6)])
    found = PersonDetector(path)(np.zeros((256, 512, 3), np.uint8))
    # The second one is cut at the picture's edge; the third lies in the padding.
    np.testing.assert_allclose(found.boxes_xywh, [[96, 96, 64, 64], [0, 0, 56, 80]], atol=1e-3)


@pytest.mark.parametrize('shape', [(1, 1), (1, 500), (300, 2), (64, 64)])
def test_letterbox_keeps_proportions(shape):
    picture = np.full((*shape, 3), (10, 20, 30), np.uint8)
    images, scale, offset = letterbox(picture, (64, 64), Pixels(mean=(1, 2, 3), std=(9, 9, 9), padding=0))
    assert images.shape == (1, 3, 64, 64) and (offset == 0).all()
    np.testing.assert_allclose(images[0, :, 0, 0], [1, 2, 3])
    assert (np.round(scale * shape[::-1]) >= 1).all() and (scale * shape[::-1]).max() == 64
    images, _, _ = letterbox(picture, (64, 64), Pixels(is_rgb=True, is_centered=True, padding=0))
    np.testing.assert_allclose(images[0, :, 31, 31], [30, 20, 10])


def test_threshold_and_suppression_are_the_callers(tmp_path):
    path = ultralytics(tmp_path / 'detector.onnx', [(32, 32, 32, 48, 0.8), (34, 32, 32, 48, 0.6), (10, 10, 9, 9, 0.1)])
    assert len(PersonDetector(path)(PICTURE).scores) == 1
    assert PersonDetector(path, threshold=0.05)(PICTURE).scores.tolist() == pytest.approx([0.8, 0.1])
    assert len(PersonDetector(path, threshold=0.05, nms_threshold=0.95)(PICTURE).scores) == 3
    assert PersonDetector(path, threshold=0.9)(PICTURE).boxes_xywh.shape == (0, 4)


def test_what_is_not_finite_is_nobody(tmp_path):
    path = ultralytics(tmp_path / 'detector.onnx', [(np.nan, 32, 32, 48, 0.8), (32, 32, np.inf, 48, 0.8)])
    assert PersonDetector(path)(PICTURE).scores.shape == (0,)


def classifier(path):
    return write_graph(path, {'logits': np.zeros((1, 1000))})


def grids_of_another_size(path):
    return write_graph(path, {f'grid_{number}': np.zeros((1, 7, 7, 5)) for number in range(3)})


def of_other_things(path):
    return ultralytics(path, [], classes=20)


def of_dogs(path):
    return ultralytics(path, [], classes=2, metadata={'names': "{0: 'dog', 1: 'cat'}"})


def of_two_pictures(path):
    return write_graph(path, {'output': np.zeros((1, ALL_CELLS, 85))}, input_shape=[2, 3, 128, 128])


def of_an_odd_side(path):
    return write_graph(path, {'output': np.zeros((1, 10, 85))}, side=50)


def text(path):
    path.write_text('boxes')
    return str(path)


@pytest.mark.parametrize('make, message', [
    (classifier, r'none of a known detector: .logits. \(1, 1000\); this looks like a classifier.*known are YOLOX'),
    (grids_of_another_size, r'none of a known detector: .grid_0. \(1, 7, 7, 5\).*known are YOLOX.*RTMDet.*NanoDet'),
    (of_other_things, 'has 20 classes and does not say which of them is the person'),
    (of_dogs, 'finds no people: its classes are'),
    (of_two_pictures, r'its inputs are \(2, 3, 128, 128\) instead of one picture'),
    (of_an_odd_side, 'no multiple of 32'),
    (text, r'detector.onnx \(5 bytes\) is damaged, no ONNX file'),
    (lambda path: str(path), 'the detector .*detector.onnx does not exist'),
    (lambda path: str(path).replace('.onnx', '.pt'), r'detector.pt should be an ONNX file \(.onnx\)')])
def test_what_is_no_detector_is_refused(make, message, tmp_path):
    with pytest.raises(PoseError) as error:
        PersonDetector(make(tmp_path / 'detector.onnx'))
    assert re.search(message, str(error.value)) and '\n' not in str(error.value)


@pytest.mark.parametrize('options, message', [({'threshold': 2}, 'threshold of a detector should be between 0 and 1'),
                                              ({'nms_threshold': -1}, 'nms_threshold of a detector should be'),
                                              ({'runtime': 'mindir'}, 'mindir does not read'),
                                              ({'runtime': 'tensorrt'}, "the runtime 'tensorrt' is unknown")])
def test_settings_of_a_detector_are_checked(options, message, tmp_path):
    with pytest.raises(PoseError, match=message):
        PersonDetector(yolo(tmp_path / 'detector.onnx')[0], **options)


@needs_detectors
@pytest.mark.parametrize('name, format_name', [('yolox_nano', 'YOLOX'), ('rtmdetnp', 'RTMDet'),
                                               ('rtmdet_nano_ncnn', 'RTMDet'), ('nanodet_m_416', 'NanoDet')])
def test_real_detectors_find_the_people_of_a_photo(name, format_name):
    """On a picture with one person; all of val is measured in docs/inference.md."""
    content = json.loads((SHARED / 'coco-mini/annotations/person_keypoints_val2017.json').read_text())
    image_id = 519208
    box, = (each['bbox'] for each in content['annotations'] if each['image_id'] == image_id)
    picture = read_picture(str(SHARED / f'coco-mini/val2017/{image_id:012d}.jpg'), honour_exif=False)
    detector = PersonDetector(str(SHARED / 'detectors' / f'{name}.onnx'), threads=1)
    assert detector.format_name == format_name
    found = detector(picture)
    x, y, width, height = found.boxes_xywh[0]
    inner = (max(0, min(x + width, box[0] + box[2]) - max(x, box[0]))
             * max(0, min(y + height, box[1] + box[3]) - max(y, box[1])))
    assert inner / (width * height + box[2] * box[3] - inner) > 0.7 and found.scores[0] > 0.5
