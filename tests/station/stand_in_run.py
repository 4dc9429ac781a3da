"""`station run` with the broker and two stand-ins in place of the services: `python stand_in_run.py CONFIG STATE_DIR`."""

import sys

from bus.process import AlreadyRunning
from services.station.programs import Program
from services.station.run import start
from services.station.survivors import Survivor

STAND_INS = (
    Program("broker", "bus.broker", 10),
    Program("meter", "tests.station.stand_in", 20),
    Program("rfid", "tests.station.stand_in", 30),
)

if __name__ == "__main__":
    try:
        start(sys.argv[1], sys.argv[2], STAND_INS, virtual=True)
    except (AlreadyRunning, Survivor) as error:
        raise SystemExit(str(error)) from None
