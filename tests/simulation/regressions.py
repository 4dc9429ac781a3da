"""Days that found something, kept by what it was: as plans, not as seeds, so that they stay what they are (pure).

A seed's day changes with `plan.py`; what it showed is written down here by hand, as small as it can be told.
"""

import msgspec

from tests.simulation import people
from tests.simulation.bus import Mood
from tests.simulation.central_system import Temper
from tests.simulation.plan import Day, Fault, day


def _quiet(*, visits: tuple[people.Plan, ...], faults: tuple[Fault, ...], **keys: str) -> Day:
    plain = day(0)
    values = {**plain.config.ocpp, "MeterValueSampleInterval": "0", "TransactionMessageAttempts": "3", **keys}
    config = msgspec.structs.replace(plain.config, ocpp=values)
    return Day(0, config, visits, faults, has_clock=True)


def another_car_while_connectors_is_away() -> Day:
    """A car came while `connectors` was away, and charged on the card of the one before it.

    The counters that tell plug-ins apart were on disk as they stood at the start, and fitted any plug-in.
    """
    visit = people.Plan(600.0, 1, "ANNA", gap_s=3.0, charge_s=60.0, leaves_by="other car")
    faults = (
        Fault(605.0, "crash", 0.0, ("connectors", None, 30.0)),
        Fault(650.0, "crash", 0.0, ("connectors", None, 14.0)),
    )
    return _quiet(visits=(msgspec.structs.replace(visit, charge_s=47.0),), faults=faults)


def another_car_under_the_guards_eyes() -> Day:
    """`connectors` died before anything was charged, and was away for long: the next car charged on the card of the first.

    The guard had seen the plug out, and forgotten it; counters that stand at nothing fit any plug-in.
    """
    visit = people.Plan(600.0, 1, "ANNA", gap_s=3.0, charge_s=60.0, leaves_by="other car")
    return _quiet(visits=(visit,), faults=(Fault(604.0, "crash", 0.0, ("connectors", None, 80.0)),))


def stop_whose_start_is_long_delivered() -> Day:
    """The queue lost its store after it had delivered a start, and gave up the stop: nobody knew the transactionId any more."""
    visit = people.Plan(600.0, 1, "ANNA", charge_s=90.0)
    faults = (
        Fault(640.0, "central_away", 400.0, (False,)),
        Fault(800.0, "lose_store", 0.0, ("transactions",)),
    )
    return _quiet(visits=(visit,), faults=faults)


def stop_that_waits_for_its_start() -> Day:
    """The same, where start and stop were both in the queue, and only the start was delivered before the loss."""
    visit = people.Plan(600.0, 1, "ANNA", charge_s=30.0)
    faults = (
        Fault(590.0, "central_away", 200.0, (False,)),
        Fault(791.0, "crash", 0.0, ("transaction_queue", 18, 1.0)),
        Fault(791.5, "cut_line"),
        Fault(793.0, "lose_store", 0.0, ("transactions",)),
    )
    return _quiet(visits=(visit,), faults=faults, AllowOfflineTxForUnknownId="true")


def stop_whose_start_was_given_up() -> Day:
    """The queue gave a start up, and then lost its store: nobody knew any more that -1 was right (errata v4.0 3.18)."""
    visit = people.Plan(600.0, 1, "ANNA", charge_s=90.0)
    faults = (
        Fault(590.0, "temper", 60.0, (Temper({"error": 1e6}),)),
        Fault(660.0, "lose_store", 0.0, ("transactions",)),
    )
    return _quiet(visits=(visit,), faults=faults, TransactionMessageAttempts="1")


def start_that_is_answered_after_it_was_given_up() -> Day:
    """The answer came on the same connection, and nobody listened: the stop went out with -1, its transaction stayed open."""
    visit = people.Plan(600.0, 1, "ANNA", charge_s=90.0)
    faults = (Fault(590.0, "temper", 20.0, (Temper({"late": 1e6}),)),)
    return _quiet(visits=(visit,), faults=faults, TransactionMessageAttempts="1", MeterValueSampleInterval="5")


def late_answer_while_the_queue_is_away() -> Day:
    """The same, and the queue was dead as the link told of it: a report is an event, and lost."""
    plain = start_that_is_answered_after_it_was_given_up()
    crash = Fault(627.0, "crash", 0.0, ("transaction_queue", None, 8.0))
    return msgspec.structs.replace(plain, faults=(*plain.faults, crash))


def another_session_before_the_lost_one_is_found() -> Day:
    """`connectors.db` was lost while a car charged, and the next one came before the queue asked: nobody paid the rest."""
    first = people.Plan(600.0, 1, "ANNA", gap_s=1.0, charge_s=120.0, leaves_by="plug")
    second = people.Plan(726.0, 1, "BERT", gap_s=1.0, charge_s=100.0)
    return _quiet(visits=(first, second), faults=(Fault(720.0, "lose_store", 0.0, ("connectors",)),))


def another_session_that_is_over_before_the_lost_one_is_found() -> Day:
    """The same, and the next one was over too: its energy was billed to both."""
    first = people.Plan(600.0, 1, "ANNA", gap_s=1.0, charge_s=120.0, leaves_by="plug")
    second = people.Plan(726.0, 1, "BERT", gap_s=1.0, charge_s=4.0, car_a=32.0, leaves_by="plug")
    return _quiet(visits=(first, second), faults=(Fault(720.0, "lose_store", 0.0, ("connectors",)),))


def another_car_soon_after_the_meter_is_back() -> Day:
    """The first reading after an outage of the meter waited for the next turn of the minute: `connectors` died before it."""
    visit = people.Plan(600.0, 1, "ANNA", gap_s=3.0, charge_s=179.5, leaves_by="other car")
    faults = (
        Fault(620.0, "crash", 0.0, ("meter", None, 150.0)),
        Fault(782.0, "crash", 0.0, ("connectors", None, 12.0)),
    )
    return _quiet(visits=(visit,), faults=faults)


def question_that_the_bus_loses() -> Day:
    """The queue asked about a lost transaction once, in vain, and then not for five minutes: its stop was dated as late."""
    visit = people.Plan(600.0, 1, "ANNA", gap_s=1.0, charge_s=60.0)
    faults = (
        Fault(645.0, "lose_store", 0.0, ("connectors",)),
        Fault(645.5, "hold_calls", 20.0, (Mood(loss=1.0, only=(b"call.connectors.",)),)),
    )
    return _quiet(visits=(visit,), faults=faults)


def older_copy_of_a_transaction_that_is_over() -> Day:
    """`connectors.db` was replaced by a copy in which a transaction was open that had its stop: it charged on, for nothing."""
    visit = people.Plan(600.0, 1, "ANNA", gap_s=1.0, charge_s=150.0, leaves_by="plug")
    faults = (
        Fault(630.0, "copy_store", 0.0, ("connectors",)),
        Fault(640.0, "request", 0.0, ("stop", "ANNA")),
        Fault(660.0, "put_back_store", 0.0, ("connectors",)),
    )
    return _quiet(visits=(visit,), faults=faults)


def lost_store_after_a_step_of_the_clock() -> Day:
    """The queue lost, with its store, which time it had told of the start: the session ended three years before it began."""
    visit = people.Plan(600.0, 1, "ANNA", charge_s=200.0)
    faults = (
        Fault(640.0, "wrong_time", 1000.0, ("system", -94_608_000.0)),
        Fault(700.0, "lose_store", 0.0, ("transactions",)),
    )
    found = _quiet(visits=(visit,), faults=faults, MeterValueSampleInterval="30")
    return msgspec.structs.replace(found, honest_clock=False)


def times_that_went_with_the_store() -> Day:
    """When a boot was that had learned the time is known to the queue alone: without its store it is estimated (design §5)."""
    visit = people.Plan(610.0, 1, "ANNA", charge_s=30.0)
    faults = (
        Fault(590.0, "central_away", 3000.0, (False,)),
        Fault(595.0, "power_cut", 5.0, ("connectors", None)),
        Fault(700.0, "power_cut", 5.0, ("connectors", None)),
        Fault(780.0, "lose_store", 0.0, ("transactions",)),
    )
    found = _quiet(visits=(visit,), faults=faults, AllowOfflineTxForUnknownId="true")
    return msgspec.structs.replace(found, has_clock=False, syncs_after_s=60.0)


def older_copy_that_lacks_an_outcome() -> Day:
    """`connectors.db` was replaced by a copy from before its messages were delivered: it kept them for good.

    Had the queue lost its store as well, they would have been delivered once more.
    """
    visit = people.Plan(600.0, 1, "ANNA", charge_s=30.0)
    faults = (
        Fault(590.0, "central_away", 200.0, (False,)),
        Fault(700.0, "copy_store", 0.0, ("connectors",)),
        Fault(1500.0, "put_back_store", 0.0, ("connectors",)),
    )
    return _quiet(visits=(visit,), faults=faults, AllowOfflineTxForUnknownId="true")


def older_copy_after_a_power_cut() -> Day:
    """`connectors.db` was an older copy at the next boot, and closed what had run at once: as number 1, which was a reading.

    The queue took the transaction's only stop for that reading, come again (design §3: each gets one stop).
    """
    visit = people.Plan(600.0, 1, "ANNA", gap_s=1.0, charge_s=400.0, leaves_by="plug")
    faults = (
        Fault(630.0, "copy_store", 0.0, ("connectors",)),
        Fault(760.0, "put_back_store", 10.0, ("connectors",)),
    )
    return _quiet(visits=(visit,), faults=faults, MeterValueSampleInterval="30")


ALL = (
    another_car_while_connectors_is_away,
    another_car_under_the_guards_eyes,
    stop_whose_start_is_long_delivered,
    stop_that_waits_for_its_start,
    stop_whose_start_was_given_up,
    start_that_is_answered_after_it_was_given_up,
    late_answer_while_the_queue_is_away,
    another_session_before_the_lost_one_is_found,
    another_session_that_is_over_before_the_lost_one_is_found,
    another_car_soon_after_the_meter_is_back,
    question_that_the_bus_loses,
    older_copy_of_a_transaction_that_is_over,
    lost_store_after_a_step_of_the_clock,
    times_that_went_with_the_store,
    older_copy_that_lacks_an_outcome,
    older_copy_after_a_power_cut,
)
