"""Metrics in Prometheus' text format: parsed by its own client; unknown is absent, never 0 (issue 7)."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bus.latency_messages import BOUNDS_S, ActionTimes, LinkTimes
from bus.messages import (
    ClockState,
    DeviceHealth,
    LinkState,
    MeterState,
    Moment,
    Problem,
    QueueState,
    ServiceHealth,
    WatchdogState,
)
from bus.vocabulary import RegistrationStatus
from services.metrics import figures
from services.metrics.exposition import Exposition
from services.metrics.figures import Facts, ProcessFigures

UTC_OFFSET_S = 1_800_000_000.0
NOTHING = Facts(now_s=1000.0, boot_id="boot", system_utc_s=UTC_OFFSET_S + 1001.5, version="1.2.3")
ALL = Facts(
    now_s=1000.0,
    boot_id="boot",
    system_utc_s=UTC_OFFSET_S + 1001.5,
    version="1.2.3",
    link=LinkState(connected=True, registration=RegistrationStatus.ACCEPTED, connection=3),
    last_received_s=990.0,
    clock=ClockState("central_system", UTC_OFFSET_S),
    queue=QueueState(depth=2, dead_letters=1, oldest_at=Moment("boot", 940_000)),
    meters={"1": MeterState(1), "2": MeterState(2, "does not answer")},
    readings_s={"1": 999.5, "2": 900.0},
    healths={
        "meter": ServiceHealth(7, "1.2.3", 100.0, problems=(Problem("no", 1.0),)),
        "rfid": ServiceHealth(8, "1.2.3", 200.0, devices=(DeviceHealth("reader", False, "gone"),)),
    },
    watchdog=WatchdogState(restarts={"meter": 4}),
    times=LinkTimes(
        {"Reset": ActionTimes((1, 0, 2, 0, 0, 0, 1), 12.5)}, {"Heartbeat": ActionTimes((5, 0, 0, 0, 0, 0, 0), 0.01)}
    ),
    processes={"meter": ProcessFigures(12_000_000, 4096), "rfid": ProcessFigures(None, 0)},
)


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels, each one once."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram"), family.name
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(facts: Facts, name: str, **labels: str) -> float | None:
    return parsed(figures.text(facts)).get((f"chargebus_{name}", tuple(sorted(labels.items()))))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("build_info", {"version": "1.2.3"}, 1),
        ("link_connected", {}, 1),
        ("link_accepted", {}, 1),
        ("link_last_received_age_seconds", {}, 10),
        ("link_connections_total", {}, 3),
        ("clock_offset_seconds", {}, -1.5),
        ("clock_source_info", {"source": "central_system"}, 1),
        ("queue_messages", {}, 2),
        ("queue_oldest_age_seconds", {}, 60),
        ("queue_dead_letters", {}, 1),
        ("meter_reading_age_seconds", {"connector": "1"}, 0.5),
        ("meter_reading_age_seconds", {"connector": "2"}, 100),
        ("meter_trusted", {"connector": "1"}, 1),
        ("meter_trusted", {"connector": "2"}, 0),
        ("service_problems", {"service": "meter"}, 1),
        ("service_problems", {"service": "rfid"}, 1),
        ("service_start_time_seconds", {"service": "meter"}, UTC_OFFSET_S + 100),
        ("service_restarts_total", {"service": "meter"}, 4),
        ("service_restarts_total", {"service": "rfid"}, 0),
        ("process_memory_pss_bytes", {"service": "meter"}, 12_000_000),
        ("process_memory_pss_bytes", {"service": "rfid"}, None),
        ("process_written_bytes_total", {"service": "rfid"}, 0),
        ("ocpp_handling_seconds_bucket", {"action": "Reset", "le": "0.005"}, 1),
        ("ocpp_handling_seconds_bucket", {"action": "Reset", "le": "0.1"}, 3),
        ("ocpp_handling_seconds_bucket", {"action": "Reset", "le": "10"}, 3),
        ("ocpp_handling_seconds_bucket", {"action": "Reset", "le": "+Inf"}, 4),
        ("ocpp_handling_seconds_count", {"action": "Reset"}, 4),
        ("ocpp_handling_seconds_sum", {"action": "Reset"}, 12.5),
        ("ocpp_response_seconds_count", {"action": "Heartbeat"}, 5),
    ],
)
def test_each_figure(name: str, labels: dict[str, str], expected: float | None) -> None:
    assert value(ALL, name, **labels) == expected


def test_what_is_not_known_is_absent() -> None:
    """A station whose bus is down: nothing but the release is known."""
    assert parsed(figures.text(NOTHING)) == {("chargebus_build_info", (("version", "1.2.3"),)): 1}


def test_without_a_clock_nothing_is_said_in_unix_time() -> None:
    unknown = Facts(
        now_s=1000.0,
        boot_id="boot",
        system_utc_s=5.0,
        version="1",
        clock=ClockState("none"),
        queue=QueueState(1, 0, oldest_at=Moment("earlier boot", 1, utc_ms=5)),
        healths=ALL.healths,
    )
    names = {name for name, _ in parsed(figures.text(unknown))}
    assert not names & {
        "chargebus_clock_offset_seconds",
        "chargebus_service_start_time_seconds",
        "chargebus_queue_oldest_age_seconds",
    }
    assert "chargebus_queue_messages" in names


def test_an_age_over_a_reboot_goes_by_the_believed_time() -> None:
    facts = Facts(
        now_s=1000.0,
        boot_id="boot",
        system_utc_s=5.0,
        version="1",
        clock=ClockState("system", UTC_OFFSET_S),
        queue=QueueState(1, 0, oldest_at=Moment("earlier boot", 1, utc_ms=round((UTC_OFFSET_S + 100) * 1000))),
    )
    assert value(facts, "queue_oldest_age_seconds") == 900


def test_names_follow_the_conventions() -> None:
    """Prometheus, "Metric and label naming": base units, `_total` for counters and for nothing else."""
    text = figures.text(ALL)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds.items())
    assert all(re.fullmatch(r"chargebus_[a-z_]+", name) for name in kinds)
    assert not [name for name in kinds if re.search(r"_(ms|kb|minutes|milliseconds|kilobytes|wh)(_|$)", name)]
    assert [line for line in text.splitlines() if line.startswith("# HELP")] != []
    assert text.endswith("\n")


@given(st.text(max_size=40), st.floats(-1e300, 1e300) | st.sampled_from([math.inf, -math.inf]))
def test_any_label_and_any_number_come_through(label: str, number: float) -> None:
    out = Exposition()
    out.family("a_metric", "gauge", f"help {label!r}\nof two lines \\")
    out.sample(number, label=label.replace("\r", ""))
    # The client splits lines as Python does; the format knows only \n.
    text = out.text()
    assert text.count("\n") == 3
    found = re.fullmatch(r'a_metric\{label="((?:[^"\\\n]|\\["\\n])*)"\} (\S+)', text.split("\n")[2])
    assert found is not None
    assert re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], found[1]) == label.replace("\r", "")
    assert math.isclose(float(found[2].replace("Inf", "inf")), number, rel_tol=1e-14)


def test_bounds_grow() -> None:
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
