"""Two results compared: the paired bootstrap, the plain sentence, the people that changed."""
import json
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from report_data import faulty_results
from test_error_kinds import LABELS, analyse, poses_of, truth_of
from test_report import GT, painted, printed_numbers, shown_table  # noqa: F401  painted is a fixture
from test_report import run as report_page

from src.evaluation import report
from src.metrics.bootstrap import Interval, picture_weights
from src.metrics.paired import (
    FATES,
    Difference,
    compare_fates,
    compare_means,
    compare_numbers,
    count_moves,
    keypoint_fates,
    person_table,
)
from src.report.comparison import fates_sentence
from src.system.errors import PoseError


def run(folder, first, second, *words):
    flags = ['--gt', str(folder / GT), '--compare', str(folder / first), str(folder / second), '--report',
             str(folder / 'comparison.html'), '--resamples', '40', *words]
    with mock.patch('sys.argv', ['report', *flags]):
        report.main()
    return (folder / 'comparison.html').read_text(encoding='utf-8')


@pytest.mark.parametrize(('limits', 'verdict'), [
    (Interval(0.01, 0.02), 'better'), (Interval(-0.02, -0.01), 'worse'), (Interval(-0.01, 0.02), 'chance'),
    (Interval(0.0, 0.02), 'chance'), (Interval(0.0, 0.0), 'same'), (None, 'undefined')])
def test_verdicts(limits, verdict):
    assert Difference(0.5, 0.6, limits).verdict == verdict


def test_both_are_resampled_with_the_same_pictures():
    """A difference that is the same on every picture has no width, however different the pictures are."""
    drawn = np.linspace(0.2, 0.8, 50)
    found = compare_numbers({'AP': 0.5, 'AR': -1.0}, {'AP': 0.51, 'AR': -1.0}, {'AP': drawn}, {'AP': drawn + 0.01})
    np.testing.assert_allclose(found['AP'].interval, (0.01, 0.01))
    assert found['AP'].verdict == 'better' and found['AR'].verdict == 'undefined'


def people_on(pictures):
    """One person on each picture."""
    truth = truth_of(*[LABELS] * pictures)
    return replace(truth, image_ids=np.arange(pictures), image_index=np.arange(pictures))


def test_means_are_resampled_over_pictures():
    truth, rng = people_on(12), np.random.default_rng(0)
    truth = replace(truth, image_index=np.sort(rng.integers(0, 12, 12)))
    first, second = rng.random(12), rng.random(12)
    masks = [np.ones(12, bool), np.arange(12) < 2, np.zeros(12, bool)]
    everybody, few, nobody = compare_means(truth, first, second, masks, 50)
    drawn = []
    for weights in picture_weights(12, 50):
        of_person = weights[truth.image_index]
        drawn.append((of_person * (second - first)).sum() / of_person.sum())
    np.testing.assert_allclose(everybody.interval, np.percentile(drawn, (2.5, 97.5)))
    assert everybody.first == pytest.approx(first.mean()) and everybody.change == pytest.approx((second - first).mean())
    assert few.verdict == nobody.verdict == 'undefined' and (nobody.first, nobody.second) == (-1, -1)


def test_table_of_people_without_pose():
    truth = truth_of(LABELS, LABELS + [0, 20000])
    _, errors, _ = analyse(truth, poses_of(LABELS + [0, 90000], LABELS))
    table = person_table(truth, errors)
    assert table.oks.tolist() == [1, 0] and table.pose.tolist() == [1, -1]
    assert (table.similarity[0] == 1).all() and (table.similarity[1] == 0).all()


def fates_of(truth, *poses):
    return keypoint_fates(truth, analyse(truth, poses_of(*poses))[1])


def test_what_became_of_keypoints():
    """Of 33 labelled keypoints: A swaps one and does not find the second person, B misses one."""
    neighbour, crowd = LABELS + [0, 5000], LABELS + [0, 20000]
    labelled = np.ones((3, 17), bool)
    labelled[0, 15] = False
    truth = truth_of(LABELS, neighbour, crowd, labelled=labelled, ignored=[2])
    swapped, missed = LABELS.copy(), neighbour.copy()
    swapped[9] = neighbour[9]
    missed[13] += [0, 700]
    first, second = fates_of(truth, swapped), fates_of(truth, LABELS, missed, crowd)
    assert (first[2] == -1).all() and (second[2] == -1).all() and first[0, 15] == -1
    moves = count_moves(first, second)
    at = {name: place for place, name in enumerate(FATES)}
    expected = {('good', 'good'): 15, ('swap', 'good'): 1, ('no pose', 'good'): 16, ('no pose', 'miss'): 1}
    assert {(one, other): moves[at[one], at[other]] for one in at for other in at if moves[at[one], at[other]]
            } == expected
    found = dict(zip(FATES, compare_fates(truth, first, second, 20)))
    shares = {name: (each.first, each.second) for name, each in found.items()}
    assert shares == {'good': (15 / 33, 32 / 33), 'jitter': (0, 0), 'inversion': (0, 0), 'swap': (1 / 33, 0),
                      'miss': (0, 1 / 33), 'no pose': (17 / 33, 0)}
    assert found['no pose'].verdict == 'worse' and found['jitter'].verdict == 'same'
    assert fates_sentence(SimpleNamespace(fates=found)) == (
        'Of the labelled keypoints B has, beyond chance, fewer keypoints of people without a pose (51.5 % in A, 0.0 % '
        'in B), fewer swaps (3.0 % in A, 0.0 % in B), more misses (0.0 % in A, 3.0 % in B).')
    found['jitter'] = Difference(0.1, 0.2, Interval(-0.1, 0.3))
    assert 'jitter' not in fates_sentence(SimpleNamespace(fates=found))


def test_shares_are_resampled_over_pictures_with_as_many_keypoints_as_they_have():
    labelled = np.arange(17) < np.array([[17], [5], [1], [9]])
    truth = replace(truth_of(*[LABELS] * 4, labelled=labelled), image_ids=np.arange(4), image_index=np.arange(4))
    rng = np.random.default_rng(0)
    first, second = (np.where(labelled, rng.integers(0, 6, (4, 17)), -1) for _ in range(2))
    swap = FATES.index('swap')
    found = compare_fates(truth, first, second, 30)[swap]
    drawn = [weights @ ((second == swap).sum(axis=1) - (first == swap).sum(axis=1)) / (weights @ labelled.sum(axis=1))
             for weights in picture_weights(4, 30)]
    np.testing.assert_allclose(found.interval, np.percentile(drawn, (2.5, 97.5)))


def test_kinds_of_both_are_those_of_their_reports(painted):  # noqa: F811
    content = json.loads((painted / GT).read_text())
    (painted / 'other_seed.json').write_text(json.dumps(faulty_results(content, 1)))
    page = run(painted, 'results.json', 'other_seed.json')
    kinds = {row[0].lower(): row for row in shown_table(page, 'table-kinds')[1:]}
    moves = shown_table(page, 'table-moves')
    assert moves[0][1:-1] == [f'{name} in B' for name in FATES] and [row[0] for row in moves[1:-1]] == list(FATES)
    counts = np.array([[int(cell) for cell in row[1:]] for row in moves[1:]])
    assert (counts[:-1].sum(axis=0) == counts[-1]).all() and (counts[:, :-1].sum(axis=1) == counts[:, -1]).all()
    for column, path, totals in ((1, 'results.json', counts[:-1, -1]), (2, 'other_seed.json', counts[-1, :-1])):
        of_one = report_page(painted, results=path)
        errors = {row[0]: row for row in shown_table(of_one, 'table-errors')[1:]}
        for name, total in zip(FATES, totals):
            assert kinds[name][column] == f'{100 * total / counts[-1, -1]:.1f} %'
            if name not in ('good', 'no pose'):
                title = name.capitalize()
                assert errors[title][1] == f'{total} keypoints'
                assert errors[title][4] == kinds[name][6 + column].replace('−', '-')


def test_noise_is_not_beyond_chance_and_a_better_network_is(painted, capsys):  # noqa: F811
    content = json.loads((painted / GT).read_text())
    (painted / 'other_seed.json').write_text(json.dumps(faulty_results(content, 1)))
    perfect = [{'image_id': each['image_id'], 'category_id': 1, 'score': 0.9, 'keypoints': each['keypoints']}
               for each in content['annotations']]
    (painted / 'perfect.json').write_text(json.dumps(perfect))
    page = run(painted, 'results.json', 'other_seed.json')
    assert 'The difference is not beyond chance: on other pictures' in page
    assert 'The difference is not beyond chance' in capsys.readouterr().out
    page = run(painted, 'results.json', 'perfect.json', '--images', str(painted))
    assert 'The difference is beyond chance: B is better on pictures of this kind.' in page
    verdicts = [row[-1] for row in shown_table(page, 'table-keypoints')[1:]]
    assert verdicts.count('B is better') > 12 and 'A is better' not in verdicts
    assert '<article class="case" data-kind="better"' in page and 'data-kind="worse"' not in page
    assert 'were not found' not in page
    swapped = run(painted, 'perfect.json', 'results.json')
    assert 'beyond chance: A is better' in swapped and 'data-kind="worse"' in swapped
    assert 'There is no difference.' in run(painted, 'perfect.json', 'perfect.json')


def test_numbers_are_those_of_the_evaluation(painted, capsys):  # noqa: F811
    from src.config import load_recipe
    from src.data.keypoint_names import open_annotations
    from src.data.skeletons import COCO
    from src.datasets.coco import DATASET
    page = run(painted, 'results.json', 'results.json')
    results = json.loads((painted / 'results.json').read_text())
    numbers = DATASET.evaluate(open_annotations(str(painted / GT), COCO), results, COCO,
                               load_recipe(report.DEFAULT_RECIPE))
    expected = printed_numbers(DATASET.format_metrics(numbers))
    for column in (1, 2):
        assert [row[column] for row in shown_table(page, 'table-numbers')[1:]] == expected
    assert f'AP {numbers["AP"]:.4f}' in capsys.readouterr().out


def test_boxes_do_not_belong_to_a_comparison(painted):  # noqa: F811
    with pytest.raises(PoseError, match='belong to --results'):
        run(painted, 'results.json', 'results.json', '--boxes', 'boxes.json')
