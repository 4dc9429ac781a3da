"""A running station is scraped, over its port and its socket (issue 7)."""

import os
import socket
from pathlib import Path

import pytest

from services.metrics.kernel import process_figures
from tests.acceptance.rig import rig
from tests.harness import Station, config, wait_until
from tests.metrics.test_figures import parsed
from tests.metrics.test_server import GOOD, rest

pytestmark = pytest.mark.process
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(path: Path) -> Samples:
    """What is served at a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        peer.sendall(GOOD)
        return parsed(rest(peer).partition(b"\r\n\r\n")[2].decode())


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"chargebus_{name}", tuple(sorted(labels.items()))))


def test_a_station_in_operation_is_scraped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with rig(ocpp=f'[metrics]\nlisten = "unix:{path}"\n') as one:
        one.start_by_card()
        one.central_system.call("GetConfiguration", {})

        def told() -> bool:
            return value(scrape(path), "ocpp_handling_seconds_count", action="GetConfiguration") is not None

        wait_until(told, 15, "the link tells how long calls took")
        samples = scrape(path)
        assert value(samples, "link_accepted") == 1
        assert value(samples, "link_connections_total") == 1
        assert value(samples, "meter_trusted", connector="1") == 1
        assert value(samples, "queue_dead_letters") == 0
        assert value(samples, "ocpp_response_seconds_count", action="StartTransaction") == 1
        running = {"broker", "ocpp_link", "connectors", "meter", "rfid", "transaction_queue", "watchdog", "metrics"}
        shown = {dict(labels)["service"] for name, labels in samples if name == "chargebus_process_memory_pss_bytes"}
        assert shown == running | {"supervisord"}
        assert all(value(samples, "process_memory_pss_bytes", service=name) for name in shown)
        one.station.restart("meter")
        wait_until(lambda: value(scrape(path), "service_restarts_total", service="meter") == 1, 10, "the restart is counted")
        assert one.station.status()["services"]["metrics"]["health"] == "well"
        one.stop_by_card()
        one.finished()


def test_a_port_that_is_taken_is_a_problem_of_the_metrics_alone_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Station(config(more=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')) as station:
            shown = wait_until(lambda: station.status()["services"]["metrics"]["problems"], 10, "the problem is told")
            assert "can't listen at 127.0.0.1" in shown[0]["text"]
            taken.close()
            wait_until(lambda: not station.status()["services"]["metrics"]["problems"], 20, "it is served then")
            with socket.create_connection(("127.0.0.1", port), 10) as peer:
                peer.sendall(GOOD)
                assert rest(peer).startswith(b"HTTP/1.1 200 OK")


def test_what_the_kernel_counts_is_of_the_process_that_is_meant() -> None:
    own = process_figures(os.getpid())
    assert own is not None
    assert own.memory_bytes is not None
    assert own.memory_bytes > 1_000_000
    assert process_figures(os.getpid(), started_s=0.0) is None, "a process that began later is another one"
    assert process_figures(2**22 + 1) is None
