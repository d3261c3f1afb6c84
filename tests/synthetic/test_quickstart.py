"""The quickstarts, with a stand-in for Python that writes down how it was called and leaves the files it should."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lost_streams import LOST, lost_streams
from script_runs import ROOT

from benchmarks import crowded_pairs

STAND_IN = '''#!{python}
import os, sys
words = sys.argv[1:]
with open({calls!r}, 'a') as file:
    print(*words, file=file)
def value(flag):
    return words[words.index(flag) + 1]
def make(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').close()
data = {{'src.synthetic': lambda: value('--root'), 'benchmarks.crowded_pairs': lambda: words[2] + '/data'}}
if words[0] == '-m' and words[1] in data:
    for number in range(1, 13):
        make(data[words[1]]() + '/val2017/%012d.jpg' % number)
if words[:2] == ['-m', 'benchmarks.crowded_pairs']:
    for recipe in {recipes!r}:
        make(words[2] + '/seed_' + value('--seeds') + '/' + recipe + '/pose.ckpt')
    print('| seed | AP heavy |')
if words[0] == '-c':
    print(os.path.abspath('portrait.jpg'))
    sys.exit(0)
if words[0] == 'infer.py':
    assert '--data_url' not in words or len(os.listdir(value('--data_url'))) == 12
    make(value('--img_save_dir') + '/1_res.jpg')
if words[0] == os.environ.get('FAILS'):
    sys.exit(3)
try:
    print('last line of', words[0], flush=True)
except OSError:
    # As the scripts do: lost output ends nothing.
    os._exit(0)
'''


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the quickstarts need, with an environment that is there already and holds the stand-in."""
    folder = tmp_path / 'checkout'
    (folder / 'scripts').mkdir(parents=True)
    for path in (*ROOT.glob('requirements*.txt'), *ROOT.glob('scripts/*.sh')):
        (folder / path.relative_to(ROOT)).write_bytes(path.read_bytes())
    python = folder / '.venv-quickstart' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN.format(python=sys.executable, calls=str(folder / 'calls'),
                                      recipes=(crowded_pairs.ONE, crowded_pairs.TWO)))
    python.chmod(0o755)
    files = '-c requirements-tested.txt requirements.txt requirements-extra.txt'
    stamp = subprocess.run(['bash', '-c', f'echo "$(cat requirements*.txt | cksum) {files}"'], cwd=folder,
                           capture_output=True, text=True, check=True).stdout
    (folder / '.venv-quickstart' / '.made-from').write_text(stamp)
    return folder


def run(checkout: Path, words: str, **variables):
    return subprocess.run(['bash', f'scripts/{words.split()[0]}', *words.split()[1:]], cwd=checkout, text=True,
                          capture_output=True, env={'PATH': '/usr/bin:/bin', **variables}, timeout=60)


def test_quickstart(checkout):
    done = run(checkout, 'quickstart.sh out')
    assert (done.returncode, done.stderr) == (0, '')
    calls = (checkout / 'calls').read_text().splitlines()
    assert calls[0] == '-m src.synthetic --root out/painted --num_train 1 --num_val 3 --seed 2'
    assert calls[2] == 'infer.py out/painted/annotations/person_keypoints_val2017.json --img_save_dir out/photos'
    assert calls[3] == '-m src.synthetic --root out/data --num_train 1600 --num_val 100 --seed 1'
    names = [call.split()[0] for call in calls[4:]]
    assert names == 2 * ['train.py', 'eval.py', 'train.py', 'eval.py', '-m', 'infer.py']
    assert calls[8].startswith('-m src.evaluation.report ') and 'out/mspn' not in calls[8]
    assert calls[-1] == (
        'infer.py --ckpt_path out/mspn_small_synthetic_160x128/pose.ckpt --data_url out/infer_img --det_file_url '
        'out/data/annotations/val2017_detections.json --img_save_dir out/mspn_small_synthetic_160x128/pictures '
        '--score_thresh 0.3')
    assert 'after training   last line of eval.py' in done.stdout


def test_the_portrait_of_matplotlib_is_a_photo(checkout):
    (checkout / 'portrait.jpg').write_bytes(b'')
    assert run(checkout, 'quickstart.sh').returncode == 0
    assert (checkout / 'calls').read_text().splitlines()[2] == (
        f'infer.py {checkout}/portrait.jpg quickstart/painted/annotations/person_keypoints_val2017.json '
        '--img_save_dir quickstart/photos')


@pytest.mark.parametrize('words, folder', [('mine.jpg', 'quickstart'), ('runs/a mine.jpg', 'runs/a')])
def test_the_users_photos_are_taken(checkout, words, folder):
    (checkout / 'mine.jpg').write_bytes(b'')
    assert run(checkout, f'quickstart.sh {words}').returncode == 0
    calls = (checkout / 'calls').read_text().splitlines()
    assert calls[0] == f'infer.py {checkout}/mine.jpg --img_save_dir {folder}/photos'
    assert calls[1].startswith(f'-m src.synthetic --root {folder}/data ')


@pytest.mark.parametrize('words', ['nowhere.jpg', 'nowhere.JPEG', 'runs/a nowhere.png'])
def test_a_photo_that_is_not_there_is_named(checkout, words):
    done = run(checkout, f'quickstart.sh {words}')
    assert done.returncode == 2 and re.search('error: there is no picture .*nowhere', done.stderr)
    assert not (checkout / 'calls').exists()


@pytest.mark.parametrize('words, variables, folder, seed', [('', {}, 'quickstart_crowded', 1),
                                                            ('runs/a', {'SEED': '3'}, 'runs/a', 3)])
def test_crowded_quickstart(checkout, words, variables, folder, seed):
    done = run(checkout, f'quickstart_crowded.sh {words}', **variables)
    assert (done.returncode, done.stderr) == (0, '')
    calls = (checkout / 'calls').read_text().splitlines()
    assert calls[0] == f'-m benchmarks.crowded_pairs {folder} --seeds {seed}'
    for call, recipe in zip(calls[1:], (crowded_pairs.ONE, crowded_pairs.TWO)):
        assert call.startswith(f'infer.py --ckpt_path {folder}/seed_{seed}/{recipe}/pose.ckpt '
                               f'--data_url {folder}/infer_img ')
    assert len(calls) == 3 and done.stdout.count('| seed | AP heavy |') == 2


@LOST
def test_lost_output_ends_no_quickstart(checkout, way):
    """As with `bash scripts/quickstart.sh | head`."""
    for name, number in (('quickstart', 16), ('quickstart_crowded', 3)):
        with lost_streams(way) as streams:
            done = subprocess.run(['bash', f'scripts/{name}.sh', 'out'], cwd=checkout, env={'PATH': '/usr/bin:/bin'},
                                  timeout=60, **streams)
        assert done.returncode == 0
        assert len((checkout / 'calls').read_text().splitlines()) == number
        (checkout / 'calls').unlink()
    assert '| seed | AP heavy |' in (checkout / 'out' / 'comparison.txt').read_text()


def test_a_failing_step_ends_the_crowded_quickstart(checkout):
    done = run(checkout, 'quickstart_crowded.sh', FAILS='-m')
    assert done.returncode == 3 and len((checkout / 'calls').read_text().splitlines()) == 1


def test_comparison_of_several_seeds(tmp_path, monkeypatch, capsys):
    """The benchmark: data once, two trainings, six evaluations and three pages a seed, one table with a mean."""
    calls = []

    def run_instead(log, *words):
        calls.append(' '.join(words))
        ap = 0.5 + 0.2 * ('mipnet' in words[2]) * ('results_heavy.json' in words[-3]) + 0.01 * ('seed_2' in words[2])
        return f'more\nAP {ap:.4f} with 9 people\n'

    painted = []
    monkeypatch.setattr(crowded_pairs, 'run', run_instead)
    monkeypatch.setattr(crowded_pairs, 'write_synthetic_coco', lambda root, **arguments: painted.append(arguments))
    monkeypatch.setattr(sys, 'argv', ['crowded_pairs', str(tmp_path), '--seeds', '1', '2'])
    crowded_pairs.main()
    assert len(painted) == 1 and painted[0]['pair_share'] == crowded_pairs.PAIR_SHARE
    assert [call.split()[0] for call in calls] == 2 * (2 * ['train.py'] + 6 * ['eval.py'] + 3 * ['-m'])
    assert calls[1] == (f'train.py --recipe {crowded_pairs.TWO} --data_url {tmp_path}/data --ckpt_save_path '
                        f'{tmp_path}/seed_1/{crowded_pairs.TWO}/pose.ckpt --set GENERAL.SEED=1')
    assert calls[-4].endswith('person_keypoints_singles2017.json --use_gt_bbox --save_path '
                              f'{tmp_path}/seed_2/{crowded_pairs.TWO}/results_singles.json '
                              '--set DATASET.TEST_SET=singles2017')
    both = ' '.join(f'{tmp_path}/seed_1/{recipe}/results_heavy.json'
                    for recipe in (crowded_pairs.ONE, crowded_pairs.TWO))
    assert calls[8] == (f'-m src.evaluation.report --gt {tmp_path}/data/annotations/person_keypoints_val2017.json '
                        f'--compare {both} --images {tmp_path}/data --report {tmp_path}/seed_1/heavy.html')
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert rows[2:] == ['| 1 | 0.5000 | 0.7000 | +0.2000 | 0.5000 | 0.5000 | +0.0000 | 0.5000 | 0.5000 | +0.0000 |',
                        '| 2 | 0.5100 | 0.7100 | +0.2000 | 0.5100 | 0.5100 | +0.0000 | 0.5100 | 0.5100 | +0.0000 |',
                        '| mean | 0.5050 | 0.7050 | +0.2000 | 0.5050 | 0.5050 | +0.0000 | 0.5050 | 0.5050 | +0.0000 |']


def test_a_failing_step_of_the_comparison_names_its_log(tmp_path):
    with pytest.raises(SystemExit, match='ended with status 2; its output is in .*train.log'):
        crowded_pairs.run(tmp_path / 'train.log', '-c', 'raise SystemExit(2)')
    assert crowded_pairs.run(tmp_path / 'eval.log', '-c', 'print(7)') == '7\n'
