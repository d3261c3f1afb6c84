"""Keypoint layouts of one's own: left and right by name, files, and annotation files that name their keypoints."""
import json

import numpy as np
import pytest

from src.config import from_json, load_recipe, resolve, to_json
from src.data.coco import load_coco_people
from src.data.keypoint_names import open_annotations
from src.data.keypoint_sides import pair_names, plain_name
from src.data.skeleton_files import DEFAULT_SIGMA, as_text, describe_lines, find_skeleton, read_limbs, read_skeleton
from src.data.skeletons import COCO, CROWDPOSE, MPII, SKELETONS
from src.datasets import coco
from src.datasets.registry import configured_skeleton
from src.synthetic.writing import write_synthetic_coco
from src.system.errors import PoseError

DOG = ('nose', 'left_ear', 'right_ear', 'neck', 'tail', 'left_paw', 'right_paw', 'back')


@pytest.mark.parametrize('names, pairs', [
    ('left_x right_x nose', ['left_x right_x']), ('x_left x_right', ['x_left x_right']),
    ('L_x R_x x.L x.R', ['L_x R_x', 'x.L x.R']), ('LeftX RightX xLeft xRight', ['LeftX RightX', 'xLeft xRight']),
    ('LShoulder RShoulder LBThigh RBThigh', ['LShoulder RShoulder', 'LBThigh RBThigh']),
    ('lear rear lip tail', ['lear rear']),
    ('lefteye righteye eyeleft eyeright', ['lefteye righteye', 'eyeleft eyeright']),
    ('front_left_paw front_right_paw left right', ['front_left_paw front_right_paw', 'left right']),
    ('左眼 右眼', ['左眼 右眼']), ('thumb1 ring1 bright', []), ('left_ear R_eye nose', []),
    ('RIGHT_EYE LEFT_EYE', ['LEFT_EYE RIGHT_EYE'])])
def test_partners_are_found_in_the_usual_spellings(names, pairs):
    assert [' '.join(pair) for pair in pair_names(names.split()).pairs] == pairs


def test_names_of_one_side_without_a_partner_are_named():
    assert pair_names(['left_ear', 'R_eye', 'nose', 'leftpaw', 'paw_l', 'lip', 'rear']).one_sided == (
        'left_ear', 'R_eye', 'leftpaw', 'paw_l')


def test_spellings_of_a_name_are_alike():
    assert {plain_name(name) for name in ('left_big_toe', 'BigToe_L', 'left bigtoe', 'big-toe.left', 'LeftBigToe')} == {
        ('left', 'bigtoe')}
    assert plain_name('left_eye') != plain_name('right_eye') != plain_name('eye')


@pytest.mark.parametrize('skeleton', [COCO, CROWDPOSE, MPII], ids=lambda each: each.name)
def test_published_layouts_are_mirrored_by_their_prefixes(skeleton):
    swap = {'left_': 'right_', 'right_': 'left_'}
    for index, partner in enumerate(skeleton.flip_index):
        name = skeleton.keypoint_names[index]
        side = next((each for each in swap if name.startswith(each)), None)
        assert skeleton.keypoint_names[partner] == (swap[side] + name[len(side):] if side else name)


@pytest.mark.parametrize('skeleton', SKELETONS.values(), ids=lambda each: each.name)
def test_a_layout_as_text_comes_back(skeleton):
    again = find_skeleton(as_text(skeleton))
    assert as_text(again) == as_text(skeleton)
    for what in ('flip_index', 'link_index', 'is_upper_body', 'is_above_hips'):
        np.testing.assert_array_equal(getattr(again, what), getattr(skeleton, what))
    assert again.oks_sigmas == skeleton.oks_sigmas


@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize('skeleton', [COCO, CROWDPOSE, MPII], ids=lambda each: each.name)
def test_limbs_are_counted_from_zero_or_one(skeleton, first):
    limbs = read_limbs((skeleton.link_index + first).tolist(), skeleton.keypoint_names)
    assert limbs == [list(link) for link in skeleton.links]


def test_limbs_whose_ends_fit_both_countings_are_told_by_symmetry():
    links = [[DOG.index(one), DOG.index(other)] for one, other in (
        ('left_ear', 'neck'), ('right_ear', 'neck'), ('left_paw', 'neck'), ('right_paw', 'neck'))]
    for first in (0, 1):
        limbs = read_limbs([[one + first, other + first] for one, other in links], DOG)
        assert limbs[0] == ['left_ear', 'neck'] and len(limbs) == 4
    assert read_limbs([['nose', 'tail'], ['nose', 'wing'], 3, [1]], DOG) == [['nose', 'tail']]


YAML = '''
name: dog
keypoints: [nose, left_ear, right_ear, neck, tail, left_paw, right_paw, back]
limbs: [[nose, neck], [neck, back], [back, tail]]
lower_body: [tail, back]
oks_sigmas: {tail: 0.1}
colors: {'#ff8000': [tail]}
other_names: {schwanz: tail, wing: null}
'''


def test_a_layout_of_a_yaml_file_travels_in_the_configuration(tmp_path):
    path = tmp_path / 'dog.yaml'
    path.write_text(YAML)
    config = resolve(load_recipe('base'), {'DATASET.SKELETON': str(path)})
    path.unlink()
    skeleton = configured_skeleton(from_json(to_json(config), 'pose.ckpt'))
    assert config.MODEL.NUM_JOINTS == 8 and skeleton.name == 'dog' and skeleton.keypoint_names == DOG
    assert [DOG[index] for index in skeleton.flip_index] == [
        'nose', 'right_ear', 'left_ear', 'neck', 'tail', 'right_paw', 'left_paw', 'back']
    assert skeleton.oks_sigmas == (0.026, 0.035, 0.035, DEFAULT_SIGMA, 0.1, DEFAULT_SIGMA, DEFAULT_SIGMA, DEFAULT_SIGMA)
    assert not skeleton.is_upper_body[[4, 7]].any() and skeleton.is_upper_body.sum() == 6
    assert skeleton.colors == (('#ff8000', ('tail',)),)


def test_a_recipe_names_a_skeleton_file_and_needs_no_number_of_keypoints(tmp_path):
    (tmp_path / 'dog.yaml').write_text(YAML)
    (tmp_path / 'recipe.yaml').write_text(f'DATASET: {{SKELETON: {tmp_path}/dog.yaml}}\n')
    assert load_recipe(str(tmp_path / 'recipe.yaml')).MODEL.NUM_JOINTS == 8


def test_a_network_that_learns_the_hardest_keypoints_takes_as_many_as_there_are(tmp_path):
    (tmp_path / 'four.yaml').write_text('keypoints: [a, b, c, d]')
    recipe, own = load_recipe('mspn_1stg_coco_256x192'), {'DATASET.SKELETON': str(tmp_path / 'four.yaml')}
    assert (recipe.LOSS.TOPK, resolve(recipe, own).LOSS.TOPK, resolve(recipe, {**own, 'LOSS.TOPK': 2}).LOSS.TOPK) == (
        8, 4, 2)


def test_a_carried_configuration_never_opens_a_file(tmp_path):
    (tmp_path / 'dog.yaml').write_text(YAML)
    config = load_recipe('base')
    config.DATASET.SKELETON = str(tmp_path / 'dog.yaml')
    with pytest.raises(PoseError, match='unknown skeleton'):
        configured_skeleton(resolve(from_json(to_json(config), 'pose.ckpt'), {}))


def test_a_layout_may_build_on_another(tmp_path):
    (tmp_path / 'torso.yaml').write_text(
        'base: coco\nkeypoints: [nose, left_shoulder, right_shoulder, tail]\nother_names: {LSho: left_shoulder}\n')
    skeleton = read_skeleton(str(tmp_path / 'torso.yaml'))
    assert skeleton.links == (('left_shoulder', 'right_shoulder'),)
    assert skeleton.oks_sigmas == (0.026, 0.079, 0.079, DEFAULT_SIGMA)


@pytest.mark.parametrize('text, message', [
    ('keypoints: [a, b, a]', "'keypoints' has 'a' twice"), ('keypoints: [a, 3]', 'should be names, one is 3'),
    ('limbs: []', "'keypoints' should be a list of names"), ('- a', 'should hold keys such as keypoints'),
    ('keypoints: [nose]\nlimb: []', "unknown key 'limb'; did you mean limbs"),
    ('keypoints: [nose, ear]\nlimbs: [[nose, eer]]',
     "'limbs' has 'eer', which is no name of its keypoints; did you mean"),
    ('keypoints: [nose, ear]\nlimbs: [[nose]]', r"'limbs' should be a list of pairs of names"),
    ('keypoints: [a, b, c]\nswap: [[a, b], [b, c]]', "'swap' gives 'b' two partners"),
    ('keypoints: [a, b]\noks_sigmas: [0.1]', 'has 1 numbers for 2 keypoints'),
    ('keypoints: [a, b]\noks_sigmas: {a: -1}', "'oks_sigmas' of 'a' should be a number"),
    ('keypoints: [a, b]\nupper_body: [a]\nlower_body: [a, b]', "'a' is in both halves"),
    ('keypoints: [a, b]\ncolors: {red: [a]}', "should be written as '#e69f00', one is 'red'"),
    ('keypoints: [a, b]\nother_names: {c: d}', "'other_names' has 'd', which is no name"),
    ('base: horse', "'base' should be one of coco, crowdpose, mpii, is 'horse'"), ('base: [coco]', "'base' should be"),
    ('keypoints: [a\n', 'is not a YAML file')])
def test_a_wrong_skeleton_file_is_explained(tmp_path, text, message):
    path = tmp_path / 'own.yaml'
    path.write_text(text)
    with pytest.raises(PoseError, match=message) as told:
        read_skeleton(str(path))
    assert str(path) in str(told.value)


def test_a_skeleton_file_that_is_missing_is_named():
    with pytest.raises(PoseError, match='the skeleton file nowhere.yaml does not exist'):
        resolve(load_recipe('base'), {'DATASET.SKELETON': 'nowhere.yaml'})


def test_a_damaged_layout_inside_a_checkpoint_is_explained():
    config = load_recipe('base')
    for text in ('{"keypoints": [', '{"keypoints": ["a", "a"]}', '{}'):
        config.DATASET.SKELETON = text
        with pytest.raises(PoseError, match='DATASET.SKELETON'):
            from_json(to_json(config), 'pose.ckpt')


def test_what_a_training_says_of_its_layout(tmp_path):
    (tmp_path / 'own.yaml').write_text('keypoints: [nose, left_ear, L_paw, R_paw]')
    first, *notes = describe_lines(read_skeleton(str(tmp_path / 'own.yaml')), half_bodies=True)
    assert first == 'skeleton: own, 4 keypoints; a mirrored picture swaps L_paw and R_paw'
    assert 'left_ear: by the name of one side' in notes[0] and 'sigmas are defaults' in notes[2]
    assert 'no half bodies' in notes[1] and len(describe_lines(COCO, half_bodies=True)) == 1


# Annotation files

def annotation_file(tmp_path, names, *, values=None, **category) -> str:
    values = [number for place in range(len(names)) for number in (place, place, 2)] if values is None else values
    content = {'images': [{'id': 1, 'file_name': '1.jpg', 'width': 100, 'height': 100}],
               'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 50, 50], 'keypoints': values,
                                'num_keypoints': len(names)}],
               'categories': [{'id': 1, 'name': 'person', 'keypoints': list(names), **category}]}
    path = tmp_path / 'own.json'
    path.write_text(json.dumps(content))
    return str(path)


def opened(path, skeleton=COCO):
    file = open_annotations(path, skeleton)
    return file.content['annotations'][0]['keypoints'][::3], file.notes


def test_the_order_of_the_layout_stays_silent(tmp_path):
    assert opened(annotation_file(tmp_path, COCO.keypoint_names)) == (list(range(17)), [])
    assert opened(annotation_file(tmp_path, [])) == ([], [])


def test_another_order_is_put_in_order_and_said(tmp_path):
    names = sorted(COCO.keypoint_names)
    places, said = opened(annotation_file(tmp_path, names))
    assert [names[place] for place in places] == list(COCO.keypoint_names)
    assert said == [f'{tmp_path}/own.json: its keypoints are put in the order of the coco layout; it begins with '
                    'left_ankle, left_ear, left_elbow']


def test_another_spelling_is_understood_and_said(tmp_path):
    names = [name.replace('left_', 'L-').replace('right_', 'R-').title() for name in COCO.keypoint_names]
    places, said = opened(annotation_file(tmp_path, names))
    assert places == list(range(17)) and 'Nose is taken for nose, and 16 more' in said[0]


@pytest.mark.parametrize('names, message', [
    (['tail', *COCO.keypoint_names[1:]],
     'its 17 keypoints are not the 17 of the coco layout: it has tail, it lacks nose'),
    (COCO.keypoint_names[:13], 'its 13 keypoints .* it lacks left_knee, right_knee, left_ankle, right_ankle'),
    ([*COCO.keypoint_names, 'tail'], 'it has tail'),
    ([f'point {number}' for number in range(17)], 'it has point 0, .* and 11 more, it lacks nose, .* and 11 more')])
def test_other_names_are_refused_with_both_remedies(tmp_path, names, message):
    with pytest.raises(PoseError, match=message) as told:
        opened(annotation_file(tmp_path, names))
    assert f'--skeleton {tmp_path}/own.json' in str(told.value) and "'other_names'" in str(told.value)


def test_a_mapping_renames_and_leaves_out(tmp_path):
    (tmp_path / 'dog.yaml').write_text(YAML)
    skeleton = read_skeleton(str(tmp_path / 'dog.yaml'))
    path = annotation_file(tmp_path, ['wing', *('schwanz' if name == 'tail' else name for name in DOG)])
    places, said = opened(path, skeleton)
    assert places == list(range(1, 9)) and said[0].endswith('schwanz is taken for tail; left out: wing')
    assert open_annotations(path, skeleton).content['annotations'][0]['num_keypoints'] == 8


def test_names_that_cannot_be_those_of_the_annotations_are_left_aside(tmp_path):
    """The names of COCO's 17 in a file whose annotations have the 8 of the layout, and no others."""
    (tmp_path / 'dog.yaml').write_text(YAML)
    path = annotation_file(tmp_path, COCO.keypoint_names, values=[number for k in range(8) for number in (k, k, 2)])
    places, said = opened(path, read_skeleton(str(tmp_path / 'dog.yaml')))
    assert places == list(range(8))
    assert 'its category names 17 keypoints, but its annotations have the 8 of the dog layout' in said[0]


def test_the_file_itself_is_a_layout(tmp_path):
    path = annotation_file(tmp_path, DOG, name='dog', skeleton=[[1, 4], [4, 8], [8, 5]])
    skeleton = read_skeleton(path)
    assert skeleton.name == 'dog' and skeleton.links == (('nose', 'neck'), ('neck', 'back'), ('back', 'tail'))
    assert opened(path, skeleton) == (list(range(8)), [])


def test_malformed_annotations_are_left_to_their_reader(tmp_path):
    names = sorted(COCO.keypoint_names)
    assert opened(annotation_file(tmp_path, names, values=[1, 2, 3]))[0] == [1]
    with pytest.raises(PoseError, match='should be a list of names, is 3'):
        opened(annotation_file(tmp_path, DOG, keypoints=3))
    with pytest.raises(PoseError, match="none of its categories lists 'keypoints'"):
        read_skeleton(annotation_file(tmp_path, []))


def test_the_same_keypoints_in_another_order_train_and_score_the_same(tmp_path):
    """What a training reads of a file with sorted names, and every number of an evaluation."""
    write_synthetic_coco(str(tmp_path / 'coco'), num_train=1, num_val=4, seed=1, image_size=(200, 160))
    path = tmp_path / 'coco/annotations/person_keypoints_val2017.json'
    content = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    results = [{'image_id': each['image_id'], 'category_id': 1, 'score': 1.0, 'keypoints': (np.reshape(
        each['keypoints'], (17, 3)) + rng.normal(0, 3, (17, 3)) * [1, 1, 0]).ravel().tolist()}
        for each in content['annotations']]
    names = sorted(COCO.keypoint_names)
    order = [COCO.keypoint_names.index(name) for name in names]
    content['categories'][0]['keypoints'] = names
    for each in content['annotations']:
        each['keypoints'] = np.reshape(each['keypoints'], (17, 3))[order].ravel().tolist()
    (tmp_path / 'sorted.json').write_text(json.dumps(content))
    outcomes = []
    for name in (path, tmp_path / 'sorted.json'):
        file = open_annotations(str(name), COCO)
        people = load_coco_people(file, COCO, sample_rule='mspn')
        assert coco.reason_without_score(file, COCO, None) == ''
        metrics = coco.evaluate(file, results, COCO, load_recipe('base'))
        outcomes.append((people.keypoints.tolist(), metrics, coco.keypoint_table(file, results, COCO, None)))
    assert outcomes[0] == outcomes[1] and 0.3 < outcomes[0][1]['AP'] < 0.99
