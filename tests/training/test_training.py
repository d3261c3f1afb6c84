"""The training loop's promises; test_gradients.py compares steps with the originals'."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from mindspore import dtype as mstype

from src.data.loader import BatchPlan
from src.training.log import MetricsLog
from src.training.loop import Hooks, NonFiniteLossError, StepTime, measure_speed, train
from src.training.optimizers import TorchAdam
from src.training.states import Progress
from src.training.step import StepReport, TrainStep
from src.training.stopping import StopRequest


class Fixed(nn.Cell):
    """A network of one weight whose output is chosen by the test."""

    def __init__(self, value: float):
        super().__init__()
        self.weight = Parameter(Tensor(value, mstype.float32), name='weight')

    def construct(self, pixels, joints, validity):
        return self.weight * self.weight


def batches(count: int):
    rows = np.array([3, 1], np.int32)
    for _ in range(count):
        yield np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 1, 2), np.float32), np.ones((2, 1), np.float32), rows


def make_step(value: float, rates, **options) -> TrainStep:
    graph = Fixed(value)
    return TrainStep(graph, TorchAdam(graph.trainable_params(), rates), **options)


class Recorder(Hooks):
    """Writes down what the loop calls; `ends` after an epoch, `stops` the run during a step."""

    def __init__(self, progress=None, ends=0):
        self.calls, self.progress, self.ends = [], progress or Progress(), ends

    def after_step(self, step):
        self.calls.append(('step', step, self.progress.step))

    def after_epoch(self, epoch, is_stopping):
        self.calls.append(('epoch', epoch, self.progress.step))
        self.was_stopping = is_stopping
        return epoch == self.ends


def run(step, rates, *, path='', steps_per_epoch=2, progress=None, stop=None, **options):
    """Run the loop over all batches that are left; each step sees two of `2 * steps_per_epoch` people."""
    plan = BatchPlan(2 * steps_per_epoch, 2, len(rates) // steps_per_epoch, seed=1)
    progress = progress or Progress()
    with MetricsLog(path and str(path)) as log:
        return train(step, batches(len(rates) - progress.step), plan=plan, rates=rates, progress=progress, log=log,
                     stop=stop or StopRequest(), **options)


def test_classic_lines_and_metrics(tmp_path, capsys):
    path, rates = tmp_path / 'metrics.jsonl', np.array([0.1, 0.1, 0.01, 0.01])
    times = run(make_step(13.0, rates), rates, path=path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'epoch: 1 step: 1, loss is 169'
    assert lines[1].startswith('epoch: 1 step: 2, loss is 166.4')
    assert lines[2].startswith('Epoch time: ') and ', per step time: ' in lines[2]
    assert len(lines) == 6
    metrics = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry['epoch'], entry['step']) for entry in metrics] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert metrics[3]['lr'] == 0.01
    for entry, time in zip(metrics, times):
        assert set(entry) == {'epoch', 'step', 'loss', 'lr', 'seconds', 'data_seconds'}
        assert entry['seconds'] == round(time.seconds, 4) and entry['data_seconds'] == round(time.waited, 4)
        assert 0 <= time.waited < time.seconds and time.images == 2


def test_hooks_see_the_progress_of_their_step():
    """What a hook saves is the state after the step, with its number."""
    rates, progress = np.full(6, 0.1), Progress()
    hooks = Recorder(progress)
    run(make_step(13.0, rates), rates, steps_per_epoch=3, progress=progress, hooks=hooks)
    assert hooks.calls == [('step', 1, 1), ('step', 2, 2), ('epoch', 1, 3), ('step', 4, 4), ('step', 5, 5),
                           ('epoch', 2, 6)]


def test_a_run_continues_in_the_middle_of_an_epoch(tmp_path, capsys):
    path, rates, progress = tmp_path / 'metrics.jsonl', np.arange(1, 7) / 10, Progress(step=4)
    times = run(make_step(13.0, rates), rates, path=path, steps_per_epoch=3, progress=progress)
    assert progress.step == 6 and len(times) == 2
    metrics = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry['epoch'], entry['step'], entry['lr']) for entry in metrics] == [(2, 2, 0.5), (2, 3, 0.6)]
    # Of an epoch of which one step was taken before, two are timed.
    elapsed, mean = capsys.readouterr().out.splitlines()[-1].split(', ')
    whole, each = (float(text.split(': ')[1][:-len(' ms')]) for text in (elapsed, mean))
    assert each == pytest.approx(whole / 2, abs=1e-3)


def test_a_finished_run_takes_no_step():
    rates, progress, hooks = np.full(4, 0.1), Progress(step=4), Recorder()
    step = make_step(13.0, rates)
    assert run(step, rates, progress=progress, hooks=hooks) == []
    assert progress == Progress(step=4) and hooks.calls == [] and float(step.optimizer.parameters[0].asnumpy()) == 13


@pytest.mark.parametrize('max_steps, taken, calls', [
    (1, 1, [('step', 1)]), (3, 3, [('step', 1), ('epoch', 1), ('step', 3)]),
    (4, 4, [('step', 1), ('epoch', 1), ('step', 3), ('epoch', 2)]), (99, 6, None), (0, 6, None)])
def test_max_steps(max_steps, taken, calls):
    rates, progress = np.full(6, 0.1), Progress()
    hooks = Recorder(progress)
    times = run(make_step(13.0, rates), rates, progress=progress, hooks=hooks, max_steps=max_steps)
    assert progress.step == len(times) == taken
    assert calls is None or [call[:2] for call in hooks.calls] == calls


def test_a_hook_ends_the_run_after_an_epoch():
    rates, progress = np.full(6, 0.1), Progress()
    hooks = Recorder(progress, ends=2)
    run(make_step(13.0, rates), rates, progress=progress, hooks=hooks)
    assert progress.step == 4 and hooks.calls[-1] == ('epoch', 2, 4)


@pytest.mark.parametrize('asked_after, taken, last', [(0, 1, 'step'), (1, 2, 'epoch'), (2, 3, 'step')])
def test_a_request_to_stop_ends_the_run_after_the_next_step(asked_after, taken, last):
    """And after what belongs to that step: its state, or the whole end of its epoch."""
    rates, progress, stop = np.full(6, 0.1), Progress(), StopRequest()

    class Asking(Recorder):
        def after_step(self, step):
            super().after_step(step)
            stop.is_set |= step == asked_after

        def after_epoch(self, epoch, is_stopping):
            stop.is_set |= progress.step == asked_after
            return super().after_epoch(epoch, is_stopping)

    hooks = Asking(progress)
    stop.is_set = asked_after == 0
    run(make_step(13.0, rates), rates, progress=progress, hooks=hooks, stop=stop)
    assert progress.step == taken and hooks.calls[-1][0] == last
    # An epoch that ends as the run does need not be evaluated.
    assert last == 'step' or hooks.was_stopping


def test_first_adam_step_has_the_length_of_the_rate_for_any_gradient():
    """PyTorch's epsilon is added behind the bias correction: a gradient of 1e-6 moves a weight by 99 % of the rate.

    With MindSpore's own place of epsilon it would be 76 %.
    """
    step = make_step(5e-7, np.array([1e-3]))
    step.set_train()
    step(*next(batches(1))[:3])
    moved = 5e-7 - float(step.optimizer.parameters[0].asnumpy())
    assert moved == pytest.approx(1e-3 * 1e-6 / (1e-6 + 1e-8), rel=1e-3)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_non_finite_loss_stops_and_says_what_was_seen(value):
    rates, hooks = np.array([0.1, 0.1]), Recorder()
    with pytest.raises(NonFiniteLossError, match='epoch 1, step 1, learning rate 0.1.*pixels 0 to 0.*batch: 3 and 1'):
        run(make_step(value, rates), rates, hooks=hooks, describe_rows=lambda rows: ' and '.join(map(str, rows)))
    assert not hooks.calls


def test_a_step_is_told_its_part_of_the_batch_of_all_devices():
    """Five people on two devices, of which each has two or three in the only step of an epoch."""
    told = []

    class Step:
        scaler = None

        def set_train(self):
            pass

        def launch(self, *arrays, share, smallest_share, stop):
            told.append((len(arrays), share, smallest_share, stop))
            return SimpleNamespace(report=lambda: StepReport(1.0, False, False, 1.0))

    for shard in (0, 1):
        plan, rates = BatchPlan(5, 3, 1, seed=1, num_shards=2, shard=shard), np.array([0.1])
        with MetricsLog('') as log:
            train(Step(), batches(1), plan=plan, rates=rates, progress=Progress(), log=log, stop=StopRequest())
    assert told == [(3, pytest.approx(6 / 5), 2, False), (3, pytest.approx(4 / 5), 2, False)]


# Steps ahead, for accelerators

class LaunchLog:
    """A step that writes down what is launched and waited for; the report of step `told_at` says to stop."""

    scaler = None

    def __init__(self, told_at=0, losses=()):
        self.events, self.told_at, self.losses, self.count = [], told_at, dict(losses), 0

    def set_train(self):
        pass

    def launch(self, *_arrays, **_named):
        self.count += 1
        self.events.append(('launch', self.count))
        return SimpleNamespace(report=lambda number=self.count: self._report(number))

    def _report(self, number):
        self.events.append(('wait', number))
        return StepReport(self.losses.get(number, 1.0), False, number == self.told_at, 1.0)


def events_of(step, hooks, **options):
    """Run six steps in two epochs of three; return the launches, waits and calls of hooks in their order."""
    hooks.calls = step.events
    run(step, np.full(6, 0.1), steps_per_epoch=3, hooks=hooks, progress=hooks.progress, **options)
    return [event[:2] for event in step.events]


def test_steps_are_launched_ahead_and_awaited_where_an_epoch_ends():
    events = events_of(LaunchLog(), Recorder(), steps_ahead=1)
    epoch = [('launch', 1), ('launch', 2), ('wait', 1), ('launch', 3), ('wait', 2), ('wait', 3)]
    assert events == [*epoch, ('epoch', 1), *((name, number + 3) for name, number in epoch), ('epoch', 2)]


def test_a_state_is_saved_with_no_step_under_way():
    class Saving(Recorder):
        def is_save_due(self, step):
            return step == 2

    hooks = Saving()
    events = events_of(LaunchLog(), hooks, steps_ahead=5)
    assert events[:5] == [('launch', 1), ('launch', 2), ('wait', 1), ('wait', 2), ('step', 2)]
    assert [call for call in hooks.calls if call[0] == 'step'] == [('step', 2, 2)]


@pytest.mark.parametrize('told_at, last', [(1, 2), (2, 3), (3, 3), (4, 5), (5, 6)])
@pytest.mark.parametrize('saves_at', [0, 1, 2, 4, 5])
def test_a_request_to_stop_ends_all_processes_after_the_same_step(told_at, last, saves_at):
    """Whether or not a process waits for a step to save the state, which depends on its clock."""
    class Saving(Recorder):
        def is_save_due(self, step):
            return step == saves_at

    hooks, step = Saving(Progress()), LaunchLog(told_at)
    events_of(step, hooks, steps_ahead=1)
    assert hooks.progress.step == step.count == last
    assert step.events[-1][0] in ('step', 'epoch') and ('wait', last) in step.events


@pytest.mark.parametrize('max_steps', [4, 5])
def test_steps_ahead_end_with_the_run(max_steps):
    hooks, step = Recorder(Progress()), LaunchLog()
    events_of(step, hooks, steps_ahead=2, max_steps=max_steps)
    assert hooks.progress.step == step.count == max_steps and step.events[-1][:2] == ('step', max_steps)


def test_steps_ahead_change_no_number(tmp_path):
    """Neither in the log nor in the weights, also where steps are skipped for an overflow."""
    seen = []
    for ahead in (0, 1, 3):
        rates, path = np.full(40, 0.25), tmp_path / f'{ahead}.jsonl'
        step = make_step(1e15, rates, loss_scale=2.0 ** 80)
        run(step, rates, path=path, steps_per_epoch=20, steps_ahead=ahead)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        seen.append(([{key: value for key, value in line.items() if 'seconds' not in key} for line in lines],
                     step.optimizer.parameters[0].asnumpy().tobytes()))
    assert seen[0] == seen[1] == seen[2] and 0 < seen[0][0][-1]['skipped'] < 40


def test_a_loss_that_is_not_finite_is_named_with_its_own_batch():
    step = LaunchLog(losses={2: np.nan})
    with pytest.raises(NonFiniteLossError, match='epoch 1, step 2'):
        events_of(step, Recorder(), steps_ahead=1)
    assert step.count == 3


# Overflows in mixed precision

def test_skipped_steps_are_counted_and_told(tmp_path, capsys):
    """The gradient, 2e15, times the first scale is beyond float32; halved a few times it is not."""
    path, progress = tmp_path / 'metrics.jsonl', Progress()
    rates = np.full(60, 1.0)
    run(make_step(1e15, rates, loss_scale=2.0 ** 80), rates, path=path, steps_per_epoch=60, progress=progress)
    skipped = progress.skipped
    assert 0 < skipped < 30 and progress.skipped_in_a_row == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('epoch')]
    assert lines[0].endswith(f', skipped: overflow at loss scale {2.0 ** 80:g}')
    assert [', skipped: ' in line for line in lines] == [True] * skipped + [False] * (60 - skipped)
    metrics = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry['skipped'] for entry in metrics] == [min(number, skipped) for number in range(1, 61)]
    assert [entry['loss_scale'] for entry in metrics[:3]] == [2.0 ** 80, 2.0 ** 79, 2.0 ** 78]


def test_too_many_skipped_steps_in_a_row_stop_the_run():
    rates, progress, hooks = np.full(60, 0.5), Progress(step=2, skipped=7), Recorder()
    with pytest.raises(NonFiniteLossError) as caught:
        run(make_step(np.inf, rates, loss_scale=1024.0), rates, progress=progress, hooks=hooks, steps_per_epoch=30,
            max_skipped_steps=5, describe_rows=lambda rows: f'the people {rows.tolist()}')
    assert progress == Progress(step=8, skipped=13, skipped_in_a_row=6)
    for part in ('6 steps in a row overflowed', 'epoch 1, step 8', 'learning rate 0.5', 'a loss scale of 32',
                 'a loss of inf', 'batch: the people [3, 1]', '--amp_level O0'):
        assert part in str(caught.value)
    # The step that stopped the run is never saved.
    assert hooks.calls[-1][:2] == ('step', 7)


def test_a_row_of_skipped_steps_is_counted_across_a_resumed_run():
    rates = np.full(6, 0.5)
    with pytest.raises(NonFiniteLossError, match='^6 steps in a row .* epoch 2, step 1'):
        run(make_step(np.inf, rates, loss_scale=1024.0), rates, max_skipped_steps=5,
            progress=Progress(step=2, skipped=5, skipped_in_a_row=5))


# Speed

def times_of(*triples):
    return [StepTime(*triple) for triple in triples]


def test_speed_is_that_of_the_whole_batches_behind_the_warm_up():
    slow, usual, smaller = (9.0, 8.0, 32), (0.5, 0.1, 32), (0.1, 0.0, 3)
    speed = measure_speed(times_of(*[slow] * 10, *[usual] * 15, smaller))
    assert speed == {'fps': 64.0, 'step_ms': 500.0, 'data_wait_share': 0.2, 'steps': 15, 'warm_up_steps': 10}


def test_speed_of_a_short_run_leaves_out_half_of_it():
    speed = measure_speed(times_of((9.0, 0.0, 4), (9.0, 0.0, 4), (0.5, 0.0, 4), (0.25, 0.0, 4), (0.25, 0.0, 4)))
    assert (speed['steps'], speed['warm_up_steps'], speed['step_ms'], speed['fps']) == (3, 2, 250.0, 16.0)
    assert measure_speed(times_of((2.0, 1.0, 4)))['fps'] == 2.0


def test_speed_of_a_run_without_steps():
    assert measure_speed([]) == {'fps': 0.0, 'step_ms': 0.0, 'data_wait_share': 0.0, 'steps': 0, 'warm_up_steps': 0}
