"""Makes `import src` work from any working directory and chooses the CPU for the whole test session."""
import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path
from unittest import mock

import pytest

TESTS = Path(__file__).resolve().parent
# The package, and what several tests share; some of it lies in a file of tests.
sys.path[:0] = [str(TESTS.parent), str(TESTS)]
sys.path += [str(path) for path in sorted(TESTS.glob('*/')) if list(path.glob('test_*'))]

# First of all imports of the package: it prepares the environment that MindSpore reads when it starts.
import src  # noqa: E402, I001
from src import flags  # noqa: E402
from src.models.registry import MODELS  # noqa: E402
from src.system.device import set_up_device  # noqa: E402


# Files that compile graphs or start processes for more than ten seconds: not for the everyday run (`-m quick`).
SLOW = {f'test_{name}' for name in (
    'bad_input', 'data_sets', 'distributed', 'ensembles', 'estimator', 'exporting', 'gradients', 'help',
    'hrnet_weight_sources', 'hypotheses_training', 'infer_ends', 'infer_inputs', 'job_files', 'launch_scripts',
    'loader_processes', 'losses', 'mipnet', 'mipnet_run', 'mipnet_scripts', 'mobilenet', 'networks', 'onnx_cells',
    'own_skeleton', 'param_convert', 'plugins', 'precision', 'resume', 'runtimes', 'scripts', 'settings', 'synthetic',
    'targets', 'training', 'training_run', 'training_step', 'weight_sources', 'zoo')}


def pytest_configure(config):
    config.addinivalue_line('markers', 'quick: for the everyday run, under 90 seconds on two cores')


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem not in SLOW:
            item.add_marker('quick')


@pytest.fixture(scope='session', autouse=True)
def cpu():
    """Run every test on the CPU in graph mode, whatever else the machine has."""
    assert src.system.device is not None
    if os.environ.get('PYTEST_XDIST_WORKER_COUNT'):
        # Processes of several threads each would take the cores from each other: the suite took a sixth longer. The
        # first number that is set stays.
        import mindspore as ms
        ms.device_context.cpu.op_tuning.threads_num(1)
    gc.freeze()
    return set_up_device('CPU')


@pytest.fixture(scope='session', autouse=True)
def no_fast_bfloat16():
    """Let no processor be fast in bfloat16, or the runtime of an ONNX file would depend on the machine."""
    with mock.patch('src.export.runtimes.is_fast_in_bfloat16', lambda: False):
        yield


@pytest.fixture(scope='module', autouse=True)
def forgotten_plugins():
    """After every file forget the networks that its tests have loaded as plugins."""
    with mock.patch.dict(MODELS), mock.patch.dict(flags._loaded):
        yield


@pytest.fixture(scope='module', autouse=True)
def returned_memory():
    """After every file give the system back what the C library keeps of freed memory: several gigabytes in the end.

    What is left then lives as long as the process, modules above all: frozen, no later collection looks at it again.
    Each training collects garbage before it starts its workers, which took half a second with all of these objects.
    """
    yield
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than in glibc
        ctypes.CDLL('libc.so.6').malloc_trim(0)
