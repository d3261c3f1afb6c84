"""Loading PyTorch-named weights: everything accounted for, or nothing touched."""
import json

import numpy as np
import pytest
from golden_data import (
    ALL,
    FULL_FOLDER,
    SMALL_NETWORKS,
    TRAINED,
    golden,
    input_shape_of,
    needs_full_golden,
    seeded_state,
    small_mspn,
)
from mindspore import nn

from src.networks import build_network
from src.weights import load_pytorch_state, named_parameters, pytorch_names


def _arrays(network):
    return {name: parameter.asnumpy().copy() for name, parameter in named_parameters(network).items()}


def _assert_holds(network, state):
    arrays = _arrays(network)
    for target, source in pytorch_names(network).items():
        np.testing.assert_array_equal(arrays[target], state[source], err_msg=source)


@pytest.fixture
def without_initial_values(monkeypatch):
    """Names and shapes need no values, and drawing them takes the most time."""
    for module in ('mspn', 'simple_pose'):
        monkeypatch.setattr(f'src.networks.{module}.initialise_parameters', lambda *_: None)


@pytest.mark.parametrize('name', TRAINED)
def test_trainable_names_are_those_of_pytorch(name, without_initial_values):
    network = build_network(name.rsplit('_', 1)[0], num_keypoints=17, input_shape=input_shape_of(name))
    parameters, names = named_parameters(network), pytorch_names(network)
    trainable = {names[key] for key, parameter in parameters.items() if parameter.requires_grad}
    assert trainable == set(golden(name)['grad_names'].tolist())


@needs_full_golden
@pytest.mark.parametrize('name', ALL)
def test_all_names_and_shapes_are_those_of_pytorch(name, without_initial_values):
    network = build_network(name.rsplit('_', 1)[0], num_keypoints=17, input_shape=input_shape_of(name))
    parameters = named_parameters(network)
    ours = {source: list(parameters[target].shape) for target, source in pytorch_names(network).items()}
    entries = json.loads((FULL_FOLDER / f'{name}.params.json').read_text())
    assert ours == {key: shape for key, shape in entries if not key.endswith('num_batches_tracked')}


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_load(kind):
    network = SMALL_NETWORKS[kind]()
    state = seeded_state(network)
    load_pytorch_state(network, state)
    _assert_holds(network, state)


def test_counters_of_batch_norm_are_accepted():
    network = small_mspn()
    state = seeded_state(network)
    counters = {name.replace('running_mean', 'num_batches_tracked'): np.int64(7)
                for name in state if name.endswith('running_mean')}
    load_pytorch_state(network, {**state, **counters})
    _assert_holds(network, state)


def test_a_counter_without_its_batch_norm_is_unexpected():
    network = small_mspn()
    with pytest.raises(ValueError, match='top.other.num_batches_tracked'):
        load_pytorch_state(network, {**seeded_state(network), 'top.other.num_batches_tracked': np.int64(0)})


def test_all_problems_are_named_at_once_and_nothing_changes():
    network = small_mspn()
    before = _arrays(network)
    state = seeded_state(network)
    missing = ['top.conv.conv.weight', 'stage1.upsample.up4.res_conv2.bn.running_var']
    for name in missing:
        del state[name]
    unexpected = ['fc.weight', 'module.top.conv.conv.weight']
    state.update({name: np.zeros(3, np.float32) for name in unexpected})
    mis_shaped = ['stage0.upsample.up1.u_skip.conv.bias', 'stage1.upsample.up1.res_conv2.conv.weight']
    # The same number of values in another order of axes must not pass.
    for name in mis_shaped:
        state[name] = state[name][None] if state[name].ndim == 1 else state[name].transpose(1, 0, 2, 3)
    with pytest.raises(ValueError) as error:
        load_pytorch_state(network, state)
    message = str(error.value)
    for name in missing + unexpected + mis_shaped:
        assert name in message
    assert '2 missing' in message and '2 unexpected' in message and '2 of another shape' in message
    assert '(17, 16, 3, 3)' in message and '(16, 17, 3, 3)' in message
    after = _arrays(network)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_an_empty_state_names_every_parameter():
    network = small_mspn()
    with pytest.raises(ValueError) as error:
        load_pytorch_state(network, {})
    assert all(name in str(error.value) for name in pytorch_names(network).values())


class _Owner(nn.Cell):
    """Prefixes the parameters' names, as a training cell or an optimizer does."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, images):
        return self.network(images)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_load_into_a_network_that_is_part_of_another_cell(kind):
    network = SMALL_NETWORKS[kind]()
    state = seeded_state(network)
    names = pytorch_names(network)
    owner = _Owner(network)
    assert all(parameter.name.startswith('network.') for parameter in owner.get_parameters())
    assert pytorch_names(network) == names
    load_pytorch_state(network, state)
    _assert_holds(network, state)
