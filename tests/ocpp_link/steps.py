"""Drives the session's pure core, one event after the other."""

from typing import Any

from bus.messages import ConnectorState, Deliver, TransactionMessage
from bus.vocabulary import RegistrationStatus
from services.ocpp_link import core
from services.ocpp_link import events as e
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import BootNotificationConf, HeartbeatConf
from services.ocpp_link.state import Now, Offline, Settings, State
from tests.ocpp_link.world import start

TIME = "2027-01-15T08:00:00.000Z"


class Core:
    """A core with the effects of each step. The random part is in the middle unless a test says otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.state = State(settings=Settings(**settings))
        self.now_s = 100.0
        self.random = 0.5
        self.notes: list[str] = []

    def do(self, event: e.Event) -> list[e.Effect]:
        """Effects of one event, in order, without the log's lines."""
        self.state, effects = core.step(self.state, event, Now(self.now_s, self.random))
        self.notes += [effect.text for effect in effects if isinstance(effect, e.Note)]
        return [effect for effect in effects if not isinstance(effect, e.Note)]

    def tick(self, seconds: float = 0.0) -> list[e.Effect]:
        """Time passes, from deadline to deadline; all effects."""
        until_s, effects = self.now_s + seconds, []
        for _ in range(1000):
            deadline_s = core.next_deadline_s(self.state)
            if deadline_s is None or deadline_s > until_s:
                self.now_s = until_s
                return [*effects, *self.do(e.Tick())]
            self.now_s = max(self.now_s, deadline_s)
            effects += self.do(e.Tick())
        raise AssertionError("a deadline stays in the past")

    def open(self) -> list[e.Effect]:
        effects = []
        while isinstance(self.state.connection, Offline):
            effects += self.tick(max(0.0, self.state.connection.next_try_s - self.now_s))
        return [*effects, *self.do(e.ConnectionOpened())]

    def boot(self, status: str = "Accepted", interval: float = 300, *, late: bool = False) -> list[e.Effect]:
        conf = BootNotificationConf(status=RegistrationStatus(status), current_time=TIME, interval=interval)
        return self.do(e.CallAnswered(Purpose.BOOT, "boot", conf, late))

    def heartbeat(self, purpose: Purpose = Purpose.HEARTBEAT, tag: str = "heartbeat", time: str = TIME) -> list[e.Effect]:
        return self.do(e.CallAnswered(purpose, tag, HeartbeatConf(current_time=time)))

    def fail(self, purpose: Purpose, code: str, tag: str = "", *, late: bool = False) -> list[e.Effect]:
        return self.do(e.CallFailed(purpose, tag, code, "why", late))

    def online(self) -> "Core":
        self.open()
        self.boot()
        return self

    def say(self, *states: ConnectorState) -> list[e.Effect]:
        return [effect for state in states for effect in self.do(e.ConnectorSaid(state))]

    def deliver(
        self, unique_id: str, call_id: str, message: TransactionMessage | None = None, transaction_id: int | None = None
    ) -> list[e.Effect]:
        return self.do(e.DeliverAsked(call_id, Deliver(unique_id, message or start(), transaction_id)))

    @property
    def deadline_s(self) -> float | None:
        return core.next_deadline_s(self.state)


def calls(effects: list[e.Effect]) -> list[str]:
    """Purposes of the CALLs in them."""
    return [effect.purpose.value for effect in effects if isinstance(effect, e.SendCall)]


def of(kind: type, effects: list[e.Effect]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]
