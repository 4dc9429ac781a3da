"""A station in memory for tests of the core: real core, real store, `Plant` hardware, a virtual clock, an audit of each step.

    bench = Bench()
    bench.plug_in()
    bench.card("TAG")
    bench.advance(60)
    assert bench.status() == "Charging"

Owns: answering the core's questions as the hardware and `bench.authorize` would. Does not: use the bus; `test_service.py` does.
"""

from collections.abc import Callable

import msgspec

from bus.database import open_database
from bus.messages import (
    ChangeAvailability,
    ChangeAvailabilityAnswer,
    ClearCache,
    ClearCacheAnswer,
    DeliveryEntry,
    IdTagInfo,
    LinkState,
    Message,
    MeterValues,
    RemoteStartStopAnswer,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    ResetReady,
    StopTransaction,
    UnlockConnector,
    UnlockConnectorAnswer,
)
from bus.messages import Delivered as DeliveredOutcome
from bus.operating_messages import OutOfService, OutOfServiceAnswer
from bus.profile_messages import (
    AuthorizationData,
    CancelReservation,
    CancelReservationAnswer,
    GetLocalListVersion,
    LocalListVersion,
    ReserveNow,
    ReserveNowAnswer,
    SendLocalList,
    SendLocalListAnswer,
)
from bus.vocabulary import (
    AuthorizationStatus,
    AvailabilityType,
    ChargePointStatus,
    RegistrationStatus,
    ResetType,
    UpdateType,
)
from services.connectors import core, local_list
from services.connectors import events as e
from services.connectors.state import Connector, Now, Settings, State
from services.hardware.contract import EvseDesired
from tests.connectors.auditor import Auditor
from tests.connectors.plant import Plant

REFUSED = IdTagInfo(AuthorizationStatus.INVALID)
FAMILY = IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="FAMILY")
WHOLE = ["Available", "Preparing", "Charging", "Finishing", "Available"]
"""The statuses of a whole session."""
STEP_S = 0.1
OBSERVE_EVERY_S = 1.0
READ_S = 0.02
"""A reading is a bit older than its arrival."""
UTC_OFFSET_S = 1_800_000_000.0
ONLINE = LinkState(connected=True, registration=RegistrationStatus.ACCEPTED, connection=1, ever_accepted=True)
OFFLINE = LinkState(connected=False, ever_accepted=True)

ACCEPTED = IdTagInfo(AuthorizationStatus.ACCEPTED)
BLOCKED = IdTagInfo(AuthorizationStatus.BLOCKED)


class Bench:
    """One station. `authorize` answers Authorize; None keeps the question open until `answer_authorize`."""

    def __init__(
        self,
        connectors: int = 1,
        *,
        supply_a: float = 32.0,
        settings: Settings | None = None,
        socket: bool = False,
        emergency_stop_fitted: bool = False,
    ) -> None:
        self.now_s = 100.0
        self.boot_id = "boot-1"
        self.utc_offset_s: float | None = UTC_OFFSET_S
        self.database = open_database(":memory:")
        self.audit = Auditor(self.database)
        self.plants = {number: Plant(number) for number in range(1, connectors + 1)}
        for plant in self.plants.values():
            plant.has_lock = socket
        self.authorize: Callable[[str], IdTagInfo | None] = lambda _: ACCEPTED
        self.utc_offset_s: float | None = UTC_OFFSET_S
        self.utc_floor_ms: int | None = None
        self.seen_unplugged: dict[int, float] = {}
        """What the guard has noted, by connector, as it is in its file."""
        self.effects: list[e.Effect] = []
        self.answers: dict[str, Message] = {}
        self.open_questions: list[e.AskAuthorize] = []
        self.commits = 0
        self.commanded_off = 0
        self._supply_a = supply_a
        self._emergency_stop_fitted = emergency_stop_fitted
        self._settings = settings or Settings()
        self._reads: list[tuple[float, e.ReadRegister]] = []
        self._ids = 0
        self._calls = 0
        self._observed: dict[int, object] = {}
        self._orders: dict[int, EvseDesired] = {}
        self._observe_due_s = 0.0
        self.state = self._blank()
        self.take_up()
        self.feed(e.LinkChanged(ONLINE))
        self.advance(STEP_S)

    def feed(self, event: e.Event) -> None:
        """One event and, at once, what the neighbours answer to its effects."""
        state, effects = core.step(self.state, event, self._now(event))
        self._take(state, effects)

    def advance(self, seconds: float) -> None:
        """Let the hardware live for so long, and the core with it."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = round(self.now_s + STEP_S, 3)
            for plant in self.plants.values():
                plant.pass_time(STEP_S)
            self._check_supply()
            self._observe()
            self._settle_reads()
            deadline_s = core.next_deadline_s(self.state)
            if deadline_s is not None and deadline_s <= self.now_s:
                self.feed(e.Tick())

    def take_up(self) -> None:
        """The process starts: it knows what the disk knows."""
        self.audit.process_starts()
        self._observed.clear()
        self._orders.clear()
        for plant in self.plants.values():
            plant.order = None
        self._reads.clear()
        self.open_questions.clear()
        loaded = msgspec.structs.replace(self.audit.store.load(), unplugged_s=dict(self.seen_unplugged))
        self._take(*core.resume(self.state, loaded, self._now(e.Tick())))

    def restart(self, *, away_s: float = 0.5) -> None:
        """The process dies and comes back; the hardware goes on as it is."""
        for _ in range(round(away_s / STEP_S)):
            self.now_s = round(self.now_s + STEP_S, 3)
            for plant in self.plants.values():
                plant.pass_time(STEP_S)
        self.state = self._blank()
        self.take_up()
        self.feed(e.LinkChanged(ONLINE))

    def leave_to_guard(self, number: int = 1, *, another_car: bool = True) -> None:
        """The process dies, the guard withdraws energy and sees the plug out and another one in, then the process is back."""
        plant = self.plants[number]
        plant.desired = EvseDesired()
        plant.unplug()
        self.seen_unplugged[number] = self.now_s + 20.0
        if another_car:
            plant.plug_in()
        self.restart(away_s=30.0)

    def end(self) -> None:
        """The process is told to end."""
        self.feed(e.Ending())

    def power_cut(self) -> None:
        """The board and the hardware lose power; the clock counts from the new boot."""
        self.boot_id += "+"
        self.now_s = 10.0
        self.seen_unplugged.clear()
        for plant in self.plants.values():
            plant.lose_power()
        self._observe_due_s = 0.0
        self.state = self._blank()
        self.take_up()

    def card(self, id_tag: str = "TAG") -> None:
        """A card is presented."""
        self.feed(e.CardPresented(id_tag))

    def plug_in(self, number: int = 1) -> None:
        """A plug goes in and is seen."""
        self.plants[number].plug_in()
        self.advance(STEP_S)

    def unplug(self, number: int = 1) -> None:
        """The plug comes out and is seen."""
        self.plants[number].unplug()
        self.advance(STEP_S)

    def remote_start(self, id_tag: str = "TAG", connector_id: int | None = None) -> RemoteStartStopAnswer:
        """RemoteStartTransaction, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.RemoteStartRequested(call_id, RemoteStartTransaction(id_tag, connector_id)))
        answer = self.answers[call_id]
        assert isinstance(answer, RemoteStartStopAnswer)
        return answer

    def cancel_last_call(self) -> None:
        """The caller of the last call stopped waiting."""
        self.feed(e.CallCancelled(f"call-{self._calls}"))

    def remote_stop(self, transaction_id: int) -> RemoteStartStopAnswer:
        """RemoteStopTransaction, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.RemoteStopRequested(call_id, RemoteStopTransaction(transaction_id)))
        answer = self.answers[call_id]
        assert isinstance(answer, RemoteStartStopAnswer)
        return answer

    def change_availability(self, connector_id: int, type_: str) -> str:
        """ChangeAvailability, and the status of its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.AvailabilityRequested(call_id, ChangeAvailability(connector_id, AvailabilityType(type_))))
        answer = self.answers[call_id]
        assert isinstance(answer, ChangeAvailabilityAnswer)
        return answer.status

    def out_of_service(self, out: bool, connector_id: int | None = None) -> OutOfServiceAnswer:
        """A person's command at the station, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.OutOfServiceRequested(call_id, OutOfService(out, connector_id)))
        answer = self.answers[call_id]
        assert isinstance(answer, OutOfServiceAnswer)
        return answer

    def unlock(self, connector_id: int = 1) -> str:
        """UnlockConnector; the id of its call, which is answered later."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.UnlockRequested(call_id, UnlockConnector(connector_id)))
        return call_id

    def unlocked(self, call_id: str) -> str:
        """How an UnlockConnector was answered; empty: not yet."""
        answer = self.answers.get(call_id)
        assert answer is None or isinstance(answer, UnlockConnectorAnswer)
        return "" if answer is None else answer.status

    def reset(self, type_: ResetType) -> None:
        """Reset."""
        self._calls += 1
        self.feed(e.ResetRequested(f"call-{self._calls}", Reset(type_)))

    def deliver_start(
        self, transaction_id: int = 7, info: IdTagInfo | None = ACCEPTED, *, local_tx_id: str | None = None
    ) -> None:
        """The Central System answers a StartTransaction."""
        self._deliver(local_tx_id or self.last_tx, 0, DeliveredOutcome(transaction_id, info))

    def deliver_stop(self, info: IdTagInfo | None) -> None:
        """The Central System answers the StopTransaction of the newest transaction."""
        self._deliver(self.last_tx, len(self.audit.entries[self.last_tx]) - 1, DeliveredOutcome(None, info))

    def reserve(
        self,
        reservation_id: int = 1,
        id_tag: str = "HOLDER",
        *,
        connector_id: int = 1,
        for_s: float = 600,
        parent_id_tag: str | None = None,
    ) -> ReserveNowAnswer:
        """ReserveNow, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        request = ReserveNow(connector_id, self.utc_ms(for_s), id_tag, reservation_id, parent_id_tag)
        self.feed(e.ReserveNowRequested(call_id, request))
        answer = self.answers[call_id]
        assert isinstance(answer, ReserveNowAnswer)
        return answer

    def cancel_reservation(self, reservation_id: int = 1) -> str:
        """CancelReservation, and the status of its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.CancelReservationRequested(call_id, CancelReservation(reservation_id)))
        answer = self.answers[call_id]
        assert isinstance(answer, CancelReservationAnswer)
        return answer.status

    def clear_cache(self) -> ClearCacheAnswer:
        """ClearCache, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.ClearCacheRequested(call_id, ClearCache()))
        answer = self.answers[call_id]
        assert isinstance(answer, ClearCacheAnswer)
        return answer

    def send_local_list(self, version: int, type_: str, **entries: IdTagInfo | None) -> str:
        """SendLocalList with these entries, and the status of its answer."""
        data = tuple(AuthorizationData(id_tag, info) for id_tag, info in entries.items())
        return self.send_list(SendLocalList(version, UpdateType(type_), data)).status

    def send_list(self, request: SendLocalList) -> SendLocalListAnswer:
        """SendLocalList, and its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.LocalListSent(call_id, request))
        answer = self.answers[call_id]
        assert isinstance(answer, SendLocalListAnswer)
        return answer

    def local_list_version(self) -> int:
        """GetLocalListVersion, and the version of its answer."""
        self._calls += 1
        call_id = f"call-{self._calls}"
        self.feed(e.LocalListVersionAsked(call_id, GetLocalListVersion()))
        answer = self.answers[call_id]
        assert isinstance(answer, LocalListVersion)
        return answer.list_version

    def go_offline(self) -> None:
        """The link is lost."""
        self.feed(e.LinkChanged(OFFLINE))

    def go_online(self) -> None:
        """The link is back."""
        self.feed(e.LinkChanged(ONLINE))

    def asked_about(self) -> list[str]:
        """All idTags that the Central System was asked about, in order."""
        return [effect.id_tag for effect in self.effects if isinstance(effect, e.AskAuthorize)]

    def utc_ms(self, in_s: float = 0.0) -> int:
        """The UTC time in so many seconds."""
        return round((self.now_s + UTC_OFFSET_S + in_s) * 1000)

    def answer_authorize(self, info: IdTagInfo | None) -> None:
        """Answer the oldest open Authorize; None: there is no answer."""
        question = self.open_questions.pop(0)
        self.feed(e.AuthorizeAnswered(question.token, info, question.id_tag))

    def step_clock(self, seconds: float | None) -> None:
        """The believed clock is set by so much, and the core is told; None: it is not known any more."""
        known = None if seconds is None or self.utc_offset_s is None else self.utc_offset_s + seconds
        self.utc_offset_s = known
        self.feed(e.Tick())

    def settings(self, **values: object) -> None:
        """Configuration keys change."""
        self._settings = msgspec.structs.replace(self._settings, **values)
        self.feed(e.SettingsChanged(self._settings))

    def connector(self, number: int = 1) -> Connector:
        """What the core knows of a connector."""
        return self.state.connectors[number - 1]

    def status(self, number: int = 1) -> ChargePointStatus:
        """What was last published of a connector."""
        return self.audit.statuses[number][-1].status

    def history(self, number: int = 1) -> list[ChargePointStatus]:
        """All statuses of a connector, each once until it changes."""
        shown: list[ChargePointStatus] = []
        for said in self.audit.statuses.get(number, []):
            if not shown or shown[-1] != said.status:
                shown.append(said.status)
        return shown

    @property
    def transactions(self) -> list[str]:
        """Ids of all transactions that have begun, in order."""
        return list(self.audit.entries)

    @property
    def last_tx(self) -> str:
        """Id of the newest transaction."""
        return self.transactions[-1]

    def stop_message(self, local_tx_id: str | None = None) -> StopTransaction:
        """The StopTransaction of a transaction, the newest by default."""
        return self.audit.whole(local_tx_id or self.last_tx)[2]

    def notes(self) -> str:
        """All log lines."""
        return "\n".join(effect.text for effect in self.effects if isinstance(effect, e.Note))

    def reset_ready(self) -> ResetReady:
        """What was last said about a Reset."""
        return [effect.state for effect in self.effects if isinstance(effect, e.PublishReset)][-1]

    def _blank(self) -> State:
        connectors = tuple(Connector(number, 32.0, socket=plant.has_lock) for number, plant in self.plants.items())
        fitted = self._emergency_stop_fitted
        return core.initial(connectors, self._settings, self._supply_a, emergency_stop_fitted=fitted)

    def _deliver(self, local_tx_id: str, number: int, outcome: DeliveredOutcome) -> None:
        entries = self.audit.entries.get(local_tx_id)
        message = None if entries is None else entries[number].message
        id_tag = None if message is None or isinstance(message, MeterValues) else message.id_tag
        self.feed(e.DeliveryStored(DeliveryEntry(local_tx_id, number, outcome), id_tag))

    def _now(self, event: e.Event) -> Now:
        self._ids += 1
        listed = self.audit.store.local_list.find(local_list.in_question(self.state, event))
        return Now(self.now_s, self.boot_id, f"id{self._ids}", self.utc_offset_s, self.utc_floor_ms, listed)

    def _take(self, state: State, effects: tuple[e.Effect, ...]) -> None:
        self.state = state
        self.audit.check(state, effects)
        self.effects.extend(effects)
        for effect in effects:
            match effect:
                case e.Commit():
                    self.commits += 1
                case e.SetEvse(connector_id=number, desired=desired):
                    self.commanded_off += self.plants[number].desired.energy_allowed and not desired.energy_allowed
                    self._orders[number] = desired
                    self._deliver_order(number)
                case e.Answer(call_id=call_id, answer=answer):
                    assert call_id not in self.answers, "one call, one answer"
                    self.answers[call_id] = answer
                case e.ReadRegister(timeout_s=timeout_s):
                    self._reads.append((self.now_s + timeout_s, effect))
                case e.AskAuthorize():
                    self.open_questions.append(effect)
        self._settle_reads()
        while self.open_questions and (info := self.authorize(self.open_questions[0].id_tag)) is not None:
            self.answer_authorize(info)

    def _settle_reads(self) -> None:
        for deadline_s, read in list(self._reads):
            if (deadline_s, read) not in self._reads:
                continue
            plant = self.plants[read.connector_id]
            if plant.meter_answers:
                self._reads.remove((deadline_s, read))
                self.feed(e.MeterRead(read.token, plant.sample(self.now_s - READ_S)))
            elif deadline_s <= self.now_s:
                self._reads.remove((deadline_s, read))
                self.feed(e.MeterRead(read.token, None))

    def _observe(self) -> None:
        due = self.now_s >= self._observe_due_s
        if due:
            self._observe_due_s = self.now_s + OBSERVE_EVERY_S
        for number, plant in self.plants.items():
            if plant.answers:
                self._deliver_order(number)
                said = plant.observation()
                if due or self._observed.get(number) != said:
                    self._observed[number] = said
                    self.feed(e.EvseObserved(number, said))
            else:
                self._fail(number)
            if due and plant.meter_answers:
                self.feed(e.MeterSampled(plant.sample(self.now_s)))

    def _deliver_order(self, number: int) -> None:
        """The last order arrives as soon as the controller answers."""
        plant = self.plants[number]
        if plant.answers and number in self._orders:
            plant.desired = plant.order = self._orders.pop(number)

    def _check_supply(self) -> None:
        """What the cars may take now, whatever was ordered, is never more than the supply has."""
        drawn_a = sum(plant.in_force_a for plant in self.plants.values())
        assert drawn_a <= self._supply_a, f"{drawn_a} A may be drawn"

    def _fail(self, number: int) -> None:
        if self._observed.get(number) != "failed":
            self._observed[number] = "failed"
            self.feed(e.EvseFailed(number, "port vanished"))


def charging(**options: object) -> Bench:
    """A car charges on connector 1, started by TAG."""
    bench = Bench(**options)  # type: ignore[arg-type]
    bench.plug_in()
    bench.card()
    bench.advance(30)
    assert bench.status() == "Charging"
    return bench
