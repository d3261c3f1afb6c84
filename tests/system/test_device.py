"""What a program of one's own meets that imports MindSpore and this package."""
import os
import subprocess
import sys

import numpy as np
import pytest
from script_runs import ROOT

from src.system import device
from src.system.device import installed_mindspore_version

RESHAPE = 'print(ms.Tensor([1.0, 2.0]).reshape(2, 1).asnumpy().tolist())'


def run(program: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'GLOG_v': '3'}
    return subprocess.run([sys.executable, '-W', 'error::DeprecationWarning:numpy', '-c', program], cwd=ROOT, text=True,
                          capture_output=True, timeout=120, env=environment)


@pytest.mark.skipif(np.__version__.startswith('1.') or not installed_mindspore_version().startswith('2.10'),
                    reason='needs MindSpore 2.10 with NumPy 2; older ones need NumPy 1 and do not show this')
@pytest.mark.parametrize('program', [
    f'import src, mindspore as ms; {RESHAPE}',
    f'import mindspore as ms, src; {RESHAPE}',
    # It can still be chosen: nothing of the device has started.
    'from src.system.device import set_up_device; set_up_device("CPU", graph_mode=False); import mindspore as ms; '
    + RESHAPE,
], ids=['src first', 'mindspore first', 'set up'])
def test_the_first_operator_outside_a_graph_computes_in_silence(program):
    """NumPy 2 denies MindSpore its C interface, and the operator that asked for it failed."""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, '[[1.0], [2.0]]\n', '')


def test_importing_the_package_does_not_import_mindspore():
    """Rank tables and made-up data have no use for it."""
    done = run('import sys, src; print("mindspore" in sys.modules)')
    assert (done.returncode, done.stdout, done.stderr) == (0, 'False\n', '')


@pytest.mark.parametrize('vendor, flags, is_fast', [
    ('GenuineIntel', 'avx512_bf16 amx_bf16 amx_tile', True), ('GenuineIntel', 'avx512_bf16', False),
    ('GenuineIntel', 'avx2', False), ('AuthenticAMD', 'avx512_bf16', True), ('AuthenticAMD', 'avx2', False)])
def test_processors_that_are_fast_in_bfloat16_are_known(vendor, flags, is_fast, tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text(f'processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu avx {flags}\n')
    assert device.is_fast_in_bfloat16(str(path)) == is_fast
    assert not device.is_fast_in_bfloat16(str(tmp_path / 'none'))
