"""From TensorFlow's 8-bit MobileNetV2 to a start of training: scales, pixels, BatchNorms."""
from pathlib import Path

import numpy as np
import pytest
from golden_data import operator_by_operator, seeded_input, seeded_state, small_mobilenet

from benchmarks.imagenet_start import (
    Convolution,
    dequantised,
    folded_state,
    for_normalised_pixels,
    network_features,
    read_convolutions,
    trunk_names,
    watch,
    with_statistics,
)
from src.models.simple_pose.mobilenet import ConvNorm
from src.models.simple_pose.network import SimplePoseMobileNet

FILE = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'start' / 'mobilenet_v2_1.0_224_quant.tflite'
EPS = 1e-5


@pytest.mark.parametrize('scales, zero_points, axis, expected', [
    ([0.5], [3], 0, [[-1.5, -1], [0, 126]]), ([0.5, 2], [3, 0], 0, [[-1.5, -1], [6, 510]]),
    ([0.5, 2], [3, 0], 1, [[-1.5, 2], [0, 510]])])
def test_bytes_become_numbers(scales, zero_points, axis, expected):
    numbers = np.array([[0, 1], [3, 255]], np.uint8)
    result = dequantised(numbers, scales, zero_points, axis)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected)


def test_the_first_convolution_takes_over_the_pixels():
    rng = np.random.default_rng(0)
    means, stds = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    first = Convolution(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), np.ones(4, np.float32), 0)
    ours = for_normalised_pixels(first, means, stds)
    patch = rng.integers(0, 256, (3, 3, 3)).astype(np.float64)
    theirs = np.tensordot(first.weight, (patch - 128) / 128, 3) + first.bias
    normalised = (patch / 255 - np.reshape(means, (3, 1, 1))) / np.reshape(stds, (3, 1, 1))
    np.testing.assert_allclose(np.tensordot(ours.weight, normalised, 3) + ours.bias, theirs, rtol=1e-5)


def made_up_convolutions(network) -> dict:
    """{name: Convolution} in the shapes of a network, with biases."""
    state = seeded_state(network)
    return {name[:-len('.conv.weight')]: Convolution(value, state[name.replace('conv.weight', 'bn.bias')], 0)
            for name, value in state.items() if name.endswith('.conv.weight')}


def test_names_are_those_of_the_trunk_in_its_order():
    network = small_mobilenet()
    assert trunk_names() == [name for name, cell in network.cells_and_names() if isinstance(cell, ConvNorm)]
    assert list(made_up_convolutions(network)) == trunk_names()


def test_measured_batch_norms_change_nothing_and_normalise():
    convolutions = made_up_convolutions(small_mobilenet())
    images, state = seeded_input(1, (4, 3, 64, 64)), folded_state(convolutions, EPS)
    with operator_by_operator():
        watched = watch(small_mobilenet(), state, images)
        final = with_statistics(state, {name: each.mean_and_variance() for name, each in watched.items()}, EPS)
        before, after = (network_features(small_mobilenet(), each, images) for each in (state, final))
        again = watch(small_mobilenet(), final, images)
    assert set(final) == set(state) and np.abs(before).max() > 0.1
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    for name, each in again.items():
        mean, variance = each.mean_and_variance()
        scale = np.sqrt(variance + EPS)
        np.testing.assert_allclose(final[f'{name}.bn.running_mean'] / scale, mean / scale, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(final[f'{name}.bn.weight'], scale, rtol=1e-2, err_msg=name)
    assert any((final[f'{name}.bn.weight'] != 1).any() for name in again)


def test_the_published_file():
    """Shapes are those of the trunk at full width, then the classifier; per-tensor scales of eight bits."""
    pytest.importorskip('tflite', reason='tflite (requirements-extra.txt) is not installed')
    if not FILE.is_file():
        pytest.skip(f'{FILE} is not here')
    convolutions = read_convolutions(str(FILE))
    network = SimplePoseMobileNet(num_keypoints=17, input_shape=(64, 64), num_deconv_filters=(8, 8, 8))
    shapes = {name: value.weight.shape for name, value in made_up_convolutions(network).items()}
    assert [each.weight.shape for each in convolutions] == [*shapes.values(), (1001, 1280, 1, 1)]
    assert all(len(np.unique(each.weight)) <= 256 and each.bias.shape == each.weight.shape[:1]
               for each in convolutions)


def test_a_missing_reader_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'tflite', None)
    with pytest.raises(ImportError, match=r'reading .tflite needs tflite: pip install -r requirements-extra\.txt'):
        read_convolutions(str(tmp_path / 'x.tflite'))
