"""`station queue`: what the Central System does not have yet, and what a person can do about it.

Owns: the command line, the confirmation, exit codes. Does not: read or change (`queue_access.py`), or lay out
(`queue_layout.py`). Works on a running station and on one that is stopped.
"""

import argparse
import os
import sys
import time
from typing import TextIO

import msgspec

from bus.logs import utc_text
from services.station import paths, queue_beside
from services.station import queue_access as access
from services.station import queue_layout as layout
from services.transaction_queue import handover
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import FORMAT, FORMAT_VERSION, Counts, Export

_DONE, _FAILED, _NOTHING = 0, 1, 3
_EPILOG = """commands:
  list [--all]          what was given up or can't be read; --all: what just waits, and what is still open, too
  show TRANSACTION      all that is kept of one transaction: payloads, attempts, reasons
  check                 exit code 0 if this board may be taken away, 1 if not: something waits, was given up, can't be
                        read, or a transaction is still open
  export FILE           everything as JSON, to read and to import on another board; - is the terminal. Exit code 1: it is
                        written, but a damaged database may have had more
  import FILE           take in what another board exported; a second time adds nothing. A transaction that was still open
                        there is ended here, at its last reading
  requeue TRANSACTION   send again what was given up, after a confirmation (--yes: without)

A board swap: stop the old station, export, import on the new board, and do not start the old one again with what it had: both
would deliver it. See README, "Deploy and operate it"."""


def main(argv: list[str]) -> int:
    """0: done (`check`: nothing is kept); 1: not, with one line that says why; 3: there is no queue."""
    parser = argparse.ArgumentParser(
        prog="station queue",
        description="Transaction messages that no Central System has: list, show, export, import, send again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    paths.add_state_dir(parser)
    parser.add_argument("--all", action="store_true", help="list: also transactions whose messages just wait")
    parser.add_argument("--yes", action="store_true", help="requeue: I know that the Central System may book it twice")
    parser.add_argument("command", nargs="?", default="list", choices=("list", "show", "check", "export", "import", "requeue"))
    parser.add_argument("argument", nargs="?", metavar="FILE|TRANSACTION")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.command in ("show", "export", "import", "requeue") and arguments.argument is None:
        parser.error(f"{arguments.command} of what?")
    # Commands work in the run directory; what a person names is meant from where the person is.
    target = arguments.argument
    if arguments.command in ("export", "import") and target != "-":
        target = os.path.abspath(target)
    try:
        access.enter(paths.given_state_dir(arguments), new=arguments.command == "import")
        match arguments.command:
            case "list" | "check":
                return _list(everything=arguments.all, check=arguments.command == "check")
            case "show":
                return _show(target)
            case "export":
                return _export(target)
            case "import":
                return _import(target)
            case _:
                return _requeue(target, confirmed=arguments.yes)
    except (CannotBeDone, OSError) as error:
        print(f"station queue: {error}", file=sys.stderr)
        return _FAILED
    except access.NoQueue as error:
        print(f"station queue: {error}", file=sys.stderr)
        return _NOTHING


def _list(*, everything: bool, check: bool) -> int:
    with access.reading() as look:
        counts = _counts(look)
        lines = layout.verdict(counts, look.beside.count("waiting"), access.damaged_files(), look.problems)
        if not check:
            lines += layout.listing(queue_beside.whole(look.database, look.beside), everything=everything)
    print("\n".join(lines))
    empty = not (counts.waiting or counts.given_up or counts.unreadable or counts.open or look.problems)
    return _DONE if empty or not check else _FAILED


def _counts(look: access.Look) -> Counts:
    """All that there is, wherever it is."""
    counts, beside = handover.counts(look.database), look.beside
    return msgspec.structs.replace(
        counts,
        waiting=counts.waiting + beside.count("waiting"),
        unreadable=counts.unreadable + beside.count("unreadable"),
        open=queue_beside.open_count(look.database, beside),
    )


def _show(local_tx_id: str) -> int:
    with access.reading() as look:
        kept = queue_beside.one(look.database, look.beside, local_tx_id)
    if not kept.messages and not kept.open:
        raise CannotBeDone(f"nothing is kept of a transaction {local_tx_id}; `station queue list --all` lists all")
    print("\n".join(layout.details(kept)))
    return _DONE


def _export(target: str) -> int:
    if access.is_live():
        print(
            "station queue: this station runs and goes on delivering; for a board swap stop it first, or messages arrive twice",
            file=sys.stderr,
        )
    with access.reading() as look:
        if target == "-":
            count, still_open = _write(sys.stdout, look)
        else:
            # Idtags are in it: for its owner only. It has its name once it is whole.
            descriptor = os.open(f"{target}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                count, still_open = _write(file, look)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{target}.new", target)
    more = f", {still_open} transactions are still open: {layout.OPEN}" if still_open else ""
    print(f"station queue: {count} messages exported{more}", file=sys.stderr)
    for problem in look.problems:
        print(f"station queue: {problem}", file=sys.stderr)
    return _FAILED if look.problems else _DONE


def _write(file: TextIO, look: access.Look) -> tuple[int, int]:
    """All transactions, one after the other, so that memory stays small; how many messages, and open transactions."""
    frame = msgspec.json.encode(Export(FORMAT, FORMAT_VERSION, utc_text(time.time()), ())).decode()
    head = frame.partition("[]")[0]
    file.write(head + "[")
    count = still_open = 0
    boot_ids: set[str] = set()
    for number, kept in enumerate(queue_beside.whole(look.database, look.beside)):
        file.write(",\n" if number else "\n")
        file.write(msgspec.json.format(msgspec.json.encode(kept), indent=1).decode())
        count, still_open = count + len(kept.messages), still_open + kept.open
        boot_ids |= {boot.boot_id for boot in kept.boots}
    boots = msgspec.json.encode(handover.boots(look.database, boot_ids)).decode()
    file.write(f'],\n"boots":{boots}}}\n')
    return count, still_open


def _import(source: str) -> int:
    if source == "-":
        text = sys.stdin.buffer.read()
    else:
        with open(source, "rb") as file:
            text = file.read()
    export = handover.read_export(text)
    added = known = 0
    for number, given in enumerate(export.transactions):
        # The first one brings all boots, so that they have their order whatever comes after it.
        more = access.take_in(given, () if number else export.boots)
        added, known = added + more[0], known + more[1]
    print(f"{added} messages taken in, {known} were known already")
    still_open = sum(1 for given in export.transactions if given.open)
    if still_open:
        print(f"{still_open} transactions were still open: {layout.OPEN}")
    return _DONE


def _requeue(local_tx_id: str, *, confirmed: bool) -> int:
    with access.reading() as look:
        kept = handover.kept(look.database, local_tx_id)
    print("\n".join(layout.risk(kept)))
    if not confirmed:
        print("Type the transaction's name as above to go on, anything else to leave it: ", end="", flush=True)
        if sys.stdin.readline().strip() != local_tx_id:
            print("nothing was changed")
            return _FAILED
    print(f"{access.queue_again(local_tx_id)} messages are queued again")
    return _DONE
