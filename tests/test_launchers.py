"""What started a process, told by its environment."""
import pytest

from src.device import LAUNCHER_VARIABLES, launched_by


@pytest.fixture
def environment(monkeypatch):
    """Return a function that sets the variables of launchers and nothing else of theirs."""
    def set_to(**variables):
        for name in (*LAUNCHER_VARIABLES, 'RANK_TABLE_FILE', 'MS_ROLE'):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    return set_to


def test_a_lone_rank_size_starts_nothing(environment):
    """It is left over in many containers; a rank table beside it is what means something."""
    environment(RANK_SIZE='8')
    assert launched_by() == ''
    environment(RANK_SIZE='8', RANK_TABLE_FILE='/etc/hccl.json')
    assert launched_by() == 'rank table'


@pytest.mark.parametrize('variables, launcher', [
    ({}, ''), ({'OMPI_COMM_WORLD_SIZE': '2'}, 'mpirun'), ({'OMPI_COMM_WORLD_SIZE': '1'}, ''),
    ({'MS_WORKER_NUM': '2'}, 'msrun'), ({'MS_WORKER_NUM': '1'}, ''),
    # The scheduler waits for its single worker, and a table names a device.
    ({'MS_WORKER_NUM': '1', 'MS_ROLE': 'MS_WORKER'}, 'msrun'),
    ({'RANK_SIZE': '1', 'RANK_TABLE_FILE': 't.json'}, 'rank table'), ({'RANK_TABLE_FILE': 't.json'}, '')], ids=str)
def test_launcher(environment, variables, launcher):
    environment(**variables)
    assert launched_by() == launcher


@pytest.mark.parametrize('value', ['0', 'two', '-1', '1.5'])
def test_a_number_of_processes_that_is_none(environment, value):
    environment(OMPI_COMM_WORLD_SIZE=value)
    with pytest.raises(ValueError, match='OMPI_COMM_WORLD_SIZE should be the number of processes'):
        launched_by()
