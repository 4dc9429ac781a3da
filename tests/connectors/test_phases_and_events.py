"""Every phase of a connector meets every event (style §9): never an exception, and only the listed pairs move the phase."""

import msgspec
import pytest

from bus.messages import (
    ChangeAvailability,
    ClearCache,
    Delivered,
    DeliveryEntry,
    GivenUp,
    IdTagInfo,
    LinkState,
    MeterSample,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    UnlockConnector,
)
from bus.operating_messages import OutOfService
from bus.profile_messages import AuthorizationData, GetLocalListVersion, SendLocalList, TakeMeterValues
from bus.vocabulary import AuthorizationStatus, AvailabilityType, Reason, ResetType, UpdateType
from services.connectors import core
from services.connectors import events as e
from services.connectors.open_transaction import Reading, Segment, StopIntent, Transaction
from services.connectors.plug_in import SessionMark
from services.connectors.state import (
    Asked,
    Connector,
    Finished,
    Idle,
    Moment,
    Now,
    Resuming,
    Running,
    SessionPhase,
    Settings,
    Starting,
    State,
    Stopping,
    Waiting,
)
from services.hardware.contract import EvseObservation
from tests.connectors.bench import OFFLINE, ONLINE
from tests.connectors.plant import GROUND_FAULT

NOW = Now(1000.0, "boot", "fresh", 0.0)
PLUGGED = EvseObservation("B", True, False, False, 0.0, session_energy_ws=20, session_elapsed_s=20)
CHARGING = EvseObservation("C", True, True, True, 16.0, session_energy_ws=20, session_elapsed_s=20)
UNPLUGGED = EvseObservation("A", False, False, False, 0.0, session_energy_ws=20, session_elapsed_s=20)
SWAPPED = EvseObservation("B", True, False, False, 0.0)
UNSURE = EvseObservation(None, None, False, False, 0.0, session_energy_ws=20, session_elapsed_s=20)
FAULTY = EvseObservation("B", True, False, False, 0.0, faults=(GROUND_FAULT,), session_energy_ws=20, session_elapsed_s=20)
AT = Moment("boot", 900_000, 900_000)
TRANSACTION = Transaction(
    "tx",
    1,
    "TAG",
    AT,
    100,
    Segment("M", 100, 100),
    Reading(150, AT),
    SessionMark(10, 10),
    parent_id_tag="GROUP",
    transaction_id=7,
)
WAITING = Waiting("w1", "TAG", 1030.0, "boot", 1, call_id="call")
STOPPED = msgspec.structs.replace(TRANSACTION, stop=StopIntent(Reason.LOCAL, AT, "TAG"))

PHASES: dict[str, SessionPhase] = {
    "idle": Idle(),
    "starting": Starting(WAITING, "token"),
    "starting again": Starting(WAITING, "token", Finished(SessionMark(10, 10), "TAG")),
    "running": Running(TRANSACTION, TRANSACTION, 1060.0, 1060.0),
    "stopping": Stopping(STOPPED, since_s=999.0),
    "stopping, reading asked": Stopping(STOPPED, since_s=999.0, read_token="token", read_not_before_s=999.5),
    "finished": Finished(SessionMark(10, 10), "TAG"),
    "finished, nobody's": Finished(SessionMark(10, 10), None),
    "resuming": Resuming(TRANSACTION),
    "resuming finished": Resuming(None, Finished(SessionMark(10, 10), "TAG")),
}
CALLS = (
    e.RemoteStartRequested
    | e.RemoteStopRequested
    | e.AvailabilityRequested
    | e.OutOfServiceRequested
    | e.UnlockRequested
    | e.ClearCacheRequested
    | e.LocalListSent
    | e.LocalListVersionAsked
    | e.MeterValuesAsked
    | e.ResetRequested
)
ACCEPTED = IdTagInfo(AuthorizationStatus.ACCEPTED)
GROUP = IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="group")
BLOCKED = IdTagInfo(AuthorizationStatus.BLOCKED)

EVENTS: dict[str, e.Event] = {
    "plugged": e.EvseObserved(1, PLUGGED),
    "charging": e.EvseObserved(1, CHARGING),
    "unplugged": e.EvseObserved(1, UNPLUGGED),
    "swapped": e.EvseObserved(1, SWAPPED),
    "unsure": e.EvseObserved(1, UNSURE),
    "fault": e.EvseObserved(1, FAULTY),
    "observation of nobody": e.EvseObserved(9, UNPLUGGED),
    "controller silent": e.EvseFailed(1, "port vanished" * 20),
    "sample": e.MeterSampled(MeterSample(1, 1000.0, "M", 160)),
    "sample of another meter": e.MeterSampled(MeterSample(1, 1000.0, "N", 1)),
    "old sample": e.MeterSampled(MeterSample(1, 800.0, "M", 90)),
    "sample of nobody": e.MeterSampled(MeterSample(9, 1000.0, "M", 160)),
    "reading": e.MeterRead("token", MeterSample(1, 1000.0, "M", 160)),
    "no reading": e.MeterRead("token", None),
    "unasked reading": e.MeterRead("other", MeterSample(1, 1000.0, "M", 160)),
    "unasked empty reading": e.MeterRead("", None),
    "meter fails": e.MeterFailureChanged(1, "no answer"),
    "meter of nobody": e.MeterFailureChanged(9, "no answer"),
    "reader fails": e.ReaderFailureChanged("no answer"),
    "same card": e.CardPresented("tag"),
    "other card": e.CardPresented("OTHER"),
    "accepted": e.AuthorizeAnswered("asked", ACCEPTED),
    "group accepted": e.AuthorizeAnswered("asked", GROUP),
    "blocked": e.AuthorizeAnswered("asked", BLOCKED),
    "no answer": e.AuthorizeAnswered("asked", None),
    "unasked answer": e.AuthorizeAnswered("nobody", ACCEPTED),
    "remote start": e.RemoteStartRequested("c1", RemoteStartTransaction("APP", 1)),
    "remote start anywhere": e.RemoteStartRequested("c1", RemoteStartTransaction("APP")),
    "remote start of 0": e.RemoteStartRequested("c1", RemoteStartTransaction("APP", 0)),
    "remote start of 9": e.RemoteStartRequested("c1", RemoteStartTransaction("APP", 9)),
    "remote stop": e.RemoteStopRequested("c1", RemoteStopTransaction(7)),
    "remote stop of another": e.RemoteStopRequested("c1", RemoteStopTransaction(8)),
    "inoperative": e.AvailabilityRequested("c1", ChangeAvailability(1, AvailabilityType.INOPERATIVE)),
    "all inoperative": e.AvailabilityRequested("c1", ChangeAvailability(0, AvailabilityType.INOPERATIVE)),
    "operative": e.AvailabilityRequested("c1", ChangeAvailability(1, AvailabilityType.OPERATIVE)),
    "availability of 9": e.AvailabilityRequested("c1", ChangeAvailability(9, AvailabilityType.INOPERATIVE)),
    "out of service": e.OutOfServiceRequested("c1", OutOfService(True, 1)),
    "all out of service": e.OutOfServiceRequested("c1", OutOfService(True)),
    "in service": e.OutOfServiceRequested("c1", OutOfService(False)),
    "9 out of service": e.OutOfServiceRequested("c1", OutOfService(True, 9)),
    "unlock of a fixed cable": e.UnlockRequested("c1", UnlockConnector(1)),
    "unlock of 0": e.UnlockRequested("c1", UnlockConnector(0)),
    "soft reset": e.ResetRequested("c1", Reset(ResetType.SOFT)),
    "hard reset": e.ResetRequested("c1", Reset(ResetType.HARD)),
    "clear cache": e.ClearCacheRequested("c1", ClearCache()),
    "full list": e.LocalListSent("c1", SendLocalList(1, UpdateType.FULL, (AuthorizationData("TAG", BLOCKED),))),
    "differential list": e.LocalListSent("c1", SendLocalList(1, UpdateType.DIFFERENTIAL, (AuthorizationData("TAG"),))),
    "list version": e.LocalListVersionAsked("c1", GetLocalListVersion()),
    "triggered": e.MeterValuesAsked("c1", TakeMeterValues(1)),
    "triggered everywhere": e.MeterValuesAsked("c1", TakeMeterValues()),
    "cancelled": e.CallCancelled("call"),
    "cancelled other": e.CallCancelled("other"),
    "start delivered": e.DeliveryStored(DeliveryEntry("tx", 0, Delivered(0, ACCEPTED))),
    "start delivered without anything": e.DeliveryStored(DeliveryEntry("tx", 0, Delivered())),
    "start refused": e.DeliveryStored(DeliveryEntry("tx", 0, Delivered(-3, BLOCKED)), "TAG"),
    "start given up": e.DeliveryStored(DeliveryEntry("tx", 0, GivenUp("no"))),
    "values delivered": e.DeliveryStored(DeliveryEntry("tx", 1, Delivered())),
    "other delivered": e.DeliveryStored(DeliveryEntry("other", 0, Delivered(8, BLOCKED)), "OTHER"),
    "online": e.LinkChanged(ONLINE),
    "offline": e.LinkChanged(OFFLINE),
    "link unknown": e.LinkChanged(None),
    "never accepted": e.LinkChanged(LinkState(connected=True)),
    "settings": e.SettingsChanged(
        Settings(meter_value_sample_interval_s=0, connection_time_out_s=1, local_auth_list_enabled=True)
    ),
    "emergency stop": e.EmergencyStopChanged(True),
    "emergency stop released": e.EmergencyStopChanged(False),
    "ending": e.Ending(),
    "tick": e.Tick(),
}

MOVES: dict[tuple[str, str], type[SessionPhase]] = {
    # Idle: an accepted card on a plugged connector asks for the reading; online, a remote start first asks about its idTag.
    ("idle", "accepted"): Starting,
    ("idle", "group accepted"): Starting,
    # Starting: the plug, the connector's health, its holder and the operator can take it back.
    ("starting", "unplugged"): Idle,
    ("starting", "fault"): Idle,
    ("starting", "controller silent"): Idle,
    ("starting", "reading"): Running,
    ("starting", "no reading"): Idle,
    ("starting", "same card"): Idle,
    ("starting", "cancelled"): Idle,
    ("starting", "inoperative"): Idle,
    ("starting", "all inoperative"): Idle,
    ("starting", "out of service"): Idle,
    ("starting", "all out of service"): Idle,
    ("starting", "soft reset"): Idle,
    ("starting", "hard reset"): Idle,
    ("starting", "emergency stop"): Idle,
    # The same, from where it came from: a finished session.
    ("starting again", "unplugged"): Idle,
    ("starting again", "fault"): Finished,
    ("starting again", "controller silent"): Finished,
    ("starting again", "reading"): Running,
    ("starting again", "no reading"): Finished,
    ("starting again", "same card"): Finished,
    ("starting again", "cancelled"): Finished,
    ("starting again", "inoperative"): Finished,
    ("starting again", "all inoperative"): Finished,
    ("starting again", "out of service"): Finished,
    ("starting again", "all out of service"): Finished,
    ("starting again", "soft reset"): Finished,
    ("starting again", "hard reset"): Finished,
    ("starting again", "emergency stop"): Finished,
    # Running: whoever may stop it.
    ("running", "unplugged"): Stopping,
    ("running", "swapped"): Stopping,
    ("running", "same card"): Stopping,
    ("running", "group accepted"): Stopping,
    ("running", "remote stop"): Stopping,
    ("running", "soft reset"): Stopping,
    ("running", "hard reset"): Stopping,
    ("running", "start refused"): Stopping,
    ("running", "emergency stop"): Stopping,
    # Stopping: only the reading, or time without one, ends it.
    ("stopping, reading asked", "reading"): Finished,
    ("stopping, reading asked", "no reading"): Finished,
    ("stopping, reading asked", "sample"): Finished,
    ("stopping, reading asked", "sample of another meter"): Finished,
    # Finished: the plug, or a new card.
    ("finished", "unplugged"): Idle,
    ("finished", "swapped"): Idle,
    ("finished", "accepted"): Starting,
    ("finished", "group accepted"): Starting,
    # Nobody presented a card in time (B6): the same.
    ("finished, nobody's", "unplugged"): Idle,
    ("finished, nobody's", "swapped"): Idle,
    ("finished, nobody's", "accepted"): Starting,
    ("finished, nobody's", "group accepted"): Starting,
    # Resuming: the first word of the controller; and whoever may stop a transaction.
    ("resuming", "plugged"): Running,
    ("resuming", "charging"): Running,
    ("resuming", "fault"): Running,
    ("resuming", "unplugged"): Stopping,
    ("resuming", "swapped"): Idle,
    ("resuming", "same card"): Stopping,
    ("resuming", "group accepted"): Stopping,
    ("resuming", "remote stop"): Stopping,
    ("resuming", "start refused"): Stopping,
    ("resuming", "soft reset"): Stopping,
    ("resuming", "hard reset"): Stopping,
    ("resuming", "emergency stop"): Stopping,
    ("resuming finished", "plugged"): Finished,
    ("resuming finished", "charging"): Finished,
    ("resuming finished", "fault"): Finished,
    ("resuming finished", "unplugged"): Idle,
    ("resuming finished", "swapped"): Idle,
}


def station(phase: SessionPhase) -> State:
    """A station whose connector is in `phase`, with a question about a card under way. While resuming nothing was heard."""
    heard = not isinstance(phase, Resuming)
    seen = None
    if heard:
        seen = CHARGING if isinstance(phase, Running | Stopping) else PLUGGED
    connector = Connector(1, 32.0, phase=phase, seen=seen, plugged=True if heard else None)
    asked = (Asked("asked", "CARD"),)
    cache = {"other": BLOCKED, "tag": ACCEPTED}
    return State((connector,), Settings(), 32.0, asked=asked, online=True, ever_accepted=True, cache=cache)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_answers_each_event_and_moves_only_where_it_should(phase: str, event: str) -> None:
    before = station(PHASES[phase])
    after, effects = core.step(before, EVENTS[event], NOW)
    found = type(after.connectors[0].phase)
    assert found is MOVES.get((phase, event), type(PHASES[phase]))
    assert len([effect for effect in effects if isinstance(effect, e.Commit)]) <= 1
    if isinstance(EVENTS[event], CALLS):
        assert [effect.call_id for effect in effects if isinstance(effect, e.Answer)] == ["c1"]
    once_more, _ = core.step(after, EVENTS[event], NOW)
    core.step(once_more, e.Tick(), Now(5000.0, "boot", "later", None))


def test_the_table_of_moves_names_only_what_exists() -> None:
    assert {phase for phase, _ in MOVES} <= set(PHASES)
    assert {event for _, event in MOVES} <= set(EVENTS)


def test_an_event_without_a_rule_is_our_bug() -> None:
    class Unheard(e.Event, frozen=True):
        pass

    with pytest.raises(AssertionError, match="no rule for Unheard"):
        core.step(station(Idle()), Unheard(), NOW)
