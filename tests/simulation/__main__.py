"""Many simulated days on all cores: `python -m tests.simulation --seeds 1000 [--first N] [--stop-after N]`.

Owns: sharing seeds out, and the report: seeds per minute, sessions, messages, deaths, and the story of each seed that fails.
Exit code 1 if any does.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.simulation import Outcome, simulate

STORIES_MAX = 10
TOLD_EVERY_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many days")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    began_s = told_s = time.monotonic()
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for outcome in pool.map(simulate, seeds, chunksize=4):
            outcomes.append(outcome)
            if outcome.findings and sum(bool(o.findings) for o in outcomes) <= STORIES_MAX:
                print(outcome.story, flush=True)
            if time.monotonic() > told_s + TOLD_EVERY_S:
                told_s = time.monotonic()
                print(summary(outcomes, told_s - began_s), flush=True)
    print(summary(outcomes, time.monotonic() - began_s))
    failed = [outcome.seed for outcome in outcomes if outcome.findings]
    if failed:
        print(f"seeds that fail: {', '.join(map(str, failed))}")
    return 1 if failed else 0


def summary(outcomes: list[Outcome], took_s: float) -> str:
    """One line for people."""
    sessions = sum(outcome.sessions for outcome in outcomes)
    messages = sum(outcome.messages for outcome in outcomes)
    deaths = sum(outcome.deaths for outcome in outcomes)
    failed = sum(bool(outcome.findings) for outcome in outcomes)
    pace = len(outcomes) / max(took_s, 0.001) * 60
    return (
        f"{len(outcomes)} seeds, {failed} with findings; {sessions} sessions, {messages} copies of transaction messages,"
        f" {deaths} deaths; {pace:.0f} seeds a minute"
    )


if __name__ == "__main__":
    raise SystemExit(main())
