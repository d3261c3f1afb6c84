"""The stations of a training step, each against a few lines of NumPy."""
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

from src.networks.blocks import BatchNorm
from src.optimizers import TorchAdam
from src.training_step import TrainStep

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
    weight, first, second = np.array(weight, np.float64), 0.0, 0.0
    for count, gradient in enumerate(gradients, start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient ** 2
        weight = weight - RATE * first / (1 - 0.9 ** count) / (np.sqrt(second / (1 - 0.999 ** count)) + 1e-8)
    return weight


def moments(step):
    return step.optimizer.moment1[0].asnumpy()


def test_plain_step():
    cell, step = make_step()
    report = step(PIXELS, JOINTS, VALIDITY)
    expected = ((START - JOINTS[:, 0]) ** 2).sum(axis=1).mean()
    assert report.loss == pytest.approx(expected, rel=1e-6)
    assert (report.skipped, report.stop, report.loss_scale) == (False, False, 1.0)
    np.testing.assert_allclose(cell.weight.asnumpy(), adam(START, [gradient_at(START)]), rtol=1e-6)


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


def test_running_average_follows_the_weights():
    cell, step = make_step(ema_decay=0.5)
    average = START.astype(np.float64)
    for count in (1, 2, 3, 4, 5):
        step(PIXELS, JOINTS, VALIDITY)
        share = 1 - min((1 + count) / (10 + count), 0.5)
        average = average + share * (cell.weight.asnumpy() - average)
        np.testing.assert_allclose(step.average.averages[0].asnumpy(), average, rtol=1e-5)
    assert share == 0.5 or count < 9


def test_request_to_stop_is_reported():
    _, step = make_step()
    assert step(PIXELS, JOINTS, VALIDITY, stop=True).stop


# Loss scaling

def test_scaled_step_equals_the_plain_one_and_the_scale_grows():
    cell, step = make_step(loss_scale=1024.0, loss_scale_window=2)
    plain_cell, plain = make_step()
    scales = []
    for _ in range(5):
        report, expected = (each(PIXELS, JOINTS, VALIDITY) for each in (step, plain))
        scales.append(report.loss_scale)
        assert report.loss == pytest.approx(expected.loss, rel=1e-6) and not report.skipped
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
    step(PIXELS, JOINTS, VALIDITY, least=least)
    assert len(calls) == parts - 1


# What continues a run

@pytest.mark.parametrize('options', [{}, {'loss_scale': 8.0, 'loss_scale_window': 3}, {'ema_decay': 0.9}], ids=str)
def test_state_continues_a_run_bit_by_bit(options):
    cell, step = make_step(**options)
    for _ in range(2):
        step(PIXELS, JOINTS, VALIDITY)
    saved = {name: parameter.asnumpy().copy() for name, parameter in step.state(cell).items()}
    for _ in range(3):
        step(PIXELS, JOINTS, VALIDITY)
    other_cell, other = make_step(**options)
    for name, parameter in other.state(other_cell).items():
        parameter.set_data(Tensor(saved[name]))
    for _ in range(3):
        other(PIXELS, JOINTS, VALIDITY)
    wanted = {name: parameter.asnumpy() for name, parameter in step.state(cell).items()}
    got = {name: parameter.asnumpy() for name, parameter in other.state(other_cell).items()}
    assert set(wanted) == set(got) and all(np.array_equal(wanted[name], got[name]) for name in wanted)
    assert wanted['step_index'] == 5 and wanted['weight'].dtype == np.float32
    assert mstype.float32 == cell.weight.dtype
