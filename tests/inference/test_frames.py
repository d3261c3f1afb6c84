"""PoseEstimator.frames, and the threads and budgets that it runs on."""
import json
import threading
import time

import cv2
import numpy as np
import pytest
from made_up_inputs import moving_square

from src import PersonDetector, PoseError, PoseEstimator, PoseTracker
from src.data.coco_boxes import load_coco_boxes
from src.inference.background import Background
from src.inference.box_poses import BoxPoser, PosesOfPicture
from src.inference.pipeline import Budget, followed_boxes


@pytest.fixture(scope='module')
def estimator(material):
    return PoseEstimator(str(material / 'pose.onnx'), detector=str(material / 'detector.onnx'))


def test_a_detector_finds_the_boxes_of_an_estimator(estimator, material):
    picture = moving_square(1)[0]
    found = estimator(picture)
    boxes, scores = PersonDetector(str(material / 'detector.onnx'))(picture)
    np.testing.assert_array_equal(found.boxes_xywh, boxes)
    np.testing.assert_allclose(found.box_scores, scores)
    np.testing.assert_allclose(found.scores, 0.9 * scores, atol=1e-3)
    # Given boxes come before the detector's.
    assert len(estimator(picture, [[1, 2, 30, 40]]).scores) == 1
    own = PoseEstimator(str(material / 'pose.onnx'), detector=lambda image: ([[5, 5, 50, 50]], [0.5]))
    assert own(picture).boxes_xywh.tolist() == [[5, 5, 50, 50]]


def test_frames_of_everything(estimator, material):
    tracker = PoseTracker(estimator.skeleton.oks_sigmas)
    frames = list(estimator.frames([str(material / 'photos'), str(material / 'clip.mp4')], tracker=tracker))
    assert [(each.source.name, each.number) for each in frames] == [
        ('Käse.bmp', 0), ('b 2.png', 0), ('b 10.jpg', 0)] + [('clip.mp4', number) for number in range(12)]
    assert all(each.poses.keypoints.shape == (2, 17, 3) and len(each.poses.scores) == 2 for each in frames)
    assert frames[0].poses.ids is None and [each.poses.ids.tolist() for each in frames[3:]] == [[1, 2]] * 12
    assert frames[3].rate == 10 and frames[0].picture.shape == (120, 160, 3)
    boxes = list(estimator.frames(str(material / 'clip.mp4'), boxes_xywh=[[10, 10, 50, 90]], detect_every=4))
    assert all(each.poses.boxes_xywh.tolist() == [[10, 10, 50, 90]] for each in boxes)


def test_poses_do_not_depend_on_the_batches(estimator, material, monkeypatch):
    together = list(estimator.frames(str(material / 'clip.mp4')))
    monkeypatch.setattr('src.inference.pipeline.FRAMES_IN_BATCH', 1)
    for one, other in zip(estimator.frames(str(material / 'clip.mp4')), together):
        np.testing.assert_allclose(one.poses.keypoints, other.poses.keypoints, atol=1e-6)


def test_batches_run_over_frames(estimator, material, monkeypatch):
    sizes = []
    predict = BoxPoser.predict
    monkeypatch.setattr(BoxPoser, 'predict', lambda self, pictures, *rest: sizes.append(len(pictures)) or predict(
        self, pictures, *rest))
    # The first frame waits for nobody; while it is computed the others gather.
    monkeypatch.setattr('src.inference.box_poses.BoxPoser.by_protocol', slowly(BoxPoser.by_protocol))
    list(estimator.frames(str(material / 'clip.mp4')))
    assert sum(sizes) == 12 and max(sizes) >= 3


def slowly(function):
    def call(*values):
        time.sleep(0.15)
        return function(*values)
    return call


def test_a_broken_picture_is_raised_or_noted(estimator, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), moving_square(1)[0])
    (tmp_path / 'b.jpg').write_bytes(b'nothing')
    with pytest.raises(PoseError, match='b.jpg is not a picture'):
        list(estimator.frames(str(tmp_path)))
    errors = []
    assert len(list(estimator.frames(str(tmp_path), on_problem=errors.append))) == 1
    assert len(errors) == 1


def test_who_stops_early_leaves_no_thread(estimator, material):
    before = threading.active_count()
    for frame in estimator.frames(str(material / 'clip.mp4')):
        if frame.number == 2:
            break
    del frame
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_detect_every_is_checked(estimator, material):
    with pytest.raises(PoseError, match='detect_every should be 1 or more, is 0'):
        list(estimator.frames(str(material / 'clip.mp4'), detect_every=0))


def test_followed_boxes_are_those_of_sure_poses():
    keypoints = np.zeros((3, 17, 3))
    keypoints[..., 2] = 0.9
    keypoints[:, :, 0] = np.linspace(10, 50, 17)
    keypoints[:, :, 1] = np.linspace(20, 100, 17)
    keypoints[0, 3] = [300, 300, 0.1]     # a joint that nobody sees does not count
    keypoints[1, :, 2] = 0.2              # nobody any more
    poses = PosesOfPicture(keypoints, np.ones(3), np.zeros((3, 4)), np.array([0.8, 0.7, 0.6]), np.array([0, 0, 1]))
    boxes, scores = followed_boxes(poses, (105, 200))
    assert boxes.tolist() == [[0, 10, 60, 95]] and scores.tolist() == [0.8]


def test_a_background_gives_items_in_order_and_errors_at_their_place():
    def items():
        yield from range(5)
        raise KeyError('broken')

    found, background = [], Background(items(), 2)
    with pytest.raises(KeyError, match='broken'):
        for item in background:
            found.append(item)
    assert found == list(range(5))
    background.close()


def test_a_background_of_a_camera_keeps_the_newest():
    more = threading.Event()

    def items():
        yield from range(50)
        more.set()

    background = Background(items(), 4, newest_only=True)
    assert more.wait(20)
    assert background.get() == 49
    background.close()


def test_a_background_does_not_wait_unless_asked():
    hold = threading.Event()

    def items():
        hold.wait(5)
        yield 1

    background = Background(items(), 2)
    assert background.get(wait=False) is None
    hold.set()
    assert background.get() == 1
    background.close()


def test_a_budget_lets_one_in_whatever_its_size():
    budget, over, taken = Budget(100), threading.Event(), []
    budget.take(500, over)

    def take():
        budget.take(60, over)
        taken.append(1)

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.05)
    assert not taken
    budget.give_back(500)
    thread.join(5)
    assert taken == [1]
    # Whoever still waits at the end is let go.
    thread = threading.Thread(target=take)
    thread.start()
    budget.end(over)
    thread.join(5)
    assert taken == [1, 1]


@pytest.mark.parametrize('change, message', [
    (lambda content: content['annotations'].append({'image_id': 9, 'bbox': [0, 0, 1, 1]}), 'image_id 9 is not among'),
    (lambda content: content.update(annotations={}), "'annotations' should be a list, is {}"),
    (lambda content: content['annotations'].append({'image_id': 1}), "annotation 0 has no 'bbox'")])
def test_annotation_files_are_checked(change, message, tmp_path):

    content = {'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 9, 'height': 9}], 'annotations': []}
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    (image_id, name, boxes), = load_coco_boxes(str(path))
    assert (image_id, name, boxes.shape) == (1, 'a.jpg', (0, 4))
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        load_coco_boxes(str(path))
