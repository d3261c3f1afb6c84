"""A polite end: SIGTERM, the first Ctrl-C and a closed terminal let a training save its state before it leaves."""
import contextlib
import os
import signal
import threading
import time

from ..system.printing import printable

# Two signals that are closer than this, the second of them no Ctrl-C, are one request, told by two: the terminal or a
# scheduler, and a launcher.
SAME_REQUEST_SECONDS = 1.0
# So long the interpreter has to end by itself after the second signal; a call into a library may never come back.
PATIENCE_SECONDS = 5.0
NO_SIGNAL = b'\0'
SAVING = 'saving and stopping within two steps or after the evaluation'


class StopRequest:
    """Remembers SIGTERM, SIGINT and SIGHUP between `__enter__` and `__exit__`; a second one ends the process at once.

    A second SIGINT interrupts, and so does another signal that comes over a second after the one before. While a graph
    runs MindSpore sends itself SIGTERM for SIGINT: then Ctrl-C does not interrupt, and is told as SIGTERM. Where the
    main thread is inside a library and sees no signal, a thread that does ends the process.

    Attributes:
        is_set: the run should stop.
        failure: why it had to stop, where it was not asked to; None otherwise.
    """

    def __init__(self):
        self.is_set, self.failure = False, None
        self._last, self._before, self._pipe = None, {}, ()

    def __enter__(self) -> 'StopRequest':
        numbers = [signal.SIGTERM, signal.SIGINT]
        # nohup and the launch scripts have it ignored: their runs outlive the terminal.
        if hasattr(signal, 'SIGHUP') and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._remember) for number in numbers}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        # The C library's part of the handler writes there at once, whatever the main thread does.
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(self._pipe[0],), name='signals', daemon=True).start()
        return self

    def listen(self) -> None:
        """Take SIGINT back from MindSpore, which has turned it into SIGTERM since the last graph ran."""
        if self._before:
            signal.signal(signal.SIGINT, self._remember)

    def fail(self, failure: Exception) -> None:
        """Stop the run as if asked to, and keep the reason for `raise_failure`."""
        self.is_set, self.failure = True, failure
        _tell(f'{failure}: {SAVING}')

    def raise_failure(self) -> None:
        """Raise what `fail` was given, if anything."""
        if self.failure is not None:
            raise self.failure

    def __exit__(self, *_) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._pipe:
            # Ends the thread, which closes the other end. Forked processes hold copies of this one.
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
    """Whether a signal is a second request, so many seconds after the one before."""
    return number == signal.SIGINT or seconds > SAME_REQUEST_SECONDS


def _tell(text: str) -> None:
    # Not print: a handler may run in the middle of another print, whose buffer would refuse this one.
    with contextlib.suppress(OSError):
        os.write(1, f'{printable(text)}\n'.encode())

