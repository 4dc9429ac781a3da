"""How a service takes in station.toml at its start: loaded, and told in its health, so that a later change can be noticed.

Owns: joining the two. Does not: check the file (`station.py`), or compare (`applied.py`).
"""

from bus.runtime import Runtime
from services.configuration.applied import digests
from services.configuration.model import StationConfig
from services.configuration.station import load


def load_for(runtime: Runtime) -> StationConfig:
    """The configuration of this process. Raises ConfigurationError."""
    config = load(runtime.process.config_path, with_virtual_devices=runtime.process.virtual)
    runtime.config_parts = digests(config, runtime.service)
    return config
