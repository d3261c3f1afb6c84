"""Drawing people: what changes on the picture, what must not, and the writing of it."""
import os

import cv2
import numpy as np
import pytest
from drawn_people import gray, person

from src.data.skeletons import COCO
from src.visualization import draw_people, write_picture


def _changed(before, after):
    return (before != after).any(axis=2)


def test_a_person_is_drawn_on_a_copy():
    picture, keypoints = gray(), person()
    keypoints_before = keypoints.copy()
    boxes = np.array([[90, 20, 140, 200]])
    drawn = draw_people(picture, keypoints, COCO, person_scores=np.array([0.9]), boxes_xywh=boxes)
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    assert _changed(picture, drawn).any()
    assert (picture == 128).all()
    np.testing.assert_array_equal(keypoints, keypoints_before)


def test_pixels_away_from_the_person_do_not_change():
    picture = gray()
    changed = _changed(picture, draw_people(picture, person(), COCO))
    rows, columns = np.nonzero(changed)
    points = person()[0, :, :2]
    assert rows.min() > points[:, 1].min() - 15 and rows.max() < points[:, 1].max() + 15
    assert columns.min() > points[:, 0].min() - 15 and columns.max() < points[:, 0].max() + 15


@pytest.mark.parametrize('empty', [np.zeros((0, 17, 3)), np.zeros((0,)), []])
def test_no_people_gives_an_equal_copy(empty):
    picture = gray()
    drawn = draw_people(picture, empty, COCO)
    np.testing.assert_array_equal(drawn, picture)
    assert not np.shares_memory(drawn, picture)


@pytest.mark.parametrize('hide', ['nan', 'inf', 'nan_score', 'low_score'])
def test_hidden_keypoints_leave_no_trace(hide):
    keypoints = person()
    if hide in ('nan', 'inf'):
        keypoints[..., 0] = float(hide)
    else:
        keypoints[..., 2] = np.nan if hide == 'nan_score' else 0.3
    drawn = draw_people(gray(), keypoints, COCO, person_scores=[0.5], keypoint_score_thresh=0.3)
    np.testing.assert_array_equal(drawn, gray())


def test_a_hidden_keypoint_takes_its_limbs_along():
    keypoints = person()
    wrist = COCO.keypoint_names.index('left_wrist')
    keypoints[0, wrist, 1] = np.nan
    changed = _changed(gray(), draw_people(gray(), keypoints, COCO))
    elbow_xy, wrist_xy = person()[0, [COCO.keypoint_names.index('left_elbow'), wrist], :2]
    x, y = np.round(0.3 * elbow_xy + 0.7 * wrist_xy).astype(int)
    assert not changed[y - 3:y + 4, x - 3:x + 4].any()


@pytest.mark.parametrize('number', range(8))
def test_left_is_warm_and_right_is_cool(number):
    # All others of the 8 people are hidden; each number has its own shade.
    keypoints = np.repeat(person(), 8, axis=0)
    keypoints[np.arange(8) != number, :, 2] = 0
    drawn = draw_people(gray(), keypoints, COCO).astype(int)
    for side in ('left', 'right'):
        ends = [COCO.keypoint_names.index(f'{side}_{part}') for part in ('hip', 'knee')]
        x, y = np.round(keypoints[number, ends, :2].mean(axis=0)).astype(int)
        blue, _, red = drawn[y, x]
        assert red - blue > 80 if side == 'left' else blue - red > 80


def test_people_differ_in_color():
    keypoints = np.concatenate([person((80, 120)), person((240, 120))])
    drawn = draw_people(gray(), keypoints, COCO)
    assert (drawn[:, :160] != drawn[:, 160:]).any()


def test_the_surer_person_is_on_top():
    both = np.concatenate([person(), person()])
    first, second = ([0.9, 0.1], [0.1, 0.9])
    ends = [COCO.keypoint_names.index(name) for name in ('left_hip', 'left_knee')]
    x, y = np.round(both[0, ends, :2].mean(axis=0)).astype(int)
    alone = draw_people(gray(), both[:1], COCO)[y, x]
    np.testing.assert_array_equal(draw_people(gray(), both, COCO, person_scores=first)[y, x], alone)
    assert (draw_people(gray(), both, COCO, person_scores=second)[y, x] != alone).any()


@pytest.mark.parametrize('far', [-50.0, 400.0, 4e4, -3e9, 1e30, -1e300])
def test_a_keypoint_outside_the_picture_is_cut(far):
    keypoints = person()
    keypoints[0, COCO.keypoint_names.index('left_wrist'), 0] = far
    elbow = keypoints[0, COCO.keypoint_names.index('left_elbow'), :2]
    drawn = draw_people(gray(), keypoints, COCO, person_scores=[0.5], boxes_xywh=[[far, -1e12, 1e15, 1e200]])
    assert drawn.shape == gray().shape
    # The limb runs from the elbow to the border it leaves through.
    x = 314 if far > 0 else 5
    wrist_y = keypoints[0, COCO.keypoint_names.index('left_wrist'), 1]
    y = int(round(elbow[1] + (wrist_y - elbow[1]) * (x - elbow[0]) / (far - elbow[0])))
    assert _changed(gray(), drawn)[y, x]


def test_a_person_beside_the_picture_changes_nothing():
    keypoints = person((1000, 120))
    np.testing.assert_array_equal(draw_people(gray(), keypoints, COCO), gray())


@pytest.mark.parametrize('length', [0.0, 2.0, 12.0, 200.0, 5000.0])
@pytest.mark.parametrize('shape', [(240, 320), (7, 5), (1, 1), (1500, 2000)])
def test_any_size_of_person_and_picture(length, shape):
    picture = gray(*shape)
    keypoints = person((shape[1] / 2, shape[0] / 2), length)
    box = [[shape[1] / 2 - length / 4, shape[0] / 2 - length / 2, length / 2, length]]
    for boxes in (None, box):
        drawn = draw_people(picture, keypoints, COCO, person_scores=[0.876], boxes_xywh=boxes)
        assert drawn.shape == picture.shape and _changed(picture, drawn).any()


def test_lines_grow_with_the_person_within_bounds():
    widths = []
    for length in (4, 30, 300, 1400, 1e6):
        picture = gray(1500, 2000)
        keypoints = np.zeros((1, 17, 3))
        ends = [COCO.keypoint_names.index(name) for name in ('left_hip', 'left_knee')]
        keypoints[0, ends] = [[1000, 100, 1], [1000, 1400, 1]]
        drawn = draw_people(picture, keypoints, COCO, boxes_xywh=[[1000, 0, length / 2, length]])
        widths.append(int(_changed(picture, drawn)[750, 950:1050].sum()))
    assert widths == sorted(widths) and widths[0] >= 2 and 8 <= widths[-1] <= 40


def test_labels_stay_inside_and_apart():
    # Two people at one place and one at a corner: three plates that do not hide each other.
    keypoints = np.concatenate([person(), person(), person((0, 0), 40)])
    bare = draw_people(gray(), keypoints, COCO)
    labelled = draw_people(gray(), keypoints, COCO, person_scores=[0.5, 0.5, 0.5])
    plates = _changed(bare, labelled).astype(np.uint8)
    num_plates = cv2.connectedComponents(plates)[0] - 1
    assert num_plates == 3


# Further people of a box

def _line_profile(drawn, names):
    """The colors (n, 3) along the middle of a limb of `_person`."""
    start, end = (person()[0, COCO.keypoint_names.index(name), :2] for name in names)
    steps = np.linspace(0.15, 0.85, 200)[:, None]
    x, y = np.round(start + steps * (end - start)).astype(int).T
    return drawn[y, x].astype(int)


def test_further_people_have_dashed_limbs():
    knee_and_ankle = ('left_knee', 'left_ankle')
    whole, dashed = (_line_profile(draw_people(gray(), person(), COCO, is_further=is_further), knee_and_ankle)
                     for is_further in (None, [True]))
    assert (whole != 128).any(axis=1).all()
    is_gap = (dashed == 128).all(axis=1)
    assert 0.1 < is_gap.mean() < 0.6 and np.count_nonzero(np.diff(is_gap)) >= 2


def test_further_people_have_hollow_keypoints():
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 9] = [160, 120, 1]
    boxes = [[60, 0, 200, 240]]
    disc, ring = (draw_people(gray(), keypoints, COCO, boxes_xywh=boxes, is_further=[is_further])
                  for is_further in (False, True))
    assert (disc[120, 160] != 128).any() and (ring[120, 160] == 128).all()
    assert _changed(gray(), ring)[115:126, 155:166].sum() > 20


def test_further_people_are_in_no_box_and_their_labels_are_dark():
    options = {'person_scores': [0.9], 'boxes_xywh': [[60, 5, 200, 230]]}
    first, further = (draw_people(gray(), person(), COCO, is_further=[each], **options) for each in (False, True))
    corner = (slice(0, 12), slice(55, 75))
    assert _changed(gray(), first)[corner].any() and not _changed(gray(), further)[corner].any()
    plain = [draw_people(gray(), person(), COCO, is_further=[each], boxes_xywh=options['boxes_xywh'])
             for each in (False, True)]
    plates = [drawn[_changed(bare, drawn)].mean() for bare, drawn in zip(plain, (first, further))]
    assert plates[0] > 150 > 80 > plates[1]


def test_first_people_look_as_they_did():
    both = np.concatenate([person((80, 120)), person((240, 120))])
    np.testing.assert_array_equal(draw_people(gray(), both, COCO, is_further=[False, False]),
                                  draw_people(gray(), both, COCO))
    mixed = draw_people(gray(), both, COCO, is_further=[False, True])
    np.testing.assert_array_equal(mixed[:, :150], draw_people(gray(), both, COCO)[:, :150])
    assert (mixed[:, 170:] != draw_people(gray(), both, COCO)[:, 170:]).any()


@pytest.mark.parametrize('length', [0.0, 2.0, 12.0, 200.0])
@pytest.mark.parametrize('shape', [(240, 320), (1, 1), (1500, 2000)])
def test_further_people_of_any_size(length, shape):
    picture = gray(*shape)
    drawn = draw_people(picture, person((shape[1] / 2, shape[0] / 2), length), COCO, is_further=[True],
                        person_scores=[0.4])
    assert drawn.shape == picture.shape and _changed(picture, drawn).any()


def test_views_and_read_only_pictures_are_fine():
    picture = gray()[:, ::-1, ::-1]
    picture.setflags(write=False)
    assert _changed(picture, draw_people(picture, person().astype(np.float32), COCO)).any()


@pytest.mark.parametrize('picture', [
    np.zeros((20, 30), np.uint8), np.zeros((20, 30, 4), np.uint8), np.zeros((20, 30, 3), np.float32)])
def test_another_kind_of_picture_is_refused(picture):
    with pytest.raises(ValueError, match=r'\(H, W, 3\) uint8.*COLOR_GRAY2BGR'):
        draw_people(picture, person(), COCO)


@pytest.mark.parametrize('name, arguments', [
    ('keypoints', {'keypoints': np.zeros((1, 16, 3))}),
    ('person_scores', {'person_scores': np.zeros(2)}),
    ('boxes_xywh', {'boxes_xywh': np.zeros((1, 5))}),
    ('is_further', {'is_further': np.zeros(2, bool)})])
def test_wrong_shapes_are_named(name, arguments):
    keypoints = arguments.pop('keypoints', person())
    with pytest.raises(ValueError, match=name):
        draw_people(gray(), keypoints, COCO, **arguments)


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.JPEG'])
def test_write_picture_leaves_only_the_picture(tmp_path, extension):
    path = str(tmp_path / f'drawn{extension}')
    picture = draw_people(gray(), person(), COCO)
    for _ in range(2):
        write_picture(path, picture)
    assert os.listdir(tmp_path) == [f'drawn{extension}']
    read = cv2.imread(path).astype(int)
    assert np.abs(read - picture).mean() < (0.001 if extension == '.png' else 5)


def test_write_picture_refuses_an_unknown_extension(tmp_path):
    with pytest.raises(ValueError, match=r'drawn\.gif.*\.jpg, \.jpeg, \.png'):
        write_picture(str(tmp_path / 'drawn.gif'), gray())
    with pytest.raises(ValueError, match='no pixels'):
        write_picture(str(tmp_path / 'drawn.png'), np.zeros((0, 4, 3), np.uint8))
    assert os.listdir(tmp_path) == []


def test_write_picture_names_the_path_it_cannot_write(tmp_path):
    with pytest.raises(OSError, match='nowhere'):
        write_picture(str(tmp_path / 'nowhere' / 'drawn.png'), gray())
    (tmp_path / 'folder.png').mkdir()
    with pytest.raises(OSError, match=r'folder\.png'):
        write_picture(str(tmp_path / 'folder.png'), gray())
    assert os.listdir(tmp_path) == ['folder.png']
