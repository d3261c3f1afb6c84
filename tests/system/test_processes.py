"""What a process finds out about the job that it belongs to, and how it takes its place in it; no job is started."""
import os
from types import SimpleNamespace

import mindspore as ms
import pytest

from src.system import device
from src.system.device import Processes, join_processes, launched_by, share_of_cores, usable_cores

JOB_VARIABLES = ('MS_WORKER_NUM', 'MS_ROLE', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', 'RANK_SIZE',
                 'RANK_ID', 'RANK_TABLE_FILE', 'DEVICE_ID')


@pytest.fixture(autouse=True)
def setenv(monkeypatch):
    """A function that sets the variables of a job from text such as 'RANK_SIZE=8 RANK_ID=1'; there are no others."""
    for name in JOB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return lambda text: [monkeypatch.setenv(*word.split('=')) for word in text.split()]


@pytest.fixture
def joined(monkeypatch):
    """What joining does to the rest of the process, instead of doing it; the job has two processes on this machine."""
    calls = SimpleNamespace(device=None, joined=0, threads=None, found='Ascend', cores=8, local_size=2)

    def set_up_device(target, device_id=0, **options):
        calls.device = (target, device_id, options)
        return calls.found

    monkeypatch.setattr(device, 'set_up_device', set_up_device)
    monkeypatch.setattr(device, 'usable_cores', lambda: calls.cores)
    monkeypatch.setattr(device, '_set_cpu_threads', lambda number: setattr(calls, 'threads', number))
    for name, value in {'init': lambda: setattr(calls, 'joined', calls.joined + 1), 'get_rank': lambda: 1,
                        'get_group_size': lambda: 2, 'get_local_rank_size': lambda: calls.local_size}.items():
        monkeypatch.setattr(ms.communication, name, value)
    return calls


@pytest.mark.parametrize('variables, launcher', [
    ('', ''),
    # A rank table and RANK_SIZE belong together; either alone is left over from something else.
    ('RANK_SIZE=8', ''), ('RANK_SIZE=8 RANK_ID=3 DEVICE_ID=3', ''), ('RANK_SIZE=x', ''),
    ('RANK_TABLE_FILE=table.json', ''), ('RANK_SIZE=8 RANK_TABLE_FILE=', ''), ('RANK_SIZE= RANK_TABLE_FILE=t', ''),
    ('RANK_SIZE=8 RANK_TABLE_FILE=table.json', 'rank table'), ('RANK_SIZE=1 RANK_TABLE_FILE=table.json', 'rank table'),
    ('MS_WORKER_NUM=2', 'msrun'), ('MS_WORKER_NUM=2 MS_ROLE=MS_SCHED', 'msrun'), ('MS_WORKER_NUM=', ''),
    # The scheduler of a job of one waits for its worker.
    ('MS_WORKER_NUM=1 MS_ROLE=MS_WORKER', 'msrun'), ('MS_WORKER_NUM=1', ''), ('MS_ROLE=MS_WORKER', ''),
    ('OMPI_COMM_WORLD_SIZE=2', 'mpirun'), ('OMPI_COMM_WORLD_SIZE=1', ''),
    ('OMPI_COMM_WORLD_SIZE=1 MS_ROLE=MS_WORKER', ''),
    # What msrun and mpirun start has a RANK_SIZE too; and one process of theirs hides no job of another launcher.
    ('MS_WORKER_NUM=2 RANK_SIZE=2', 'msrun'), ('MS_WORKER_NUM=2 RANK_SIZE=2 RANK_TABLE_FILE=table.json', 'msrun'),
    ('OMPI_COMM_WORLD_SIZE=2 RANK_SIZE=x', 'mpirun'), ('MS_WORKER_NUM=1 OMPI_COMM_WORLD_SIZE=2', 'mpirun'),
    ('OMPI_COMM_WORLD_SIZE=1 RANK_SIZE=2 RANK_TABLE_FILE=table.json', 'rank table')])
def test_launcher_by_its_variables(setenv, variables, launcher):
    setenv(variables)
    assert launched_by() == launcher


@pytest.mark.parametrize('variables', ['MS_WORKER_NUM={}', 'OMPI_COMM_WORLD_SIZE={}', 'RANK_SIZE={} RANK_TABLE_FILE=t'])
@pytest.mark.parametrize('value', ['x', '0', '-2', '2.0', '²'])
def test_a_number_of_processes_that_is_none_is_named(setenv, variables, value):
    setenv(variables.format(value))
    name = variables.partition('=')[0]
    with pytest.raises(ValueError, match=f"^the environment variable {name} should be the number of .*, is '{value}'$"):
        launched_by()


@pytest.mark.parametrize('variables, share', [
    ('', 0), ('RANK_SIZE=4', 0), ('MS_WORKER_NUM=1', 0), ('MS_WORKER_NUM=1 MS_ROLE=MS_WORKER', 8),
    ('MS_WORKER_NUM=2', 4), ('OMPI_COMM_WORLD_SIZE=3', 2), ('RANK_SIZE=4 RANK_TABLE_FILE=table.json', 2),
    ('MS_WORKER_NUM=100', 1),
    # The number is that of the launcher, not one that is left over.
    ('OMPI_COMM_WORLD_SIZE=2 RANK_SIZE=8', 4), ('MS_WORKER_NUM=2 RANK_SIZE=x', 4),
    ('OMPI_COMM_WORLD_SIZE=4 MS_WORKER_NUM=1', 2)])
def test_share_of_the_cores(setenv, joined, variables, share):
    setenv(variables)
    assert share_of_cores() == share


def test_cores_of_this_process(monkeypatch):
    if hasattr(os, 'sched_getaffinity'):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {3, 4, 6})
        assert usable_cores() == 3
        monkeypatch.delattr(os, 'sched_getaffinity')
    for count, wanted in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, 'cpu_count', lambda count=count: count)
        assert usable_cores() == wanted


@pytest.mark.parametrize('variables', ['', 'RANK_SIZE=8 RANK_ID=3 DEVICE_ID=5', 'OMPI_COMM_WORLD_SIZE=1'])
def test_a_single_process_takes_the_device_that_it_is_given(setenv, joined, variables):
    setenv(variables)
    assert join_processes('GPU', 3) == Processes('Ascend', 0, 1)
    assert (joined.device, joined.joined, joined.threads) == (('GPU', 3, {}), 0, None)


@pytest.mark.parametrize('variables, device_id', [
    ('RANK_SIZE=2 RANK_TABLE_FILE=table.json DEVICE_ID=5', 5), ('MS_WORKER_NUM=2 DEVICE_ID=4', 4),
    ('MS_WORKER_NUM=1 MS_ROLE=MS_WORKER DEVICE_ID=4', 4), ('MS_WORKER_NUM=2', 0),
    ('OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 DEVICE_ID=7', 1), ('OMPI_COMM_WORLD_SIZE=2 DEVICE_ID=7', 0)])
def test_the_launcher_decides_the_device(setenv, joined, variables, device_id):
    setenv(variables)
    assert join_processes('Ascend', 3) == Processes('Ascend', 1, 2)
    assert (joined.device, joined.joined, joined.threads) == (('Ascend', device_id, {'all_cores': False}), 1, None)


def test_a_rank_table_of_one_device_joins_nobody(setenv, joined):
    setenv('RANK_SIZE=1 RANK_TABLE_FILE=table.json DEVICE_ID=5')
    assert join_processes() == Processes('Ascend', 0, 1)
    assert joined.device == ('auto', 5, {'all_cores': False}) and joined.joined == 0


@pytest.mark.parametrize('size', [1, 2])
@pytest.mark.parametrize('found', ['CPU', 'GPU'])
def test_a_rank_table_is_for_ascend(setenv, joined, found, size):
    setenv(f'RANK_SIZE={size} RANK_TABLE_FILE=table.json')
    joined.found = found
    with pytest.raises(ValueError, match=f'a rank table starts Ascend devices only and this is {found}; give "none"'):
        join_processes()
    assert joined.joined == 0


@pytest.mark.parametrize('variables, message', [
    ('MS_WORKER_NUM=2 DEVICE_ID=x', "DEVICE_ID should be a number, is 'x'"),
    ('RANK_SIZE=2 RANK_TABLE_FILE=table.json DEVICE_ID=-1', "DEVICE_ID should be a number, is '-1'"),
    ('MS_WORKER_NUM=2 DEVICE_ID=²', "DEVICE_ID should be a number, is '²'"),
    ('OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=x', "OMPI_COMM_WORLD_LOCAL_RANK should be a number, is 'x'")])
def test_a_device_that_is_no_number_is_named(setenv, joined, variables, message):
    setenv(variables)
    with pytest.raises(ValueError, match=f'^the environment variable {message}$'):
        join_processes()
    assert joined.device is None


def test_the_scheduler_ends_well_when_the_job_is_over(setenv, joined):
    setenv('MS_WORKER_NUM=2 MS_ROLE=MS_SCHED')
    with pytest.raises(SystemExit) as end:
        join_processes()
    assert end.value.code == 0 and joined.joined == 1


@pytest.mark.parametrize('cores, local_size, threads', [(8, 2, 4), (7, 2, 3), (2, 8, 1), (8, 0, 8)])
def test_processes_on_one_processor_share_its_cores(setenv, joined, cores, local_size, threads):
    """A job of one process is told that there are 0 on its machine."""
    setenv('MS_WORKER_NUM=2')
    joined.found, joined.cores, joined.local_size = 'CPU', cores, local_size
    assert join_processes() == Processes('CPU', 1, 2)
    assert joined.threads == threads


def test_the_first_process_writes_the_files():
    assert [Processes('CPU', rank, 3).is_first for rank in range(3)] == [True, False, False]
    assert (str(Processes('CPU')), str(Processes('GPU', 1, 2))) == ('CPU', 'GPU (process 1 of 2)')
