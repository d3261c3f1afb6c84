"""Two results compared: the paired bootstrap, the plain sentence, the people that changed."""
import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from report_data import faulty_results
from test_error_kinds import LABELS, analyse, poses_of, truth_of
from test_report import GT, painted, printed_numbers, shown_table  # noqa: F401  painted is a fixture

from src.evaluation import report
from src.metrics.bootstrap import Interval, picture_weights
from src.metrics.paired import Difference, compare_means, compare_numbers, person_table
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
