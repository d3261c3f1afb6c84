"""A polite end by SIGTERM and Ctrl-C, run by test_stopping.py; test_resume.py sends them to whole trainings."""
import io
import os
import signal
import sys
import time

import pytest

from src.stopping import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
        f'{signal.Signals(number).name}: saving and stopping within two steps or after the evaluation\n')


def test_the_second_ctrl_c_interrupts_at_once(handlers):
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.is_set
        send(signal.SIGINT)
        pytest.fail('nothing was interrupted')
    assert [signal.getsignal(number) for number in SIGNALS] == [handlers[number] for number in SIGNALS]


@pytest.mark.parametrize('first, second', [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_job_scheduler_may_ask_twice(first, second):
    with StopRequest() as stop:
        send(first)
        send(second)
        assert stop.is_set


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
    assert 'saving and stopping within two steps or after the evaluation' in capfd.readouterr().out


# Loader processes

class Child:
    """A forked process that inherits the handlers, waits, and tells when it is ready and when it goes on."""

    def __init__(self):
        ours, theirs = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.write(theirs, b'r')
            end = time.monotonic() + 30
            while time.monotonic() < end:
                time.sleep(0.01)
            os._exit(9)
        os.close(theirs)
        assert os.read(ours, 1) == b'r'
        os.close(ours)

    def is_over(self, seconds: float) -> bool:
        """Wait for its end, at most so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return True
            time.sleep(0.01)
        return False


@pytest.mark.parametrize('number', SIGNALS)
def test_loader_processes_live_as_long_as_the_step_that_they_feed(number, capfd):
    """A signal to the whole group reaches them too. They end by it once the owner has left the block."""
    with StopRequest() as stop:
        child = Child()
        try:
            for _ in range(3):
                send(number, child.pid)
            assert not child.is_over(0.3)
            assert not stop.is_set
        except BaseException:
            os.kill(child.pid, signal.SIGKILL)
            raise
    send(number, child.pid)
    assert child.is_over(10) and child.status == 0
    assert 'stopping' not in capfd.readouterr().out
