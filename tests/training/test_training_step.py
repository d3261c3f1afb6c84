"""The stations of a training step, each against a few lines of NumPy."""
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype
from script_runs import SIMPLE_POSE

from src.config import load_recipe, resolve
from src.models.common.blocks import BatchNorm
from src.models.registry import build_configured_network
from src.system.device import Processes
from src.training.optimizers import GradientScale, TorchAdam
from src.training.setup import build_train_step
from src.training.step import TrainStep

RATE = 0.1
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (5, 2, 2, 3)).astype(np.uint8)
JOINTS = RNG.standard_normal((5, 1, 2)).astype(np.float32)
VALIDITY = np.ones((5, 1), np.float32)
START = np.array([0.5, -1.0], np.float32)


class Regression(nn.Cell):
    """Mean squared distance of two weights to the joints; `factor` blows the loss up."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.weight = Parameter(Tensor(START.copy()), name='weight')
        self.factor = factor

    def construct(self, pixels, joints, validity):
        difference = ops.reshape(self.weight, (1, 1, 2)) - joints
        return ops.mean(ops.sum(difference * difference, 2) * validity) * self.factor


def gradient_at(weight, joints=JOINTS):
    return 2 * (weight - joints[:, 0].mean(axis=0))


def make_step(cell=None, num_steps=5, **options):
    cell = cell or Regression()
    step = TrainStep(cell, TorchAdam(cell.trainable_params(), np.full(num_steps, RATE)), network=cell, **options)
    step.set_train()
    return cell, step


def adam(weight, gradients):
    """PyTorch's Adam in float64."""
    *_, weight = adam_steps(weight, iter(gradients).__next__, len(gradients))
    return weight


def adam_steps(weight, next_gradient, count, rates=None):
    """Yield the weights after each of `count` steps."""
    weight, first, second = np.array(weight, np.float64), 0.0, 0.0
    for number in range(1, count + 1):
        gradient, rate = next_gradient(), RATE if rates is None else rates[number - 1]
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient ** 2
        weight = weight - rate * first / (1 - 0.9 ** number) / (np.sqrt(second / (1 - 0.999 ** number)) + 1e-8)
        yield weight


def moments(step):
    return step.optimizer.moment1[0].asnumpy()


def test_plain_step():
    cell, step = make_step()
    report = step(PIXELS, JOINTS, VALIDITY)
    expected = ((START - JOINTS[:, 0]) ** 2).sum(axis=1).mean()
    assert report.loss == pytest.approx(expected, rel=1e-6)
    assert (report.skipped, report.stop, report.loss_scale) == (False, False, 1.0)
    np.testing.assert_allclose(cell.weight.asnumpy(), adam(START, [gradient_at(START)]), rtol=1e-6)


@pytest.mark.parametrize('decay, first_step', [(0.0, 0), (0.5, 0), (0.5, 3)])
def test_steps_are_those_of_pytorchs_adam(decay, first_step):
    """Coupled: the decay of the weights is a part of the gradient. The rates are those of the steps' numbers."""
    cell, rates = Regression(), 0.05 * np.arange(1, 9)
    step = TrainStep(cell, TorchAdam(cell.trainable_params(), rates, weight_decay=decay, first_step=first_step))
    step.set_train()
    reference, weight = [START], START.astype(np.float64)

    def gradient():
        return gradient_at(reference[-1]) + decay * reference[-1]

    for weight in adam_steps(START, gradient, 5, rates[first_step:]):
        reference.append(weight)
        step(PIXELS, JOINTS, VALIDITY)
        np.testing.assert_allclose(cell.weight.asnumpy(), weight, rtol=1e-5, atol=1e-5)
    assert int(step.optimizer.step_index.asnumpy()) == first_step + 5


@pytest.mark.parametrize('recipe, decay', [('mspn_small_synthetic_160x128', 0.01), (SIMPLE_POSE, 0.0)])
def test_settings_of_a_recipe_reach_the_step(recipe, decay):
    config = resolve(load_recipe(recipe), {
        'MODEL.STEM_CHANNELS': 4, 'MSPN.PLANES': [4, 4, 4, 4], 'MSPN.BLOCKS': [1, 1, 1, 1],
        'TRAIN.WEIGHT_DECAY': decay, 'TRAIN.CLIP_NORM': 3, 'TRAIN.EMA_DECAY': 0.5, 'TRAIN.ACCUMULATE': 2,
        'TRAIN.AMP_LEVEL': 'O2', 'TRAIN.LOSS_SCALE': 64, 'TRAIN.LOSS_SCALE_WINDOW': 7})
    step = build_train_step(config, build_configured_network(config), np.full(4, RATE), Processes('CPU'), first_step=2)
    assert step.optimizer.decay == decay and int(step.optimizer.step_index.asnumpy()) == 2
    assert (step.accumulate, step.update_step.clip.max_norm, step.average.decay) == (2, 3, 0.5)
    assert (float(step.scaler.scale_value.asnumpy()), step.scaler.scale_window) == (64, 7)


@pytest.mark.parametrize('accumulate', [2, 3, 5, 9])
def test_accumulated_gradient_is_that_of_the_whole_batch(accumulate):
    """Also where the parts differ in size, and twice in a row: the sums start anew."""
    cell, step = make_step(accumulate=accumulate)
    whole_cell, whole = make_step()
    for _ in range(2):
        report, expected = (each(PIXELS, JOINTS, VALIDITY) for each in (step, whole))
        assert report.loss == pytest.approx(expected.loss, rel=1e-6)
        np.testing.assert_allclose(moments(step), moments(whole), rtol=1e-5)
        np.testing.assert_allclose(cell.weight.asnumpy(), whole_cell.weight.asnumpy(), rtol=1e-5)


@pytest.mark.parametrize('max_norm', [0.1, 1e6])
def test_clipping_shortens_long_gradients_only(max_norm):
    _, step = make_step(clip_norm=max_norm)
    step(PIXELS, JOINTS, VALIDITY)
    gradient = gradient_at(START)
    norm = np.linalg.norm(gradient)
    assert 0.1 < norm < 1e6
    np.testing.assert_allclose(moments(step), 0.1 * gradient * min(1, max_norm / (norm + 1e-6)), rtol=1e-5)


def test_share_weighs_the_gradient():
    _, step = make_step()
    step(PIXELS, JOINTS, VALIDITY, share=0.25)
    np.testing.assert_allclose(moments(step), 0.025 * gradient_at(START), rtol=1e-5)


class TwoAlike(nn.Cell):
    """Stands for the exchange of two processes that hold the same: the sum, or the mean if that is asked for."""

    def __init__(self, parameters=None, *, mean=False, degree=2):
        super().__init__()
        self.factor, self.map = 1.0 if mean and degree == 2 else 2.0, GradientScale()

    def construct(self, values):
        if isinstance(values, tuple):
            return self.map(values, Tensor(self.factor, mstype.float32))
        return values * self.factor


def test_two_processes_with_the_same_batch_step_as_one(monkeypatch):
    """Gradients and losses are averaged; what the processes really exchange, `test_distributed.py` looks at."""
    monkeypatch.setattr('src.training.step.nn.DistributedGradReducer', TwoAlike)
    monkeypatch.setattr('src.training.step.ops.AllReduce', TwoAlike)
    (cell, joint), (_, alone) = make_step(num_processes=2), make_step()
    reports = [step(PIXELS, JOINTS, VALIDITY, stop=True) for step in (joint, alone)]
    assert reports[0] == reports[1] and reports[0].stop
    np.testing.assert_allclose(moments(joint), moments(alone), rtol=1e-6)
    assert not np.array_equal(cell.weight.asnumpy(), START)


def test_running_average_follows_the_weights():
    cell, step = make_step(ema_decay=0.3)
    average, shares = START.astype(np.float64), []
    for count in (1, 2, 3, 4, 5):
        step(PIXELS, JOINTS, VALIDITY)
        shares.append(1 - min((1 + count) / (10 + count), 0.3))
        average = average + shares[-1] * (cell.weight.asnumpy() - average)
        np.testing.assert_allclose(step.average.averages[0].asnumpy(), average, rtol=1e-5)
    # From the third step on the decay is what was asked for.
    assert shares[1] > shares[2] == shares[4] == 0.7


def test_request_to_stop_is_reported():
    _, step = make_step()
    assert step(PIXELS, JOINTS, VALIDITY, stop=True).stop


# Loss scaling

@pytest.mark.parametrize('options', [{}, {'accumulate': 2}, {'clip_norm': 0.1}], ids=str)
def test_scaled_step_equals_the_plain_one_and_the_scale_grows(options):
    cell, step = make_step(loss_scale=1024.0, loss_scale_window=2, **options)
    plain_cell, plain = make_step(**options)
    scales = []
    for _ in range(5):
        report, expected = (each(PIXELS, JOINTS, VALIDITY) for each in (step, plain))
        scales.append(report.loss_scale)
        assert report.loss == pytest.approx(expected.loss, rel=1e-6) and not report.skipped
        np.testing.assert_allclose(moments(step), moments(plain), rtol=1e-5)
    assert scales == [1024, 1024, 2048, 2048, 4096]
    np.testing.assert_allclose(cell.weight.asnumpy(), plain_cell.weight.asnumpy(), rtol=1e-6)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_overflow_skips_the_update_halves_the_scale_and_lets_the_rate_go_on(accumulate):
    cell, step = make_step(Regression(factor=3e37), loss_scale=1024.0, ema_decay=0.9, accumulate=accumulate)
    for count, scale in enumerate((1024, 512, 256), start=1):
        report = step(PIXELS, JOINTS, VALIDITY)
        assert report.skipped and report.loss_scale == scale
        assert np.array_equal(cell.weight.asnumpy(), START) and not moments(step).any()
        assert np.array_equal(step.average.averages[0].asnumpy(), START)
        assert int(step.optimizer.step_index.asnumpy()) == count
        assert float(step.optimizer.beta1_power.asnumpy()) == 1


def test_after_an_overflow_training_goes_on():
    """The gradient overflows at the first scale only."""
    cell, step = make_step(Regression(factor=1e5), loss_scale=2.0 ** 112)
    reports = [step(PIXELS, JOINTS, VALIDITY) for _ in range(5)]
    skipped = [report.skipped for report in reports]
    assert skipped[0] and not skipped[-1] and skipped == sorted(skipped, reverse=True)
    np.testing.assert_allclose(np.sign(START - cell.weight.asnumpy()), np.sign(gradient_at(START)))


class Exploding(nn.Cell):
    """A BatchNorm behind an exponential, which is infinite where the pixels are bright."""

    def __init__(self):
        super().__init__()
        self.norm = BatchNorm(3)

    def construct(self, pixels, joints, validity):
        values = ops.exp(ops.transpose(ops.cast(pixels, mstype.float32), (0, 3, 1, 2)))
        return ops.mean(self.norm(values) * joints.sum())


@pytest.mark.parametrize('accumulate', [1, 2])
def test_overflow_in_the_forward_pass_leaves_the_batch_statistics_alone(accumulate):
    """Otherwise every later checkpoint would hold NaN."""
    cell, step = make_step(Exploding(), loss_scale=8.0, accumulate=accumulate)
    dark = np.zeros_like(PIXELS)
    step(dark + 1, JOINTS, VALIDITY)
    before = [cell.norm.moving_mean.asnumpy().copy(), cell.norm.moving_variance.asnumpy().copy()]
    bright = dark.copy()
    bright[-1] = 255
    assert step(bright, JOINTS, VALIDITY).skipped
    after = [cell.norm.moving_mean.asnumpy(), cell.norm.moving_variance.asnumpy()]
    assert all(np.isfinite(values).all() for values in after) and all(map(np.array_equal, before, after))


@pytest.mark.parametrize('least, parts', [(None, 3), (2, 2), (1, 1)])
def test_all_processes_run_as_many_parts_as_the_smallest_can(least, parts):
    """With statistics over all processes every part communicates."""
    _, step = make_step(accumulate=3)
    calls = []
    inner = step.accumulate_step
    step.accumulate_step = lambda *arguments: calls.append(1) or inner(*arguments)
    step(PIXELS, JOINTS, VALIDITY, smallest_share=least)
    assert len(calls) == parts - 1


# What continues a run

ALWAYS = {'weight', 'step_index', 'beta1_power', 'beta2_power', 'moment1.weight', 'moment2.weight'}


@pytest.mark.parametrize('options, further', [
    ({}, ()), ({'loss_scale': 8.0, 'loss_scale_window': 3}, ('loss_scale', 'loss_scale_counter')),
    ({'ema_decay': 0.9}, ('ema.weight',))], ids=['plain', 'loss scaling', 'running average'])
def test_state_continues_a_run_bit_by_bit(options, further):
    cell, step = make_step(**options)
    assert set(step.state(cell)) == ALWAYS.union(further)
    for _ in range(2):
        step(PIXELS, JOINTS, VALIDITY)
    saved = {name: parameter.asnumpy().copy() for name, parameter in step.state(cell).items()}
    reports = [step(PIXELS, JOINTS, VALIDITY) for _ in range(3)]
    other_cell, other = make_step(**options)
    for name, parameter in other.state(other_cell).items():
        parameter.set_data(Tensor(saved[name]))
    # The loss scale as well, which doubles after the third step in a row, whether somebody died in between or not.
    assert [other(PIXELS, JOINTS, VALIDITY) for _ in range(3)] == reports
    assert len({report.loss_scale for report in reports}) == (2 if 'loss_scale' in options else 1)
    wanted = {name: parameter.asnumpy() for name, parameter in step.state(cell).items()}
    got = {name: parameter.asnumpy() for name, parameter in other.state(other_cell).items()}
    assert set(wanted) == set(got) and all(np.array_equal(wanted[name], got[name]) for name in wanted)
    assert wanted['step_index'] == 5 and wanted['weight'].dtype == np.float32
    assert mstype.float32 == cell.weight.dtype
