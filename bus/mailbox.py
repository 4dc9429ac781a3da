"""A bounded queue between one thread and a poll loop: the only way threads talk here.

Owns: the hand-over and the wake-up. A reader polls `fileno()` beside its sockets and ports and calls `drain()`.
Does not: start threads, block for ever, or grow without bound.
"""

import os
import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Bounded FIFO with a file descriptor that is readable while the box holds something.

    Any thread may `put`; one thread `drain`s. `put` returns False, at once, when the box is full or closed: the
    caller decides what that means (a byte mover waits or drops, and says so).
    """

    def __init__(self, limit: int = 1000) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._lock = threading.Lock()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False

    def put(self, item: T) -> bool:
        """Append `item` and wake the reader; False if the box is full or closed."""
        with self._lock:
            if self._closed or len(self._items) >= self._limit:
                return False
            self._items.append(item)
            if len(self._items) == 1:
                os.eventfd_write(self._fd, 1)
        return True

    def drain(self) -> list[T]:
        """Everything in the box, oldest first; the descriptor is quiet afterwards."""
        with self._lock:
            if not self._items:
                return []
            os.eventfd_read(self._fd)
            items = list(self._items)
            self._items.clear()
        return items

    def fileno(self) -> int:
        """Descriptor for poll(): readable while the box is not empty."""
        return self._fd

    def close(self) -> None:
        """Release the descriptor; later `put`s return False. Call it after both sides have stopped polling."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._items.clear()
                os.close(self._fd)
