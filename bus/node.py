"""A service's end of the bus, without sockets: frames in, frames out, in between the four kinds (design §3).

Owns: routing of frames to states, events, calls and journals, and what is to be sent. Does not: touch sockets, files or a
clock (`now` is passed in), so that the simulation joins nodes by a bus of its own. The shell (`bus/runtime.py`) moves
the frames and calls `tick` at `next_deadline_s`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from bus import codec
from bus.calls import CallsOut, IncomingCall, Reply
from bus.codec import CallHeader, EventHeader, JournalHeader, ReplyHeader, StateHeader, Undecodable
from bus.events import EventInput, EventOutput
from bus.logs import Logger
from bus.messages import Message
from bus.states import StateInput, StateOutput
from bus.topics import CANCEL_PREFIX, EVERY_SERVICE, REPLY_PREFIX, Kind, Topic, find_topic, topic_of, wire_name

T = TypeVar("T", bound=Message)
Frame = tuple[bytes, bytes]
Entries = list[tuple[JournalHeader, Any]]
"""Entries of one journal with their places, in the order of arrival."""

CANCELLED_REMEMBERED_MAX = 256


class Node:
    """One service on the bus. Handlers run on the deciding thread, one at a time, in the order of arrival."""

    def __init__(self, service: str, *, incarnation: int, now: Callable[[], float], log: Logger) -> None:
        self.service = service
        self.now = now
        self.undecodable = 0
        self._log = log
        self._incarnation = incarnation
        self._outgoing: deque[Frame] = deque()
        self._afterwards: list[Callable[[], None]] = []
        self._state_out = StateOutput(service, incarnation)
        self._state_in = StateInput()
        self._event_out = EventOutput(service, incarnation)
        self._event_in = EventInput()
        self._calls_out = CallsOut(service, incarnation)
        self._call_number = 0
        self._cancelled: deque[str] = deque(maxlen=CANCELLED_REMEMBERED_MAX)
        self._subscriptions: dict[str, None] = {f"{REPLY_PREFIX}{service}.": None}
        self._watchers: dict[str, list[Callable[[str, Any], None]]] = {}
        self._unknown_watchers: dict[str, list[Callable[[str], None]]] = {}
        self._event_handlers: dict[str, Callable[[str, Any], None]] = {}
        self._call_handlers: dict[str, Callable[[Any, IncomingCall], None]] = {}
        self._cancel_handler: Callable[[str], None] = lambda _: None
        self._journal_handlers: dict[str, Callable[[Entries], None]] = {}
        self._gathered: Entries = []
        self._gathered_name = ""
        self._complained: set[str] = set()

    def publish(self, value: Message, key: str = "", *, topic: Topic | None = None, within_s: float = 0.0) -> None:
        """Make `value` the current value of its state topic; it is refreshed from now on.

        `within_s`: it may be said so much later, if it will have been replaced by then.
        """
        row = topic or topic_of(type(value))
        self._own(row, Kind.STATE)
        name = wire_name(row, key)
        if within_s:
            self._state_out.change(name, value, period_s=row.period_s, due_s=self.now() + within_s)
            return
        header = self._state_out.publish(name, value, period_s=row.period_s, now_s=self.now())
        self._send(name, header, value)

    def emit(self, value: Message, key: str = "") -> None:
        """Tell of an event, at most once."""
        row = topic_of(type(value))
        self._own(row, Kind.EVENT)
        name = wire_name(row, key)
        self._send(name, self._event_out.header(name, self.now()), value)

    def call(self, request: Message, *, timeout_s: float, on_reply: Callable[[Reply], None], service: str = "") -> str:
        """Ask the service that owns the request's topic; `on_reply` is called once, with an answer or a time-out.

        `service`: which one, where every service answers such calls.
        """
        row = topic_of(type(request))
        assert row.kind is Kind.CALL, f"{row.name} is no call"
        assert row.answer is not None, f"{row.name} has no answer"
        now_s = self.now()
        deadline_s = now_s + timeout_s
        assert bool(service) == (row.publisher == EVERY_SERVICE), f"{row.name} {service or 'to nobody'}"
        call_id = self._calls_out.open(service or row.publisher, row.answer, deadline_s, on_reply)
        self._call_number += 1
        header = CallHeader(self.service, self._incarnation, self._call_number, now_s, call_id, deadline_s)
        self._send(wire_name(row, service), header, request)
        return call_id

    def cancel(self, call_id: str) -> None:
        """Stop waiting for a call and take back what may still happen because of it."""
        service = self._calls_out.forget(call_id)
        if service is not None:
            self._send_cancel(call_id, service)

    def send_entry(self, topic: Topic, header: JournalHeader, entry: Message) -> None:
        """Send one journal entry; `bus.streams` does the rest."""
        self._own(topic, Kind.JOURNAL)
        self._send(topic.name, header, entry)

    def journal_header(self, store: str, stream: int, *, seq: int, previous: int, epoch: int) -> JournalHeader:
        """Header of a journal entry of this publisher."""
        return JournalHeader(self.service, self._incarnation, seq, self.now(), store, stream, seq, previous, epoch)

    def watch(
        self,
        message: type[T],
        on_value: Callable[[str, T], None],
        on_unknown: Callable[[str], None] | None = None,
        *,
        topic: Topic | None = None,
    ) -> None:
        """Be told of each newer value of a state topic (with its key), and when a value becomes unknown."""
        row = topic or topic_of(message)
        assert row.kind is Kind.STATE, f"{row.name} is no state"
        self._subscriptions[row.name] = None
        self._watchers.setdefault(row.name, []).append(on_value)
        if on_unknown is not None:
            self._unknown_watchers.setdefault(row.name, []).append(on_unknown)

    def latest(self, message: type[T], key: str = "") -> T | None:
        """The current value of a watched state topic; None when unknown."""
        value: T | None = self._state_in.value(wire_name(topic_of(message), key), self.now())
        return value

    def on_event(self, message: type[T], handler: Callable[[str, T], None]) -> None:
        """Handle the fresh events of a topic."""
        row = topic_of(message)
        assert row.kind is Kind.EVENT, f"{row.name} is no event"
        self._subscriptions[row.name] = None
        self._event_handlers[row.name] = handler

    def serve(self, message: type[T], handler: Callable[[T, IncomingCall], None]) -> None:
        """Answer the calls of a topic that this service owns."""
        row = topic_of(message)
        self._own(row, Kind.CALL)
        self._subscriptions[wire_name(row, self.service if row.publisher == EVERY_SERVICE else "")] = None
        self._subscriptions[f"{CANCEL_PREFIX}{self.service}."] = None
        self._call_handlers[row.name] = handler

    def on_cancel(self, handler: Callable[[str], None]) -> None:
        """Be told the id of each call that its caller has given up."""
        self._cancel_handler = handler

    def on_entries(self, topic: Topic, handler: "Callable[[Entries], None]") -> None:
        """Take journal entries, those that came together at once; `bus.streams` does the rest."""
        assert topic.kind is Kind.JOURNAL, f"{topic.name} is no journal"
        assert topic.consumer == self.service, f"{topic.name} is stored by {topic.consumer}"
        self._subscriptions[topic.name] = None
        self._journal_handlers[topic.name] = handler

    def subscriptions(self) -> list[bytes]:
        """Prefixes to subscribe to; the broker's own last, so that seeing it means that all the others are in place."""
        self._subscriptions.pop("broker.", None)
        self._subscriptions["broker."] = None
        return [name.encode() for name in self._subscriptions]

    def take_outgoing(self) -> list[Frame]:
        """Frames to send, in order."""
        frames = list(self._outgoing)
        self._outgoing.clear()
        return frames

    def afterwards(self, action: Callable[[], None]) -> None:
        """Put off what nobody waits for, until all that is to be said now has gone out."""
        self._afterwards.append(action)

    def do_afterwards(self) -> bool:
        """Do what was put off; it may have something to say. False: there was nothing."""
        actions, self._afterwards = self._afterwards, []
        for action in actions:
            action()
        return bool(actions)

    def broker_attached(self) -> None:
        """A broker has connected that may know nothing: tell it every current state."""
        for name, header, value in self._state_out.all(self.now()):
            self._send(name, header, value)

    def receive(self, frames: list[bytes]) -> None:
        """Handle one message. What does not decode is counted, logged once for its topic, and dropped."""
        self.receive_all((frames,))

    def receive_all(self, messages: Iterable[list[bytes]]) -> None:
        """Handle messages that came together, in their order. Journal entries with nothing between them are handed over at
        once, so that they share a commit."""
        for frames in messages:
            self._receive_one(frames)
        self._hand_over()

    def _receive_one(self, frames: list[bytes]) -> None:
        name = frames[0].decode("utf-8", "replace") if frames else ""
        if name != self._gathered_name:
            self._hand_over()
        try:
            if len(frames) != 2:
                raise Undecodable(f"{len(frames)} frames instead of two")
            self._route(name, frames[1])
        except Undecodable as error:
            self.undecodable += 1
            if name[:100] not in self._complained and len(self._complained) < 100:
                self._complained.add(name[:100])
                self._log.warning("bus message dropped, it does not decode", topic=name[:100], reason=error)

    def tick(self) -> None:
        """Do what time demands: refresh states, notice unknown ones, time calls out."""
        now_s = self.now()
        for name, header, value in self._state_out.due(now_s):
            self._send(name, header, value)
        for name in self._state_in.newly_unknown(now_s):
            found = find_topic(name)
            assert found is not None
            for handler in self._unknown_watchers.get(found[0].name, ()):
                handler(found[1])
        for call_id, service in self._calls_out.expire(now_s):
            self._send_cancel(call_id, service)

    def next_deadline_s(self) -> float | None:
        """Boottime at which `tick` has something to do."""
        parts = (self._state_out, self._state_in, self._calls_out)
        return min((d for d in (part.next_deadline_s() for part in parts) if d is not None), default=None)

    def _route(self, name: str, body: bytes) -> None:
        if name.startswith(REPLY_PREFIX):
            self._receive_reply(body)
        elif name.startswith(CANCEL_PREFIX):
            header, _ = codec.decode(body, CallHeader, None)
            self._cancelled.append(header.call_id)
            self._cancel_handler(header.call_id)
        else:
            found = find_topic(name)
            if found is None:
                raise Undecodable("no such topic")
            self._receive_topic(name, *found, body)

    def _receive_topic(self, name: str, topic: Topic, key: str, body: bytes) -> None:
        header_type = _HEADERS[topic.kind]
        header, value = codec.decode(body, header_type, topic.message)
        if value is None:
            raise Undecodable("no payload")
        if topic.publisher not in (EVERY_SERVICE, header.sender) and topic.kind is not Kind.CALL:
            raise Undecodable(f"{header.sender} is not the owner of this topic")
        match topic.kind:
            case Kind.STATE:
                if self._state_in.accept(name, header, value, self.now()):
                    for handler in self._watchers.get(topic.name, ()):
                        handler(key, value)
            case Kind.EVENT:
                self._receive_event(name, topic, key, header, value)
            case Kind.CALL:
                if topic.publisher != EVERY_SERVICE or key == self.service:
                    self._receive_call(topic, header, value)
            case Kind.JOURNAL:
                if topic.name in self._journal_handlers:
                    self._gathered_name = name
                    self._gathered.append((header, value))

    def _hand_over(self) -> None:
        """What was gathered is handled before anything that came after it."""
        if not self._gathered:
            return
        entries, self._gathered = self._gathered, []
        self._journal_handlers[self._gathered_name](entries)

    def _receive_event(self, name: str, topic: Topic, key: str, header: EventHeader, value: Any) -> None:
        arrival = self._event_in.judge(name, header, age_s_max=topic.age_s_max, now_s=self.now())
        if arrival.lost:
            self._log.warning("events were lost on the bus", topic=name, lost=arrival.lost)
        if arrival.fresh and topic.name in self._event_handlers:
            self._event_handlers[topic.name](key, value)
        elif arrival.age_s > topic.age_s_max:
            self._log.warning("event dropped, it came too late to be acted on", topic=name, age_s=arrival.age_s)

    def _receive_call(self, topic: Topic, header: CallHeader, value: Any) -> None:
        handler = self._call_handlers.get(topic.name)
        if handler is None or header.call_id in self._cancelled:
            return
        call = IncomingCall(header.call_id, header.sender, header.deadline_s, self._send_reply)
        if call.expired(self.now()):
            self._log.warning("call dropped, its caller no longer waits", topic=topic.name, caller=header.sender)
            return
        handler(value, call)

    def _receive_reply(self, body: bytes) -> None:
        header, payload = codec.unpack(body)
        try:
            typed = msgspec.convert(header, ReplyHeader)
            answer = self._calls_out.answer_type(typed.call_id)
            if answer is None:
                return
            value = None if typed.error is not None else msgspec.convert(payload, answer)
        except msgspec.ValidationError as error:
            raise Undecodable(str(error)) from None
        self._calls_out.settle(Reply(typed.call_id, value=value, error=typed.error))

    def _send_reply(self, call: IncomingCall, value: Any, error: str | None) -> None:
        self._call_number += 1
        header = ReplyHeader(self.service, self._incarnation, self._call_number, self.now(), call.call_id, error)
        self._send(f"{REPLY_PREFIX}{call.caller}.", header, value)

    def _send_cancel(self, call_id: str, service: str) -> None:
        self._call_number += 1
        header = CallHeader(self.service, self._incarnation, self._call_number, self.now(), call_id, 0.0)
        self._send(f"{CANCEL_PREFIX}{service}.", header, None)

    def _send(self, name: str, header: codec.Header, value: msgspec.Struct | None) -> None:
        self._outgoing.append((name.encode(), codec.encode(header, value)))

    def _own(self, topic: Topic, kind: Kind) -> None:
        assert topic.kind is kind, f"{topic.name} is a {topic.kind.value}, not a {kind.value}"
        owner = topic.publisher
        assert owner in (self.service, EVERY_SERVICE), f"{topic.name} belongs to {owner}, not to {self.service}"


_HEADERS: dict[Kind, type[codec.Header]] = {
    Kind.STATE: StateHeader,
    Kind.EVENT: EventHeader,
    Kind.CALL: CallHeader,
    Kind.JOURNAL: JournalHeader,
}
