"""Each rule of a transaction's life finds its breach, and a good life breaks none (field-reports.md §2)."""

import pytest

from services.transaction_queue.breaches import Known, breaches
from tests.transaction_queue.world import UTC_0_MS, meter_values, moment, start, stop

NOW = moment(1000)
RUNNING = Known(started_at=moment(10), meter_start_wh=1000)
STOPPED = Known(started_at=moment(10), meter_start_wh=1000, stopped=True)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (None, start(moment(10))),
        (RUNNING, meter_values(moment(20))),
        (RUNNING, stop(moment(20))),
        (RUNNING, stop(moment(10), 1000)),
        (Known(moment(10, "boot-0", known=False), 1000), stop(moment(5))),
    ],
)
def test_a_good_life_breaks_no_rule(known, message):
    assert breaches(known, message, NOW) == ()


@pytest.mark.parametrize(
    ("known", "message", "text"),
    [
        (RUNNING, start(moment(20)), "a second StartTransaction"),
        (None, stop(moment(20)), "no StartTransaction before it in this store"),
        (Known(), meter_values(moment(20)), "no StartTransaction before it in this store"),
        (STOPPED, stop(moment(20)), "a second StopTransaction"),
        (STOPPED, meter_values(moment(20)), "MeterValues after the StopTransaction"),
        (RUNNING, stop(moment(9)), "stopped before it started"),
        (Known(moment(10, "boot-0"), 1000), stop(moment(5)), "stopped before it started"),
        (RUNNING, stop(moment(20), 999), "meterStop 999 Wh is below meterStart 1000 Wh"),
        (RUNNING, meter_values(moment(2000)), "dated in the future"),
        (None, start(moment(1, "boot-0", offset_ms=UTC_0_MS * 2)), "dated in the future"),
    ],
)
def test_each_breach_is_told_in_plain_words(known, message, text):
    assert breaches(known, message, NOW) == (text,)
