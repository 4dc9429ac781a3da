"""What is done to the station, and in which order: from one seed (pure but for its own random numbers).

Owns: the deeds, the points at which they are done, the sessions that people have. Does not: do anything. What a plan says
does not depend on how fast the station is: each connector and the tormentor draw from a generator of their own.
"""

import random
from collections.abc import Iterator

import msgspec

SERVICES = ("broker", "ocpp_link", "connectors", "meter", "rfid", "transaction_queue")
"""All but the simulator: that is the hardware."""
MOMENTS = (
    "plugged",
    "swiped",
    "Authorize received",
    "Authorize answered",
    "StartTransaction received",
    "StartTransaction answered",
    "relay-closed",
    "MeterValues received",
    "MeterValues answered",
    "relay-opened",
    "StopTransaction received",
    "StopTransaction answered",
    "unplugged",
)
"""Between card and StopTransaction.conf: what the hardware did, and what the Central System received and answered."""
REPLUG_S_MIN = 0.8
"""Nobody pulls one plug and pushes another in faster; nor would a controller, which debounces, see it."""
PATIENCE_S = 8.0
"""So long a deed waits for its moment, then it is done without."""


class Deed(msgspec.Struct, frozen=True):
    """`pause_s` after the one before; then `delay_s` after the next `moment`, if there is one."""

    what: str
    who: tuple[str, ...] = ()
    pause_s: float = 0.0
    moment: str = ""
    delay_s: float = 0.0
    direction: str = ""
    count: int = 0
    lasts_s: float = 0.0
    action: str = ""
    code: str = ""

    def words(self) -> str:
        """For the story."""
        parts = [self.what, " ".join(self.who), self.action, self.code, self.direction]
        parts += [f"{self.count} bytes"] if self.what == "cut after" else []
        parts += [f"for {self.lasts_s:.1f} s"] if self.lasts_s else []
        when = f" ({self.delay_s * 1000:.0f} ms after: {self.moment})" if self.moment else ""
        return " ".join(part for part in parts if part) + when


class Session(msgspec.Struct, frozen=True):
    """What somebody does with a car. `begins`: card, card first, remote; `ends`: card, remote, unplug, swap."""

    id_tag: str
    begins: str
    ends: str
    charge_wh: int
    pauses: bool
    rest_s: float


def deeds(seed: int) -> Iterator[Deed]:
    """Without end. A cut of the power is rare, as it takes the station seconds to come back."""
    rng = random.Random(f"{seed}/deeds")
    while True:
        made = rng.choices([make for make, _ in _WEIGHTS], [weight for _, weight in _WEIGHTS])[0](rng)
        moment = rng.choice(MOMENTS) if rng.random() < 0.6 else ""
        delay_s = rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.6))) if moment else 0.0
        yield msgspec.structs.replace(made, pause_s=rng.uniform(0.2, 2.5), moment=moment, delay_s=delay_s)


def sessions(seed: int, connector_id: int) -> Iterator[Session]:
    """Without end; each with a card of its own, so that the book says whose it is."""
    rng = random.Random(f"{seed}/sessions/{connector_id}")
    number = 0
    while True:
        number += 1
        yield Session(
            id_tag=f"{seed % 0x10000:04X}{connector_id:02X}{number:04X}",
            begins=rng.choices(("card", "card first", "remote"), (5, 2, 3))[0],
            ends=rng.choices(("card", "remote", "unplug", "swap"), (5, 2, 3, 1))[0],
            charge_wh=rng.choice((0, rng.randint(3, 10), rng.randint(10, 40))),
            pauses=rng.random() < 0.2,
            rest_s=rng.uniform(REPLUG_S_MIN, 2.5),
        )


def _kill(rng: random.Random) -> Deed:
    return Deed("kill", (rng.choice(SERVICES),))


def _kill_several(rng: random.Random) -> Deed:
    return Deed("kill", tuple(rng.sample(SERVICES, rng.randint(2, len(SERVICES)))))


def _restart(rng: random.Random) -> Deed:
    return Deed("restart", (rng.choice(SERVICES),))


def _power(rng: random.Random) -> Deed:
    return Deed(rng.choice(("kill supervisord", "kill supervisord and all")))


def _cut(rng: random.Random) -> Deed:
    return Deed(rng.choice(("cut", "cut", "hang up")))


def _cut_after(rng: random.Random) -> Deed:
    count = rng.choice((0, rng.randint(1, 60), rng.randint(1, 800)))
    return Deed("cut after", direction=rng.choice(("up", "down")), count=count)


def _stall(rng: random.Random) -> Deed:
    return Deed("stall", direction=rng.choice(("up", "down", "up and down")), lasts_s=rng.choice((0.5, 1.5, 4.0, 8.0)))


def _outage(rng: random.Random) -> Deed:
    return Deed(rng.choice(("stop the Central System", "kill the Central System")), lasts_s=rng.uniform(0.3, 4.0))


def _lossy(rng: random.Random) -> Deed:
    return Deed(rng.choice(("lose the answer", "lose the message", "cut after the answer")), action=_action(rng))


def _error(rng: random.Random) -> Deed:
    code = rng.choice(("InternalError", "GenericError", "OccurenceConstraintViolation"))
    return Deed("error", action=_action(rng), code=code)


def _silence(rng: random.Random) -> Deed:
    return Deed(rng.choice(("silence", "silent processing")), action=_action(rng))


def _action(rng: random.Random) -> str:
    return rng.choice(("StartTransaction", "MeterValues", "StopTransaction", "Authorize"))


_WEIGHTS = (
    (_kill, 12),
    (_kill_several, 4),
    (_restart, 1),
    (_power, 2),
    (_cut, 4),
    (_cut_after, 4),
    (_stall, 2),
    (_outage, 2),
    (_lossy, 5),
    (_error, 2),
    (_silence, 1),
)
