"""No secret in any log, bundle, status or other output: canaries are planted, and looked for everywhere (acceptance 5).

Who may hold what:
- an AuthorizationKey: `station.toml` for its owner, and `configuration.db`, which has to open a connection with it;
- an idTag in full: the databases, which have to tell cards apart and to deliver what was charged; `station queue export`, by
  which they get to another board; `station devices trace reader`, which shows what a reader really says; and of a virtual
  station the virtual hardware, in which the card lies. Everything else has four characters of it and the last two.
"""

import base64
import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.rig import CentralSystem, Rig, config_text
from tests.harness import Station, wait_until

pytestmark = pytest.mark.process

FILE_KEY, SENT_KEY, HAND_KEY = "canary-in-the-file-1", "canary-that-was-sent-2", "canary-set-by-hand-3"
REFUSED_KEY, BROKEN_KEY, CUT_KEY, SHORT_KEY = (
    "canary-refused-by-it-4",
    "canary-in-broken-call-5",
    "canary-in-cut-frame-6",
    "canary-7",
)
URL_PASSWORD, QUERY_KEY = "canary-in-the-url-8", "canary-in-the-query-9"
KEYS = (FILE_KEY, SENT_KEY, HAND_KEY, REFUSED_KEY, BROKEN_KEY, CUT_KEY, SHORT_KEY, URL_PASSWORD, QUERY_KEY)
CARD = "0CA9A52781"
LISTED, REMOTE, RESERVED, PARENT = "CanaryListed0001", "CanaryRemote0002", "CanaryReserved03", "CanaryParent0004"
BROKEN_TAG, LONG_TAG = "CanaryBroken0005", "CanaryMuchTooLong0000006"
TAGS = (CARD, LISTED, REMOTE, RESERVED, PARENT, BROKEN_TAG, LONG_TAG)

Haystack = tuple[str, bytes]


def forms(secret: str) -> set[bytes]:
    """What it may look like; passwords also as HTTP sends them."""
    raw = secret.lower().encode()
    with_name = base64.b64encode(f"CP-1:{secret}".encode()).lower()
    return {raw, raw.hex().encode(), base64.b64encode(secret.encode()).lower(), with_name}


def found(secrets: tuple[str, ...], haystacks: Iterator[Haystack] | list[Haystack]) -> list[str]:
    """Where which of them stands."""
    wanted = [(secret, forms(secret)) for secret in secrets]
    return [
        f"{secret} in {where}"
        for where, data in haystacks
        for secret, looks in wanted
        if any(look in data.lower() for look in looks)
    ]


def files(directory: Path, *, besides: tuple[str, ...]) -> Iterator[Haystack]:
    """Every file of the station but those whose names say that they may hold it."""
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and not path.is_symlink() and not name.startswith(besides) and ".db" not in name:
            yield name, path.read_bytes()


def databases(directory: Path) -> list[Haystack]:
    return [(path.name, path.read_bytes()) for path in directory.glob("*.db*")]


def command_lines(station: Station) -> list[Haystack]:
    found = []
    for name, pid in station.processes().items():
        # A process of a moment may be gone.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append((f"command line of {name}", Path(f"/proc/{pid}/cmdline").read_bytes()))
    return found


def output(station: Station, *arguments: str) -> Haystack:
    done = station.command(*arguments)
    return f"station {' '.join(arguments)}", (done.stdout + done.stderr).encode()


def members(path: Path) -> list[Haystack]:
    with tarfile.open(path) as archive:
        streams = [(f"{one.name} of the bundle", archive.extractfile(one)) for one in archive]
        return [(name, stream.read()) for name, stream in streams if stream is not None]


def plant(central_system: CentralSystem, station: Station) -> Rig:
    """Each canary goes the way that secrets and cards go."""
    one, call = Rig(station, central_system, "CP-1"), central_system.call
    one.wait_for_status(2, "Available", 20)
    central_system.behaviour.set_id_tag(CARD, "Accepted", parent=PARENT)
    entries = [{"idTag": LISTED, "idTagInfo": {"status": "Accepted", "parentIdTag": PARENT}}]
    call("SendLocalList", {"listVersion": 1, "updateType": "Full", "localAuthorizationList": entries})
    reservation = {"connectorId": 2, "expiryDate": "2099-01-01T00:00:00Z", "idTag": RESERVED, "reservationId": 5}
    assert call("ReserveNow", reservation) == {"status": "Accepted"}
    connections = len(central_system.book.connections())
    central_system.behaviour.passwords = {"CP-1": SENT_KEY}
    for key, status in ((SHORT_KEY, "Rejected"), (SENT_KEY, "Accepted"), (REFUSED_KEY, "Accepted")):
        assert call("ChangeConfiguration", {"key": "AuthorizationKey", "value": key}) == {"status": status}
        if status == "Accepted":
            connections += 1
            central_system.wait_for(lambda book, n=connections: len(book.connections()) >= n, 20, "it connects again")
    broken = f'{{"key":"AuthorizationKey","value":"{BROKEN_KEY}","more":1}}'
    central_system.send_frame(f'[2,"b1","ChangeConfiguration",{broken}]')
    central_system.send_frame(f'[2,"b2","ChangeConfiguration",{{"key":"AuthorizationKey","value":"{CUT_KEY}"')
    central_system.send_frame(f'[2,"b3","RemoteStartTransaction",{{"idTag":"{LONG_TAG}","connectorId":1}}]')
    central_system.send_frame(f'[2,"b4","RemoteStartTransaction",{{"idTag":["{BROKEN_TAG}"]}}]')
    central_system.send_frame(f'[2,"b5","RemoteStartTransaction",{{"idTag":"{BROKEN_TAG}"')
    return one


def charge(one: Rig) -> str:
    """A remote start that nobody uses, a card that starts a transaction, which ends offline; its local_tx_id."""
    one.central_system.call("RemoteStartTransaction", {"idTag": REMOTE, "connectorId": 2})
    one.start_by_card(1, CARD)
    running = wait_until(lambda: one.station.status()["connectors"].get("1", {}).get("transaction"), 10, "it is shown")
    local_tx_id = str(running["local_tx_id"])
    one.central_system.stop()
    one.station.sim("swipe", CARD)
    wait_until(lambda: "transaction ends" in one.station.log("connectors"), 20, "the transaction ends")
    wait_until(lambda: (one.station.status()["queue"] or {}).get("depth"), 20, "its end waits in the queue")
    return local_tx_id


def outputs(station: Station, local_tx_id: str) -> Iterator[Haystack]:
    """What every command says."""
    config = str(station.config_path)
    for line in (
        "status",
        "status --json",
        "logs -n all --frames",
        "logs -n all --frames --json",
        "logs -n all --frames --short",
        f"logs --transaction {local_tx_id}",
        "queue list --all",
        f"queue show {local_tx_id}",
        "queue check",
        "config",
        "config --json",
        f"config set AuthorizationKey {HAND_KEY}",
        f"config set AuthorizationKey {SHORT_KEY}",
        "config reset AuthorizationKey",
        "devices",
        "devices --json",
        "devices trace evse-1",
        f"check --virtual --config {config}",
        "restart meter",
    ):
        # The bundle is no place for what a person has typed, and neither is an answer.
        where, said = output(station, *line.split(" "))
        yield where.replace(HAND_KEY, "KEY").replace(SHORT_KEY, "KEY"), said


def test_no_secret_and_no_card_is_told_where_it_need_not_be(tmp_path: Path) -> None:
    with CentralSystem() as central_system:
        central_system.behaviour.passwords = {"CP-1": FILE_KEY}
        url = f'url = "{central_system.url}"'
        secured = f'url = "{central_system.url}?access={QUERY_KEY}"\nsecurity_profile = 1\nauthorization_key = "{FILE_KEY}"'
        text = config_text(central_system.url, meters=("sdm630", "sdm120")).replace(url, secured)
        with Station(text) as station:
            local_tx_id = charge(plant(central_system, station))
            assert found(KEYS, command_lines(station)) == []
            said = list(outputs(station, local_tx_id))
            assert found((*KEYS, *TAGS), said) == []
            bundle = tmp_path / "bundle.tar.gz"
            assert found((*KEYS, *TAGS), [output(station, "support-bundle", str(bundle))]) == []
            assert found((*KEYS, *TAGS), members(bundle)) == []
            assert found(KEYS, [output(station, "queue", "export", "-"), output(station, "devices", "trace", "reader")]) == []
            assert station.stop() == []
            assert found(KEYS, files(station.state_dir, besides=("station.toml",))) == []
            assert found(TAGS, files(station.state_dir, besides=("hardware",))) == []
            # They were there to be told: the station has used them.
            kept = " ".join(found((*KEYS, *TAGS), databases(station.state_dir)))
            assert all(one in kept for one in (CARD, LISTED, RESERVED))
            assert found((FILE_KEY,), list(files(station.state_dir, besides=("log", "run"))))
            dead = tmp_path / "dead.tar.gz"
            output(station, "support-bundle", str(dead))
            assert found((*KEYS, *TAGS), members(dead)) == []
            station.start()


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """OCPP-J 1.6 §6.2: the password belongs to the key, not to the address."""
    station = Station(config_text(f"ws://someone:{URL_PASSWORD}@127.0.0.1:1/"), state_dir=tmp_path, ready_timeout_s=None)
    (tmp_path / "run").mkdir()
    config = str(station.config_path)
    for line in (f"run --virtual --config {config}", f"check --virtual --config {config}", f"config --config {config}"):
        where, said = output(station, *line.split(" "))
        assert b"user name or password" in said, where
        assert found(KEYS, [(where, said)]) == []
    bundle = tmp_path / "bundle.tar.gz"
    output(station, "support-bundle", "--config", config, str(bundle))
    assert found(KEYS, members(bundle)) == []
    assert any(name.endswith("config/station.toml of the bundle") for name, _ in members(bundle))
