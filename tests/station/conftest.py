"""Stations of stand-ins, for what `station` does whatever the services are."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import CommandFailed, Station, wait_until

ROOT = Path(__file__).parents[2]


class StandInStation(Station):
    """The broker and two services that do nothing, under the real supervisord."""

    def __init__(self, *, state_dir: Path | None = None) -> None:
        super().__init__(state_dir=state_dir, ready_timeout_s=None)
        self.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), self.environment.get("PYTHONPATH", "")])

    def run_command(self) -> list[str]:
        script = str(ROOT / "tests" / "station" / "stand_in_run.py")
        return [sys.executable, script, str(self.config_path), str(self.state_dir)]

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.all_in("RUNNING"), 15, "all stand-ins run")

    def all_in(self, state: str) -> bool:
        """Whether supervisord says so of each."""
        try:
            services = self.status()["services"].values()
        except CommandFailed:
            return False
        return [service["state"] for service in services] == 3 * [state]


@pytest.fixture
def stand_ins() -> Iterator[StandInStation]:
    with StandInStation() as station:
        yield station
