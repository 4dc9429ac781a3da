"""One station's connection to the Central System: frames in, answers out, CALLs to the station.

Owns: the framing of OCPP-J 1.6 §4, what belongs to which unique id, and all of that in the book. Does not: accept connections
(`central_system.py`) or think up answers (`answers.py`).
"""

import asyncio
import contextlib
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from ocpp.exceptions import OCPPError
from ocpp.messages import Call, CallError, CallResult, unpack
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from services.demo import schemas
from services.demo.answers import Answers
from services.demo.behaviour import Behaviour, Deed, Rule
from services.demo.book import Book, Kind, What
from services.demo.plausibility import Plausibility


class CallFailed(Exception):
    """A station answered a CALL with a CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class CentralState:
    """What all connections of a Central System share. `registered`: the last answer to each station's BootNotification."""

    def __init__(self) -> None:
        self.book = Book()
        self.behaviour = Behaviour()
        self.answers = Answers(self.behaviour)
        self.plausibility = Plausibility(self.behaviour.parent_of)
        self.registered: dict[str, str] = {}
        self.triggered: dict[str, set[str]] = {}
        """Actions that a station was asked for by TriggerMessage, so that it may send them while not accepted."""


class Connection:
    """A WebSocket that has been accepted."""

    def __init__(self, number: int, identity: str, socket: ServerConnection, state: CentralState) -> None:
        self.number = number
        self.identity = identity
        self.socket = socket
        self._state = state
        self._book = state.book
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._asked: dict[str, str] = {}
        self._seen: set[str] = set()
        self._unanswered: dict[str, float] = {}
        self._one_call = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until either side closes. A CALL is handled as a task, so that a late answer holds up nothing else."""
        try:
            async for frame in self.socket:
                self._receive(frame)
        except ConnectionClosed:
            pass
        finally:
            # What was received is processed even if the station is gone: a real Central System has it in its queue.
            for future in self._waiting.values():
                future.cancel()

    async def call(self, action: str, payload: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a CALL when no other is open, and wait. Raises CallFailed, TimeoutError, ConnectionError."""
        async with self._one_call:
            unique_id = await self.send_call(action, payload)
            try:
                answer = await asyncio.wait_for(self._waiting[unique_id], timeout_s)
            except TimeoutError:
                raise TimeoutError(f"no answer to {action} within {timeout_s} s") from None
            except asyncio.CancelledError:
                raise ConnectionError(f"the connection ended before {action} was answered") from None
            finally:
                self._waiting.pop(unique_id, None)
        if isinstance(answer, CallError):
            raise CallFailed(str(answer.error_code), str(answer.error_description))
        return dict(answer.payload)

    async def send_call(self, action: str, payload: dict[str, Any]) -> str:
        """Send a CALL, open ones or not, valid or not; its unique id."""
        unique_id = str(uuid.uuid4())
        self._asked[unique_id] = action
        self._waiting[unique_id] = asyncio.get_running_loop().create_future()
        if action in ("TriggerMessage", "ExtendedTriggerMessage"):
            wanted = self._state.triggered.setdefault(self.identity, set())
            wanted.add(str(payload.get("requestedMessage")))
        text = Call(unique_id, action, payload).to_json()
        self._write(What.SENT, kind=Kind.CALL, unique_id=unique_id, action=action, payload=payload, text=text)
        await self.send_text(text)
        return unique_id

    async def send_text(self, frame: str | bytes) -> None:
        """Send anything; str as a text frame, bytes as a binary one. A connection that is gone is no error here."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(frame)

    def _receive(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self._write(What.RECEIVED, text=repr(frame), violations=("a binary frame",))
            return
        try:
            message = unpack(frame)
        except (OCPPError, RecursionError) as error:
            self._write(What.RECEIVED, text=frame, violations=(f"no OCPP-J message: {error}",))
            return
        problem = _envelope_problem(message)
        if problem:
            self._write(What.RECEIVED, text=frame, violations=(problem,))
        elif isinstance(message, Call):
            self._receive_call(message, frame)
        else:
            self._receive_answer(message, frame)

    def _receive_call(self, call: Call, frame: str) -> None:
        broken = schemas.violation(schemas.CALL, call.action, call.payload)
        found = [broken] if broken else []
        if not broken:
            now = datetime.now(UTC)
            found += self._state.plausibility.breaches(self.identity, call.action, call.payload, now)
        found += self._protocol_breaches(call)
        self._write(
            What.RECEIVED,
            kind=Kind.CALL,
            unique_id=call.unique_id,
            action=call.action,
            payload=call.payload,
            text=frame,
            violations=tuple(found),
        )
        self._unanswered[call.unique_id] = time.monotonic()
        task = asyncio.get_running_loop().create_task(self._handle(call, broken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _protocol_breaches(self, call: Call) -> list[str]:
        found = []
        if call.unique_id in self._seen:
            found.append("the unique id was used before on this connection (OCPP-J 1.6 §4.1.4)")
        self._seen.add(call.unique_id)
        youngest_s = time.monotonic() - self._state.behaviour.message_timeout_s
        if any(at_s > youngest_s for at_s in self._unanswered.values()):
            found.append("another CALL of the station is still open (OCPP-J 1.6 §4.1.1)")
        if not self._may_send(call):
            found.append("sent without being accepted (OCPP 1.6 §4.2)")
        return found

    def _may_send(self, call: Call) -> bool:
        """A station that nothing is known of is one that was accepted before this Central System started."""
        status = self._state.registered.get(self.identity, "Accepted")
        if call.action == "BootNotification" or status == "Accepted":
            return True
        return status == "Pending" and call.action in self._state.triggered.get(self.identity, ())

    async def _handle(self, call: Call, broken: str) -> None:
        delay_s = self._state.behaviour.delay_s(call.action)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        rule = self._state.behaviour.take_rule(call.action)
        error = self._refusal(call, broken) if rule is None else None
        if rule is not None:
            await self._misbehave(call, rule, broken)
        elif error is not None:
            await self._send_error(call, *error)
        else:
            await self._send_result(call, self._process(call))

    def _refusal(self, call: Call, broken: str) -> tuple[str, str] | None:
        if not self._state.answers.knows(call.action):
            known = schemas.known_action(call.action)
            return ("NotSupported" if known else "NotImplemented", f"{call.action} is not for a Central System")
        if broken:
            return "FormationViolation", broken[:255]
        if not self._may_send(call):
            # OCPP-J errata 3.8.
            return "SecurityError", "not accepted, send BootNotification"
        return None

    async def _misbehave(self, call: Call, rule: Rule, broken: str) -> None:
        processed = rule.processed and self._refusal(call, broken) is None
        match rule.deed:
            case Deed.CALL_ERROR:
                await self._send_error(call, rule.code, rule.description)
            case Deed.ANSWER:
                assert rule.payload is not None
                await self._send_result(call, rule.payload)
            case Deed.CLOSE_AFTER:
                if processed:
                    await self._send_result(call, self._process(call))
                await self.socket.close(1001)
            case Deed.SILENCE | Deed.CLOSE_BEFORE:
                if processed:
                    payload = self._process(call)
                    answer = CallResult(call.unique_id, payload)
                    self._note_answer(What.WITHHELD, Kind.CALLRESULT, call, payload, answer)
                else:
                    self._write(What.DROPPED, unique_id=call.unique_id, action=call.action)
                if rule.deed is Deed.CLOSE_BEFORE:
                    self.abort()

    def abort(self) -> None:
        """Cut the connection without a closing handshake."""
        self.socket.transport.abort()

    def _process(self, call: Call) -> dict[str, Any]:
        answer = self._state.answers.answer(self.identity, call.unique_id, call.action, call.payload)
        match call.action:
            case "BootNotification":
                self._state.registered[self.identity] = answer["status"]
                self._state.triggered.pop(self.identity, None)
            case "StartTransaction":
                self._state.plausibility.started(self.identity, answer["transactionId"], call.payload)
            case "StopTransaction":
                self._state.plausibility.stopped(self.identity, call.payload)
        return answer

    async def _send_result(self, call: Call, payload: dict[str, Any]) -> None:
        text = self._note_answer(self._sent(), Kind.CALLRESULT, call, payload, CallResult(call.unique_id, payload))
        await self.send_text(text)

    async def _send_error(self, call: Call, code: str, description: str) -> None:
        payload = {"code": code, "description": description, "details": {}}
        error = CallError(call.unique_id, code, description, {})
        await self.send_text(self._note_answer(self._sent(), Kind.CALLERROR, call, payload, error))

    def _sent(self) -> What:
        """The book has an answer before the station can react to it; one to a station that is gone is withheld."""
        return What.SENT if self.socket.state is State.OPEN else What.WITHHELD

    def _note_answer(self, what: What, kind: Kind, call: Call, payload: dict[str, Any], answer: Any) -> str:
        if what is What.SENT:
            self._unanswered.pop(call.unique_id, None)
        text = str(answer.to_json())
        fields = {"unique_id": call.unique_id, "action": call.action, "payload": payload, "text": text}
        self._write(what, kind=kind, **fields)
        return text

    def _receive_answer(self, message: Any, frame: str) -> None:
        action = self._asked.get(message.unique_id, "")
        found = [] if action else ["answers a CALL that was never made"]
        if isinstance(message, CallError):
            kind = Kind.CALLERROR
            payload: Any = {
                "code": message.error_code,
                "description": message.error_description,
                "details": message.error_details,
            }
            if message.error_code not in schemas.ERROR_CODES:
                found.append(f"{message.error_code} is no error code (OCPP-J 1.6 §4.2.3)")
        else:
            kind, payload = Kind.CALLRESULT, message.payload
            broken = schemas.violation(schemas.CALLRESULT, action, payload) if schemas.known_action(action) else ""
            found += [broken] if broken else []
        fields = {"unique_id": message.unique_id, "action": action, "payload": payload, "text": frame}
        self._write(What.RECEIVED, kind=kind, violations=tuple(found), **fields)
        future = self._waiting.get(message.unique_id)
        if future is not None and not future.done():
            future.set_result(message)

    def _write(self, what: What, **fields: Any) -> None:
        self._book.write(self.number, self.identity, what, **fields)


def _envelope_problem(message: Any) -> str:
    unique_id = message.unique_id
    if not isinstance(unique_id, str) or not 1 <= len(unique_id) <= schemas.UNIQUE_ID_LENGTH_MAX:
        return f"a unique id is a string of 1 to {schemas.UNIQUE_ID_LENGTH_MAX} characters, not {unique_id!r}"
    if isinstance(message, Call) and not isinstance(message.action, str):
        return f"an action is a string, not {message.action!r}"
    if isinstance(message, (Call, CallResult)) and not isinstance(message.payload, dict):
        return "a payload is an object (OCPP-J 1.6 §4.2)"
    return ""
