"""supervisord's event listener protocol, from both ends of a pipe."""

import os

import pytest

from bus.mailbox import Mailbox
from services.watchdog.listener import Listener, ProtocolError, Reader, SupervisorEvent
from tests.harness import wait_until

HEADER = b"ver:3.0 server:station serial:21 pool:watchdog poolserial:10 eventname:PROCESS_STATE_EXITED len:60\n"
PAYLOAD = b"processname:meter groupname:meter from_state:RUNNING expected:"[:58] + b":0"
EVENT = HEADER.replace(b"len:60", b"len:%d" % len(PAYLOAD)) + PAYLOAD
TICK = b"ver:3.0 server:station serial:22 pool:watchdog poolserial:11 eventname:TICK_5 len:15\nwhen:1201063880"


def test_events_are_read_however_their_bytes_arrive() -> None:
    reader, found = Reader(), []
    for byte in EVENT + TICK:
        found += reader.feed(bytes([byte]))
    assert [event.name for event in found] == ["PROCESS_STATE_EXITED", "TICK_5"]
    assert found[0].fields["processname"] == "meter"
    assert found == Reader().feed(EVENT + TICK)


@pytest.mark.parametrize("data", [b"hello\n", b"eventname:X len:-1\n", b"eventname:X len:99999999999\n", b"\xff\n"])
def test_a_stranger_at_the_other_end_is_no_supervisord(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader().feed(data)


def test_each_event_gets_its_result_and_the_next_ready() -> None:
    supervisord, source = os.pipe()
    target, answers = os.pipe()
    mailbox: Mailbox[SupervisorEvent | None] = Mailbox()
    listener = Listener(mailbox, source=supervisord, target=answers)
    listener.start()
    assert os.read(target, 100) == b"READY\n"
    os.write(source, EVENT)
    assert os.read(target, 100) == b"RESULT 2\nOKREADY\n"
    os.close(source)
    found: list[SupervisorEvent | None] = []
    wait_until(lambda: found.extend(mailbox.drain()) or None in found, 5, "the end is told")
    assert [event.name for event in found if event is not None] == ["PROCESS_STATE_EXITED"]
    listener.stop()
    for descriptor in (supervisord, target, answers):
        os.close(descriptor)
