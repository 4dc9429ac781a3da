"""The harness itself: it fails loudly when something survives, and leaves nothing behind."""

import os
import subprocess
import sys

import pytest

from tests.harness import wait_until
from tests.station.conftest import ROOT, StandInStation

pytestmark = pytest.mark.process


def test_a_process_that_survives_its_station_fails_the_test_and_is_killed() -> None:
    station = StandInStation()
    command = [sys.executable, str(ROOT / "tests" / "station" / "stubborn.py"), str(station.state_dir / "stubborn.lock")]
    station.__enter__()
    survivor = subprocess.Popen(command, env=station.environment, stdout=subprocess.DEVNULL)
    wait_until(lambda: (station.state_dir / "stubborn.lock").exists(), 10, "the process that will survive")
    with pytest.raises(AssertionError, match=rf"survived the end of the station: process {survivor.pid}"):
        station.__exit__(None, None, None)
    assert survivor.wait(5) < 0
    assert not os.path.exists(station.state_dir)


def test_a_condition_that_never_comes_true_names_itself() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: the moon rises \(last value: \[\]\)"):
        wait_until(list, 0.01, "the moon rises")
