"""The metrics file and the training curve."""
import json
import os
import re
import sys

import cv2
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from src.checkpoints.ckpt import write_checkpoint
from src.config import load_recipe, resolve, to_json
from src.training import curve_parts
from src.training.curve_parts import load_metrics
from src.training.curves import draw_loss_curve, main


def _rows(num_epochs=3, steps_per_epoch=10, first_loss=150.0):
    """Made-up metrics; the step counts on through the epochs."""
    rows = []
    for step in range(1, num_epochs * steps_per_epoch + 1):
        rows.append({'epoch': (step - 1) // steps_per_epoch + 1, 'step': step, 'loss': first_loss / step, 'lr': 0.0005,
                     'seconds': 0.3})
    return rows


def _write(path, rows, tail=''):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + tail)
    return str(path)


def test_load_metrics_returns_the_lines(tmp_path):
    rows = _rows()
    assert load_metrics(_write(tmp_path / 'metrics.jsonl', rows)) == rows
    assert load_metrics(_write(tmp_path / 'blank.jsonl', rows, '\n\n')) == rows
    assert load_metrics(_write(tmp_path / 'empty.jsonl', [])) == []


@pytest.mark.parametrize('tail', ['{"epoch": 4, "st', '{', '17', '"text"\n', '\x00\x00\n\n'])
def test_one_damaged_last_line_is_left_out(tmp_path, tail):
    assert load_metrics(_write(tmp_path / 'metrics.jsonl', _rows(), tail)) == _rows()


def test_a_last_line_cut_within_a_letter_is_left_out(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_bytes(b'{"epoch": 1}\n{"note": "\xc3')
    assert load_metrics(str(path)) == [{'epoch': 1}]


def test_another_damaged_line_is_an_error_with_its_number(tmp_path):
    rows = _rows()
    with pytest.raises(ValueError, match='line 31 is damaged'):
        load_metrics(_write(tmp_path / 'metrics.jsonl', rows, '{"epo\n' + json.dumps(rows[0]) + '\n'))
    # Two damaged lines at the end are more than a kill leaves behind.
    with pytest.raises(ValueError, match='line 32 is damaged'):
        load_metrics(_write(tmp_path / 'metrics.jsonl', rows, '\n{"epo\n{"epo'))


def test_a_resumed_run_counts_every_step_once(tmp_path):
    rows = _rows()
    again = [dict(row, loss=1.0) for row in rows[10:]]
    epochs, steps, losses, rates, evaluations, _ = curve_parts.read_columns(
        _write(tmp_path / 'metrics.jsonl', rows[:15] + again))
    assert evaluations.shape == (0, 2)
    np.testing.assert_array_equal(steps, np.arange(1, 31))
    np.testing.assert_array_equal(epochs, np.repeat([1, 2, 3], 10))
    assert (losses[10:] == 1.0).all() and losses[9] == 15.0 and (rates == 0.0005).all()


def test_steps_that_start_anew_in_every_epoch_are_counted_through(tmp_path):
    rows = [dict(row, step=(row['step'] - 1) % 10 + 1) for row in _rows()]
    _, steps, losses, *_ = curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', rows))
    np.testing.assert_array_equal(steps, np.arange(1, 31))
    np.testing.assert_allclose(losses, 150.0 / steps)


def _with_evaluations(rows, aps, steps_per_epoch=10):
    """Put an evaluation behind the last row of each epoch, as training writes them, and count steps by epoch."""
    mixed = []
    for row in rows:
        row = dict(row, step=(row['step'] - 1) % steps_per_epoch + 1)
        mixed.append(row)
        if row['step'] == steps_per_epoch and aps[row['epoch'] - 1] is not None:
            mixed.append({'epoch': row['epoch'], 'step': row['step'], 'AP': aps[row['epoch'] - 1], 'AP .5': 0.9})
    return mixed


def test_evaluations_stand_at_the_last_step_of_their_epoch(tmp_path):
    rows = _with_evaluations(_rows(), [0.25, None, 0.5])
    assert len(rows) == 32
    epochs, steps, losses, _, evaluations, _ = curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', rows))
    np.testing.assert_array_equal(steps, np.arange(1, 31))
    np.testing.assert_allclose(losses, 150.0 / steps)
    np.testing.assert_array_equal(epochs, np.repeat([1, 2, 3], 10))
    assert evaluations.tolist() == [[10, 0.25], [30, 0.5]]
    # A resumed run evaluates again; the later line counts.
    again = [dict(row, AP=0.75) if 'AP' in row else row for row in rows[-5:]]
    *_, evaluations, _ = curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', rows + again))
    assert evaluations.tolist() == [[10, 0.25], [30, 0.75]]


def test_an_evaluation_without_its_step_has_no_place(tmp_path):
    rows = [*_rows(1, 2), {'epoch': 7, 'step': 1, 'AP': 0.5}]
    *_, evaluations, _ = curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', rows))
    assert evaluations.shape == (0, 2)


@pytest.mark.parametrize('row, message', [
    ({'epoch': 1, 'step': 2, 'AP': 'high'}, 'AP missing or not a number'),
    ({'step': 2, 'AP': 0.5}, 'epoch missing or not a number'),
    ({'epoch': 1, 'step': 2, 'loss': 'low'}, 'loss missing or not a number'),
    ({'epoch': 1, 'step': 2, 'loss': 10 ** 400}, 'loss missing or not a number'),
    ({'epoch': 1, 'step': 2, 'loss': True}, 'loss missing or not a number'),
    ({'epoch': 1, 'step': 2, 'loss': 1, 'lr': 'low'}, 'lr missing or not a number'),
    ({'epoch': 1, 'step': 2, 'loss': 1, 'lr': 10 ** 400}, 'lr missing or not a number'),
    ({'epoch': 1, 'step': 2, 'AP': [[[[1]]]]}, 'AP missing or not a number'),
    ({'epoch': 1, 'step': float('nan'), 'loss': 1}, 'line 2: step should be a finite number, is nan'),
    ({'epoch': float('inf'), 'step': 1, 'loss': 1}, 'line 2: epoch should be a finite number, is inf'),
    ({'epoch': 1, 'step': 10 ** 400, 'loss': 1}, 'line 2: step should be a finite number, is 1000'),
    ({'epoch': 1, 'step': '2', 'loss': 1}, "line 2: step should be a finite number, is '2'")])
def test_wrong_rows_are_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', [*_rows(1, 1), row]))


@pytest.mark.parametrize('line, message', [
    ('[' * 10 ** 5, 'nested too deeply'), (f'{{"step": {"7" * 5000}}}', 'a number of thousands of digits'),
    ('[' * 900 + ']' * 900, 'expected an object')])
def test_lines_that_python_cannot_read_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=f'metrics.jsonl, line 31 is damaged: .*{message}') as found:
        load_metrics(_write(tmp_path / 'metrics.jsonl', _rows(), f'{line}\n{{"epoch": 4}}\n'))
    assert len(str(found.value)) < 500


def test_metrics_are_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / 'metrics.jsonl')
    with pytest.raises(OSError, match='not a regular file'):
        load_metrics(str(tmp_path / 'metrics.jsonl'))


def test_a_title_is_shown_as_it_is(tmp_path, monkeypatch):
    """Not as a formula, which a name with two dollar signs would be, and a broken one an error."""
    pytest.importorskip('matplotlib')
    from matplotlib.figure import Figure
    titles = []
    monkeypatch.setattr(Figure, 'suptitle', lambda self, text, **_: titles.append(text))
    draw_loss_curve(_write(tmp_path / 'metrics.jsonl', _rows()), str(tmp_path / 'curve.png'), title='a$\x1b^$b\udcff')
    assert titles[0].startswith(r'a\$\x1b^\$b\xff: 30 steps')


def test_the_loss_of_an_overflow_is_a_gap(tmp_path):
    """Written as null, since JSON knows no NaN."""
    rows = _rows(1, 5)
    rows[2]['loss'] = None
    _, steps, losses, *_ = curve_parts.read_columns(_write(tmp_path / 'metrics.jsonl', rows))
    np.testing.assert_array_equal(steps, np.arange(1, 6))
    np.testing.assert_array_equal(np.isnan(losses), steps == 3)


@pytest.mark.parametrize('count', [1, 2, 7, 5000])
def test_running_median_follows_a_line_and_ignores_a_spike(count):
    values = np.arange(count, dtype=np.float64)
    centers, medians = curve_parts.running_median(values)
    assert centers[0] == 0 and centers[-1] == count - 1 and len(centers) <= 1000
    half = max(4, count // 100)
    inner = (centers >= half) & (centers < count - half)
    np.testing.assert_array_equal(medians[inner], centers[inner])
    spiked = np.full(count + 20, 3.0)
    spiked[10] = 1e6
    assert (curve_parts.running_median(spiked)[1] == 3.0).all()


@pytest.mark.parametrize('rows', [_rows(), _rows(1, 1), _rows(300, 2), _rows(2, 3, first_loss=-5.0)],
                         ids=['usual', 'one step', 'many epochs', 'negative loss'])
@pytest.mark.filterwarnings('error')
def test_the_curve_is_a_picture(tmp_path, rows):
    pytest.importorskip('matplotlib')
    rows[len(rows) // 2]['loss'] = float('nan') if len(rows) > 1 else 3.0
    rows[-1].pop('lr')
    png_path = str(tmp_path / 'curve.png')
    draw_loss_curve(_write(tmp_path / 'metrics.jsonl', rows, '{"ep'), png_path, title='made up')
    picture = cv2.imread(png_path)
    assert picture.shape[0] > 300 and picture.shape[1] > 500
    assert (picture == 255).all(axis=2).mean() > 0.5 and picture.std() > 5
    assert sorted(os.listdir(tmp_path)) == ['curve.png', 'metrics.jsonl']


def _axes_of(monkeypatch, tmp_path, rows):
    """Draw the rows and return the figure's axes and its title."""
    from matplotlib.figure import Figure
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda self, *args, **options: (figures.append(self),
                                                                           savefig(self, *args, **options)))
    draw_loss_curve(_write(tmp_path / 'metrics.jsonl', rows), str(tmp_path / 'curve.png'), title='made up')
    return figures[0].axes, figures[0].get_suptitle()


@pytest.mark.filterwarnings('error')
def test_evaluations_get_a_panel_of_their_own(tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    rows = _with_evaluations(_rows(), [0.25, 0.75, 0.5])
    rows[3]['loss'] = None
    axes, title = _axes_of(monkeypatch, tmp_path, rows)
    assert [each.get_ylabel() for each in axes] == ['loss', 'AP', 'learning rate']
    (line,) = [line for line in axes[1].get_lines() if len(line.get_xdata()) == 3]
    assert line.get_xydata().tolist() == [[10, 0.25], [20, 0.75], [30, 0.5]]
    assert title.startswith('made up: 30 steps') and title.endswith('best AP 0.750')
    assert cv2.imread(str(tmp_path / 'curve.png')).std() > 5


def test_evaluations_on_mpii_are_drawn_by_their_mean(tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    rows = [*_rows(1, 2), {'epoch': 1, 'step': 2, 'Head': 60.0, 'Mean': 50.0}]
    axes, title = _axes_of(monkeypatch, tmp_path, rows)
    assert [each.get_ylabel() for each in axes] == ['loss', 'Mean', 'learning rate']
    assert title.endswith('best Mean 50.000')


def test_without_evaluations_there_is_no_such_panel(tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    axes, title = _axes_of(monkeypatch, tmp_path, _rows())
    assert [each.get_ylabel() for each in axes] == ['loss', 'learning rate'] and 'AP' not in title


def test_the_curve_leaves_pyplot_alone(tmp_path):
    pytest.importorskip('matplotlib')
    pyplot_before = sys.modules.get('matplotlib.pyplot')
    draw_loss_curve(_write(tmp_path / 'metrics.jsonl', _rows()), str(tmp_path / 'curve.png'))
    assert sys.modules.get('matplotlib.pyplot') is pyplot_before


@pytest.mark.parametrize('rows, message', [
    ([], 'no step'), ([{'epoch': 1, 'step': 1}], 'loss missing'),
    ([{'epoch': 1, 'step': 1, 'loss': float('nan')}], 'no finite loss'),
    ([{'epoch': 1, 'step': 1, 'loss': None}], 'no finite loss'), ([{'epoch': 1, 'step': 1, 'AP': 0.5}], 'no step')])
def test_metrics_without_a_curve_are_refused(tmp_path, rows, message):
    pytest.importorskip('matplotlib')
    with pytest.raises(ValueError, match=message):
        draw_loss_curve(_write(tmp_path / 'metrics.jsonl', rows), str(tmp_path / 'curve.png'))
    assert os.listdir(tmp_path) == ['metrics.jsonl']


def test_an_unwritable_place_is_named(tmp_path):
    pytest.importorskip('matplotlib')
    with pytest.raises(OSError, match='nowhere'):
        draw_loss_curve(_write(tmp_path / 'metrics.jsonl', _rows()), str(tmp_path / 'nowhere' / 'curve.png'))


def test_missing_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'matplotlib']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(ImportError, match=r'pip install -r requirements-extra\.txt'):
        draw_loss_curve(_write(tmp_path / 'metrics.jsonl', _rows()), str(tmp_path / 'curve.png'))


# The command

@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Return a function: words -> exit status, what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['curves', *words])
        try:
            main()
            status = 0
        except SystemExit as error:
            status = error.code
        return status, ''.join(capsys.readouterr())
    return run


def test_several_runs_are_compared_in_a_picture_and_a_table(call, tmp_path):
    pytest.importorskip('matplotlib')
    for name, aps, rate in (('a', [0.25, 0.5, 0.75], 1.0), ('b', [0.5, None, None], 2.0)):
        (tmp_path / 'runs' / name).mkdir(parents=True)
        rows = _with_evaluations(_rows(first_loss=150.0 * rate), aps)
        _write(tmp_path / 'runs' / name / 'pose_metrics.jsonl', rows)
        config = resolve(load_recipe('simplepose_r50_coco_256x192'), {'TRAIN.LR': rate})
        write_checkpoint(str(tmp_path / 'runs' / name / 'pose.ckpt'), {'x': Parameter(Tensor([1.0]), name='x')},
                         {'config': to_json(config)})
    paths = [f'runs/{name}/pose_metrics.jsonl' for name in 'ab']
    status, out = call(*paths, '--output', 'both.png')
    assert status == 0, out
    lines = out.splitlines()
    assert re.split('  +', lines[0]) == ['run', 'epochs', 'steps', 'hours', 'images/s', 'loss at the end', 'best',
                                         'at step']
    assert lines[1].startswith('a ') and lines[1].endswith('AP 0.7500  30')
    assert lines[2].startswith('b ') and lines[2].endswith('AP 0.5000  10')
    assert lines[4].split() == ['setting', 'a', 'b'] and lines[5].split() == ['TRAIN.LR', '1.0', '2.0']
    picture = cv2.imread(str(tmp_path / 'both.png'))
    assert picture.shape[0] > 300 and picture.std() > 5
    for color in ((178, 114, 0), (0, 94, 213)):
        assert (picture == color).all(axis=2).sum() > 50


def test_a_page_shows_several_runs_and_says_what_differs(call, tmp_path):
    for name, aps, rate in (('a', [0.25, 0.5, 0.75], 1.0), ('<b onclick="x()">', [0.5, None, None], 2.0)):
        (tmp_path / name).mkdir()
        rows = [{**row, 'seconds': 0.5, 'data_seconds': 0.05} if 'loss' in row else row
                for row in _with_evaluations(_rows(first_loss=150.0 * rate), aps)]
        _write(tmp_path / name / 'pose_metrics.jsonl', rows)
        config = resolve(load_recipe('simplepose_r50_coco_256x192'), {'TRAIN.LR': rate, 'TRAIN.BATCH_SIZE': 8})
        write_checkpoint(str(tmp_path / name / 'pose.ckpt'), {'x': Parameter(Tensor([1.0]), name='x')},
                         {'config': to_json(config)})
    paths = ['a/pose_metrics.jsonl', '<b onclick="x()">/pose_metrics.jsonl']
    for _ in range(2):  # A page may be written again.
        status, out = call(*paths, '--output', 'both.html')
        assert status == 0 and 'page: both.html' in out
    page = (tmp_path / 'both.html').read_text()
    assert '<b onclick' not in page and '&lt;b onclick' in page and '<script' not in page
    for part in ('AP 0.7500', '16.0', 'TRAIN.LR', 'Learning rate', 'Seconds per step', 'Waiting for data'):
        assert part in page, part
    assert page.count('<svg') == 5 and page.count('class="line run-1"') >= 4
    status, out = call(paths[0], '--output', 'one.html', '--title', 'first try')
    page = (tmp_path / 'one.html').read_text()
    assert status == 0 and '<h1>first try</h1>' in page and 'all settings of the run' in page and 'LR: 1.0' in page
    status, out = call(*paths * 4, '--output', 'many.html')
    assert status == 2 and '8 runs are too many' in out and not (tmp_path / 'many.html').exists()


def test_a_page_of_a_run_without_times_and_of_a_single_step(call, tmp_path):
    _write(tmp_path / 'a.jsonl', [{'epoch': 1, 'step': 1, 'loss': 3.0}])
    status, out = call('a.jsonl', '--output', 'a.html')
    assert status == 0, out
    page = (tmp_path / 'a.html').read_text()
    assert page.count('<svg') == 1 and '<circle' in page and 'no checkpoint beside' in page


def test_metrics_are_never_replaced_by_a_picture(call, tmp_path):
    """It has happened: the second of two runs was taken for the name of the picture."""
    pytest.importorskip('matplotlib')
    for name in 'ab':
        _write(tmp_path / f'{name}.jsonl', _rows())
    before = (tmp_path / 'b.jsonl').read_bytes()
    assert call('a.jsonl', 'b.jsonl')[0] == 0
    (tmp_path / 'x.png').write_bytes(before)
    for words, message in ((['--output', 'b.jsonl'], 'should end in .png'),
                           (['--output', 'x.png'], 'is no PNG and stays'), (['x.png'], 'is no PNG and stays')):
        status, out = call('a.jsonl', *words)
        assert status == 2 and message in out
    (tmp_path / 'x.html').write_bytes(before)
    status, out = call('a.jsonl', '--output', 'x.html')
    assert status == 2 and 'is no HTML and stays' in out and (tmp_path / 'x.html').read_bytes() == before
    assert (tmp_path / 'b.jsonl').read_bytes() == before == (tmp_path / 'x.png').read_bytes()
    assert call('a.jsonl')[0] == 0 and (tmp_path / 'a_curve.png').is_file()
    assert call('a.jsonl', 'mine.png')[0] == 0 and call('a.jsonl', '--output', 'mine.png')[0] == 0
