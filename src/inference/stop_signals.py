"""Ctrl-C and SIGTERM as a request to stop: the current frame and all files are completed first."""
import contextlib
import signal
import threading
from typing import Iterator


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that is set by Ctrl-C or SIGTERM within the block; a second signal ends the program at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may set signal handlers.
        yield stop
        return

    def wish(number, frame) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {each: signal.signal(each, wish) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
