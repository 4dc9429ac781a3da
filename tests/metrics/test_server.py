"""Scrapes over real sockets: good ones, slow ones, broken ones, too many (issue 7: they can't harm)."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.mailbox import Mailbox
from services.configuration.listen import Tcp, Unix
from services.metrics import server
from services.metrics.server import CONNECTIONS_MAX, REQUEST_BYTES_MAX, Server, listener
from tests.harness import wait_until

GOOD = b"GET /metrics HTTP/1.1\r\nHost: station\r\n\r\n"


class Served:
    """A server at a unix socket, with somebody who answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.questions: Mailbox[int] = Mailbox(CONNECTIONS_MAX)
        self.server = Server(listener(Unix(str(path))), self.questions)
        self.server.start()

    def connect(self) -> socket.socket:
        """A scraper."""
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(20)
        peer.connect(str(self.path))
        return peer

    def answer_one(self, text: str) -> None:
        """Wait for one question and answer it."""
        found: list[int] = []
        wait_until(lambda: bool(found.extend(self.questions.drain()) or found), 10, "a scrape is asked for")
        for number in found:
            self.server.answer(number, text)

    def scrape(self, text: str = "metric 1\n") -> bytes:
        """A whole scrape; the response."""
        with self.connect() as peer:
            peer.sendall(GOOD)
            self.answer_one(text)
            return rest(peer)


def rest(peer: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    received = b""
    while data := peer.recv(65536):
        received += data
    return received


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path / "metrics.sock")
    yield one
    one.server.stop()


def test_a_scrape_gets_the_text_with_its_length_and_type(served: Served) -> None:
    head, _, body = served.scrape().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 9\r\n" in head
    assert b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
    assert body == b"metric 1\n"


def test_a_long_text_goes_out_whole_to_a_scraper_that_reads_slowly(served: Served) -> None:
    text = "metric 1\n" * 100_000
    with served.connect() as peer:
        peer.sendall(GOOD)
        served.answer_one(text)
        received = peer.recv(10)
        received += rest(peer)
    assert received.partition(b"\r\n\r\n")[2] == text.encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        (b"x" * (REQUEST_BYTES_MAX + 1), b"431"),
    ],
)
def test_a_bad_request_gets_its_status_and_nobody_is_asked(served: Served, request_: bytes, status: bytes) -> None:
    with served.connect() as peer:
        peer.sendall(request_)
        assert rest(peer).split(b" ")[1] == status
    assert served.questions.drain() == []


def test_scrapers_that_say_nothing_are_ended_and_the_next_one_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there is room for, and one more; then a good one."""
    monkeypatch.setattr(server, "CONNECTION_S_MAX", 0.3)
    with contextlib.ExitStack() as peers:
        silent = [peers.enter_context(served.connect()) for _ in range(CONNECTIONS_MAX + 1)]
        assert [rest(peer) for peer in silent] == [b""] * len(silent)
    monkeypatch.undo()
    assert served.scrape().endswith(b"metric 1\n")


def test_a_scraper_that_goes_away_in_the_middle_harms_nobody(served: Served) -> None:
    for sent in (b"", b"GET /met", GOOD):
        with served.connect() as peer:
            peer.sendall(sent)
    wait_until(served.questions.drain, 10, "the last of them is asked for too")
    assert served.scrape().endswith(b"metric 1\n")


def test_an_answer_to_a_connection_that_is_gone_is_dropped(served: Served) -> None:
    served.server.answer(999, "nobody")
    assert served.scrape().endswith(b"metric 1\n")


def test_a_unix_socket_is_for_owner_and_group_and_replaces_what_was_left(served: Served) -> None:
    assert stat.S_IMODE(os.stat(served.path).st_mode) == 0o660
    served.server.stop()
    again = listener(Unix(str(served.path)))
    again.close()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("kept")
    with pytest.raises(OSError, match="in use"):
        listener(Unix(str(file)))
    assert file.read_text() == "kept"


def test_a_port_that_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listener(Tcp("127.0.0.1", taken.getsockname()[1]))
