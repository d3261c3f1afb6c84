"""The report of MPII: its numbers, on people whose errors are known."""
import re

import numpy as np
import pytest
from made_up_data import write_data_sets
from script_runs import SIMPLE_POSE, TOY, TOY_POSE, run_script

from src.data.mpii import MPIITruth
from src.data.skeletons import MPII
from src.metrics.mpii import evaluate_mpii, measure_distances
from src.report.pckh_page import pckh_page
from src.report.write import Source

PEOPLE, HEAD = 20, 50.0
LEFT, RIGHT = (MPII.keypoint_names.index(f'{side}_wrist') for side in ('left', 'right'))


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    # Every keypoint far from all others.
    places = np.arange(16)[None, :, None] * 200.0 + rng.uniform(0, 50, (PEOPLE, 16, 2))
    return MPIITruth(places, np.ones((PEOPLE, 16), bool), np.full(PEOPLE, HEAD))


def records(keypoints) -> list:
    return [{'image_id': number, 'score': 1.0, 'keypoints': np.concatenate(
        [person, np.ones((16, 1))], 1).reshape(-1).tolist()} for number, person in enumerate(keypoints)]


def rows_of(page: str, name: str) -> dict:
    body = re.search(f'id="{name}".*?</table>', page, re.S)[0]
    cells = [re.findall(r'<td[^>]*>(.*?)</td>', row) for row in re.findall('<tr>(.*?)</tr>', body)]
    return {row[0]: row[1:] for row in cells if row}


def report(truth, found) -> tuple:
    numbers = evaluate_mpii(truth, found)
    page = pckh_page(measure_distances(truth, found), numbers, MPII, Source(
        '<script>x()</script>.json', 'valid.json', 'mpii', '', ['one note'], None, 3))
    return numbers, page


def test_errors_of_known_kinds(truth):
    """Five left wrists on the right one, ten right ones 0.3 heads off, five left ankles at nowhere."""
    found = truth.keypoints.copy()
    found[:5, LEFT] = truth.keypoints[:5, RIGHT]
    found[:10, RIGHT, 0] += 0.3 * HEAD
    ankle = MPII.keypoint_names.index('left_ankle')
    found[:5, ankle] += 999
    numbers, page = report(truth, records(found))
    rows = rows_of(page, 'table-keypoints')
    assert rows['left_wrist'] == ['75.0', '75.0', '25.0', '0.0', '0.000', '20']
    assert rows['right_wrist'] == ['100.0', '50.0', '0.0', '0.0', '0.150', '20']
    assert rows['left_ankle'] == ['75.0', '75.0', '0.0', '25.0', '0.000', '20']
    assert rows['nose' if 'nose' in rows else 'head_top'][0] == '100.0'
    assert f'PCKh {numbers["Mean"]:.3f}' in page and f'>{numbers["Mean@0.10"]:.3f}<' in page
    assert sum(int(row[-1]) for row in rows_of(page, 'table-where-sizes').values()) == PEOPLE
    assert '<b>wrist</b>' in page or '<b>ankle</b>' in page
    assert '<script>x' not in page and 'one note' in page


def test_what_nobody_has_is_a_dash(truth):
    truth.is_visible[:, [LEFT, RIGHT]] = False
    _, page = report(truth, records(truth.keypoints))
    assert rows_of(page, 'table-keypoints')['left_wrist'] == ['–'] * 5 + ['0']


def test_a_partner_that_is_not_visible_decides_nothing(truth):
    found = truth.keypoints.copy()
    found[:, LEFT] = truth.keypoints[:, RIGHT]
    truth.is_visible[:10, RIGHT] = False
    _, page = report(truth, records(found))
    assert rows_of(page, 'table-keypoints')['left_wrist'][2:4] == ['50.0', '50.0']


def test_eval_writes_it(tmp_path, capfd):
    root = write_data_sets(tmp_path / 'sets')['mpii']
    data = (f'DATASET.PROTOCOL=mpii DATASET.SKELETON=mpii MODEL.NUM_JOINTS=16 DATASET.ROOT={root} '
            'TEST.USE_GT_BBOX=true TRAIN.DROP_REMAINDER=false')
    assert run_script('train', f'--recipe {SIMPLE_POSE} {TOY} {data} --epoch 0 --ckpt_save_path {tmp_path}/p.ckpt') == 0
    capfd.readouterr()
    status = run_script('eval', f'--plugin {TOY_POSE} --ckpt_path {tmp_path}/p.ckpt --save_path {tmp_path}/r.json '
                                f'--report {tmp_path}/page.html')
    out, err = capfd.readouterr()
    assert status == 0, err
    mean = re.search(r'^PCKh@0.5 mean (\S+) with', out, re.M)[1]
    assert f'PCKh {mean}' in (tmp_path / 'page.html').read_text() and f'report: {tmp_path}/page.html' in out
