"""Colors of layouts of one's own by limb group, and drawings of 4, 21, 24 and 133 keypoints."""
import numpy as np
import pytest

from src.data.limb_groups import keypoint_colors, limb_colors, limb_groups
from src.data.skeleton_files import skeleton_of
from src.data.skeletons import COCO, SKELETONS
from src.visualization import draw_people

FINGERS = ('thumb', 'index', 'middle', 'ring', 'pinky')


def hand(prefix=''):
    names = [f'{prefix}wrist', *(f'{prefix}{finger}{number}' for finger in FINGERS for number in range(1, 5))]
    limbs = [[names[0] if number == 1 else f'{prefix}{finger}{number - 1}', f'{prefix}{finger}{number}']
             for finger in FINGERS for number in range(1, 5)]
    return names, limbs


def dog():
    names, limbs = ['nose', 'withers', 'croup', 'tail'], [['nose', 'withers'], ['withers', 'croup'], ['croup', 'tail']]
    for side in ('left', 'right'):
        for part, top in (('front', 'withers'), ('hind', 'croup')):
            chain = [f'{side}_{part}_{joint}' for joint in ('elbow', 'knee', 'paw')]
            names += chain
            limbs += [list(limb) for limb in zip([top, *chain], chain)]
        names += [f'{side}_ear_base', f'{side}_ear_tip', f'{side}_eye', f'{side}_cheek']
        limbs += [[f'{side}_ear_base', f'{side}_ear_tip'], ['nose', f'{side}_eye']]
    return names, limbs


def whole_body():
    names, limbs = [*COCO.keypoint_names], [list(link) for link in COCO.links]
    names += [f'{side}_{part}' for side in ('left', 'right') for part in ('big_toe', 'small_toe', 'heel')]
    names += [f'face-{number}' for number in range(68)]
    for side in ('left', 'right'):
        more, joined = hand(f'{side}_hand_')
        names, limbs = names + more, limbs + joined
    return names, limbs


def layout(parts):
    names, limbs = parts
    return skeleton_of({'keypoints': names, 'limbs': limbs}, 'a test')


def test_published_layouts_keep_their_colors():
    assert all(keypoint_colors(skeleton) is limb_colors(skeleton) is None for skeleton in SKELETONS.values())


def test_every_finger_has_its_color():
    skeleton = layout(hand())
    assert [len(group) for group in limb_groups(skeleton)] == [1, 4, 4, 4, 4, 4]
    colors = keypoint_colors(skeleton)
    assert len(set(colors)) == 6 and len(set(colors[1:5])) == 1
    # The limb from the wrist is the finger's.
    assert limb_colors(skeleton)[0] == colors[1]


def test_legs_are_told_apart_and_partners_have_the_same_place():
    skeleton = layout(dog())
    colors = dict(zip(skeleton.keypoint_names, keypoint_colors(skeleton)))
    legs = {colors[f'{side}_{part}_paw'] for side in ('left', 'right') for part in ('front', 'hind')}
    assert skeleton.num_keypoints == 24 and len(legs) == 4
    # Left ones are warm, right ones cool: red against blue.
    assert all(colors[f'left_{part}_paw'][2] > colors[f'left_{part}_paw'][0] for part in ('front', 'hind'))
    assert all(colors[f'right_{part}_paw'][0] > colors[f'right_{part}_paw'][2] for part in ('front', 'hind'))
    assert colors['left_front_elbow'] == colors['left_front_paw']


def test_points_without_limbs_are_together_by_their_names():
    skeleton = layout(whole_body())
    colors = keypoint_colors(skeleton)
    faces = [color for name, color in zip(skeleton.keypoint_names, colors) if name.startswith('face')]
    assert skeleton.num_keypoints == 133 and len(set(faces)) == 1
    assert len({color for name, color in zip(skeleton.keypoint_names, colors) if name.startswith('left_hand')}) == 6


def test_four_corners_are_told_apart():
    corners = [f'corner{number}' for number in range(1, 5)]
    assert len(set(keypoint_colors(layout((corners, list(zip(corners, corners[1:]))))))) == 4


def test_colors_of_a_file_win():
    skeleton = skeleton_of({'keypoints': ['a', 'b'], 'limbs': [['a', 'b']], 'colors': {'#102030': ['b']}}, 'a test')
    assert keypoint_colors(skeleton)[1] == (0x30, 0x20, 0x10) != keypoint_colors(skeleton)[0]


@pytest.mark.parametrize('parts', [hand(), dog(), whole_body(), (['a', 'b', 'c', 'd'], [])],
                         ids=['21', '24', '133', '4'])
def test_every_keypoint_is_drawn_in_its_color(parts):
    """One keypoint at a time, so that none covers another."""
    skeleton = layout(parts)
    ground = np.full((60, 60, 3), 110, np.uint8)
    for index in range(0, skeleton.num_keypoints, 5):
        keypoints = np.full((1, skeleton.num_keypoints, 3), np.nan)
        keypoints[0, index] = 30, 30, 1
        drawn = draw_people(ground, keypoints, skeleton, boxes_xywh=np.array([[0, 0, 60, 60]]))
        assert tuple(drawn[30, 30]) == keypoint_colors(skeleton)[index]
