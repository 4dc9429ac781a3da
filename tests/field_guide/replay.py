"""Acts one symptom out on a virtual station and does what the guide says, word by word.

Owns: the station, typing commands on a terminal, waiting until they show what they should. Does not: know the guide's form
(`guide.py`) or how a symptom comes about (`acts.py`).
"""

import os
import pty
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tests.acceptance.rig import CentralSystem, config_text
from tests.field_guide.acts import ACTS, Act, Scene
from tests.field_guide.guide import Step, Symptom, differences
from tests.harness import Station, wait_until

_SHOWN_WITHIN_S = 60.0
_AGAIN_S = 0.3
_WELL_WITHIN_S = 60.0
_COMMAND_WAIT_S = 60.0
_CHANGES = ("restart", "out-of-service", "queue requeue", "queue import", "config set", "config reset", "sim")
"""What is typed once; the rest only looks, and is typed again until it shows what it should."""


class Differs(Exception):
    """The station does not show what the guide says; the text is for its author."""


def replay(symptom: Symptom, said: Callable[[str], object] = lambda _: None) -> None:
    """`said` gets what is typed and what comes.

    Raises Differs, CannotBeActed; AssertionError or TimeoutError where the symptom can't be brought about or does not go away.
    """
    act = ACTS[symptom.name]
    with act.place() as state_dir, CentralSystem() as central_system:
        act.before(central_system)
        text = config_text(central_system.url, **act.devices) + act.more
        text = text.replace("[central_system]\n", f"[central_system]\n{act.central}")
        with Station(text, state_dir=state_dir) as station:
            scene = Scene(station, central_system, "CP-1")
            if act.boots:
                scene.wait_for_boot()
                wait_until(lambda: station.status()["well"], _WELL_WITHIN_S, "the station is well before the symptom")
            act.happens(scene)
            for step in symptom.steps:
                said(_done(scene, act, step))
            wait_until(lambda: station.status()["well"], _WELL_WITHIN_S, "the station is well after the remedy")


def _done(scene: Scene, act: Act, step: Step) -> str:
    if step.by_hand or not step.text.startswith("station "):
        act.by_hand[step.text](scene)
        return f"# {step.text}"
    words = [scene.words.get(word, word) for word in shlex.split(step.text)[1:]]
    shows = [_filled_in(scene, line) for line in step.shows]
    once = " ".join(words).startswith(_CHANGES)
    deadline_s = time.monotonic() + (0 if once else _SHOWN_WITHIN_S)
    while True:
        output = typed(scene.station, words)
        problem = differences(shows, output) if shows else ""
        if not problem:
            return f"$ {step.text}\n{output}"
        if time.monotonic() >= deadline_s:
            guide = "\n".join(f"    {line}" for line in shows)
            shown = "\n".join(f"    {line}" for line in output.splitlines())
            raise Differs(f"$ {step.text}\n{problem}\n  the guide says:\n{guide}\n  the station shows:\n{shown}")
        threading.Event().wait(_AGAIN_S)


def _filled_in(scene: Scene, line: str) -> str:
    for name, value in scene.words.items():
        line = line.replace(name, value)
    return line


def typed(station: Station, words: list[str]) -> str:
    """What `station WORDS…` shows a person at a terminal of the installed station, whose directories are the default."""
    name, *rest = words
    where = ["--state-dir", str(station.state_dir)]
    if name == "check":
        where += ["--config", str(station.config_path), "--virtual"]
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "services.station.cli", name, *where, *rest]
    with open(master, "rb", buffering=0) as terminal:
        try:
            process = subprocess.Popen(
                command, env=station.environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, cwd=station.state_dir
            )
        finally:
            os.close(slave)
        found = bytearray()
        try:
            while part := terminal.read(65536):
                found += part
        except OSError:
            # So a pty says that nobody writes any more.
            pass
        process.wait(_COMMAND_WAIT_S)
    return found.decode("utf-8", "replace").replace("\r\n", "\n")
