"""eval.py --compare: two networks, or a network and results, on the same data; the settings in which they differ."""
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
from script_runs import MSPN, SIMPLE_POSE, TOY_POSE, run_script
from test_report import shown_table

from src.checkpoints.ckpt import save_checkpoint
from src.checkpoints.load import read_weights
from src.config import key_comments, load_recipe, resolve
from src.datasets.registry import DATASETS
from src.evaluation import report
from src.evaluation.compared import Rival
from src.evaluation.predict import predict_poses
from src.evaluation.settings import OF_TRAINING, WITHOUT_EFFECT, Settings, compare_settings, read_settings
from src.flags import load_plugin
from src.models.registry import build_configured_network
from src.report.comparison_page import DifferingSettings, SettingRow
from src.synthetic.writing import write_synthetic_coco
from src.system.errors import PoseError

GT = 'data/annotations/person_keypoints_val2017.json'
NETWORKS = {
    'a': {'GENERAL.SEED': 3}, 'b': {'GENERAL.SEED': 7, 'TEST.FLIP_TEST': False, 'TRAIN.LR': 0.25},
    'fewer': {'DATASET.PROTOCOL': 'crowdpose', 'DATASET.SKELETON': 'crowdpose', 'MODEL.NUM_JOINTS': 14},
    'ochuman': {'DATASET.PROTOCOL': 'ochuman'}}
FLAGS = f'--plugin {TOY_POSE} --data_url data --use_gt_bbox'


def near_the_truth(predictor, samples, **named):
    """What the network predicts, moved most of the way to the labels: fresh weights alone would find nobody."""
    poses = predict_poses(predictor, samples, **named)
    truth = samples.people.keypoints[poses.people]
    keypoints = poses.keypoints.copy()
    keypoints[:, :, :2] = truth[:, :, :2] + 0.08 * (keypoints[:, :, :2] - truth[:, :, :2])
    return replace(poses, keypoints=keypoints)


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Checkpoints of two small networks, their comparison, and the results of the second alone."""
    folder = tmp_path_factory.mktemp('compared')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr('src.evaluation.evaluate.predict_poses', near_the_truth)
        write_synthetic_coco('data', num_train=1, num_val=6, seed=3, image_size=(240, 180))
        load_plugin(str(TOY_POSE))
        for name, settings in NETWORKS.items():
            config = resolve(load_recipe(SIMPLE_POSE), {'MODEL.NAME': 'toy', 'MODEL.IMAGE_SIZE': '64 64', **settings})
            save_checkpoint(f'{name}.ckpt', build_configured_network(config), config)
        weights, _ = read_weights('b.ckpt')
        safetensors.numpy.save_file({name: np.ascontiguousarray(each) for name, each in weights.items()},
                                    'bare.safetensors')
        safetensors.numpy.save_file({'first.weight': np.zeros((3, 3), np.float32)}, 'others.safetensors')
        assert run_script('eval', f'--ckpt_path b.ckpt {FLAGS} --save_path alone.json') == 0
        assert run_script('eval', f'--ckpt_path a.ckpt --compare b.ckpt {FLAGS}') == 0
        yield folder


def compare_files(*paths: str) -> str:
    with mock.patch('sys.argv', ['report', '--gt', GT, '--compare', *paths, '--report', 'of_files.html']):
        report.main()
    with open('of_files.html', encoding='utf-8') as file:
        return file.read()


def test_two_networks_are_compared_as_their_results_are(material):
    """B is evaluated as it would be alone, and the page has the numbers and settings of the page of both files."""
    assert json.loads((material / 'results_B.json').read_text()) == json.loads((material / 'alone.json').read_text())
    page, of_files = (material / 'comparison.html').read_text(), compare_files('results.json', 'results_B.json')
    for name in ('table-numbers', 'table-keypoints', 'table-settings'):
        assert shown_table(page, name) == shown_table(of_files, name)
    assert [row[:3] for row in shown_table(page, 'table-settings')[1:]] == [
        ['GENERAL.SEED', '3', '7'], ['TRAIN.LR', '0.002', '0.25'], ['TEST.FLIP_TEST', 'true', 'false']]
    assert 'learning rate of Adam' in page
    assert 'A: a.ckpt (toy_8), results in ./results.json<br>B: b.ckpt (toy_8), results in ./results_B.json' in page
    assert 'are drawn on their pictures' not in page


def test_a_network_against_results(material, capsys):
    assert run_script('eval', f'--ckpt_path a.ckpt --compare alone.json {FLAGS} --save_path mine.json --report c.html'
                      ) == 0
    assert 'Settings that differ: GENERAL.SEED, TRAIN.LR, TEST.FLIP_TEST.' in capsys.readouterr().out
    page = (material / 'c.html').read_text()
    assert shown_table(page, 'table-numbers') == shown_table((material / 'comparison.html').read_text(),
                                                             'table-numbers')
    assert not (material / 'mine_B.json').exists()


def test_a_network_without_a_recipe_inside(material, capsys):
    """It is evaluated by the recipe that is named, and no settings of training are made up for it."""
    (material / 'no_flip.yaml').write_text(
        f'BASE: {SIMPLE_POSE}\nMODEL: {{NAME: toy, IMAGE_SIZE: [64, 64]}}\nTOY: {{HEATMAP_SIZE: [16, 16]}}\n'
        'TEST: {FLIP_TEST: false}\nTRAIN: {LR: 0.125}\n')
    flags = f'--ckpt_path a.ckpt --compare bare.safetensors {FLAGS} --save_path with.json --report d.html'
    assert run_script('eval', f'{flags} --compare_recipe no_flip.yaml') == 0
    assert json.loads((material / 'with_B.json').read_text()) == json.loads((material / 'alone.json').read_text())
    page = (material / 'd.html').read_text()
    assert [row[0] for row in shown_table(page, 'table-settings')[1:]] == ['TEST.FLIP_TEST']
    assert 'The file of B (bare.safetensors) carries no configuration' in page
    assert 'B: recipe: no_flip.yaml' in capsys.readouterr().out


@pytest.mark.parametrize(('words', 'message'), [
    ('--ckpt_path a.ckpt --compare nothing.ckpt', '--compare nothing.ckpt does not exist; it should be'),
    ('--ckpt_path a.ckpt --compare results.json', 'is where the results of this evaluation would go'),
    ('--ckpt_path a.ckpt --compare truth.json --save_path x.json', 'truth.json should be a list of poses'),
    ('--ckpt_path a.ckpt --compare alone.json --save_path x.json --compare_recipe mspn', 'belongs to --compare with'),
    ('--ckpt_path a.ckpt --compare empty.ckpt', 'empty.ckpt is damaged'),
    ('--ckpt_path a.ckpt --compare fewer.ckpt', 'fewer.ckpt finds other keypoints (crowdpose, 14) than the network'),
    ('--ckpt_path a.ckpt --compare ochuman.ckpt', 'is for the data set ochuman, and the network that it is compared '
     'with for coco; --set DATASET.PROTOCOL=coco evaluates both'),
    ('--ckpt_path a.ckpt --compare others.safetensors', 'others.safetensors'),
    ('--ckpt_path a.ckpt --compare b.ckpt --report page.pdf', '--report page.pdf should end in .html')])
def test_what_cannot_be_compared_is_said_before_anything_is_computed(words, message, material, capsys):
    (material / 'empty.ckpt').write_bytes(b'')
    shutil.copy(GT, 'truth.json')
    before = {path.name: path.stat().st_mtime_ns for path in material.glob('*.json')}
    with mock.patch('src.evaluation.evaluate.predict_poses', side_effect=AssertionError('it computes')):
        assert run_script('eval', f'{words} {FLAGS}') == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in material.glob('*.json')} == before


def test_a_comparison_needs_an_oks():
    arguments = SimpleNamespace(compare='b.ckpt', save_path='results.json')
    with pytest.raises(PoseError, match='needs an evaluation by OKS, and mpii has another one; leave out --compare'):
        Rival(arguments, SimpleNamespace(dataset=DATASETS['mpii']), {}, None)


def test_networks_are_not_for_the_report_of_files(material):
    with pytest.raises(report.PoseError, match=r'python eval.py --ckpt_path a.ckpt --compare b.ckpt$'):
        compare_files('a.ckpt', 'b.ckpt')


def test_settings_are_those_of_these_results(material, tmp_path):
    """Settings that are missing, damaged or of other results are not shown, and the page says so."""
    results, beside = tmp_path / 'results.json', tmp_path / 'results_settings.json'
    shutil.copy('alone.json', results)
    assert read_settings(str(results)) == (None, f'{results} carries no settings: eval.py writes them beside its '
                                                 'results, and there is no results_settings.json')
    shutil.copy('alone_settings.json', beside)
    found, reason = read_settings(str(results))
    assert reason == '' and found.networks == ('b.ckpt',) and found.is_carried and found.config.GENERAL.SEED == 7
    for content, told in (('{', 'is not a JSON file'), ('[]', "should be an object with the key 'configuration'"),
                          ('{"configuration": 3, "results_sha256": "%s"}', 'its configuration is damaged'),
                          ('{"configuration": {"A": {"B": 1}}, "results_sha256": "%s"}', 'unknown config key')):
        digest = json.loads((material / 'alone_settings.json').read_text())['results_sha256']
        beside.write_text(content.replace('%s', digest))
        found, reason = read_settings(str(results))
        assert found is None and told in reason and str(results) in reason
    shutil.copy('results.json', results)
    shutil.copy('alone_settings.json', beside)
    assert read_settings(str(results))[1].startswith(f'{beside} is of other results than')
    assert 'The settings of A and B cannot be compared.' in compare_files(str(results), 'alone.json')


def test_settings_are_never_markup(material, tmp_path):
    """Values and names in the settings of a stranger are shown as they are."""
    hostile = '"><script>window.hacked=1</script>'
    for name in ('one', 'two'):
        shutil.copy('alone.json', tmp_path / f'{name}.json')
        content = json.loads((material / 'alone_settings.json').read_text())
        content['networks'] = [hostile, hostile]
        content['configuration']['MODEL']['PRETRAINED'] = hostile + name
        (tmp_path / f'{name}_settings.json').write_text(json.dumps(content))
    page = compare_files(str(tmp_path / 'one.json'), str(tmp_path / 'two.json'))
    assert ['MODEL.PRETRAINED', hostile + 'one', hostile + 'two'] in [
        row[:3] for row in shown_table(page, 'table-settings')]
    assert page.count('<script') == 1 and 'the mean of 2 networks' in page


def test_what_is_no_setting_of_the_poses_is_left_out():
    config = load_recipe(SIMPLE_POSE)
    moved = resolve(config, {'DATASET.ROOT': 'elsewhere', 'TRAIN.CKPT_SAVE_PATH': 'b.ckpt', 'DEVICE.ID': 1})
    first, second = (Settings(each, ('x.ckpt',), True) for each in (config, moved))
    assert compare_settings(first, second) == DifferingSettings([], [])
    assert compare_settings(first, None, ['', 'B carries none']) == DifferingSettings(None, ['B carries none'])
    mspn = Settings(load_recipe(MSPN), ('m.ckpt',), True)
    shown = {row.key: row[1:3] for row in compare_settings(first, mspn).rows}
    assert shown['MODEL.NAME'] == ('pose_resnet', 'mspn') and shown['POSE_RESNET.NUM_LAYERS'] == ('18', '–')
    assert not any(key.startswith('HRNET.') for key in shown)
    seeded = Settings(resolve(config, {'GENERAL.SEED': 2}), ('x.ckpt',), True)
    assert compare_settings(first, seeded).sentence.startswith('Only GENERAL.SEED differs: this is what two trainings')
    other = Settings(resolve(config, {'TRAIN.LR': 0.5, 'TEST.OKS_THRE': 0.7}), ('y.ckpt', 'z.ckpt'), True)
    rows, notes = compare_settings(first, other)
    assert rows == [SettingRow('TRAIN.LR', '0.002', '0.5', 'learning rate of Adam'),
                    SettingRow('TEST.OKS_THRE', str(config.TEST.OKS_THRE), '0.7', key_comments()['TEST.OKS_THRE'])]
    assert notes == ['B is the mean of 2 networks; its settings are those of the first, y.ckpt.']


@pytest.mark.parametrize('start', [*OF_TRAINING, *WITHOUT_EFFECT])
def test_keys_that_are_left_out_exist(start):
    assert any(key.startswith(start) if start.endswith('.') else key == start for key in key_comments())
