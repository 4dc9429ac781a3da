"""The configuration of a station as it runs, or ran last: what commands about its state directory go by.

Owns: finding the file. Does not: check it (`services/configuration/station.py`). Works in the station's run directory.
"""

import contextlib
import json

from services.configuration.model import StationConfig
from services.configuration.station import load
from services.station import paths


class NotKnown(Exception):
    """Nothing says which station.toml is meant; one line."""


def run_facts() -> dict[str, object]:
    """How the last `station run` was started; empty: that is not known."""
    with contextlib.suppress(OSError, ValueError), open(paths.RUN_FACTS, encoding="utf-8") as file:
        facts = json.load(file)
        return facts if isinstance(facts, dict) else {}
    return {}


def load_known(given: str | None) -> StationConfig:
    """`given` on the command line, or what the last `station run` was given. Raises NotKnown, ConfigurationError."""
    facts = run_facts()
    path = given or facts.get("config")
    if not path:
        raise NotKnown("no station was ever run here; give its station.toml with --config")
    return load(str(path), with_virtual_devices=bool(facts.get("virtual")))
