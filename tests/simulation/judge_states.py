"""Promises about what is said of the station's parts: an outdated value is never taken for a current one (pure).

Owns: what a Central System must be told of a service that is down for a while. Does not: look at money.
"""

from tests.simulation.judge import Case, Finding, Findings
from tests.simulation.ledger import Span

STALE = "an outdated state is never taken for a current one (design §3)"
TOLD_WITHIN_S = 60.0
OTHER_TROUBLE = (
    "connectors down",
    "ocpp_link down",
    "broker down",
    "bus bad",
    "disk bad",
    "power off",
    "central bad",
)
"""What keeps a status from being noticed, or from being told."""


def dead_services_are_told(case: Case) -> Findings:
    """A meter or reader service that is down for a minute is reported (OCPP 1.6 §7.6), if nothing else is wrong then."""
    for what, error in (("meter down", "PowerMeterFailure"), ("rfid down", "ReaderFailure")):
        for span in case.ledger.spans:
            if span.what == what and span.to_s >= span.from_s + TOLD_WITHIN_S and not _disturbed(case, span):
                within = [s for at_s, s in case.book.statuses if span.from_s <= at_s <= span.from_s + TOLD_WITHIN_S]
                if not any(status["errorCode"] == error for status in within):
                    yield Finding(STALE, f"the {what.split()[0]} service was down, and nobody was told {error}", span.from_s)


def _disturbed(case: Case, span: Span) -> bool:
    from_s, to_s = span.from_s - 60.0, span.from_s + TOLD_WITHIN_S
    return any(case.ledger.during(other, from_s, to_s) for other in OTHER_TROUBLE)


RULES = (dead_services_are_told,)
