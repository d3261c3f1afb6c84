"""A polite end by SIGTERM and Ctrl-C, run by test_stopping.py; test_resume.py sends them to whole trainings."""
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.training import stopping
from src.training.stopping import StopRequest

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    """Whatever a test does, pytest keeps its own handlers."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number, pid=None):
    os.kill(pid or os.getpid(), number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_is_remembered_and_told(number, capfd):
    with StopRequest() as stop:
        assert not stop.is_set
        send(number)
        assert stop.is_set
    assert stop.is_set
    assert capfd.readouterr().out == (
        f'{signal.Signals(number).name}: saving and stopping within a few steps or after the evaluation; a second '
        'signal ends the run at once\n')


def test_the_second_ctrl_c_interrupts_at_once(handlers):
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.is_set
        send(signal.SIGINT)
        pytest.fail('nothing was interrupted')
    assert [signal.getsignal(number) for number in SIGNALS] == [handlers[number] for number in SIGNALS]


@pytest.mark.parametrize('first, second', [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM),
                                           (signal.SIGHUP, signal.SIGTERM)])
def test_a_terminal_and_a_launcher_may_tell_the_same_request(first, second):
    with StopRequest() as stop:
        send(first)
        send(second)
        assert stop.is_set


@pytest.mark.parametrize('first', SIGNALS)
def test_a_later_sigterm_ends_the_run_at_once(first, monkeypatch, handlers):
    monkeypatch.setattr(stopping, 'SAME_REQUEST_SECONDS', 0.05)
    with pytest.raises(KeyboardInterrupt), StopRequest():
        send(first)
        time.sleep(0.1)
        send(signal.SIGTERM)
        pytest.fail('nothing was interrupted')
    assert [signal.getsignal(number) for number in SIGNALS] == [handlers[number] for number in SIGNALS]


# The main thread waits inside a library for a lock that it holds: no signal brings it back into Python.
STUCK = '''
import ctypes, src
from src.training import stopping
stopping.SAME_REQUEST_SECONDS, stopping.PATIENCE_SECONDS = 0.1, 0.2
lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with stopping.StopRequest():
    library.pthread_mutex_lock(lock)
    print('stuck', flush=True)
    library.pthread_mutex_lock(lock)
'''


@pytest.mark.parametrize('first, second', [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_ends_a_process_that_is_stuck_in_a_library(first, second):
    with subprocess.Popen([sys.executable, '-c', STUCK], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout.readline() == 'stuck\n'
            process.send_signal(first)
            time.sleep(0.4)
            assert process.poll() is None, 'the first signal has to wait for the library'
            process.send_signal(second)
            assert process.wait(20) == 128 + second
            assert process.stdout.read().splitlines()[-1] == (
                f'{signal.Signals(second).name}: ended; the newest saved state is whole')
        finally:
            process.kill()


def test_a_closed_terminal_is_nothing_to_a_run_under_nohup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        send(signal.SIGHUP)
        assert not stop.is_set


def test_a_failure_stops_the_run_like_a_signal(capfd):
    """And it is raised when the run has saved."""
    with StopRequest() as stop:
        stop.raise_failure()
        stop.fail(OSError('a loader died'))
        assert stop.is_set
        # The first signal after it is no second request.
        send(signal.SIGTERM)
    assert capfd.readouterr().out.splitlines()[0] == (
        'a loader died: saving and stopping within a few steps or after the evaluation')
    with pytest.raises(OSError, match='a loader died'):
        stop.raise_failure()


def test_ctrl_c_after_sigterm_interrupts(capfd):
    with pytest.raises(KeyboardInterrupt), StopRequest():
        send(signal.SIGTERM)
        send(signal.SIGINT)


def test_ctrl_c_is_taken_back_from_mindspore(handlers):
    """Each run of a graph sets a handler that turns it into SIGTERM."""
    with StopRequest() as stop:
        signal.signal(signal.SIGINT, lambda *_: send(signal.SIGTERM))
        send(signal.SIGINT)
        stop.listen()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    stop.listen()
    assert signal.getsignal(signal.SIGINT) == handlers[signal.SIGINT], 'the block was left'


def test_outside_the_block_signals_do_what_they_did(handlers):
    called = []
    signal.signal(signal.SIGTERM, lambda *_: called.append('mine'))
    stop = StopRequest()
    send(signal.SIGTERM)
    with stop:
        pass
    send(signal.SIGTERM)
    assert called == ['mine', 'mine'] and not stop.is_set


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_in_the_middle_of_a_print_harms_nothing(number, monkeypatch, capfd):
    """Python's output buffer is locked just then and would refuse the handler's own text."""
    class Terminal(io.RawIOBase):
        written = b''

        def writable(self):
            return True

        def write(self, content):
            is_first, Terminal.written = not Terminal.written, Terminal.written + bytes(content)
            if is_first:
                send(number)
            return len(content)

    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BufferedWriter(Terminal()), write_through=True))
    with StopRequest() as stop:
        print('epoch: 1 step: 1, loss is 3', flush=True)
        assert stop.is_set
    assert Terminal.written == b'epoch: 1 step: 1, loss is 3\n'
    assert 'saving and stopping within a few steps or after the evaluation' in capfd.readouterr().out
