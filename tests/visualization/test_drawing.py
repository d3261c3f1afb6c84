"""How drawings can be asked for, where labels go, and that the legend says which side is which."""
import numpy as np
import pytest
from drawn_people import gray, person

from src.data.skeletons import COCO, CROWDPOSE, MPII, Skeleton
from src.system.errors import PoseError
from src.visualization import draw_people
from src.visualization.labels import LabelPlaces, draw_legend
from src.visualization.styles import (
    ACCENT_COLORS,
    LEFT_COLORS,
    PERSON_COLORS,
    RIGHT_COLORS,
    choose_style,
    measure_person,
)


def has_color(picture, color):
    return (picture == np.array(color, np.uint8)).all(axis=2)


def plate_of(before, after):
    """The rectangle (left, top, right, bottom) of what differs."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize('center', [(160, 120), (160, 85), (40, 60), (300, 200), (160, 30)])
@pytest.mark.parametrize('skeleton', [COCO, CROWDPOSE, MPII], ids=lambda each: each.name)
def test_labels_keep_off_the_face(center, skeleton):
    """Also of somebody whose head is at the edge of the picture."""
    keypoints = person(center, skeleton=skeleton)
    bare, labelled = (draw_people(gray(), keypoints, skeleton, labels=[text]) for text in ('', '12: 0.87'))
    left, top, right, bottom = plate_of(bare, labelled)
    words = ('nose', 'eye', 'ear', 'head')
    is_head = np.array([any(word in name.split('_') for word in words) for name in skeleton.keypoint_names])
    face = keypoints[0, is_head, :2]
    inside = (face[:, 0] > left) & (face[:, 0] < right) & (face[:, 1] > top) & (face[:, 1] < bottom)
    assert not inside.any()
    assert left >= 0 and right <= 320 and top >= 0 and bottom <= 240


def test_labels_keep_off_the_faces_of_others():
    # Above the head of the lower person is the face of the upper one.
    keypoints = np.concatenate([person((160, 80), 120), person((160, 175), 120)])
    bare, labelled = (draw_people(gray(), keypoints, COCO, labels=['', text]) for text in ('', '2'))
    left, top, right, bottom = plate_of(bare, labelled)
    face = keypoints[0, :5, :2]
    assert not ((face[:, 0] > left) & (face[:, 0] < right) & (face[:, 1] > top) & (face[:, 1] < bottom)).any()


def test_hidden_heads_are_where_heads_are():
    """A label does not cover the face of somebody whose head has no keypoints."""
    points = person((160, 140))[0, :, :2]
    points[:5] = np.nan
    places = LabelPlaces((240, 320), points[None], [180.0], COCO)
    left, top, right, bottom = places._faces[0]
    assert left < 160 < right and top < 140 - 0.35 * 180 < bottom


def test_a_label_has_the_color_of_the_lines_between_the_sides():
    keypoints = np.concatenate([person((80, 130)), person((240, 130))])
    drawn = draw_people(gray(), keypoints, COCO, labels=['1', '2'])
    for number, half in enumerate((drawn[:, :160], drawn[:, 160:])):
        bare = draw_people(gray(), keypoints, COCO)[:, 160 * number:160 * (number + 1)]
        color = ACCENT_COLORS[number]
        assert has_color(bare, color).sum() > 50 and has_color(half, color).sum() > has_color(bare, color).sum() + 50


def test_numbers_choose_the_colors():
    """Somebody who is followed through a video keeps the color in whatever order people come."""
    both = np.concatenate([person((80, 120)), person((240, 120))])
    one = draw_people(gray(), both, COCO, numbers=np.array([4, 7]))
    other = draw_people(gray(), both[::-1], COCO, numbers=np.array([7, 4]))
    np.testing.assert_array_equal(one, other)
    assert (one != draw_people(gray(), both, COCO)).any()


def test_a_color_for_each_person():
    drawn = draw_people(gray(), person((160, 120)), COCO, by_person=True, numbers=np.array([3]), labels=['4'],
                        boxes_xywh=[[60, 10, 200, 220]], legend=True)
    assert has_color(drawn, PERSON_COLORS[3]).sum() > 1000
    assert not any(has_color(drawn, color).any() for color in (*LEFT_COLORS, *RIGHT_COLORS))


def test_without_boxes_and_with_thick_lines():
    boxes = [[60, 10, 200, 220]]
    plain, bare = (draw_people(gray(), person((160, 120)), COCO, boxes_xywh=boxes, show_boxes=each)
                   for each in (True, False))
    assert (plain[8:14, 58:90] != 128).any() and (bare[8:14, 58:90] == 128).all()
    thin, thick = (draw_people(gray(), person((160, 120)), COCO, line_width=width) for width in (1, 9))
    assert (thick != 128).any(axis=2).sum() > 2 * (thin != 128).any(axis=2).sum()


@pytest.mark.parametrize('shape', [(150, 200), (240, 320), (1080, 1920), (2160, 3840)])
def test_legend_and_labels_can_be_read_at_every_size(shape):
    """A letter is at least seven pixels high, and on a large picture a hundredth of a screen."""
    picture, keypoints = gray(*shape), person((shape[1] / 2, shape[0] / 2), 0.7 * shape[0])
    plain, legend = (draw_people(picture, keypoints, COCO, legend=each) for each in (False, True))
    left, top, right, bottom = plate_of(plain, legend)
    assert bottom - top >= max(20, 0.02 * shape[1]) and (bottom - top) * (right - left) < 0.1 * shape[0] * shape[1]
    assert has_color(legend[top:bottom, left:right], LEFT_COLORS[0]).any()
    assert has_color(legend[top:bottom, left:right], RIGHT_COLORS[0]).any()
    for length in (20, 0.7 * shape[0]):
        assert choose_style(0, length, shape).text_height >= max(8, shape[1] / 150)


def test_labels_are_small_where_people_are_small():
    heights = [choose_style(0, length, (1080, 1920)).text_height for length in (20, 400, 1000)]
    assert heights == sorted(heights) and heights[0] < 0.6 * heights[-1]


def test_the_legend_stays_away_from_people():
    """It goes to another corner where somebody stands in the first one."""
    keypoints = person((60, 180), 110)
    plain, legend = (draw_people(gray(), keypoints, COCO, legend=each) for each in (False, True))
    left, _, _, _ = plate_of(plain, legend)
    assert left > 160


@pytest.mark.parametrize('shape', [(1, 1), (5, 300), (20, 20)])
def test_where_a_legend_has_no_room_there_is_none(shape):
    keypoints = person((shape[1] / 2, shape[0] / 2), 10)
    plain, legend = (draw_people(gray(*shape), keypoints, COCO, legend=each) for each in (False, True))
    np.testing.assert_array_equal(plain, legend)


def test_a_layout_without_sides_or_heads_is_drawn_too():
    hand = Skeleton('hand', ('wrist', 'thumb', 'finger'), (('wrist', 'thumb'), ('wrist', 'finger')),
                    (0.1, 0.1, 0.1), ('wrist',))
    keypoints = np.array([[[100, 200, 1], [80, 120, 1], [120, 110, 1]]], float)
    drawn = draw_people(gray(), keypoints, hand, labels=['1'], legend=True)
    np.testing.assert_array_equal(drawn, draw_people(gray(), keypoints, hand, labels=['1']))
    assert (drawn != 128).any()
    canvas = gray()
    draw_legend(canvas, LabelPlaces((240, 320), keypoints[:, :, :2], [90.0], hand), hand)
    assert (canvas == 128).all()


def test_far_people_and_empty_texts():
    drawn = draw_people(gray(), person((5000, 120)), COCO, labels=['1'], legend=False)
    assert drawn.shape == (240, 320, 3)
    np.testing.assert_array_equal(draw_people(gray(), person((160, 120)), COCO, labels=[''], person_scores=[0.5]),
                                  draw_people(gray(), person((160, 120)), COCO))


def test_texts_are_counted():
    with pytest.raises(PoseError, match='labels must be 1 texts, are 2'):
        draw_people(gray(), person((160, 120)), COCO, labels=['1', '2'])
    with pytest.raises(PoseError, match=r'numbers must have shape \(1,\)'):
        draw_people(gray(), person((160, 120)), COCO, numbers=np.arange(3))


def test_the_length_of_somebody_is_that_within_the_picture():
    points = person((160, 230))[0, :, :2]
    assert measure_person(points, np.full(4, np.nan), (240, 320)) < measure_person(points, np.full(4, np.nan),
                                                                                   (1000, 320))
