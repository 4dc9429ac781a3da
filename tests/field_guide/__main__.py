"""The field guide, acted out: `python -m tests.field_guide [SYMPTOM…]`; exit code 1 where the station shows something else.

A symptom is named by its anchor or a part of it. Owns: which, how many at a time, the verdict. Does not: act (`replay.py`).
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.field_guide.acts import CannotBeActed
from tests.field_guide.guide import Symptom, symptoms
from tests.field_guide.replay import Differs, replay

GUIDE = Path(__file__).parents[2] / "deploy" / "FIELD-GUIDE.md"
_ONE_WAIT_S = 300
_STDERR_CHARS_MAX = 8000
_NOT_ACTED = 2
_WORDS = {0: "ok", 1: "DIFFERS", _NOT_ACTED: "NOT ACTED OUT"}


def main() -> int:
    """0: everything shown is as the guide says, as far as this machine can act it out; 1: not; 2: there is no such symptom."""
    parser = argparse.ArgumentParser(prog="python -m tests.field_guide", description="Act the symptoms of the field guide out.")
    parser.add_argument("symptoms", metavar="SYMPTOM", nargs="*", help="anchor of its heading, or a part of it (all)")
    parser.add_argument("--workers", type=int, default=3 * (os.cpu_count() or 1), help="at a time; they mostly wait")
    parser.add_argument("--one", action="store_true", help="in this process, and show everything; so the others are started")
    arguments = parser.parse_args()
    found = _chosen(arguments.symptoms)
    if not found:
        print(f"there is no such symptom; there is {', '.join(symptom.name for symptom in _all())}", file=sys.stderr)
        return 2
    if arguments.one:
        return max(_act_out(symptom) for symptom in found)
    began_s = time.monotonic()
    with ThreadPoolExecutor(arguments.workers) as pool:
        codes = list(pool.map(_in_a_process, found))
    skipped = codes.count(_NOT_ACTED)
    rest = f", {skipped} can't be acted out here" if skipped else ""
    print(f"{codes.count(0)} of {len(codes)} symptoms are as the guide says{rest}, in {time.monotonic() - began_s:.0f} s")
    return 1 if 1 in codes else 0


def _all() -> list[Symptom]:
    return symptoms(GUIDE.read_text(encoding="utf-8"))


def _chosen(names: list[str]) -> list[Symptom]:
    """Those that the names mean, in the order of the guide; none if one of the names means nothing."""
    known = _all()
    meant = [_meant(known, name) for name in names] if names else [known]
    return [symptom for symptom in known if any(symptom in some for some in meant)] if all(meant) else []


def _meant(known: list[Symptom], name: str) -> list[Symptom]:
    exact = [symptom for symptom in known if symptom.name == name]
    return exact or [symptom for symptom in known if name in symptom.name]


def _act_out(symptom: Symptom) -> int:
    try:
        replay(symptom, said=print)
    except Differs as difference:
        print(difference)
        return 1
    except CannotBeActed as reason:
        print(f"not acted out: {reason}")
        return _NOT_ACTED
    except (AssertionError, TimeoutError):
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def _in_a_process(symptom: Symptom) -> int:
    began_s = time.monotonic()
    command = [sys.executable, "-m", "tests.field_guide", "--one", symptom.name]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ONE_WAIT_S, check=False)
    code = done.returncode if done.returncode in _WORDS else 1
    said = f"\n{done.stdout}{done.stderr[-_STDERR_CHARS_MAX:]}" if code else ""
    print(f"{_WORDS[code]}  {symptom.title} ({time.monotonic() - began_s:.0f} s){said}", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
