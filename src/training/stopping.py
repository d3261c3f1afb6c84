"""Stopping on request: after SIGTERM, the first Ctrl-C or a closed terminal a training saves its state and ends."""
import contextlib
import os
import signal
import threading
import time

from ..system.printing import printable

# Two signals within this time count as one request, unless the second is Ctrl-C: the terminal or a job scheduler may
# send one, and a launcher passes it on.
SAME_REQUEST_SECONDS = 1.0
# After the second signal the interpreter gets this long to end by itself; a call into a library may never return.
PATIENCE_SECONDS = 5.0
NO_SIGNAL = b'\0'
SAVING = 'saving and stopping within a few steps or after the evaluation'


class StopRequest:
    """Between `__enter__` and `__exit__`, the first SIGTERM, SIGINT or SIGHUP requests a stop, a second one raises
    KeyboardInterrupt.

    A second SIGINT always does so, another signal only if it comes more than a second after the one before. While a
    graph runs, MindSpore turns SIGINT into SIGTERM: Ctrl-C then counts, and is reported, as SIGTERM. If the main thread
    is inside a library and does not handle the second signal in time, a watching thread ends the process.

    Attributes:
        is_set: the run should stop.
        failure: the error that made the run stop; None if there was none.
    """

    def __init__(self):
        self.is_set, self.failure = False, None
        self._last, self._before, self._pipe = None, {}, ()

    def __enter__(self) -> 'StopRequest':
        numbers = [signal.SIGTERM, signal.SIGINT]
        # nohup and the launch scripts ignore SIGHUP, so that their runs outlive the terminal.
        if hasattr(signal, 'SIGHUP') and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._remember) for number in numbers}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        # Python's C-level handler writes to this pipe at once, even while the main thread is busy in a library.
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(self._pipe[0],), name='signals', daemon=True).start()
        return self

    def listen(self) -> None:
        """Set our handler of SIGINT again: MindSpore replaces it when a graph runs."""
        if self._before:
            signal.signal(signal.SIGINT, self._remember)

    def fail(self, failure: Exception) -> None:
        """Request a stop because of an error, and keep the error for `raise_failure`."""
        self.is_set, self.failure = True, failure
        _tell(f'{failure}: {SAVING}')

    def raise_failure(self) -> None:
        """Raise the error that `fail` was given, if any."""
        if self.failure is not None:
            raise self.failure

    def __exit__(self, *_) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._pipe:
            # The byte ends the thread, which closes the other end. Closing this end would not end it: forked processes
            # hold copies of it.
            os.write(self._pipe[1], NO_SIGNAL)
            os.close(self._pipe[1])
            self._pipe = ()

    def _remember(self, number, _frame) -> None:
        now = time.monotonic()
        if self._last is not None and _is_another_request(number, now - self._last):
            raise KeyboardInterrupt
        self.is_set, self._last = True, now
        _tell(f'{signal.Signals(number).name}: {SAVING}; a second signal ends the run at once')

    def _watch(self, pipe: int) -> None:
        last = None
        with os.fdopen(pipe, 'rb', buffering=0) as signals:
            for (number,) in iter(lambda: signals.read(1), NO_SIGNAL):
                now = time.monotonic()
                if number not in self._before:
                    continue
                if last is not None and _is_another_request(number, now - last):
                    self._end_after_patience(number)
                last = now

    def _end_after_patience(self, number: int) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while self._before:
            if time.monotonic() > end:
                _tell(f'{signal.Signals(number).name}: ended; the newest saved state is whole')
                os._exit(128 + number)
            time.sleep(0.05)


def _is_another_request(number: int, seconds: float) -> bool:
    """Whether a signal counts as a second request, given the seconds since the signal before."""
    return number == signal.SIGINT or seconds > SAME_REQUEST_SECONDS


def _tell(text: str) -> None:
    # Not print: a signal handler may run in the middle of another print, whose buffer raises an error then.
    with contextlib.suppress(OSError):
        os.write(1, f'{printable(text)}\n'.encode())

