"""The metrics file of a run: every row whole, none twice, and a full disk costs rows, not the run."""
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import ROOT

from src.training.log import MetricsLog


def rows_of(path) -> list:
    """The rows of a file, each a line of its own."""
    content = Path(path).read_text()
    assert not content or content.endswith('\n')
    return [json.loads(line) for line in content.splitlines()]


def row(epoch: int, step: int, **values) -> dict:
    return {'epoch': epoch, 'step': step, 'loss': 100 * epoch + step, **values}


def write(path, *rows, tail: bytes = b'') -> str:
    Path(path).write_bytes(b''.join(json.dumps(each).encode() + b'\n' for each in rows) + tail)
    return str(path)


TWO_EPOCHS = [row(1, 1), row(1, 2), {'epoch': 1, 'step': 2, 'AP': 0.5}, row(2, 1), row(2, 2)]


def test_rows_are_there_as_soon_as_they_are_written(tmp_path):
    """A kill may come at any moment."""
    path = tmp_path / 'metrics.jsonl'
    with MetricsLog(str(path)) as log:
        assert rows_of(path) == []
        for number, each in enumerate(TWO_EPOCHS, start=1):
            log.write(**each)
            assert rows_of(path) == TWO_EPOCHS[:number]
    assert os.listdir(tmp_path) == ['metrics.jsonl']


def test_values_that_are_no_numbers_become_null(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    with MetricsLog(str(path)) as log:
        log.write(loss=math.nan, lr=math.inf, low=-math.inf, seconds=0.5, skipped=3, best=None)
    assert path.read_text() == ('{"loss": null, "lr": null, "low": null, "seconds": 0.5, "skipped": 3, '
                                '"best": null}\n')


def test_a_number_comes_back_to_the_last_bit(tmp_path):
    path, value = tmp_path / 'metrics.jsonl', 0.1 + 0.2
    with MetricsLog(str(path)) as log:
        log.write(AP=value)
    assert rows_of(path)[0]['AP'] == value


def test_a_process_without_a_file_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with MetricsLog('', tensorboard_folder='events') as log:
        log.write(**row(1, 1))
    assert os.listdir(tmp_path) == []


# A run that begins, a run that goes on

def test_a_new_run_starts_the_file_anew(tmp_path):
    path = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS, tail=b'{"half')
    with MetricsLog(path) as log:
        log.write(**row(1, 1))
    assert rows_of(path) == [row(1, 1)]


@pytest.mark.parametrize('keep, count', [
    ((1, 1, False), 1), ((1, 2, False), 2), ((1, 2, True), 3), ((2, 1, False), 4), ((2, 2, False), 5),
    ((9, 9, True), 5), ((0, 0, True), 0)])
def test_a_run_that_goes_on_keeps_the_rows_up_to_its_state(tmp_path, keep, count):
    path = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS)
    with MetricsLog(path, keep=keep) as log:
        assert rows_of(path) == TWO_EPOCHS[:count]
        log.write(**row(7, 7))
    assert rows_of(path) == [*TWO_EPOCHS[:count], row(7, 7)]


@pytest.mark.parametrize('tail', [b'{"epoch": 2, "st', b'{', b'\0\0\0\0', b'17', b'{"note": "\xc3'])
def test_a_half_written_last_line_disappears(tmp_path, tail):
    path = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS, tail=tail)
    with MetricsLog(path, keep=(9, 9, True)) as log:
        log.write(**row(3, 1))
    assert rows_of(path) == [*TWO_EPOCHS, row(3, 1)]


def test_a_last_line_that_only_lacks_its_end_is_a_row(tmp_path):
    path = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS)
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    with MetricsLog(path, keep=(9, 9, True)) as log:
        log.write(**row(3, 1))
    assert rows_of(path) == [*TWO_EPOCHS, row(3, 1)]


def test_damage_amid_the_rows_is_named_and_changes_nothing(tmp_path):
    path = write(tmp_path / 'metrics.jsonl', row(1, 1), tail=b'{"epo\n{"epoch": 1, "step": 2}\n')
    before = Path(path).read_bytes()
    with pytest.raises(ValueError, match='metrics.jsonl, line 2 is damaged'):
        MetricsLog(path, keep=(9, 9, True))
    assert Path(path).read_bytes() == before


def test_a_file_that_is_gone_is_begun_anew(tmp_path):
    """The states go on without the metrics."""
    path = tmp_path / 'metrics.jsonl'
    with MetricsLog(str(path), keep=(9, 9, True)) as log:
        log.write(**row(3, 1))
    assert rows_of(path) == [row(3, 1)]


def test_rows_are_dropped_at_one_blow(tmp_path, monkeypatch):
    """Killed or out of space at the start, the earlier rows are all still there."""
    path = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS)

    def fail(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('src.system.files.os.replace', fail)
    with pytest.raises(OSError, match='cannot write .*metrics.jsonl: No space left'):
        MetricsLog(path, keep=(1, 1, False))
    assert rows_of(path) == TWO_EPOCHS and os.listdir(tmp_path) == ['metrics.jsonl']


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='cannot write .*file/metrics.jsonl'):
        MetricsLog(str(tmp_path / 'file' / 'metrics.jsonl'))


# A disk that is full: the kernel refuses to let a file grow beyond a limit, as it refuses on a full disk.

FILL = '''
import os, resource, sys
from src.training.log import MetricsLog
path, limit = sys.argv[1], int(sys.argv[2])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with MetricsLog(path) as log:
    for number in range(1, 41):
        # Full, free again from step 21 on, full once more from step 31 on.
        room = limit if number <= 20 else (1 << 20) if number <= 30 else os.path.getsize(path) + 5
        if number in (1, 21, 31):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        log.write(epoch=1, step=number, loss=0.5)
print('the end')
'''
LINE = len('{"epoch": 1, "step": 1, "loss": 0.5}\n')


@pytest.mark.parametrize('limit, fit', [
    (10, 0), (5 * LINE, 5), (5 * LINE - 1, 4), (5 * LINE + 1, 5), (6 * LINE - 1, 5)])
def test_a_full_disk_costs_rows_and_not_the_run(tmp_path, limit, fit):
    """Also where half a line fits."""
    path = tmp_path / 'metrics.jsonl'
    done = subprocess.run([sys.executable, '-c', FILL, str(path), str(limit)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=60)
    assert done.returncode == 0, done.stderr
    # Each time that the disk fills up is told once.
    *warnings, end = done.stdout.splitlines()
    assert end == 'the end' and len(warnings) == 2
    assert all(text.startswith(f'warning: cannot write {path}: ') and text.endswith('; the run goes on')
               for text in warnings)
    assert [each['step'] for each in rows_of(path)] == [*range(1, fit + 1), *range(21, 31)]


# TensorBoard

def events_of(folder) -> list:
    """The events of a folder in TensorBoard's record format: length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event
    events = []
    for path in sorted(Path(folder).iterdir()):
        content = path.read_bytes()
        while content:
            length, = struct.unpack('<Q', content[:8])
            events.append(Event.FromString(content[12:12 + length]))
            content = content[16 + length:]
    return events


def scalars_of(events) -> list:
    return [(event.step, value.tag, pytest.approx(value.simple_value)) for event in events
            for value in event.summary.value]


def test_events_for_tensorboard(tmp_path):
    pytest.importorskip('tensorboardX')
    path, folder = tmp_path / 'metrics.jsonl', tmp_path / 'events'
    with MetricsLog(str(path), tensorboard_folder=str(folder)) as log:
        log.write(epoch=1, step=1, loss=3.0, lr=0.5)
        log.write(epoch=1, step=2, loss=math.nan, lr=0.25)
        log.write(epoch=1, step=2, AP=0.125)
        log.write(epoch=2, step=1, loss=1.0, lr=0.25)
    # Steps count through the epochs; an evaluation stands at the step before it, what is no number nowhere.
    assert scalars_of(events_of(folder)) == [(1, 'loss', 3.0), (1, 'lr', 0.5), (2, 'lr', 0.25), (2, 'AP', 0.125),
                                             (3, 'loss', 1.0), (3, 'lr', 0.25)]
    assert len(rows_of(path)) == 4


def test_events_of_a_run_that_goes_on(tmp_path):
    """TensorBoard forgets what a killed process wrote after its last state: session_log names the first step anew."""
    pytest.importorskip('tensorboardX')
    path, folder = write(tmp_path / 'metrics.jsonl', *TWO_EPOCHS), tmp_path / 'events'
    with MetricsLog(path, keep=(2, 1, False), tensorboard_folder=str(folder)) as log:
        log.write(**row(2, 2))
    events = events_of(folder)
    starts = [event.step for event in events if event.WhichOneof('what') == 'session_log']
    assert starts == [4] and scalars_of(events) == [(4, 'loss', 202.0)]


FILL_EVENTS = FILL.replace('MetricsLog(path)', 'MetricsLog(path, tensorboard_folder=sys.argv[3])')


def test_a_full_disk_costs_events_and_not_the_run(tmp_path):
    """Nor does anybody wait for a writer that has died; what is there is whole, and goes on with the disk."""
    pytest.importorskip('tensorboardX')
    path, folder = tmp_path / 'metrics.jsonl', tmp_path / 'events'
    done = subprocess.run([sys.executable, '-c', FILL_EVENTS, str(path), '300', str(folder)], capture_output=True,
                          text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=60)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == 'the end', done.stdout + done.stderr
    assert re.search(f'^warning: cannot write {folder}/events.*: .*; the run goes on$', done.stdout, re.M)
    steps = [step for step, _, value in scalars_of(events_of(folder)) if value == 0.5]
    assert 0 < len([step for step in steps if step <= 20]) < 20
    assert [step for step in steps if step > 20][:10] == list(range(21, 31))


def test_missing_tensorboardx_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'tensorboardX']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    with pytest.raises(ImportError, match=r'TRAIN.TENSORBOARD needs tensorboardX: .*requirements-extra\.txt'):
        MetricsLog(str(tmp_path / 'metrics.jsonl'), tensorboard_folder=str(tmp_path / 'events'))
    # Nobody else needs it.
    MetricsLog(str(tmp_path / 'metrics.jsonl')).close()


def test_tensorboardx_is_among_the_extra_requirements():
    assert 'tensorboardX' in (ROOT / 'requirements-extra.txt').read_text().splitlines()
    assert '-r requirements-extra.txt' in (ROOT / 'requirements-dev.txt').read_text().splitlines()
