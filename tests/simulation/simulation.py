"""One seed from its plan to the judge's findings.

Owns: asking the station's stores what they still have, and the words that are printed for a seed that fails.
"""

import msgspec

from tests.simulation.judge import Finding, Residue, Rules, judge
from tests.simulation.plan import Day, day
from tests.simulation.story import Story, text_of
from tests.simulation.world import World, passed

BEFORE_S, AFTER_S = 400.0, 60.0
FINDINGS_MAX = 5


class Outcome(msgspec.Struct, frozen=True):
    """What became of a seed."""

    seed: int
    findings: tuple[Finding, ...]
    story: str
    """In words; empty where nothing was found."""
    sessions: int = 0
    messages: int = 0
    deaths: int = 0


def simulate(seed: int) -> Outcome:
    """Let a day pass and judge it."""
    return outcome(day(seed))


def outcome(plan: Day) -> Outcome:
    """Let this day pass and judge it."""
    with passed(plan) as world:
        findings = (*world.bugs, *judge(world.ledger, world.book, residue(world), rules(plan)))
        return Outcome(
            seed=plan.seed,
            findings=findings,
            story=told(plan, findings, world.story) if findings else "",
            sessions=len(world.ledger.contacts),
            messages=len(world.book.copies),
            deaths=len(world.ledger.deaths),
        )


def residue(world: World) -> Residue:
    """What the stores still have."""
    world.keep_dead_letters()
    alarms = world.disk.rows("transactions.db", "SELECT alarm FROM messages WHERE alarm IS NOT NULL")
    return Residue(
        waiting=_count(world, "transactions.db", "messages"),
        kept=_count(world, "connectors.db", "journal_out") + _count(world, "transactions.db", "journal_out"),
        open_transactions=_count(world, "connectors.db", "transactions"),
        dead_letters=tuple(world.dead_letters),
        given_up_ids=frozenset(world.given_up_ids),
        alarms=tuple(text for (text,) in alarms),
    )


def rules(plan: Day) -> Rules:
    """What promises depend on."""
    keys = plan.config.ocpp
    return Rules(
        attempts=max(1, int(keys["TransactionMessageAttempts"])),
        retry_interval_s=int(keys["TransactionMessageRetryInterval"]),
        sample_interval_s=int(keys["MeterValueSampleInterval"]),
        charges_unknown_offline=keys["AllowOfflineTxForUnknownId"] == "true",
        honest_clock=plan.honest_clock,
    )


def told(plan: Day, findings: tuple[Finding, ...], story: Story) -> str:
    """The findings of a seed, and what happened about the first of them."""
    lines = [f"seed {plan.seed}: {len(findings)} promises broken"]
    lines += [f"  {finding.promise}: {finding.text}" for finding in findings[:FINDINGS_MAX]]
    at_s = findings[0].at_s
    lines.append(f"What happened (true time; first seen at {at_s:.0f} s):")
    lines += ["  " + line[:230] for line in story.around(at_s - BEFORE_S, at_s + AFTER_S)]
    return "\n".join(lines)


def _count(world: World, name: str, table: str) -> int:
    rows = world.disk.rows(name, f"SELECT count(*) FROM {table}")
    return int(rows[0][0]) if rows else 0


def whole_story(seed: int) -> str:
    """All lines of a day, with everything random in them: what two runs of a seed are compared by."""
    with passed(day(seed)) as world:
        copies = [f"{copy.at_s:.3f} {copy.unique_id} {copy.raw} {copy.fate}" for copy in world.book.copies]
        return "\n".join([*map(text_of, world.story.lines), *copies])
