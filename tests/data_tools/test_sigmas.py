"""Sigmas: measured where figures were labelled twice with errors of known size, or taken from a file."""
import json
import sys
from unittest import mock

import numpy as np
import pytest

from src.data.skeleton_files import DEFAULT_SIGMA, read_skeleton
from src.data_tools import sigmas
from src.system.errors import PoseError

NAMES = ['nose', 'left_paw', 'right_paw', 'tail']
# Distance between the two labels, as a part of the root of the area.
APART = [0.02, 0.05, 0.1, 0.08]


@pytest.fixture
def twice(tmp_path):
    """Two files of 60 pictures with two figures each; the second file has them in another order, and one more."""
    rng = np.random.default_rng(0)
    contents = [{'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'dog', 'keypoints': NAMES}]}
                for _ in range(2)]
    for number in range(1, 61):
        for content in contents:
            content['images'].append({'id': number, 'file_name': f'{number}.jpg', 'width': 400, 'height': 200})
        for left in (0, 200):
            box = [left + 10, 10, 100 + number, 90]
            places = rng.uniform(0.2, 0.8, (4, 2)) * box[2:] + box[:2]
            directions = rng.normal(size=(4, 2))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            moved = places + directions * np.array(APART)[:, None] * np.sqrt(box[2] * box[3])
            # The tail is seen on eight figures only: too few to measure.
            seen = [2, 2, 2, 2 if number <= 4 else 0]
            for content, table in zip(contents, (places, moved)):
                content['annotations'].append({
                    'id': len(content['annotations']) + 1, 'image_id': number, 'category_id': 1, 'bbox': box,
                    'keypoints': [value for (x, y), v in zip(table.tolist(), seen) for value in (x, y, v)]})
    contents[1]['annotations'].reverse()
    contents[1]['annotations'].append({**contents[1]['annotations'][0], 'id': 999, 'bbox': [0, 150, 20, 20]})
    paths = []
    for name, content in zip('ab', contents):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
        paths.append(str(tmp_path / f'{name}.json'))
    return paths


def run(*words) -> None:
    with mock.patch.object(sys, 'argv', ['sigmas', *map(str, words)]):
        sigmas.main()


def test_sigmas_of_figures_that_were_labelled_twice(tmp_path, twice, capsys):
    run(*twice, '--output', tmp_path / 'own.yaml')
    skeleton = read_skeleton(str(tmp_path / 'own.yaml'))
    paws = np.sqrt((0.05 ** 2 + 0.1 ** 2) / 2)
    np.testing.assert_allclose(skeleton.oks_sigmas, [0.02, paws, paws, DEFAULT_SIGMA], atol=2e-4)
    out = capsys.readouterr().out
    assert '120 figures are in both files' in out and 'tail: 0.067 (stays, since 8 pairs are too few' in out


@pytest.mark.parametrize('name, text', [
    ('s.json', '[0.1, 0.2, 0.2, 0.3]'), ('s.yaml', 'sigmas: [0.1, 0.2, 0.2, 0.3]'),
    ('s.yaml', '{nose: 0.1, left_paw: 0.2, right_paw: 0.2, tail: 0.3}')])
def test_sigmas_of_a_file(tmp_path, twice, name, text):
    (tmp_path / name).write_text(text)
    run('--from', tmp_path / name, '--skeleton', twice[0], '--output', tmp_path / 'own.yaml')
    assert read_skeleton(str(tmp_path / 'own.yaml')).oks_sigmas == (0.1, 0.2, 0.2, 0.3)


@pytest.mark.parametrize('words, message', [
    (['--output', 'x.yaml'], 'give two annotation files'), (['a.json', 'b.json', '--output', 'x.txt'], 'should end in'),
    (['--from', 's.json', '--output', 'x.yaml'], '--from needs the layout'),
    (['--from', 's.json', '--skeleton', 'a.json', '--output', 'x.yaml'], "s.json: 'oks_sigmas' has 1 numbers for 4"),
    (['a.json', 'none.json', '--output', 'x.yaml'], 'no figure is in both')])
def test_wrong_words_are_explained(tmp_path, monkeypatch, twice, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 's.json').write_text('[0.1]')
    content = json.loads((tmp_path / 'a.json').read_text())
    for image in content['images']:
        image['file_name'] = f'other{image["id"]}.jpg'
    (tmp_path / 'none.json').write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        run(*words)
