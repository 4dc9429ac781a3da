"""A service of the real runtime that does nothing: for tests of what `station` does with any service."""

import os

from bus.runtime import Runtime, run


class Idle:
    """Nothing to do, nothing to close."""

    def tick(self) -> None:
        pass

    def next_deadline_s(self) -> float | None:
        return None

    def close(self) -> None:
        pass


def build(runtime: Runtime) -> Idle:
    runtime.log.info("idle")
    return Idle()


if __name__ == "__main__":
    raise SystemExit(run(os.environ["SUPERVISOR_PROCESS_NAME"], build))
