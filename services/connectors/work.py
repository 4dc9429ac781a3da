"""One step in the making: a mutable notebook that starts from the old state and ends as new state and ordered effects.

Owns: the order of effects: energy is withdrawn for safety first, then one commit, then answers, output, questions, news,
log lines (style §1; design §3 "commit the intent, then act"). Does not: decide anything about charging.

The only withdrawal that waits for the commit is that of an ordinary stop, which is of a connector in Stopping that was not
withdrawn at once. All others (fault, emergency stop, lost authorization, another plug-in) come first.
"""

from typing import Any

import msgspec

from bus.messages import ConnectorState, ResetReady
from bus.profile_messages import LocalListState
from bus.vocabulary import ChargePointErrorCode
from services.connectors import events as e
from services.connectors.errors import charge_point_errors, connector_errors
from services.connectors.output import desired_output, withdrawn
from services.connectors.plug_in import PlugFaults, SavePlugFaults
from services.connectors.state import Connector, Idle, Now, State, Stopping, Waiting
from services.connectors.status import FAULTED, allowed, charge_point_states, connector_states, connector_status
from services.connectors.supply import with_order
from services.hardware.contract import EvseDesired

SETTLING_S = 3.0
"""After the output changed, a status that is only passed through is not shown for this long."""
CORRELATION_CHARS = 8


class Work:
    """What the rules of one step write into."""

    def __init__(self, state: State, now: Now) -> None:
        self.state = state
        self.now = now
        self._safety: list[e.Effect] = []
        self._changes: list[e.Change] = []
        self._answers: list[e.Effect] = []
        self._questions: list[e.Effect] = []
        self._told: list[e.Effect] = []
        self._notes: list[e.Note] = []
        self._ids = 0

    def connector(self, connector_id: int) -> Connector | None:
        """The connector of this number, as it is now; None if there is none."""
        if 1 <= connector_id <= len(self.state.connectors):
            return self.state.connectors[connector_id - 1]
        return None

    def put(self, connector: Connector, **facts: Any) -> Connector:
        """Replace a connector, with other facts; the new one."""
        new = msgspec.structs.replace(connector, **facts)
        others = list(self.state.connectors)
        others[new.connector_id - 1] = new
        self.set(connectors=tuple(others))
        return new

    def set(self, **facts: Any) -> None:
        """Replace facts of the whole station."""
        self.state = msgspec.structs.replace(self.state, **facts)

    def fresh_id(self) -> str:
        """An id that was never used."""
        self._ids += 1
        return self.now.fresh_id if self._ids == 1 else f"{self.now.fresh_id}-{self._ids}"

    def correlation_id(self, connector: Connector | None = None) -> str:
        """What the log calls a session that begins in this step; that of the plug, if one is in and nothing else began with it.

        It never decides anything, and takes no id from those that do.
        """
        if connector is not None and connector.plugged and isinstance(connector.phase, Idle) and connector.correlation_id:
            return connector.correlation_id
        return self.now.fresh_id[:CORRELATION_CHARS]

    def change(self, *changes: e.Change) -> None:
        """Add to what is committed."""
        self._changes.extend(changes)

    def drop_waiting(self, waiting: Waiting) -> None:
        """An authorization waits no longer."""
        self.set(waiting=tuple(w for w in self.state.waiting if w.waiting_id != waiting.waiting_id))
        self.change(e.DropWaiting(waiting.waiting_id))

    def add_waiting(self, waiting: Waiting) -> None:
        """An authorization waits, or waits with other facts."""
        others = tuple(w for w in self.state.waiting if w.waiting_id != waiting.waiting_id)
        self.set(waiting=(*others, waiting))
        self.change(e.SaveWaiting(waiting))

    def remember(self, connector: Connector, faults: PlugFaults) -> Connector:
        """What is remembered of the faults at its plug, on disk too; the connector with it."""
        kept = msgspec.structs.replace(faults, boot_id=self.now.boot_id) if faults.any else PlugFaults()
        if kept == connector.faults:
            return connector
        self.change(SavePlugFaults(connector.connector_id, kept if kept.any else None))
        return self.put(connector, faults=kept)

    def answer(self, effect: e.Answer) -> None:
        """Answer a call, after the commit."""
        self._answers.append(effect)

    def ask(self, effect: e.AskAuthorize | e.ReadRegister) -> None:
        """Ask another service, after the output is set."""
        self._questions.append(effect)

    def tell(self, effect: e.TellMeterValues | e.TellCard) -> None:
        """Say something that is no state, after the news."""
        self._told.append(effect)

    def note(self, text: str, **fields: Any) -> None:
        """Write a line into the log."""
        self._notes.append(e.Note(text, **fields))

    def withdraw_at_once(self, connector: Connector) -> Connector:
        """Take energy away before anything is written: safety waits for nothing."""
        desired, before = withdrawn(self.state, connector), connector.commanded
        if before is not None and not before.energy_allowed and (before.at_once or not desired.at_once):
            return connector
        self._safety.append(e.SetEvse(connector.connector_id, desired))
        return self._commanded(connector, desired)

    def finish(self) -> tuple[State, tuple[e.Effect, ...]]:
        """The new state and everything to be done, in order."""
        outputs = self._derive_outputs()
        news = self._derive_news()
        notes = [self._correlated(note) for note in self._notes]
        self._end_correlations()
        commit: list[e.Effect] = [e.Commit(tuple(self._changes))] if self._changes else []
        effects = [*self._safety, *commit, *self._answers, *outputs, *self._questions, *news, *self._told, *notes]
        return self.state, tuple(effects)

    def _derive_outputs(self) -> list[e.Effect]:
        """New orders for the controllers, lower ones before higher ones, as they share one supply."""
        outputs: list[tuple[float, e.Effect]] = []
        for connector in self.state.connectors:
            desired = desired_output(self.state, connector)
            if desired is None or desired == connector.commanded:
                continue
            before = connector.commanded
            ends = not desired.energy_allowed and (before is None or before.energy_allowed)
            urgent = desired.at_once and (before is None or not before.at_once)
            if urgent or (ends and not isinstance(connector.phase, Stopping)):
                self.withdraw_at_once(connector)
                continue
            before_a = 0.0 if before is None else before.limit_a
            outputs.append((desired.limit_a - before_a, e.SetEvse(connector.connector_id, desired)))
            self._commanded(connector, desired)
        return [effect for _, effect in sorted(outputs, key=lambda output: output[0])]

    def _correlated(self, note: e.Note) -> e.Note:
        """A line about a connector is one of the session there."""
        connector = None if note.connector_id is None else self.connector(note.connector_id)
        if connector is None or note.correlation_id:
            return note
        return msgspec.structs.replace(note, correlation_id=connector.correlation_id)

    def _end_correlations(self) -> None:
        """The session is over where no plug is in any more and no card waits for one; the step in which it ends is its last."""
        bound = {waiting.connector_id for waiting in self.state.waiting}
        for connector in self.state.connectors:
            over = connector.plugged is False and isinstance(connector.phase, Idle) and connector.connector_id not in bound
            if over and connector.correlation_id:
                self.put(connector, correlation_id="")

    def _commanded(self, connector: Connector, desired: EvseDesired) -> Connector:
        before = connector.commanded
        same = before is not None and (before.energy_allowed, before.limit_a) == (desired.energy_allowed, desired.limit_a)
        settling_until_s = connector.settling_until_s if same else self.now.boottime_s + SETTLING_S
        in_force_a = with_order(connector, desired)
        return self.put(connector, commanded=desired, in_force_a=in_force_a, settling_until_s=settling_until_s)

    def _derive_news(self) -> list[e.Effect]:
        news: list[e.Effect] = []
        for connector in self.state.connectors:
            news.extend(self._news_of(connector))
        for said in charge_point_states(self.state, self.now):
            news.append(e.PublishConnector(said))
            self.set(charge_point=said)
        self.set(charge_point_told=charge_point_errors(self.state))
        stopped = all(connector.transaction is None for connector in self.state.connectors)
        reset = (self.state.resetting, self.state.resetting is not None and stopped)
        if reset != self.state.reset_said:
            news.append(e.PublishReset(ResetReady(*reset)))
            self.set(reset_said=reset)
        size = self.state.local_list
        local_list = LocalListState(self.state.settings.local_auth_list_enabled, size.version, size.entries)
        if local_list != self.state.local_list_said:
            news.append(e.PublishLocalList(local_list))
            self.set(local_list_said=local_list)
        return news

    def _news_of(self, connector: Connector) -> list[e.Effect]:
        news: list[e.Effect] = []
        status = connector_status(self.state, connector)
        if status is None:
            return news
        for said in connector_states(self.state, connector, self.now):
            news.append(e.PublishConnector(said))
            self._note_status(connector, said)
            beneath = connector.beneath if said.status is FAULTED else said.status
            connector = self.put(connector, published=said, beneath=beneath)
        self.put(connector, told=connector_errors(self.state, connector, status))
        return news

    def _note_status(self, connector: Connector, said: ConnectorState) -> None:
        before = connector.published
        if before is not None and (before.status, before.error_code) == (said.status, said.error_code):
            return
        detail = f"{_shown(before)} -> {_shown(said)}" + (f", {said.info}" if said.info else "")
        self.note("status changes", connector_id=connector.connector_id, detail=detail)
        if before is not None and not allowed(before.status, said.status):
            # OCPP 1.6 §4.9: an assert here could stop a healthy charger; tests fail on it, the field only logs.
            change = f"{before.status} -> {said.status}"
            self.note("status change outside OCPP's table", connector_id=connector.connector_id, detail=change, warning=True)


def _shown(said: ConnectorState | None) -> str:
    """Status and error for the log: the end of an error without another status is a change too."""
    if said is None:
        return "unknown"
    return said.status if said.error_code is ChargePointErrorCode.NO_ERROR else f"{said.status}, {said.error_code}"
