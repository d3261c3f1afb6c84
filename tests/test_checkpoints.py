"""Reading checkpoints where memory is short, or only seems to be."""
import os
import re

import numpy as np
import pytest
from mindspore import Parameter, Tensor
from mindspore.train import serialization

from src.checkpoints import read_checkpoint, read_entries, write_checkpoint


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / 'pose.ckpt')
    write_checkpoint(path, {'weight': Parameter(Tensor(np.arange(1000, dtype=np.float32)))}, {'note': 'text'})
    return path


def test_what_an_optimiser_adds_is_no_weight(tmp_path):
    """Of ours and of MindSpore's own, whose checkpoints others have."""
    names = ('moment1.weight', 'moment2.weight', 'moments.weight', 'beta1_power', 'beta2_power', 'step_index',
             'loss_scale', 'loss_scale_counter', 'global_step', 'learning_rate', 'epoch_num', 'step_num')
    path = str(tmp_path / 'pose.ckpt')
    write_checkpoint(path, {name: Parameter(Tensor(np.zeros(1, np.float32))) for name in ('weight', *names)}, {})
    assert list(read_checkpoint(path)[0]) == ['weight']


def test_memory_that_holds_files_read_lately_counts_as_free(path, monkeypatch):
    monkeypatch.setattr(os, 'sysconf', lambda name: 1)
    limit = getattr(serialization, '_get_available_memory', None)
    if limit is not None:  # from MindSpore 2.10 on
        assert limit() == 1
    entries, texts = read_entries(path)
    np.testing.assert_array_equal(entries['weight'].asnumpy(), np.arange(1000))
    assert texts == {'note': 'text'}
    assert getattr(serialization, '_get_available_memory', None) is limit


def test_a_file_larger_than_the_memory_is_not_called_damaged(path, monkeypatch):
    def fail(message, data):
        raise MemoryError

    monkeypatch.setattr(serialization.Checkpoint, 'ParseFromString', fail)
    with pytest.raises(ValueError, match=re.escape(path) + r' \(\d+ bytes\) does not fit into the memory'):
        read_entries(path)
