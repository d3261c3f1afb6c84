"""The report: its numbers are those of the evaluation, its page is whole and safe, its reader names what is wrong."""
import html
import json
import re
import sys
from dataclasses import replace
from unittest import mock

import pytest
from made_up_data import coco_to_crowdpose
from report_data import faulty_results

from src.config import load_recipe, resolve
from src.data.keypoint_names import open_annotations
from src.data.skeletons import COCO
from src.datasets.coco import DATASET
from src.evaluation import report
from src.evaluation.evaluate import Evaluation
from src.evaluation.write_report import check_can_report
from src.metrics.results_file import load_results
from src.report import cards, plots
from src.report.page import escape, table, whole_page
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes
from src.system.errors import PoseError

GT = 'annotations/person_keypoints_val2017.json'


@pytest.fixture(scope='module')
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp('report')
    write_synthetic_coco(str(root), num_train=1, num_val=16, seed=5, image_size=(200, 160))
    content = json.loads((root / GT).read_text())
    (root / 'results.json').write_text(json.dumps(faulty_results(content)))
    return root


def run(folder, *words, gt=GT, results='results.json'):
    flags = ['--gt', str(folder / gt), '--results', str(folder / results), '--report', str(folder / 'report.html'),
             '--resamples', '20', *words]
    with mock.patch.object(sys, 'argv', ['report', *flags]):
        report.main()
    return (folder / 'report.html').read_text(encoding='utf-8')


def shown_table(page, name):
    """The rows of a table of the page as lists of text."""
    found = re.search(f'<table id="{name}".*?</table>', page, re.S)
    return [[html.unescape(re.sub('<[^>]*>', '', cell)) for cell in re.findall('<t[dh][^>]*>(.*?)</t[dh]>', row, re.S)]
            for row in re.findall('<tr>(.*?)</tr>', found[0], re.S)]


def printed_numbers(text):
    """The numbers of an evaluation's lines; undefined ones as the page shows them."""
    return [re.sub(r'^-1\.0+$', '–', each) for each in re.findall(r'= (\S+)$', text, re.M)]


def test_numbers_are_those_that_are_printed(painted, capsys):
    page = run(painted)
    printed = printed_numbers(capsys.readouterr().out)
    assert [row[1] for row in shown_table(page, 'table-numbers')[1:]] == printed and len(printed) == 10
    file = open_annotations(str(painted / GT), COCO)
    results = json.loads((painted / 'results.json').read_text())
    numbers = DATASET.evaluate(file, results, COCO, load_recipe(report.DEFAULT_RECIPE))
    assert f'id="headline">AP {numbers["AP"]:.4f}<' in page
    keypoints = [line.split() for line in DATASET.keypoint_table(file, results, COCO, None).split('\n')[1:]]
    assert [[name.replace(' ', '_'), ap, error] for name, ap, error, *_ in shown_table(page, 'table-keypoints')[1:]
            ] == keypoints


def test_report_of_an_evaluation_shows_what_eval_py_prints(painted):
    """`eval.py --report` calls this with the results and metrics that it prints."""
    config = resolve(load_recipe('simplepose_r50_coco_256x192'), {'DATASET.ROOT': str(painted),
                                                                  'TEST.USE_GT_BBOX': True})
    evaluation = Evaluation(config, Processes('CPU'))
    results = json.loads((painted / 'results.json').read_text())
    metrics = evaluation.score(results)
    *_, line = evaluation.write_report(str(painted / 'eval.html'), results, metrics, 'results.json')
    page = (painted / 'eval.html').read_text()
    printed = printed_numbers(evaluation.dataset.format_metrics(metrics))
    assert [row[1] for row in shown_table(page, 'table-numbers')[1:]] == printed
    keypoints = [each.split() for each in evaluation.keypoint_table(results).split('\n')[1:]]
    assert [row[1:3] for row in shown_table(page, 'table-keypoints')[1:]] == [row[1:3] for row in keypoints]
    assert line.startswith(f'report: {painted}') and str(evaluation.box_report) in page
    assert 'The boxes are those of the annotations' in page and 'part of the detector' not in page
    assert 'were not found' not in page


def test_errors_and_groups_add_up(painted):
    page = run(painted)
    counts = {row[0]: int(row[1].split()[0]) for row in shown_table(page, 'table-errors')[1:]}
    labelled, good = map(int, re.search(r'Of (\d+) labelled keypoints with a pose, (\d+) are good', page).groups())
    assert sum(counts[kind] for kind in ('Miss', 'Swap', 'Inversion', 'Jitter')) + good == labelled
    assert min(counts.values()) > 0
    assert sum(int(row[3]) for row in shown_table(page, 'table-keypoints')[1:]) == labelled
    people = int(re.search(r'(\d+) people who count', page)[1])
    for place in range(4):
        rows = [row for row in shown_table(page, f'table-where-{place}')[1:] if row[1] != '0']
        assert sum(int(row[1]) for row in rows) == people
        assert sum(float(row[6].split()[0]) for row in rows) == pytest.approx(100, abs=0.3)
    kinds = re.findall('<article class="case" data-kind="([a-z]+)"', page)
    assert set(kinds) == {'miss', 'swap', 'inversion', 'jitter', 'missed', 'background', 'duplicate', 'score'}


def test_the_group_that_loses_most_is_named(painted):
    """People who are found exactly lose nothing; the large ones, without a pose, lose everything."""
    content = json.loads((painted / GT).read_text())
    areas = sorted(each['area'] for each in content['annotations'])
    content['annotations'] = [{**each, 'area': 500.0 if each['area'] < areas[-4] else 2e4}
                              for each in content['annotations']]
    (painted / 'sizes.json').write_text(json.dumps(content))
    exact = [{'image_id': each['image_id'], 'category_id': 1, 'score': 0.9, 'keypoints': each['keypoints']}
             for each in content['annotations'] if each['area'] == 500]
    (painted / 'exact.json').write_text(json.dumps(exact))
    page = run(painted, gt='sizes.json', results='exact.json')
    share = 100 * 4 / sum(1 for each in content['annotations'] if each['num_keypoints'])
    assert f'Size of the person, large, above 96²: {share:.0f} % of the people, 100 % of what is lost.' in page
    assert [row[6] for row in shown_table(page, 'table-where-0')[1:]] == ['0.0 %', '–', '100.0 %']


@pytest.mark.parametrize(('value', 'top'), [(0, 4), (4, 4), (5, 8), (9, 12), (10, 12), (25, 40), (41, 60), (101, 120),
                                            (130, 160), (7001, 8000), (90001, 100000)])
def test_axes_of_counts_have_whole_numbers(value, top):
    assert plots._round_up(value) == top and top % 4 == 0


def test_boxes_and_results_on_ground_truth_boxes(painted, capsys):
    content = json.loads((painted / GT).read_text())
    people = [each for each in content['annotations'] if each['num_keypoints']]
    boxes = [{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'], 'score': 0.9}
             for each in people[2:]]
    (painted / 'boxes.json').write_text(json.dumps(boxes))
    page = run(painted, '--boxes', str(painted / 'boxes.json'), '--gt_box_results', str(painted / 'results.json'))
    assert f'2 of {len(people)} people have no box' in page
    ap = re.search(r'^AP (\S+)$', capsys.readouterr().out, re.M)[1]
    assert f'With ground-truth boxes AP is {float(ap):.3f}: the difference of +0.000' in page


def test_results_of_the_crowdpose_evaluation(painted, capsys):
    content = coco_to_crowdpose(json.loads((painted / GT).read_text()))
    (painted / 'crowd.json').write_text(json.dumps(content))
    results = [{'image_id': each['image_id'], 'category_id': 1, 'score': 0.7, 'keypoints': each['keypoints']}
               for each in content['annotations'][1:]]
    (painted / 'crowd_results.json').write_text(json.dumps(results))
    page = run(painted, '--protocol', 'crowdpose', gt='crowd.json', results='crowd_results.json')
    printed = printed_numbers(capsys.readouterr().out)
    assert [row[1] for row in shown_table(page, 'table-numbers')[1:]] == printed and len(printed) == 9


# The page

def test_page_is_one_file_that_loads_nothing(painted):
    page = run(painted, '--images', str(painted))
    assert page.count('<script') == 1 and 'http' not in re.sub('http-equiv', '', page)
    sources = re.findall(' (?:src|href)="([^"]{1,30})', page)
    assert all(each.startswith(('data:image/jpeg;base64,', '#')) for each in sources) and len(sources) > 30
    assert "script-src 'sha256-" in page and 'were not found' not in page and len(page) < 15e6


def test_without_pictures_people_are_drawn_on_a_plain_ground(painted, tmp_path):
    page = run(painted)
    cases = page.count('<article class="case"')
    assert f'The pictures of {cases} cases were not found' in page and page.count('<img') >= cases
    one = tmp_path / 'some'
    one.mkdir()
    name = next(each['file_name'] for each in json.loads((painted / GT).read_text())['images'])
    (one / name).write_bytes((painted / 'val2017' / name).read_bytes())
    some = run(painted, '--images', str(one))
    left = int(re.search(r'The pictures of (\d+) cases were not found', some)[1])
    assert 0 < left < cases


def test_size_of_the_page_is_bounded(painted, monkeypatch):
    monkeypatch.setattr(cards, 'MOST_BYTES', 50000)
    page = run(painted, '--images', str(painted))
    assert len(page) < 200000 and re.search(r'(\d+) cases are shown without drawings', page)
    assert 'No case is shown' in run(painted, '--most_cases', '0')


HOSTILE = '"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\u2028\x1b</script>'


def make_hostile(painted, folder):
    """A set whose file, category and result names are markup."""
    content = json.loads((painted / GT).read_text())
    for image in content['images']:
        image['file_name'] = HOSTILE.replace('/', '\\') + str(image['id']) + '.jpg'
    content['categories'] = [{**content['categories'][0], 'id': 3, 'name': HOSTILE}]
    for each in content['annotations']:
        each['category_id'] = 3
    (folder / 'gt.json').write_text(json.dumps(content))
    results = [{**each, 'category_id': 3} for each in faulty_results(content)]
    (folder / 'results.json').write_text(json.dumps([*results, {**results[0], 'category_id': 9}]))
    return run(folder, gt='gt.json')


def test_names_are_never_markup(painted, tmp_path):
    page = make_hostile(painted, tmp_path)
    assert 'window.hacked' in page and '<script>window' not in page and '<img src=x' not in page
    assert page.count('<script') == page.count('</script') == 1 and '\x1b' not in page
    assert 'category 3 (&quot;&gt;' in page and 'left out 1 of category_id 9' in page


def test_texts_are_escaped_where_they_enter_a_page():
    assert escape('<a href="x">&\n\u202e') == '&lt;a href=&quot;x&quot;&gt;&amp;??'
    shown = table([['<b>', 'x'], ['<i>', '\x00']])
    assert '<b>' not in shown and '<i>' not in shown and '\x00' not in shown
    page = whole_page('</title><script>', ['<p>'])
    assert "script-src 'none'" in page and '<script' not in page


def test_a_network_that_finds_everything_and_one_that_finds_nothing(painted):
    content = json.loads((painted / GT).read_text())
    perfect = [{'image_id': each['image_id'], 'category_id': 1, 'score': 0.9, 'keypoints': each['keypoints']}
               for each in content['annotations']]
    (painted / 'perfect.json').write_text(json.dumps(perfect))
    page = run(painted, results='perfect.json')
    assert 'AP 1.0000' in page and 'No kind of error costs AP' in page
    blind = [{**perfect[0], 'keypoints': [9e4] * 51}]
    (painted / 'blind.json').write_text(json.dumps(blind))
    assert 'AP 0.0000' in run(painted, results='blind.json')


# What is read

RECORD = {'image_id': 1, 'category_id': 1, 'keypoints': [1.0] * 51, 'score': 0.5}


@pytest.mark.parametrize(('content', 'message'), [
    ({'annotations': []}, "should be a list of poses.*is a dict; its 'annotations'"),
    ([], 'no pose of category 1'),
    ([{**RECORD, 'category_id': 5}], 'no pose of category 1 .* but 1 of category_id 5'),
    ([RECORD, 7], 'pose 1 should be an object, is a whole number'),
    ([{**RECORD, 'image_id': None}], "pose 0: 'image_id' should be a whole number"),
    ([{**RECORD, 'image_id': 'nowhere'}], "pose 0: no picture of .* is called 'nowhere'"),
    ([{'image_id': 1, 'bbox': [1, 2, 3, 4], 'score': 1}], 'results of a detector, not poses'),
    ([{key: value for key, value in RECORD.items() if key != 'score'}], "pose 0 has no 'score'"),
    ([{**RECORD, 'keypoints': [1.0] * 34}], '34 keypoint values, should be 51'),
    ([{**RECORD, 'keypoints': ['a'] * 51}], "holds 'a', should hold numbers"),
    ([{**RECORD, 'score': float('nan')}], 'not finite'),
    ([{**RECORD, 'image_id': 77777}], '1 image ids of the results are not in'),
], ids=lambda value: value[:30] if isinstance(value, str) else '')
def test_faults_of_results_are_named(painted, tmp_path, content, message):
    (tmp_path / 'results.json').write_text(json.dumps(content))
    (tmp_path / 'gt.json').write_text((painted / GT).read_text())
    with pytest.raises(PoseError, match=message):
        run(tmp_path, gt='gt.json')
    assert not (tmp_path / 'report.html').exists()


def test_pictures_may_be_named_and_other_categories_are_left_out(painted, tmp_path):
    content = json.loads((painted / GT).read_text())
    image = content['images'][3]
    records = [{**RECORD, 'image_id': image['file_name'].rsplit('.', 1)[0] + 'x'}, {**RECORD, 'category_id': 2},
               {'file_name': image['file_name'], 'keypoints': [2] * 51, 'score': 1, 'area': 3}]
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(records[1:]))
    loaded, notes = load_results(str(path), open_annotations(str(painted / GT), COCO), COCO)
    assert loaded == [{'image_id': image['id'], 'keypoints': [2] * 51, 'score': 1}]
    assert notes == [f'{path}: left out 1 of category_id 2']


@pytest.mark.parametrize(('flags', 'message'), [
    (['--report', 'page.txt'], 'should end in .html'), (['--resamples', '1'], '--resamples should be 2 or more'),
    (['--images', 'nowhere'], 'folder nowhere does not exist'), (['--most_cases', '-1'], 'should be 0 or more'),
    (['--boxes', 'none.json'], 'cannot read none.json')])
def test_faults_of_the_command_line_are_named(painted, flags, message):
    with pytest.raises(PoseError, match=message):
        run(painted, *flags)


def test_a_data_set_of_another_evaluation_has_no_report():
    with pytest.raises(PoseError, match='coco has another one'):
        check_can_report(replace(DATASET, oks_truth=None))
    assert report.PROTOCOLS == ('coco', 'ochuman', 'crowdpose')
