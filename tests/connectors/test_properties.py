"""Random lives of a station: whatever happens in whatever order, the auditor finds nothing (issue 3, acceptance 5).

Observations are arbitrary, also such as no controller would give; questions are answered late, wrongly or not at all; the
process dies and comes back from its store, and the power fails.
"""

import os
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bus.database import open_database
from bus.messages import (
    ChangeAvailability,
    ClearCache,
    Delivered,
    DeliveryEntry,
    GivenUp,
    IdTagInfo,
    LinkState,
    MeterSample,
    MeterValues,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    UnlockConnector,
)
from bus.operating_messages import OutOfService
from bus.profile_messages import (
    AuthorizationData,
    CancelReservation,
    GetLocalListVersion,
    ReserveNow,
    SendLocalList,
    TakeMeterValues,
)
from bus.vocabulary import AuthorizationStatus, AvailabilityType, ChargePointErrorCode, Measurand, ResetType, UpdateType
from services.connectors import core, local_list
from services.connectors import events as e
from services.connectors.state import Connector, Finished, Idle, Now, Resuming, Running, Settings, State
from services.hardware.contract import EvseDesired, EvseFault, EvseObservation
from tests.connectors.auditor import Auditor
from tests.connectors.authority import Authority
from tests.connectors.bench import OFFLINE, ONLINE
from tests.connectors.keeper import Keeper

CONNECTORS = 3
SOCKET = 2
"""The connector that has a socket with a lock; the others have fixed cables."""
NUMBERS = st.integers(1, CONNECTORS)
ID_TAGS = st.sampled_from(["A", "a", "B", "C", "D"])
UTC_OFFSET_S = 1e9
INFOS = st.builds(
    IdTagInfo,
    st.sampled_from([AuthorizationStatus.ACCEPTED] * 4 + [s for s in AuthorizationStatus if s != "Accepted"]),
    expiry_utc_ms=st.sampled_from([None] * 3 + [round((UTC_OFFSET_S + at_s) * 1000) for at_s in (15, 1030, 1300, 99_000)]),
    parent_id_tag=st.sampled_from([None, None, "G", "H"]),
)
ENTRIES = st.builds(AuthorizationData, ID_TAGS, st.one_of(INFOS, INFOS, INFOS, st.none()))
GROUND = EvseFault(ChargePointErrorCode.GROUND_FAILURE, "x")
EV = EvseFault(ChargePointErrorCode.EV_COMMUNICATION_ERROR, "x")
HOT = EvseFault(ChargePointErrorCode.HIGH_TEMPERATURE, "x", warning=True)
FAULTS = st.sampled_from([()] * 8 + [(GROUND,), (EV,), (HOT,), (GROUND, HOT), (EV, HOT)])
RARELY = st.integers(0, 3)
"""0: now. What ends everything would otherwise leave nothing to end."""
PILOTS = st.sampled_from(["A", "B", "C", "C", "D", "E", "F", None])
LISTS = st.sampled_from([(), ((Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None),), ((Measurand.VOLTAGE, None),)])
LINKS = st.sampled_from([ONLINE, ONLINE, ONLINE, OFFLINE, OFFLINE, None, LinkState(connected=True)])
SETTINGS = st.builds(
    Settings,
    connection_time_out_s=st.sampled_from([1, 20, 60]),
    allow_offline_tx_for_unknown_id=st.booleans(),
    authorize_remote_tx_requests=st.booleans(),
    stop_transaction_on_ev_side_disconnect=st.booleans(),
    stop_transaction_on_invalid_id=st.booleans(),
    unlock_connector_on_ev_side_disconnect=st.booleans(),
    meter_value_sample_interval_s=st.sampled_from([0, 1, 7, 60]),
    authorization_cache_enabled=st.sampled_from([True, True, False]),
    local_authorize_offline=st.booleans(),
    local_pre_authorize=st.booleans(),
    local_auth_list_enabled=st.sampled_from([True, True, True, False]),
    local_auth_list_max_length=st.sampled_from([10_000, 10_000, 2]),
    send_local_list_max_length=st.sampled_from([1000, 1000, 2]),
    max_energy_on_invalid_id_wh=st.sampled_from([0, 0, 1, 400]),
    charge_before_first_acceptance=st.booleans(),
    reserve_connector_zero_supported=st.sampled_from([True, True, True, False]),
    clock_aligned_data_interval_s=st.sampled_from([0, 1, 7, 60]),
    meter_values_aligned_data=LISTS,
    stop_txn_sampled_data=LISTS,
    stop_txn_aligned_data=LISTS,
    stop_transaction_max_meter_values=st.sampled_from([2, 3, 5, 500]),
)


class Station(RuleBasedStateMachine):
    """One station with three connectors, two of which it can supply at once."""

    def __init__(self) -> None:
        super().__init__()
        self.database = open_database(":memory:")
        self.audit = Auditor(self.database)
        self.authority = Authority()
        self.keeper = Keeper()
        self.now_s = 1000.0
        self.boot = 1
        self.ids = 0
        self.registers = dict.fromkeys(range(1, CONNECTORS + 1), 1000)
        self.serials = dict.fromkeys(range(1, CONNECTORS + 1), "M")
        self.boots = dict.fromkeys(range(1, CONNECTORS + 1), 0)
        self.energy_ws = dict.fromkeys(range(1, CONNECTORS + 1), 0)
        self.settings = Settings()
        self.reads: list[e.ReadRegister] = []
        self.asked: list[e.AskAuthorize] = []
        self.calls: list[str] = []
        self.unlocking: set[str] = set()
        self.orders = dict.fromkeys(range(1, CONNECTORS + 1), EvseDesired())
        self.state = self._blank()
        self._take(*core.resume(self.state, self.audit.store.load(), self._now(e.Tick())))

    def teardown(self) -> None:
        self.database.close()

    @initialize()
    def goes_online(self) -> None:
        self._feed(e.LinkChanged(ONLINE))

    @rule(number=NUMBERS, plugged=st.sampled_from([True, True, True, False, None]), pilot=PILOTS, faults=FAULTS, data=st.data())
    def controller_says(self, number: int, plugged: bool | None, pilot: str | None, faults: tuple, data: st.DataObject) -> None:
        self.energy_ws[number] = max(0, self.energy_ws[number] + data.draw(st.sampled_from([0, 100, 1000, -10_000])))
        offering, closed = data.draw(st.booleans()), data.draw(st.booleans())
        locked = data.draw(st.booleans())
        self._observe(number, pilot, plugged=plugged, offering=offering, closed=closed, faults=faults, locked=locked)

    @rule(number=NUMBERS, id_tag=ID_TAGS, remote=st.booleans(), read_at_once=st.sampled_from([True, True, False]))
    def somebody_comes_to_charge(self, number: int, id_tag: str, remote: bool, read_at_once: bool) -> None:
        """The usual way, as random steps alone would seldom find it."""
        self._feed(e.EmergencyStopChanged(False))
        self._feed(e.LinkChanged(ONLINE))
        self._observe(number, "B", plugged=True)
        if remote:
            self._call(lambda call_id: e.RemoteStartRequested(call_id, RemoteStartTransaction(id_tag, number)))
        else:
            self._feed(e.CardPresented(id_tag))
        while self.asked:
            self._answer(self.asked.pop(), IdTagInfo(AuthorizationStatus.ACCEPTED))
        if read_at_once:
            self.the_meter_answers_everybody()

    @rule(number=NUMBERS, id_tag=ID_TAGS, info=INFOS, link=LINKS, new=SETTINGS, remote=st.booleans())
    def a_card_comes_that_is_known(
        self, *, number: int, id_tag: str, info: IdTagInfo, link: LinkState | None, new: Settings, remote: bool
    ) -> None:
        """The Central System has spoken of it before: permission now depends on all settings, and on the link."""
        self.settings_change(new)
        self._feed(e.AuthorizeAnswered("long ago", info, id_tag))
        self._feed(e.LinkChanged(link))
        self._observe(number, "B", plugged=True)
        if remote:
            self._call(lambda call_id: e.RemoteStartRequested(call_id, RemoteStartTransaction(id_tag, number)))
        else:
            self._feed(e.CardPresented(id_tag))

    @precondition(lambda self: self._running())
    @rule(data=st.data(), pilot=st.sampled_from(["B", "C", "C", "C", None]), closed=st.booleans(), wh=st.integers(0, 500))
    def a_car_charges(self, data: st.DataObject, pilot: str | None, closed: bool, wh: int) -> None:
        number = data.draw(st.sampled_from(self._running()))
        self.energy_ws[number] += wh * 3600
        self.registers[number] += wh
        self._observe(number, pilot, plugged=True, offering=True, closed=closed)
        self._feed(e.MeterSampled(self._sample(number, 0.0)))

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def a_car_leaves(self, data: st.DataObject) -> None:
        self._observe(data.draw(st.sampled_from(self._running())), "A", plugged=False)

    @rule()
    def the_meter_answers_everybody(self) -> None:
        while self.reads:
            read = self.reads.pop(0)
            self._feed(e.MeterRead(read.token, self._sample(read.connector_id, 0.0)))

    @rule(number=NUMBERS)
    def controller_restarts(self, number: int) -> None:
        self.boots[number] += 1
        self.energy_ws[number] = 0

    @rule(number=NUMBERS, rare=RARELY)
    def controller_falls_silent(self, number: int, rare: int) -> None:
        if rare:
            return
        self._feed(e.EvseFailed(number, "port vanished"))

    @rule(number=NUMBERS, wh=st.integers(0, 500), age_s=st.sampled_from([0.0, 0.0, 1.0, 30.0]))
    def meter_says(self, number: int, wh: int, age_s: float) -> None:
        self.registers[number] += wh
        self._feed(e.MeterSampled(self._sample(number, age_s)))

    @rule(number=NUMBERS, serial=st.sampled_from(["M", "N", ""]), wh=st.integers(0, 3000))
    def meter_is_replaced(self, number: int, serial: str, wh: int) -> None:
        self.serials[number], self.registers[number] = serial, wh

    @rule(number=NUMBERS, failure=st.sampled_from(["", "no answer"]))
    def meter_fails_or_recovers(self, number: int, failure: str) -> None:
        self._feed(e.MeterFailureChanged(number, failure))

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), answered=st.sampled_from([True, True, True, False]))
    def reading_is_answered(self, data: st.DataObject, answered: bool) -> None:
        read = self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1)))
        self._feed(e.MeterRead(read.token, self._sample(read.connector_id, 0.0) if answered else None))

    @rule(id_tag=ID_TAGS)
    def card_is_presented(self, id_tag: str) -> None:
        self._feed(e.CardPresented(id_tag))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), info=st.one_of(INFOS, INFOS, st.none()))
    def authorize_is_answered(self, data: st.DataObject, info: IdTagInfo | None) -> None:
        asked = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        self._answer(asked, info)

    @rule(
        id_tag=ID_TAGS,
        connector_id=st.sampled_from([0, 0, 1, 2, 3, 4]),
        reservation_id=st.integers(1, 3),
        for_s=st.sampled_from([-1, 5, 60, 300]),
        parent_id_tag=st.sampled_from([None, None, "G", "h"]),
    )
    def reserved(self, *, id_tag: str, connector_id: int, reservation_id: int, for_s: int, parent_id_tag: str | None) -> None:
        expiry_utc_ms = round((self.now_s + UTC_OFFSET_S + for_s) * 1000)
        request = ReserveNow(connector_id, expiry_utc_ms, id_tag, reservation_id, parent_id_tag)
        self._call(lambda call_id: e.ReserveNowRequested(call_id, request))

    @rule(
        holder=ID_TAGS,
        connector_id=st.sampled_from([0, 0, 1, 2, 3]),
        parent_id_tag=st.sampled_from([None, "G"]),
        comers=st.permutations(["A", "B", "C", "D"]),
        numbers=st.permutations([1, 2, 3]),
        remote=st.booleans(),
    )
    def somebody_reserves_and_others_come(
        self,
        *,
        holder: str,
        connector_id: int,
        parent_id_tag: str | None,
        comers: list[str],
        numbers: list[int],
        remote: bool,
    ) -> None:
        """As random steps alone would seldom find a connector that is free, reserved, and then wanted."""
        self._feed(e.LinkChanged(ONLINE))
        for number in set(numbers) - set(self._running()):
            self._observe(number, "A", plugged=False)
        self.reserved(id_tag=holder, connector_id=connector_id, reservation_id=1, for_s=300, parent_id_tag=parent_id_tag)
        for id_tag, number in zip(comers, numbers, strict=False):
            self.somebody_comes_to_charge(number=number, id_tag=id_tag, remote=remote, read_at_once=True)

    @rule(reservation_id=st.integers(1, 3))
    def reservation_is_cancelled(self, reservation_id: int) -> None:
        request = CancelReservation(reservation_id)
        self._call(lambda call_id: e.CancelReservationRequested(call_id, request))

    @rule(id_tag=ID_TAGS, connector_id=st.sampled_from([None, 0, 1, 2, 3, 4]))
    def remote_start(self, id_tag: str, connector_id: int | None) -> None:
        self._call(lambda call_id: e.RemoteStartRequested(call_id, RemoteStartTransaction(id_tag, connector_id)))

    @rule(transaction_id=st.integers(-2, 3))
    def remote_stop(self, transaction_id: int) -> None:
        self._call(lambda call_id: e.RemoteStopRequested(call_id, RemoteStopTransaction(transaction_id)))

    @rule(connector_id=st.integers(0, CONNECTORS + 1), type_=st.sampled_from(["Operative", "Operative", "Inoperative"]))
    def availability_is_commanded(self, connector_id: int, type_: str) -> None:
        request = ChangeAvailability(connector_id, AvailabilityType(type_))
        self._call(lambda call_id: e.AvailabilityRequested(call_id, request))

    @rule(connector_id=st.sampled_from([None, None, *range(CONNECTORS + 2)]), out=st.sampled_from([True, False, False]))
    def out_of_service_is_commanded(self, connector_id: int | None, out: bool) -> None:
        self._call(lambda call_id: e.OutOfServiceRequested(call_id, OutOfService(out, connector_id)))

    @rule(connector_id=st.integers(0, CONNECTORS + 1))
    def unlocking_is_commanded(self, connector_id: int) -> None:
        self.ids += 1
        self.unlocking.add(f"call-{self.ids}")
        self.calls = [*self.calls[-5:], f"call-{self.ids}"]
        self._feed(e.UnlockRequested(f"call-{self.ids}", UnlockConnector(connector_id)))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def call_is_cancelled(self, data: st.DataObject) -> None:
        call_id = data.draw(st.sampled_from(self.calls))
        self.unlocking.discard(call_id)
        self._feed(e.CallCancelled(call_id))

    @rule(type_=st.sampled_from(ResetType), rare=RARELY)
    def reset(self, type_: ResetType, rare: int) -> None:
        if rare:
            return
        self._call(lambda call_id: e.ResetRequested(call_id, Reset(type_)))

    @precondition(lambda self: self.audit.entries)
    @rule(data=st.data(), info=st.one_of(INFOS, st.none()), transaction_id=st.integers(-2, 3), given_up=st.booleans())
    def message_is_delivered(self, data: st.DataObject, info: IdTagInfo | None, transaction_id: int, given_up: bool) -> None:
        local_tx_id = data.draw(st.sampled_from(sorted(self.audit.entries)))
        number = data.draw(st.integers(0, len(self.audit.entries[local_tx_id]) - 1))
        outcome = GivenUp("5 attempts") if given_up else Delivered(transaction_id if number == 0 else None, info)
        message = self.audit.entries[local_tx_id][number].message
        id_tag = None if isinstance(message, MeterValues) else message.id_tag
        self._feed(e.DeliveryStored(DeliveryEntry(local_tx_id, number, outcome), id_tag))

    @rule()
    def cache_is_cleared(self) -> None:
        self._call(lambda call_id: e.ClearCacheRequested(call_id, ClearCache()))

    @rule(version=st.integers(-1, 9), type_=st.sampled_from(UpdateType), entries=st.lists(ENTRIES, max_size=4))
    def a_list_is_sent(self, version: int, type_: UpdateType, entries: list[AuthorizationData]) -> None:
        self._call(lambda call_id: e.LocalListSent(call_id, SendLocalList(version, type_, tuple(entries))))
        rows = self.database.execute("SELECT id_tag, body FROM local_list").fetchall()
        assert {key: msgspec.json.decode(body, type=IdTagInfo) for key, body in rows} == self.authority.listed

    @rule()
    def the_list_is_asked_for(self) -> None:
        self._call(lambda call_id: e.LocalListVersionAsked(call_id, GetLocalListVersion()))

    @rule(connector_id=st.sampled_from([None, 0, 1, 2, 3, 4]))
    def readings_are_triggered(self, connector_id: int | None) -> None:
        self._call(lambda call_id: e.MeterValuesAsked(call_id, TakeMeterValues(connector_id)))

    @rule(link=LINKS)
    def link_changes(self, link: object) -> None:
        self._feed(e.LinkChanged(link))  # type: ignore[arg-type]

    @rule(new=SETTINGS)
    def settings_change(self, new: Settings) -> None:
        self.settings = new
        self._feed(e.SettingsChanged(new))

    @rule(pressed=st.booleans(), rare=RARELY)
    def emergency_stop(self, pressed: bool, rare: int) -> None:
        if rare:
            return
        self._feed(e.EmergencyStopChanged(pressed))

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 5.0, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self._tick_through()

    @rule(rare=RARELY)
    def process_restarts(self, rare: int) -> None:
        if rare:
            return
        self.now_s += 0.5
        self._restart()

    @rule(rare=RARELY)
    def power_fails(self, rare: int) -> None:
        if rare:
            return
        self.now_s = 10.0
        self.boot += 1
        self.energy_ws = dict.fromkeys(self.energy_ws, 0)
        self.boots = dict.fromkeys(self.boots, 0)
        self._restart()

    @rule(rare=RARELY)
    def nothing_happens_any_more(self, rare: int) -> None:
        """Nothing waits for ever: questions time out, deadlines lead on, and in the end only what may last is left."""
        if rare:
            return
        for _ in range(20):
            while self.reads:
                self._feed(e.MeterRead(self.reads.pop().token, None))
            while self.asked:
                self._answer(self.asked.pop(), None)
            self.now_s += 15.0
            self._tick_through()
        assert not self.unlocking, "an UnlockConnector is not answered"
        assert not self.state.waiting
        assert not self.state.asked
        assert self.state.resetting is None
        for connector in self.state.connectors:
            assert isinstance(connector.phase, Idle | Running | Finished | Resuming)
            assert connector.settling_until_s == 0

    def _running(self) -> list[int]:
        return [c.connector_id for c in self.state.connectors if isinstance(c.phase, Running)]

    def _observe(self, number: int, pilot: str | None, *, plugged: bool | None, **flags: Any) -> None:
        observation = EvseObservation(
            control_pilot=pilot,  # type: ignore[arg-type]
            plugged=plugged,
            offering=flags.get("offering", False),
            relay_closed=flags.get("closed", False),
            limit_a=16.0,
            faults=flags.get("faults", ()),
            session_energy_ws=self.energy_ws[number],
            session_elapsed_s=self.energy_ws[number] // 100,
            boots=self.boots[number],
            locked=flags.get("locked", self.orders[number].locked) if number == SOCKET else None,
            unlock_attempts=self.orders[number].unlock_attempts,
        )
        self._feed(e.EvseObserved(number, observation))

    def _call(self, event: object) -> None:
        self.ids += 1
        call_id = f"call-{self.ids}"
        self.calls = [*self.calls[-5:], call_id]
        effects = self._feed(event(call_id))  # type: ignore[operator]
        assert [effect.call_id for effect in effects if isinstance(effect, e.Answer)] == [call_id]

    def _answer(self, asked: e.AskAuthorize, info: IdTagInfo | None) -> None:
        self._feed(e.AuthorizeAnswered(asked.token, info, asked.id_tag))

    def _feed(self, event: e.Event) -> tuple[e.Effect, ...]:
        now = self._now(event)
        before = self.state
        state, effects = core.step(before, event, now)
        self._take(state, effects)
        self.authority.check(before, event, state, now)
        self.keeper.check(before, event, state, effects, now)
        return effects

    def _take(self, state: State, effects: tuple[e.Effect, ...]) -> None:
        self.state = state
        self.audit.check(state, effects)
        self.reads.extend(effect for effect in effects if isinstance(effect, e.ReadRegister))
        for effect in effects:
            if isinstance(effect, e.SetEvse):
                self.orders[effect.connector_id] = effect.desired
            if isinstance(effect, e.Answer):
                self.unlocking.discard(effect.call_id)
        self.asked.extend(effect for effect in effects if isinstance(effect, e.AskAuthorize))

    def _tick_through(self) -> None:
        for _ in range(10):
            deadline_s = core.next_deadline_s(self.state)
            if deadline_s is None or deadline_s > self.now_s:
                return
            self._feed(e.Tick())
        raise AssertionError("ticks do not lead on")

    def _restart(self) -> None:
        self.audit.process_starts()
        self.unlocking.clear()
        self.orders = dict.fromkeys(self.orders, EvseDesired())
        self.reads.clear()
        self.asked.clear()
        self.state = self._blank()
        now = self._now(e.Tick())
        self._take(*core.resume(self.state, self.audit.store.load(), now))
        self.keeper.process_starts(self.state, now)

    def _blank(self) -> State:
        connectors = tuple(Connector(number, 32.0, socket=number == SOCKET) for number in range(1, CONNECTORS + 1))
        return core.initial(connectors, self.settings, 17.0)

    def _now(self, event: e.Event) -> Now:
        self.ids += 1
        listed = self.audit.store.local_list.find(local_list.in_question(self.state, event))
        utc_offset_s = UTC_OFFSET_S if self.ids % 7 else None
        return Now(self.now_s, f"boot-{self.boot}", f"id{self.ids}", utc_offset_s, listed=listed)

    def _sample(self, number: int, age_s: float) -> MeterSample:
        return MeterSample(number, self.now_s - age_s, self.serials[number], self.registers[number])


LONG = bool(os.environ.get("CHARGEBUS_LONG"))
Station.TestCase.settings = settings(
    max_examples=3000 if LONG else 60,
    stateful_step_count=120 if LONG else 60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_random_lives_break_no_promise = Station.TestCase
