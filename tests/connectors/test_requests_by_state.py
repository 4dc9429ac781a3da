"""Each card and each remote request in each state of a connector (OCPP 1.6 §3.10, §4.1, §4.9, §4.10, §5.11, §5.12)."""

from collections.abc import Callable

import pytest

from bus.messages import IdTagInfo, StopTransaction
from bus.vocabulary import AuthorizationStatus, Reason, ResetType
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import ACCEPTED, BLOCKED, FAMILY, REFUSED, Bench
from tests.connectors.plant import GROUND_FAULT


def available(bench: Bench) -> None:
    pass


def plugged(bench: Bench) -> None:
    bench.plug_in()


def unattended(bench: Bench) -> None:
    """Errata v4.0 3.20, B6: nobody came with a card."""
    bench.plug_in()
    bench.advance(61)
    assert bench.status() == "Finishing"


def card_waits(bench: Bench) -> None:
    bench.card()


def remote_start_waits(bench: Bench) -> None:
    bench.remote_start("TAG", 1)


def starting(bench: Bench) -> None:
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()


def charging(bench: Bench) -> None:
    bench.plug_in()
    bench.card()
    bench.advance(4)
    assert bench.status() == "Charging"
    bench.deliver_start(7, FAMILY)


def refused(bench: Bench) -> None:
    """Without energy, and still a transaction (errata v4.0 3.17)."""
    bench.settings(stop_transaction_on_invalid_id=False)
    charging(bench)
    bench.deliver_start(7, BLOCKED)
    bench.advance(2)
    assert bench.status() == "SuspendedEVSE"


def stopping(bench: Bench) -> None:
    charging(bench)
    bench.plants[1].meter_answers = False
    bench.card()


def finishing(bench: Bench) -> None:
    charging(bench)
    bench.card()
    bench.advance(2)
    assert bench.status() == "Finishing"


def faulted(bench: Bench) -> None:
    bench.plug_in()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(0.1)
    assert bench.status() == "Faulted"


def faulted_in_a_transaction(bench: Bench) -> None:
    charging(bench)
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(1)
    assert bench.status() == "Faulted"


def controller_silent(bench: Bench) -> None:
    bench.plug_in()
    bench.plants[1].answers = False
    bench.advance(0.1)


def emergency_stop(bench: Bench) -> None:
    bench.plug_in()
    bench.feed(e.EmergencyStopChanged(True))


def unavailable(bench: Bench) -> None:
    bench.plug_in()
    bench.change_availability(1, "Inoperative")
    assert bench.status() == "Unavailable"


def charge_point_unavailable(bench: Bench) -> None:
    bench.plug_in()
    bench.change_availability(0, "Inoperative")
    assert (bench.status(0), bench.status()) == ("Unavailable", "Unavailable")


def unavailable_after_this(bench: Bench) -> None:
    """OCPP 1.6 §5.2: Scheduled."""
    charging(bench)
    bench.change_availability(1, "Inoperative")


def resetting(bench: Bench) -> None:
    bench.plug_in()
    bench.reset(ResetType.SOFT)


def resuming(bench: Bench) -> None:
    """The service has just restarted, and the controller has not said a word."""
    charging(bench)
    bench.state = bench._blank()
    bench.take_up()
    bench.go_online()
    bench.plants[1].answers = False


SETUPS: dict[str, Callable[[Bench], None]] = {
    setup.__name__: setup
    for setup in (
        available,
        plugged,
        unattended,
        card_waits,
        remote_start_waits,
        starting,
        charging,
        refused,
        stopping,
        finishing,
        faulted,
        faulted_in_a_transaction,
        controller_silent,
        emergency_stop,
        unavailable,
        charge_point_unavailable,
        unavailable_after_this,
        resetting,
        resuming,
    )
}
FREE = {"available", "plugged", "unattended", "finishing"}
WAITED_FOR = {"card_waits", "remote_start_waits"}
RUNNING = {"charging", "refused", "faulted_in_a_transaction", "unavailable_after_this", "resuming"}
CARDS = {"TAG": FAMILY, "DAD": FAMILY, "OTHER": ACCEPTED, "APP": ACCEPTED}


def station(state: str) -> Bench:
    bench = Bench()
    bench.authorize = CARDS.get
    SETUPS[state](bench)
    return bench


def live_on(bench: Bench) -> None:
    """The meter answers again, a plug goes in if none is, and time passes."""
    bench.plants[1].meter_answers = True
    bench.advance(7)
    if not bench.plants[1].plugged:
        bench.plug_in()
        bench.advance(4)


def starters(bench: Bench) -> list[str]:
    """Who has begun a transaction, in order."""
    return [bench.audit.entries[tx][0].message.id_tag for tx in bench.transactions]  # type: ignore[union-attr]


def stopper(bench: Bench) -> tuple[Reason, str | None] | None:
    """How the newest transaction stopped."""
    message = bench.audit.entries[bench.last_tx][-1].message
    return (message.reason, message.id_tag) if isinstance(message, StopTransaction) else None


@pytest.mark.parametrize("id_tag", ["TAG", "DAD", "OTHER"])
@pytest.mark.parametrize("state", SETUPS)
def test_each_card_in_each_state(state: str, id_tag: str) -> None:
    """Who begins, who ends, who is asked about, and that StopTransaction has the idTag that stopped it and only then.

    TAG is the holder wherever there is one; DAD is of its group.
    """
    bench = station(state)
    begun, asked = starters(bench), len(bench.asked_about())
    bench.card(id_tag)
    was_asked = len(bench.asked_about()) > asked
    live_on(bench)
    if state in FREE or (state in WAITED_FOR and id_tag != "TAG"):
        assert starters(bench) == [*begun, id_tag]
        assert was_asked
    elif state == "starting":
        # OCPP 1.6 §4.9, B1: its own card takes it back; for another there is no room.
        assert starters(bench) == ([] if id_tag == "TAG" else ["TAG"])
        assert not was_asked
    elif state in RUNNING:
        assert starters(bench) == begun
        assert stopper(bench) == (None if id_tag == "OTHER" else (Reason.LOCAL, id_tag))
        assert was_asked is (id_tag != "TAG"), "OCPP 1.6 §3.4: never about the idTag that started it"
    else:
        assert starters(bench) == begun
        assert state != "stopping" or stopper(bench) == (Reason.LOCAL, "TAG")
        assert not was_asked, "an answer could lead to nothing"


@pytest.mark.parametrize("connector_id", [None, 0, 1, 2])
@pytest.mark.parametrize("state", SETUPS)
def test_each_remote_start_in_each_state(state: str, connector_id: int | None) -> None:
    """OCPP 1.6 §5.11, errata v4.0 3.32: Accepted is what will be tried; a rejected one changes nothing and says why."""
    bench = station(state)
    begun = starters(bench)
    before, written = bench.state.waiting, bench.commits
    answer = bench.remote_start("APP", connector_id)
    if state in FREE and connector_id in (None, 1):
        assert answer.status == "Accepted"
        live_on(bench)
        assert starters(bench) == [*begun, "APP"]
    else:
        assert (answer.status, bool(answer.reason)) == ("Rejected", True)
        assert (bench.state.waiting, bench.commits) == (before, written)


@pytest.mark.parametrize("transaction_id", [7, 8, -1])
@pytest.mark.parametrize("state", SETUPS)
def test_each_remote_stop_in_each_state(state: str, transaction_id: int) -> None:
    """OCPP 1.6 §5.12, errata v4.0 3.33: only an ongoing transaction of this id; its StopTransaction has no idTag."""
    bench = station(state)
    answer = bench.remote_stop(transaction_id)
    ongoing = state in RUNNING or state == "stopping"
    assert answer.status == ("Accepted" if ongoing and transaction_id == 7 else "Rejected")
    live_on(bench)
    if state in RUNNING:
        assert stopper(bench) == ((Reason.REMOTE, None) if transaction_id == 7 else None)
    if state == "stopping":
        assert stopper(bench) == (Reason.LOCAL, "TAG"), "what stopped it first"


@pytest.mark.parametrize("info", [ACCEPTED, REFUSED, BLOCKED, IdTagInfo(AuthorizationStatus.CONCURRENT_TX), None])
@pytest.mark.parametrize("authorize", [False, True])
def test_each_answer_about_a_remote_start(authorize: bool, info: IdTagInfo | None) -> None:
    """OCPP 1.6 §5.11: answered first; with AuthorizeRemoteTxRequests false the Central System judges at StartTransaction."""
    bench = Bench(settings=Settings(authorize_remote_tx_requests=authorize))
    bench.plug_in()
    bench.authorize = lambda _: None
    assert bench.remote_start("APP", 1).status == "Accepted"
    kinds = [type(effect) for effect in bench.effects if isinstance(effect, e.Answer | e.AskAuthorize | e.ReadRegister)]
    assert kinds == [e.Answer, e.AskAuthorize if authorize else e.ReadRegister]
    if authorize:
        bench.answer_authorize(info)
    bench.advance(5)
    assert starters(bench) == (["APP"] if info is ACCEPTED or not authorize else [])
    assert bench.status() == ("Charging" if starters(bench) else "Preparing")
