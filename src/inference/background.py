"""A generator that runs ahead in a thread of its own."""
import contextlib
import queue
import threading
from typing import Generic, Iterator, Optional, TypeVar

Item = TypeVar('Item')
SECONDS_BETWEEN_LOOKS = 0.1


class Ended(Exception):  # noqa: N818  no error, but the end
    """There is nothing more."""


class Background(Generic[Item]):
    """What a generator yields, made ahead in a thread; an error of the generator comes out of `get`.

    Args:
        items: run in the thread.
        ahead: how many may wait.
        newest_only: of what waits only the newest is kept, as for a camera that goes on whether or not somebody looks.
    """

    def __init__(self, items: Iterator[Item], ahead: int, *, newest_only: bool = False):
        self._queue: queue.Queue = queue.Queue(1 if newest_only else ahead)
        self._items, self._newest_only = items, newest_only
        self._stopped, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._work, daemon=True, name='background')
        self._thread.start()

    def _work(self) -> None:
        end = Ended()
        try:
            for item in self._items:
                self._put((item, None))
                if self._stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the consumer's
            end = error
        finally:
            getattr(self._items, 'close', lambda: None)()
            self._put((None, end), is_last=True)

    def _put(self, entry, *, is_last: bool = False) -> None:
        takes_place = self._newest_only and not is_last
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, block=not takes_place, timeout=SECONDS_BETWEEN_LOOKS)
                return
            except queue.Full:
                if takes_place:
                    with contextlib.suppress(queue.Empty):
                        self._queue.get_nowait()

    def get(self, *, wait: bool = True) -> Optional[Item]:
        """Return the next item; None where there is none yet and nobody wants to wait.

        Raises:
            Ended: there is nothing more.
        """
        if self._is_over:
            raise Ended
        try:
            item, end = self._queue.get(block=wait)
        except queue.Empty:
            return None
        if end is not None:
            self._is_over = True
            raise end
        return item

    def __iter__(self) -> Iterator[Item]:
        try:
            while True:
                yield self.get()
        except Ended:
            return

    def close(self) -> None:
        """End the thread; what waits is lost."""
        self._stopped.set()
        self._thread.join()
