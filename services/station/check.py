"""`station check`: reads a station.toml as `station run` would, and starts nothing.

Owns: saying the result. Does not: know the rules; they are `services.configuration`'s.
"""

import argparse
import sys

from services.station import paths


def main(argv: list[str]) -> int:
    """0: good; 2: not, with one line that says what to change."""
    parser = argparse.ArgumentParser(prog="station check", description="Check a station.toml without starting anything.")
    parser.add_argument("--config", metavar="FILE", default=paths.CONFIG_DEFAULT, help="default: %(default)s")
    parser.add_argument("--virtual", action="store_true", help="for a station on virtual hardware: ports may be left out")
    arguments = parser.parse_args(argv)
    from services.configuration import station

    try:
        config = station.load(arguments.config, with_virtual_devices=arguments.virtual)
    except station.ConfigurationError as error:
        print(f"station check: {error}", file=sys.stderr)
        return 2
    connectors = len(config.connectors)
    print(
        f"{arguments.config} is good: station {config.station.identity}, {connectors} connector{'s' if connectors != 1 else ''}"
    )
    return 0
