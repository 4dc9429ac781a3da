"""The broker's last-value cache, without sockets."""

from bus.broker import CACHE_MAX, LastValues

STATUS_1 = [b"connector.status.1.", b"one"]
STATUS_10 = [b"connector.status.10.", b"ten"]


def test_a_late_subscriber_gets_the_last_value_of_each_topic_under_its_prefix() -> None:
    values = LastValues()
    for frames in ([STATUS_1[0], b"older"], STATUS_1, STATUS_10, [b"link.", b"up"]):
        values.keep(frames)
    assert values.matching(b"connector.status.") == [STATUS_1, STATUS_10]
    assert values.matching(b"connector.status.1.") == [STATUS_1]
    assert values.matching(b"meter.") == []
    assert len(values.matching(b"")) == 3


def test_only_states_are_kept() -> None:
    values = LastValues()
    for name in (
        b"rfid.presented.",
        b"call.meter.read.",
        b"journal.transaction.",
        b"reply.meter.",
        b"nonsense",
        b"\xff\xfe",
        b"",
    ):
        values.keep([name, b"x"])
    assert values.matching(b"") == []


def test_what_is_no_message_does_not_replace_a_good_value() -> None:
    values = LastValues()
    values.keep(STATUS_1)
    values.keep([STATUS_1[0]])
    values.keep([*STATUS_1, b"more"])
    values.keep([])
    assert values.matching(b"") == [STATUS_1]


def test_the_cache_is_bounded_and_what_it_has_stays_current() -> None:
    values = LastValues()
    for number in range(CACHE_MAX + 5):
        values.keep([f"connector.status.{number}.".encode(), b"x"])
    assert (len(values.matching(b"")), values.refused) == (CACHE_MAX, 5)
    values.keep([b"connector.status.0.", b"newer"])
    assert values.matching(b"connector.status.0.") == [[b"connector.status.0.", b"newer"]]
