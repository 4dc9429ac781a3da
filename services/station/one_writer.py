"""A change of a database by its one writer, asked for by a person's command.

While the service that owns it lives, it is asked over the bus. While it does not, the command takes that service's own lock,
and so is the one writer for the moment; a service that starts meanwhile waits for the lock.

Owns: that choice. Does not: know what is changed. Works in the station's run directory.
"""

import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

from bus.messages import Message
from bus.process import AlreadyRunning, lock_holder, take_lock

_LOCK_WAIT_S = 0.5

A = TypeVar("A", bound=Message)


class NoAnswer(Exception):
    """The service runs, but does not answer; why, in a few words."""


def is_live(service: str) -> bool:
    """Whether the service that owns the database lives."""
    return lock_holder(f"{service}.lock") is not None


def changed(request: Message, kind: type[A], here: Callable[[], A], *, service: str, answer_s: float) -> A:
    """Have `service` do what `request` asks for, or do it `here`, under its lock. Raises NoAnswer, and what `here` raises.

    `kind`: of the answer.
    """
    if not is_live(service):
        with contextlib.suppress(AlreadyRunning):
            return _under_its_lock(service, here)
    # Only here: the bus costs more time to import than commands that only look may take.
    from bus.caller import Caller, Unanswered

    try:
        with Caller(f"{service}-command") as caller:
            answer = caller.ask(request, answer_s)
    except Unanswered as error:
        raise NoAnswer(str(error)) from None
    assert isinstance(answer, kind), f"{service} answered with {type(answer).__name__}"
    return answer


def _under_its_lock(service: str, here: Callable[[], A]) -> A:
    """Raises AlreadyRunning if the service starts just now, before anything is done."""
    lock = take_lock(f"{service}.lock", _LOCK_WAIT_S)
    try:
        return here()
    finally:
        os.close(lock)
