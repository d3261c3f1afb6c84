"""The names of our parameters are those of the PyTorch releases."""
import json

import numpy as np
import pytest
from golden_data import (
    ALL,
    FULL_FOLDER,
    MIPNET,
    SMALL_NETWORKS,
    TRAINED,
    golden,
    input_shape_of,
    load_seeded,
    needs_full_golden,
    num_keypoints_of,
    seeded_state,
)
from mindspore import nn

from src.checkpoints.names import named_parameters, pytorch_names
from src.models.common.blocks import without_initial_values
from src.models.registry import build_network


def _arrays(network):
    return {name: parameter.asnumpy().copy() for name, parameter in named_parameters(network).items()}


def _assert_holds(network, state):
    arrays = _arrays(network)
    for target, source in pytorch_names(network).items():
        np.testing.assert_array_equal(arrays[target], state[source], err_msg=source)


@pytest.fixture
def undrawn():
    """Names and shapes need no values, and drawing them takes the most time."""
    with without_initial_values():
        yield


@pytest.mark.parametrize('name', TRAINED)
def test_trainable_names_are_those_of_pytorch(name, undrawn):
    network = build_network(name.rsplit('_', 1)[0], num_keypoints=17, input_shape=input_shape_of(name))
    parameters, names = named_parameters(network), pytorch_names(network)
    trainable = {names[key] for key, parameter in parameters.items() if parameter.requires_grad}
    assert trainable == set(golden(name)['grad_names'].tolist())


@needs_full_golden
@pytest.mark.parametrize('name', [*ALL, MIPNET])
def test_all_names_and_shapes_are_those_of_pytorch(name, undrawn):
    network = build_network(name.rsplit('_', 1)[0], num_keypoints=num_keypoints_of(name),
                            input_shape=input_shape_of(name))
    parameters = named_parameters(network)
    ours = {source: list(parameters[target].shape) for target, source in pytorch_names(network).items()}
    entries = json.loads((FULL_FOLDER / f'{name}.params.json').read_text())
    assert ours == {key: shape for key, shape in entries if not key.endswith('num_batches_tracked')}


class _Owner(nn.Cell):
    """Prefixes the parameters' names, as a training cell or an optimizer does."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, images):
        return self.network(images)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_weights_reach_a_network_that_is_part_of_another_cell(kind):
    network = SMALL_NETWORKS[kind]()
    state = seeded_state(network)
    names = pytorch_names(network)
    owner = _Owner(network)
    assert all(parameter.name.startswith('network.') for parameter in owner.get_parameters())
    assert pytorch_names(network) == names
    load_seeded(network)
    _assert_holds(network, state)
