"""The hand-over between one thread and a poll loop."""

import select
import threading

from bus.mailbox import Mailbox


def readable(box: "Mailbox[int]") -> bool:
    return bool(select.select([box.fileno()], [], [], 0)[0])


def test_items_come_out_in_order_and_the_descriptor_tells() -> None:
    box: Mailbox[int] = Mailbox()
    assert not readable(box)
    assert box.put(1)
    assert box.put(2)
    assert readable(box)
    assert box.drain() == [1, 2]
    assert not readable(box)
    assert box.drain() == []
    box.close()


def test_a_full_box_refuses_at_once_and_takes_again_after_a_drain() -> None:
    box: Mailbox[int] = Mailbox(limit=2)
    assert [box.put(n) for n in range(4)] == [True, True, False, False]
    assert box.drain() == [0, 1]
    assert box.put(4)
    box.close()


def test_a_closed_box_refuses_and_may_be_closed_again() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close()
    box.close()
    assert not box.put(2)
    assert box.drain() == []


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    box: Mailbox[tuple[int, int]] = Mailbox(limit=50)
    threads = [threading.Thread(target=lambda name=name: _fill(box, name)) for name in range(3)]
    for thread in threads:
        thread.start()
    got: list[tuple[int, int]] = []
    while len(got) < 3000:
        ready = select.select([box.fileno()], [], [], 10)[0]
        assert ready, f"nothing more came after {len(got)} items"
        got += box.drain()
    for thread in threads:
        thread.join()
    for name in range(3):
        assert [number for sender, number in got if sender == name] == list(range(1000))
    box.close()


def _fill(box: "Mailbox[tuple[int, int]]", name: int) -> None:
    for number in range(1000):
        while not box.put((name, number)):
            threading.Event().wait(0.0001)
