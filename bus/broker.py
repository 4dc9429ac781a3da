"""The broker: an XSUB/XPUB proxy with a last-value cache for state topics. Run as `python -m bus.broker`.

Owns: the two sockets everybody connects to, and the last message of each state topic, replayed to a subscriber by prefix
(all subscribers see the replay and drop what is not newer). Does not: decide, decode payloads, or keep anything on disk.
After its own restart the cache fills again from the owners: each sees the broker's subscription and says its states again.
"""

import os

import zmq

from bus import sockets
from bus.clock import boottime_ns, boottime_s
from bus.codec import encode
from bus.messages import BrokerState, Problem, ServiceHealth
from bus.process import settle
from bus.runtime import Stopping, prepare_process
from bus.states import StateOutput
from bus.topics import Kind, find_topic, topic_of, wire_name
from bus.version import VERSION

CACHE_MAX = 2000
"""State values kept; a real station has under a hundred. Beyond it new topics are passed on but not kept."""
BURST_MAX = 1000
"""Messages moved from one side before the other is looked at."""


class LastValues:
    """The last message of each state topic (no sockets)."""

    def __init__(self) -> None:
        self._frames: dict[bytes, list[bytes]] = {}
        self.refused = 0

    def keep(self, frames: list[bytes]) -> None:
        """Remember a message if its topic is a state; others, and what is no message, are not for keeping."""
        if len(frames) != 2:
            return
        name = frames[0]
        if name not in self._frames:
            found = find_topic(name.decode("utf-8", "replace"))
            if found is None or found[0].kind is not Kind.STATE:
                return
            if len(self._frames) >= CACHE_MAX:
                self.refused += 1
                return
        self._frames[name] = frames

    def matching(self, prefix: bytes) -> list[list[bytes]]:
        """What a new subscriber to `prefix` should have."""
        return [frames for name, frames in self._frames.items() if name.startswith(prefix)]


class Broker:
    """Moves messages between the two sockets, with its own state among them."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._input = sockets.broker_input(context)
        self._output = sockets.broker_output(context)
        self._values = LastValues()
        self._own = StateOutput("broker", boottime_ns())
        self._started_s = boottime_s()
        self._poller = zmq.Poller()
        self._poller.register(self._input, zmq.POLLIN)
        self._poller.register(self._output, zmq.POLLIN)
        self._say_own_state()

    def serve(self, stopping: Stopping) -> None:
        """Until asked to stop."""
        self._poller.register(stopping.fileno(), zmq.POLLIN)
        while not stopping.requested():
            ready = dict(self._poller.poll(self._timeout_ms()))
            if self._output in ready:
                self._take_subscriptions()
            if self._input in ready:
                self._pass_on()
            self._refresh()

    def _timeout_ms(self) -> int:
        deadline_s = self._own.next_deadline_s()
        assert deadline_s is not None
        return max(0, int((deadline_s - boottime_s()) * 1000) + 1)

    def _take_subscriptions(self) -> None:
        for _ in range(BURST_MAX):
            try:
                message = self._output.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if message[:1] == bytes([sockets.SUBSCRIBED]):
                for frames in self._values.matching(message[1:]):
                    sockets.send(self._output, frames)

    def _pass_on(self) -> None:
        for _ in range(BURST_MAX):
            frames = sockets.take(self._input)
            if frames is None:
                return
            self._values.keep(frames)
            sockets.send(self._output, frames)

    def _say_own_state(self) -> None:
        health = ServiceHealth(pid=os.getpid(), version=VERSION, started_boottime_s=self._started_s, problems=self._problems())
        for value, key in ((BrokerState(pid=os.getpid(), version=VERSION), ""), (health, "broker")):
            topic = topic_of(type(value))
            name = wire_name(topic, key)
            header = self._own.publish(name, value, period_s=topic.period_s, now_s=boottime_s())
            self._send_own(name.encode(), encode(header, value))

    def _problems(self) -> tuple[Problem, ...]:
        if not self._values.refused:
            return ()
        return (Problem("more state topics than the broker keeps; somebody publishes under ever new keys", self._started_s),)

    def _refresh(self) -> None:
        for name, header, value in self._own.due(boottime_s()):
            self._send_own(name.encode(), encode(header, value))

    def _send_own(self, name: bytes, body: bytes) -> None:
        self._values.keep([name, body])
        sockets.send(self._output, [name, body])


def main() -> int:
    """Run the broker in the state directory given on the command line."""
    with prepare_process("broker") as process:
        broker = Broker(zmq.Context())
        settle()
        broker.serve(process.stopping)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
