"""What must hold in every step of the connectors core, whatever happens: checked on each state and its effects.

Owns: the invariants of the money path. It keeps a real store up to date by the effects alone, as the service does, and what
the journal got. Does not: know why something happens.
"""

import sqlite3

import msgspec

from bus.database import transaction
from bus.journal import Outbox
from bus.messages import ConnectorState, MeterValue, MeterValues, StartTransaction, StopTransaction, TransactionEntry
from bus.vocabulary import CHARGE_POINT, ChargePointErrorCode, ChargePointStatus, Measurand
from services.connectors import events as e
from services.connectors.errors import EV_COMMUNICATION_ERROR_STATUSES, connector_errors
from services.connectors.recovery import Loaded
from services.connectors.state import Availability, Finished, Resuming, Running, Starting, State, Stopping
from services.connectors.status import allowed, connector_status
from services.connectors.store import Store
from services.hardware.contract import EvseDesired

CHARGE_POINT_STATUSES = {ChargePointStatus.AVAILABLE, ChargePointStatus.UNAVAILABLE, ChargePointStatus.FAULTED}
OUT_OF_USE = {ChargePointStatus.UNAVAILABLE, ChargePointStatus.FAULTED}


class Auditor:
    """Looks over the shoulder of one station."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self.store = Store(database)
        self._database = database
        self._read: tuple[int, Loaded] | None = None
        self.outbox = Outbox(database, "journal.transaction.")
        self.entries: dict[str, list[TransactionEntry]] = {}
        self.statuses: dict[int, list[ConnectorState]] = {}
        self._shown: dict[int, ChargePointStatus] = {}
        self._errors: dict[int, set[tuple[str, str]]] = {}
        self._held: set[int] = set()

    def process_starts(self) -> None:
        """What a process before has shown is not a transition of this one: nobody saw what happened in between."""
        self._shown.clear()
        self._errors.clear()
        self._held.clear()

    def check(self, state: State, effects: tuple[e.Effect, ...]) -> None:
        """One step: `effects` led to `state`."""
        self._check_sequence(effects)
        for effect in effects:
            match effect:
                case e.Commit(changes=changes):
                    self._commit(changes)
                case e.SetEvse(connector_id=connector_id, desired=desired):
                    self._check_energy(connector_id, desired)
                case e.PublishConnector(state=said):
                    self._check_status(said)
                case e.TellMeterValues(values=values):
                    self._check_values(values.meter_values)
                    assert state.connectors[values.connector_id - 1].transaction is None, (
                        "values of a transaction are journalled"
                    )
        self._check_supply(state)
        self._check_refused(state)
        self._check_waiting(state)
        self._check_disk(state)
        self._check_availability(state)
        self._check_errors(state)
        self._check_locks(state)
        self._check_reservations(state)

    def _on_disk(self) -> Loaded:
        """What the store has; read anew only after something was written."""
        written = self._database.total_changes
        if self._read is None or self._read[0] != written:
            self._read = (written, self.store.load())
        return self._read[1]

    def whole(self, local_tx_id: str) -> tuple[StartTransaction, tuple[MeterValues, ...], StopTransaction]:
        """The messages of a closed transaction."""
        start, *middle, stop = [entry.message for entry in self.entries[local_tx_id]]
        assert isinstance(start, StartTransaction)
        assert isinstance(stop, StopTransaction), f"transaction {local_tx_id} has no stop"
        return start, tuple(m for m in middle if isinstance(m, MeterValues)), stop

    def _check_sequence(self, effects: tuple[e.Effect, ...]) -> None:
        commits = [index for index, effect in enumerate(effects) if isinstance(effect, e.Commit)]
        assert len(commits) <= 1, "one step, one commit"
        first = commits[0] if commits else 0
        for effect in effects[:first]:
            assert isinstance(effect, e.SetEvse), f"{effect} comes before the commit"
            assert not effect.desired.energy_allowed, "energy is offered before the commit"
        rest = [
            effect for effect in effects[first:] if isinstance(effect, e.Answer | e.ReadRegister | e.AskAuthorize | e.SetEvse)
        ]
        answers = [index for index, effect in enumerate(rest) if isinstance(effect, e.Answer)]
        assert answers == list(range(len(answers))) or not commits, "answer first, then act (report 27 of operators)"

    def _commit(self, changes: tuple[e.Change, ...]) -> None:
        with transaction(self.database):
            self.store.apply(changes, self.outbox)
        for change in changes:
            if isinstance(change, e.AppendEntry):
                self._check_entry(change.entry)

    def _check_entry(self, entry: TransactionEntry) -> None:
        known = self.entries.setdefault(entry.local_tx_id, [])
        assert entry.number == len(known), "numbers of entries have neither gap nor repetition"
        assert isinstance(entry.message, StartTransaction) == (entry.number == 0), "StartTransaction is the first, and only it"
        if known:
            assert not isinstance(known[-1].message, StopTransaction), "nothing follows StopTransaction"
            told = [wh for wh in map(register_wh, [*known, entry]) if wh is not None]
            assert told == sorted(told), "the register never falls"
        known.append(entry)
        if isinstance(entry.message, MeterValues | StopTransaction):
            self._check_values(entry.message.meter_values)
        if isinstance(entry.message, StopTransaction):
            self._check_transaction_data(known[0].message, entry.message)

    def _check_transaction_data(self, start: object, stop: StopTransaction) -> None:
        """Registers from meterStart to meterStop, times from the start to the stop (OCPP 1.6 §4.10; what SteVe checks)."""
        assert isinstance(start, StartTransaction)
        told = [wh for value in stop.meter_values if (wh := _register_of(value)) is not None]
        assert told == sorted(told), "the register never falls"
        assert all(start.meter_start_wh <= wh <= stop.meter_stop_wh for wh in told)
        for value in stop.meter_values:
            assert value.at.boot_id in (start.at.boot_id, stop.at.boot_id)
            if value.at.boot_id == start.at.boot_id:
                assert value.at.boottime_ms >= start.at.boottime_ms, "a reading of before the start"
            if value.at.boot_id == stop.at.boot_id:
                assert value.at.boottime_ms <= stop.at.boottime_ms, "a reading of after the stop"

    def _check_values(self, values: tuple[MeterValue, ...]) -> None:
        assert all(value.sampled_values for value in values), "sampledValue is never empty (report 4 of operators)"

    def _check_energy(self, connector_id: int, desired: EvseDesired) -> None:
        if not desired.energy_allowed:
            return
        open_ones = [t for t in self._on_disk().transactions if t.connector_id == connector_id]
        assert len(open_ones) == 1, "energy needs one transaction on disk"
        assert open_ones[0].stop is None, "a transaction that stops gets no energy"
        assert not open_ones[0].deauthorized, "a refused idTag gets no energy"

    def _check_status(self, said: ConnectorState) -> None:
        connector_id, status = said.connector_id, said.status
        if connector_id == CHARGE_POINT:
            assert status in CHARGE_POINT_STATUSES
        else:
            before = self._shown.get(connector_id, status)
            assert allowed(before, status), f"{before} -> {status} is not in OCPP's table"
        if said.error_code is ChargePointErrorCode.EV_COMMUNICATION_ERROR:
            assert status in EV_COMMUNICATION_ERROR_STATUSES
        self._errors.setdefault(connector_id, set()).add((said.error_code, said.vendor_error_code))
        assert (status is ChargePointStatus.FAULTED) <= (said.error_code is not ChargePointErrorCode.NO_ERROR)
        self._shown[connector_id] = status
        self.statuses.setdefault(connector_id, []).append(said)

    def _check_supply(self, state: State) -> None:
        orders = [c.commanded for c in state.connectors if c.commanded is not None and c.commanded.energy_allowed]
        assert sum(order.limit_a for order in orders) <= state.supply_current_a, "more is offered than the supply has"
        for order in orders:
            assert order.limit_a >= 6.0, "less than 6 A can't be offered"

    def _check_refused(self, state: State) -> None:
        """OCPP 1.6 §4.8, §9.1.14: a refused idTag gets no more than MaxEnergyOnInvalidId, and only what is measured."""
        for connector in state.connectors:
            found = connector.transaction
            if found is None or found.refused_at_wh is None or connector.commanded is None:
                continue
            if connector.commanded.energy_allowed and isinstance(connector.phase, Running):
                assert found.last.energy_wh < found.refused_at_wh + state.settings.max_energy_on_invalid_id_wh
                assert not connector.meter_failure

    def _check_waiting(self, state: State) -> None:
        bound = [w.connector_id for w in state.waiting if w.connector_id is not None]
        assert len(bound) == len(set(bound)), "two authorizations wait for one connector"
        starting = [c.phase.waiting for c in state.connectors if isinstance(c.phase, Starting)]
        everybody = [*state.waiting, *starting]
        assert len(everybody) <= len(state.connectors), "more authorizations wait than there are connectors"
        on_disk = {w.waiting_id for w in self._on_disk().waiting}
        assert {w.waiting_id for w in everybody} == on_disk, "memory and disk differ in what waits"

    def _check_disk(self, state: State) -> None:
        loaded = self._on_disk()
        on_disk = {t.local_tx_id: t for t in loaded.transactions}
        in_memory = {c.transaction.local_tx_id: c.transaction for c in state.connectors if c.transaction is not None}
        assert on_disk.keys() == in_memory.keys(), "memory and disk differ in what is open"
        assert len({t.connector_id for t in loaded.transactions}) == len(on_disk), "two transactions on one connector"
        for connector in state.connectors:
            kept = connector.transaction and on_disk[connector.transaction.local_tx_id]
            match connector.phase:
                case Running(transaction=transaction, saved=saved):
                    assert saved == kept, "what was saved is not what is on disk"
                    assert transaction.next_number == saved.next_number
                    assert saved.segment in (transaction.segment, msgspec.structs.replace(transaction.segment, serial=""))
                case Resuming(transaction=transaction):
                    assert transaction == kept
                case Stopping(transaction=transaction):
                    assert kept is not None
                    assert kept.stop == transaction.stop
            readings = loaded.kept.get(connector.transaction.local_tx_id, ()) if connector.transaction else ()
            assert readings == connector.kept, "memory and disk differ in what is kept for transactionData"
        assert not self.store.unreadable
        assert list(loaded.cache.items()) == list(state.cache.items()), "memory and disk differ in the cache, or in its order"
        assert loaded.local_list == state.local_list, "memory and disk differ in the Local Authorization List"
        finished = {c.connector_id for c in state.connectors if _finished(c.phase) is not None}
        assert loaded.finished.keys() == finished, "memory and disk differ in what is finished"
        faults = {c.connector_id: c.faults for c in state.connectors if c.faults.any}
        assert loaded.faults == faults, "memory and disk differ in what is remembered of faults"

    def _check_availability(self, state: State) -> None:
        kept = self._on_disk().availability
        assert kept.get(CHARGE_POINT, Availability()) == state.availability, "memory and disk differ in availability"
        for connector in state.connectors:
            assert kept.get(connector.connector_id, Availability()) == connector.availability, "as above, of a connector"
            if connector.unavailable:
                assert not isinstance(connector.phase, Starting), "a session begins where none may"
                assert connector.connector_id not in {w.connector_id for w in state.waiting}, "somebody waits where nobody may"
                assert connector.published is None or connector.published.status in OUT_OF_USE

    def _check_locks(self, state: State) -> None:
        for connector in state.connectors:
            order, seen = connector.commanded, connector.seen
            if order is None:
                continue
            plain = EvseDesired(order.energy_allowed, order.limit_a, at_once=order.at_once)
            assert connector.socket or order == plain, "a fixed cable has no lock"
            assert not (order.at_once and order.energy_allowed), "energy is offered in an emergency"
            assert order.at_once or not state.emergency_stop, "the emergency stop waits for a vehicle to let go"
            if connector.socket and (connector.transaction is not None or order.energy_allowed):
                assert order.locked, "the plug of a transaction is not held"
            if connector.connector_id in self._held and not order.locked:
                assert seen is None or not seen.relay_closed, "a plug is let go while the contactor is closed"
        self._held = {c.connector_id for c in state.connectors if c.commanded is not None and c.commanded.locked}

    def _check_reservations(self, state: State) -> None:
        """OCPP 1.6 §5.13: memory is disk; nothing that is faulted or out of use is reserved; Reserved is a reservation."""
        kept = {r.reservation_id: msgspec.structs.replace(r, until_s=0.0) for r in self._on_disk().reservations}
        held = {r.reservation_id: msgspec.structs.replace(r, until_s=0.0) for r in state.reservations}
        assert kept == held, "memory and disk differ in what is reserved"
        places = [reservation.connector_id for reservation in state.reservations]
        assert len(places) == len(set(places)), "two reservations of one connector"
        for connector in state.connectors:
            own = next((r for r in state.reservations if r.connector_id == connector.connector_id), None)
            status = connector_status(state, connector)
            if status is ChargePointStatus.RESERVED:
                assert own is not None or CHARGE_POINT in places, "Reserved for nobody"
            if own is not None:
                assert status not in OUT_OF_USE, "a reservation outlives a fault or the going out of use"
                assert status is not ChargePointStatus.AVAILABLE, "what is reserved is offered to everybody"
                assert connector.transaction is None, "a reservation outlives the transaction of its holder"

    def _check_errors(self, state: State) -> None:
        """Every error that is there was told since it came, and the last word is true."""
        for connector in state.connectors:
            if connector.published is None or connector_status(state, connector) is None:
                continue
            errors = connector_errors(state, connector, connector.published.status)
            there = {error.identity for error in errors}
            told = self._errors.get(connector.connector_id, set())
            assert there <= told, f"errors are merged away: {there - told}"
            assert (connector.published.error_code is ChargePointErrorCode.NO_ERROR) == (not there)
            self._errors[connector.connector_id] = there


def register_wh(entry: TransactionEntry) -> int | None:
    """The transaction's register as one of its messages tells it, Wh; None: it does not."""
    match entry.message:
        case StartTransaction(meter_start_wh=wh) | StopTransaction(meter_stop_wh=wh):
            return wh
        case MeterValues(meter_values=values):
            return max((wh for wh in map(_register_of, values) if wh is not None), default=None)
    raise AssertionError("not a transaction message")


def _register_of(value: MeterValue) -> int | None:
    registers = (s.value for s in value.sampled_values if s.measurand is Measurand.ENERGY_ACTIVE_IMPORT_REGISTER)
    return next((int(text) for text in registers), None)


def _finished(phase: object) -> Finished | None:
    match phase:
        case Finished():
            return phase
        case Starting(finished=finished) | Resuming(finished=finished):
            return finished
    return None
