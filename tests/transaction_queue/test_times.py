"""Moments get their UTC: known, remembered or estimated; order and durations are kept (design §5, field reports 27, 29)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import MeterValue, MeterValues, Moment, StartTransaction
from services.transaction_queue import times
from services.transaction_queue.times import Boot
from tests.transaction_queue.world import UTC_0_MS, meter_values, moment, start, stop

KNOWN = Boot("boot-a", UTC_0_MS)


def utc_ms(message) -> int:
    at = times.latest(message)
    assert at is not None
    assert at.utc_ms is not None
    return at.utc_ms


def test_a_recorded_utc_stands():
    message = start(moment(5))
    assert times.dated(message, (Boot("boot-a", 0),), None) == times.Dated(message)


def test_the_boots_offset_gives_what_was_not_recorded():
    found = times.dated(start(moment(5, known=False)), (KNOWN,), None)
    assert found == times.Dated(start(moment(5)))


def test_a_message_waits_as_long_as_no_later_boot_knows_the_time():
    message = start(moment(5, known=False))
    assert times.needs_clock(message, (Boot("boot-a"),))
    assert times.needs_clock(message, (Boot("boot-a"), Boot("boot-b")))
    assert not times.needs_clock(message, (Boot("boot-a"), Boot("boot-b", UTC_0_MS)))
    assert not times.needs_clock(start(moment(5)), ())


def test_a_boot_without_time_ends_as_the_next_one_starts():
    boots = (Boot("boot-a", last_boottime_ms=60_000), Boot("boot-b", UTC_0_MS))
    found = times.dated(stop(moment(60, known=False)), boots, None)
    assert found.estimated
    assert utc_ms(found.message) == UTC_0_MS - 1


def test_two_boots_without_any_time_in_between_keep_their_order_and_durations():
    boots = (
        Boot("boot-a", last_boottime_ms=60_000),
        Boot("boot-b", last_boottime_ms=30_000),
        Boot("boot-c", UTC_0_MS),
    )
    times_ms = [
        utc_ms(times.dated(start(moment(at_s, boot_id, known=False)), boots, None).message)
        for boot_id, at_s in (("boot-a", 10), ("boot-a", 60), ("boot-b", 0), ("boot-b", 30), ("boot-c", 0))
    ]
    assert times_ms == sorted(set(times_ms))
    assert times_ms[1] - times_ms[0] == 50_000
    assert times_ms[3] - times_ms[2] == 30_000


def test_what_turns_up_later_of_an_estimated_boot_is_not_after_its_end():
    boots = (Boot("boot-a", UTC_0_MS - 10_000, 10_000, estimated=True), Boot("boot-b", UTC_0_MS))
    assert utc_ms(times.dated(stop(moment(500, known=False)), boots, None).message) == UTC_0_MS


@pytest.mark.parametrize("sent_at_s", [-1, 5])
def test_what_turns_up_later_of_a_transaction_is_not_after_the_end_of_its_estimated_boot_either(sent_at_s):
    """Design §5: before the first sync less what has elapsed since, and not before what was sent of it."""
    boots = (Boot("boot-a", UTC_0_MS - 100_000, 100_000, estimated=True), Boot("boot-b", UTC_0_MS))
    anchor = Moment("boot-a", 90_000, UTC_0_MS + sent_at_s * 1000)
    found = times.dated(stop(moment(1800, known=False)), boots, anchor)
    assert utc_ms(found.message) == max(UTC_0_MS, anchor.utc_ms)
    earlier = times.dated(stop(moment(80, known=False)), boots, anchor)
    assert utc_ms(earlier.message) <= anchor.utc_ms


def test_only_a_boot_that_ended_without_the_time_needs_an_estimate():
    message = start(moment(5, known=False))
    assert times.needs_estimate(message, (Boot("boot-a"), Boot("boot-b", UTC_0_MS)), "boot-b")
    assert times.needs_estimate(message, (), "boot-b"), "a forgotten one"
    assert not times.needs_estimate(message, (Boot("boot-a"),), "boot-a"), "it may still learn the time"
    assert not times.needs_estimate(message, (KNOWN,), "boot-b")
    assert not times.needs_estimate(message, (Boot("boot-a", UTC_0_MS, estimated=True),), "boot-b"), "once is enough"
    assert not times.needs_estimate(start(moment(5)), (Boot("boot-a"),), "boot-b")


def test_a_boot_that_was_forgotten_was_before_all_others():
    found = times.dated(stop(moment(60, "boot-0", known=False)), (KNOWN,), None)
    assert utc_ms(found.message) < UTC_0_MS
    assert not times.needs_clock(stop(moment(60, "boot-0", known=False)), (KNOWN,))


def test_a_step_within_a_boot_is_taken_out():
    anchor = moment(10)
    for step_ms in (-(10**11), 10**11, 5000):
        found = times.dated(stop(moment(100, offset_ms=UTC_0_MS + step_ms)), (KNOWN,), anchor)
        assert found.stepped
        assert utc_ms(found.message) == UTC_0_MS + 100_000


def test_drift_is_no_step():
    message = stop(moment(100, offset_ms=UTC_0_MS + 900))
    assert times.dated(message, (KNOWN,), moment(10)) == times.Dated(message)


def test_a_later_boot_with_an_earlier_clock_does_not_go_back_before_the_transaction():
    """A transaction that a power cut ended, where the clock had been too far ahead."""
    boots = (KNOWN, Boot("boot-b", UTC_0_MS - 10**9))
    found = times.dated(stop(moment(5, "boot-b", offset_ms=UTC_0_MS - 10**9)), boots, moment(100))
    assert utc_ms(found.message) == UTC_0_MS + 100_000


def test_transaction_data_from_before_the_anchor_keeps_its_times():
    data = (meter_values(moment(20)).meter_values[0], meter_values(moment(40)).meter_values[0])
    message = stop(moment(100)).__class__(1, 2000, moment(100), stop(moment(1)).reason, "TAG", data)
    assert times.dated(message, (KNOWN,), moment(60)).message == message


def test_meter_values_without_any_value_have_no_moment():
    assert times.latest(MeterValues(1, ())) is None


@given(
    boottimes=st.lists(st.integers(0, 10**9), min_size=2, max_size=8),
    utcs=st.lists(st.one_of(st.none(), st.integers(0, 4 * 10**12)), min_size=8, max_size=8),
)
def test_order_and_durations_within_a_boot_are_never_wrong(boottimes, utcs):
    """Whatever the clock said at each moment, distances are those of the boottimes, but for drift."""
    boots, anchor = (KNOWN,), None
    sent: list[Moment] = []
    for boottime_ms, recorded in zip(sorted(boottimes), utcs, strict=False):
        at = Moment("boot-a", boottime_ms, recorded)
        message = StartTransaction(1, "TAG", 0, at) if anchor is None else MeterValues(1, (MeterValue(at, ()),))
        anchor = times.latest(times.dated(message, boots, anchor).message)
        assert anchor is not None
        sent.append(anchor)
    for earlier, later in pairwise(sent):
        assert earlier.utc_ms is not None
        assert later.utc_ms is not None
        assert abs((later.utc_ms - earlier.utc_ms) - (later.boottime_ms - earlier.boottime_ms)) <= times.STEP_MS_MIN
