"""Local Authorization Lists in a simulated day: what the Central System sends, and that a list is never half applied.

OCPP 1.6 §5.15: whatever dies or is cut at whatever statement, the station has the list of before an update or the one of after
it, and the one of after it once it has answered Accepted. Where an older copy of the store was put back, it has some list that
there truly was.

Owns: the updates of a seed, from a random stream of their own so that all else in a seed stays as it is, and the judgement on
what is on the disk. Does not: use the station's rules; what an update does to a list is said here once more.
"""

import json
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.book import Asked
from tests.simulation.judge import Finding
from tests.simulation.people import Plan

if TYPE_CHECKING:
    from tests.simulation.world import World

WHOLE = "a local list is never half applied"
TRUE = {"ANNA": "Accepted", "BERT": "Accepted", "BAD": "Blocked"}
"""What a list says of people is what the Central System would say; of others it says anything."""
STATUSES = ("Accepted", "Blocked", "Expired", "Invalid")
REFUSALS = ("Failed", "VersionMismatch", "NotSupported")

Content = tuple[int, tuple[tuple[str, str], ...]]
"""A version and its entries: idTag without case, and status."""
EMPTY: Content = (0, ())


class Update(msgspec.Struct, frozen=True):
    """SendLocalList at `at_s`. `dies_after`: how many things `connectors` still does from then on; None: it lives."""

    at_s: float
    payload: dict[str, Any]
    dies_after: int | None = None


def updates(seed: int, visits: tuple[Plan, ...], until_s: float) -> tuple[Update, ...]:
    """What a seed sends: lists are sent while people come and go, and on some days none is."""
    dice = random.Random(f"{seed} lists")
    if dice.random() < 0.4:
        return ()
    times = sorted(dice.choice(visits).at_s + dice.uniform(-30.0, 400.0) for _ in range(dice.randrange(1, 6)))
    return tuple(_update(dice, at_s, version) for version, at_s in enumerate(times, 1) if 0.0 < at_s < until_s)


def contents(asked: Iterable[Asked], *, exchanged: bool) -> set[Content]:
    """What the list may be after these updates; `exchanged`: its store was lost, or an older copy was put back."""
    now, ever = {EMPTY}, {EMPTY}
    for one in asked:
        if one.action != "SendLocalList" or one.answer in REFUSALS:
            continue
        after = {_applied(content, one.payload) for content in (ever if exchanged else now)}
        now = after if one.answer == "Accepted" else now | after
        ever |= after
    return ever if exchanged else now


def look(world: "World") -> None:
    """Judge what is on the disk, as a process that starts now would find it."""
    found = _on_disk(world)
    if found not in contents(world.book.asked, exchanged="connectors" in world.exchanged):
        text = f"version {found[0]} with {len(found[1])} entries is none that was sent"
        world.bugs.append(Finding(WHOLE, text, world.clock.true_s))


def _update(dice: random.Random, at_s: float, version: int) -> Update:
    full = version == 1 or dice.random() < 0.3
    entries = [_entry(id_tag, status) for id_tag, status in TRUE.items() if full or dice.random() < 0.3]
    for number in dice.sample(range(30), dice.randrange(3, 15)):
        entries.append(_entry(f"L{number}", dice.choice(STATUSES) if full or dice.random() < 0.7 else None))
    payload = {
        "listVersion": version,
        "updateType": "Full" if full else "Differential",
        "localAuthorizationList": entries,
    }
    return Update(at_s, payload, dice.randrange(1, 25) if dice.random() < 0.5 else None)


def _entry(id_tag: str, status: str | None) -> dict[str, Any]:
    return {"idTag": id_tag} if status is None else {"idTag": id_tag, "idTagInfo": {"status": status}}


def _applied(content: Content, payload: dict[str, Any]) -> Content:
    """What an update makes of a list, if it is taken (OCPP 1.6 §5.15, §7.1, §7.47)."""
    version, entries = content
    full = payload["updateType"] == "Full"
    if not full and payload["listVersion"] <= version:
        return content
    listed = {} if full else dict(entries)
    for entry in payload["localAuthorizationList"]:
        listed.pop(entry["idTag"].lower(), None)
        if "idTagInfo" in entry:
            listed[entry["idTag"].lower()] = entry["idTagInfo"]["status"]
    return payload["listVersion"], tuple(sorted(listed.items()))


def _on_disk(world: "World") -> Content:
    size = world.disk.rows("connectors.db", "SELECT value FROM known WHERE name = 'local_list'")
    rows = world.disk.rows("connectors.db", "SELECT id_tag, body FROM local_list")
    version = json.loads(size[0][0])["version"] if size else 0
    return version, tuple(sorted((id_tag, json.loads(body)["status"]) for id_tag, body in rows))
