"""supervisord's back-off has a cap, so that it never gives up (issue 7: `never gives up`)."""

import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import SignalReceiver
from supervisor.states import SupervisorStates

from services.station.supervisor_plugin import BACKOFF_S_MAX, make_rpcinterface


@pytest.fixture
def supervisord() -> Iterator[SimpleNamespace]:
    """As much of supervisord as the plug-in sees; its events and its loop's sockets are the real ones."""
    mood = SimpleNamespace(mood=SupervisorStates.RUNNING, signal_receiver=SignalReceiver())
    hangup = signal.getsignal(signal.SIGHUP)
    events.clear()
    make_rpcinterface(SimpleNamespace(options=mood))
    yield mood
    mood.mood = SupervisorStates.RESTARTING
    events.notify(events.SupervisorStoppingEvent())
    events.clear()
    signal.signal(signal.SIGHUP, hangup)
    assert asyncore.socket_map == {}


@pytest.mark.usefixtures("supervisord")
def test_the_back_off_of_a_crashing_service_stays_below_its_cap() -> None:
    process = SimpleNamespace(backoff=500, delay=time.time() + 500, config=SimpleNamespace(name="meter"), group=None)
    events.notify(_backoff(process))
    assert process.backoff == BACKOFF_S_MAX
    assert process.delay <= time.time() + BACKOFF_S_MAX


@pytest.mark.usefixtures("supervisord")
def test_a_small_back_off_is_left_as_it_is() -> None:
    process = SimpleNamespace(backoff=3, delay=7.0, config=SimpleNamespace(name="meter"), group=None)
    events.notify(_backoff(process))
    assert (process.backoff, process.delay) == (3, 7.0)


def test_a_hangup_asks_for_the_end(supervisord: SimpleNamespace) -> None:
    events.notify(events.SupervisorRunningEvent())
    signal.raise_signal(signal.SIGHUP)
    assert supervisord.signal_receiver.get_signal() == signal.SIGTERM


def _backoff(process: SimpleNamespace) -> events.ProcessStateBackoffEvent:
    return events.ProcessStateBackoffEvent(process, None, expected=False)
