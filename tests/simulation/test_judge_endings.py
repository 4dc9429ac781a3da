"""Why a transaction may end, and what its stop has to say of it: what the judge refuses, and what it accepts (design §2)."""

import pytest

from tests.simulation import judge_endings as endings
from tests.simulation.book import Asked
from tests.simulation.cooked import Change, Cooked, excused, found_despite
from tests.simulation.ledger import TOLD_TO_END, Death, Presented, Span

STOPPED_S = 401.5
"""When the first stop of the cooked book was committed."""
CUT_S = 300.0


def end_for_nothing(cooked: Cooked) -> None:
    """Nobody asked for it."""
    del cooked.book.asked[0]


def end_at_once_for_nothing(cooked: Cooked) -> None:
    """As soon as it has begun."""
    end_for_nothing(cooked)
    next(entry for entry in cooked.ledger.committed if entry.action == "StopTransaction").at_s = 101.5


def end_for_nothing_after_a_restart(cooked: Cooked) -> None:
    """`connectors` was away for a moment, and does not know its own plug-in again."""
    end_for_nothing(cooked)
    cooked.ledger.spans.append(Span("connectors down", 390.0, 395.0))


def say_power_loss(cooked: Cooked) -> None:
    cooked.book.copies[1].payload["reason"] = "PowerLoss"


def cut_the_power(cooked: Cooked) -> None:
    """Its stop says Local."""
    end_for_nothing(cooked)
    cooked.book.copies[1].payload["reason"] = "Local"
    cooked.ledger.deaths.append(Death(CUT_S, "power"))
    cooked.ledger.spans.append(Span("connectors down", CUT_S, CUT_S + 10.0))


def reboot(cooked: Cooked) -> None:
    """Its stop says Reboot."""
    cut_the_power(cooked)
    cooked.book.copies[1].payload["reason"] = "Reboot"


def trouble(what: str, from_s: float, to_s: float) -> Change:
    """A span."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.spans.append(Span(what, from_s, to_s))

    act.__name__ = f"{what.replace(' ', '_')}_{from_s:.0f}_{to_s:.0f}"
    return act


def card(at_s: float, id_tag: str = "TAG1") -> Change:
    """Somebody's card."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.presented.append(Presented(at_s, id_tag))

    act.__name__ = f"card_{id_tag}_{at_s:.0f}"
    return act


def ask(action: str, at_s: float, transaction_id: int = 1) -> Change:
    """Of the Central System."""

    def act(cooked: Cooked) -> None:
        payload = {"transactionId": transaction_id, "type": "Soft", "idTag": "TAG1"}
        cooked.book.asked.append(Asked(at_s, action, payload, "Accepted", at_s))

    act.__name__ = f"{action}_{at_s:.0f}"
    return act


def ask_slowly(action: str, at_s: float, answered_s: float) -> Change:
    """Of the Central System: done some time before the answer."""

    def act(cooked: Cooked) -> None:
        cooked.book.asked.append(Asked(at_s, action, {"type": "Soft"}, "Accepted" if answered_s else "", answered_s))

    act.__name__ = f"{action}_{at_s:.0f}_{answered_s:.0f}"
    return act


def death(who: str, at_s: float) -> Change:
    """Of a process, a store, or the power."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.deaths.append(Death(at_s, who))

    act.__name__ = f"{who.replace(' ', '_')}_{at_s:.0f}"
    return act


def pull_the_plug(at_s: float) -> Change:
    """Of the first car."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.plug_ins[0].out_s = at_s

    act.__name__ = f"plug_out_{at_s:.0f}"
    return act


def refuse_the_card(cooked: Cooked) -> None:
    cooked.book.copies[0].payload["idTag"] = "BAD1"


def both(first: Change, second: Change) -> Change:
    """One after the other."""

    def act(cooked: Cooked) -> None:
        first(cooked)
        second(cooked)

    act.__name__ = f"{first.__name__}_and_{second.__name__}"
    return act


SILENT_BEFORE_A_RESET = both(ask_slowly("ClearCache", 365.5, 0.0), ask_slowly("Reset", 366.0, 0.0))
"""Neither of the two is answered."""

EXCUSES: list[tuple[Change, str, Change]] = [
    (end_for_nothing, endings.CAUSED, card(STOPPED_S - 5.0)),
    (end_for_nothing, endings.CAUSED, ask("RemoteStopTransaction", STOPPED_S - 5.0)),
    (end_for_nothing, endings.CAUSED, ask("Reset", STOPPED_S - 5.0)),
    (end_for_nothing, endings.CAUSED, both(card(350.0), trouble("disk bad", 352.0, 396.0))),
    (end_at_once_for_nothing, endings.CAUSED, both(card(98.5), trouble("bus bad", 90.0, 110.0))),
    (end_for_nothing, endings.CAUSED, both(card(345.0), trouble("disk bad", 352.0, 396.0))),
    (end_for_nothing, endings.CAUSED, both(card(371.5), trouble("connectors down", 371.5, 384.0))),
    (end_for_nothing, endings.CAUSED, ask_slowly("Reset", 360.0, 380.0)),
    (end_for_nothing, endings.CAUSED, ask_slowly("Reset", 368.0, 0.0)),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("ClearCache", 365.5, 367.5), ask_slowly("Reset", 366.0, 0.0))),
    (end_at_once_for_nothing, endings.CAUSED, ask_slowly("Reset", 99.5, 0.0)),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("Reset", 350.0, 0.0), trouble("disk bad", 345.0, 368.0))),
    (end_for_nothing, endings.CAUSED, both(SILENT_BEFORE_A_RESET, death("ocpp_link", 367.5))),
    (end_for_nothing, endings.CAUSED, pull_the_plug(400.0)),
    (end_for_nothing, endings.CAUSED, death("power", 395.0)),
    (end_for_nothing, endings.CAUSED, death("store connectors.db", 380.0)),
    (end_for_nothing, endings.CAUSED, refuse_the_card),
    (end_for_nothing, endings.CAUSED, trouble("controller 1 silent", 380.0, 396.0)),
    (end_for_nothing, endings.CAUSED, trouble("connectors down", 380.0, 396.0)),
    (
        end_for_nothing,
        endings.CAUSED,
        both(trouble("connectors down", 380.0, 387.0), trouble("controller 1 silent", 386.0, 396.0)),
    ),
    (end_for_nothing_after_a_restart, endings.CAUSED, card(STOPPED_S - 5.0)),
    (end_for_nothing_after_a_restart, endings.CAUSED, trouble("controller 1 restarts", 393.0, 393.0)),
    (say_power_loss, endings.POWER_LOSS, death("power", CUT_S)),
    (cut_the_power, endings.POWER_LOSS, say_power_loss),
    (cut_the_power, endings.POWER_LOSS, card(CUT_S - 1.0)),
    (cut_the_power, endings.POWER_LOSS, ask("RemoteStopTransaction", CUT_S - 1.0)),
    (cut_the_power, endings.POWER_LOSS, pull_the_plug(CUT_S - 1.0)),
    (cut_the_power, endings.POWER_LOSS, death("store connectors.db", CUT_S - 100.0)),
    (cut_the_power, endings.POWER_LOSS, trouble("connectors down", CUT_S - 16.0, CUT_S + 10.0)),
    (cut_the_power, endings.POWER_LOSS, trouble("controller 1 silent", CUT_S - 16.0, CUT_S - 1.0)),
    (reboot, endings.POWER_LOSS, trouble(TOLD_TO_END, CUT_S - 6.0, CUT_S)),
    (reboot, endings.POWER_LOSS, trouble(TOLD_TO_END, CUT_S, CUT_S + 3.0)),
    (
        reboot,
        endings.POWER_LOSS,
        both(trouble(TOLD_TO_END, CUT_S - 16.0, CUT_S - 12.0), trouble("disk bad", CUT_S - 9.0, CUT_S)),
    ),
]


@pytest.mark.parametrize(("spoil", "promise", "excuse"), EXCUSES, ids=lambda value: getattr(value, "__name__", ""))
def test_an_end_has_a_cause_and_says_which(spoil: Change, promise: str, excuse: Change) -> None:
    """Found without it, right with it (OCPP 1.6 §4.10, §7.36; design §2)."""
    excused(Cooked(), spoil, promise, excuse)


SHIFTS: list[tuple[Change, str, Change]] = [
    (end_for_nothing, endings.CAUSED, card(99.5)),
    (end_for_nothing, endings.CAUSED, ask_slowly("Reset", 340.0, 365.0)),
    (end_for_nothing, endings.CAUSED, ask_slowly("Reset", 366.0, 0.0)),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("ClearCache", 365.5, 366.2), ask_slowly("Reset", 366.0, 0.0))),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("Reset", 366.0, 0.0), ask_slowly("ClearCache", 366.1, 368.0))),
    (end_for_nothing, endings.CAUSED, SILENT_BEFORE_A_RESET),
    (end_for_nothing, endings.CAUSED, both(SILENT_BEFORE_A_RESET, death("ocpp_link", 365.8))),
    (end_for_nothing, endings.CAUSED, both(SILENT_BEFORE_A_RESET, death("ocpp_link", 372.0))),
    (end_at_once_for_nothing, endings.CAUSED, ask_slowly("Reset", 94.0, 0.0)),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("Reset", 350.0, 0.0), trouble("disk bad", 340.0, 349.0))),
    (end_for_nothing, endings.CAUSED, both(ask_slowly("Reset", 336.0, 0.0), trouble("disk bad", 330.0, 368.0))),
    (end_at_once_for_nothing, endings.CAUSED, card(98.5)),
    (end_at_once_for_nothing, endings.CAUSED, both(card(98.5), trouble("bus bad", 50.0, 60.0))),
    (end_for_nothing, endings.CAUSED, card(350.0)),
    (end_for_nothing, endings.CAUSED, card(STOPPED_S + 1.0)),
    (end_for_nothing, endings.CAUSED, both(card(340.0), trouble("disk bad", 352.0, 396.0))),
    (end_for_nothing, endings.CAUSED, both(card(350.0), trouble("disk bad", 380.0, 396.0))),
    (end_for_nothing, endings.CAUSED, pull_the_plug(STOPPED_S + 1.0)),
    (end_for_nothing, endings.CAUSED, card(STOPPED_S - 5.0, "TAG2")),
    (end_for_nothing, endings.CAUSED, ask("RemoteStopTransaction", STOPPED_S - 5.0, 2)),
    (end_for_nothing, endings.CAUSED, ask("RemoteStartTransaction", STOPPED_S - 5.0)),
    (end_for_nothing, endings.CAUSED, ask("ClearCache", STOPPED_S - 5.0)),
    (end_for_nothing, endings.CAUSED, death("power", 410.0)),
    (end_for_nothing, endings.CAUSED, death("connectors", 395.0)),
    (end_for_nothing, endings.CAUSED, trouble("controller 2 silent", 300.0, 396.0)),
    (end_for_nothing, endings.CAUSED, trouble("controller 1 silent", 385.0, 396.0)),
    (end_for_nothing, endings.CAUSED, trouble("controller 1 restarts", 393.0, 393.0)),
    (end_for_nothing, endings.CAUSED, trouble("meter down", 300.0, 396.0)),
    (end_for_nothing, endings.CAUSED, both(trouble("connectors down", 370.0, 377.0), trouble("connectors down", 388.0, 396.0))),
    (say_power_loss, endings.POWER_LOSS, death("power", 50.0)),
    (say_power_loss, endings.POWER_LOSS, death("station", CUT_S)),
    (cut_the_power, endings.POWER_LOSS, card(CUT_S + 20.0)),
    (cut_the_power, endings.POWER_LOSS, trouble("connectors down", CUT_S - 8.0, CUT_S - 6.0)),
    (reboot, endings.POWER_LOSS, trouble(TOLD_TO_END, CUT_S - 20.0, CUT_S - 8.0)),
    (reboot, endings.POWER_LOSS, trouble(TOLD_TO_END, CUT_S + 1.0, CUT_S + 3.0)),
    (reboot, endings.POWER_LOSS, trouble("connectors down", CUT_S - 6.0, CUT_S)),
]


@pytest.mark.parametrize(("spoil", "promise", "elsewhere"), SHIFTS, ids=lambda value: getattr(value, "__name__", ""))
def test_another_cause_or_time_is_none(spoil: Change, promise: str, elsewhere: Change) -> None:
    """A restart of a service least of all (design §2)."""
    found_despite(Cooked(), spoil, promise, elsewhere)


REASONS: list[tuple[str, Change]] = [
    ("Local", card(STOPPED_S - 5.0)),
    ("Remote", ask("RemoteStopTransaction", STOPPED_S - 5.0)),
    ("SoftReset", ask("Reset", STOPPED_S - 5.0)),
    ("UnlockCommand", ask("UnlockConnector", STOPPED_S - 5.0)),
    ("EVDisconnected", pull_the_plug(400.0)),
    ("EVDisconnected", trouble("controller 1 silent", 380.0, 396.0)),
    ("DeAuthorized", refuse_the_card),
    ("PowerLoss", death("power", CUT_S)),
]


@pytest.mark.parametrize(("reason", "cause"), REASONS, ids=lambda value: getattr(value, "__name__", value))
def test_a_stop_says_what_ended_it_and_nothing_else(reason: str, cause: Change) -> None:
    """OCPP 1.6 §7.36."""
    for told in {told for told, _ in REASONS}:
        cooked = Cooked()
        end_for_nothing(cooked)
        cause(cooked)
        cooked.book.copies[1].payload["reason"] = told
        assert (endings.REASON in cooked.promises()) is (told != reason)


def test_what_was_found_after_the_loss_of_a_store_may_say_anything() -> None:
    """Design §3: the queue finds it, and knows not why."""
    cooked = Cooked()
    end_for_nothing(cooked)
    cooked.book.copies[1].payload["reason"] = "Other"
    assert endings.CAUSED in cooked.promises()
    cooked.ledger.deaths.append(Death(300.0, "store connectors.db"))
    assert not cooked.promises() & {endings.CAUSED, endings.REASON}
