"""The thread that moves bytes, against real peers on loopback: good ones, bad ones, dead ones (issue, "Bad input")."""

import random
import select
import socket
import struct
import threading
from http import HTTPStatus
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from services.ocpp_link.rpc import FRAME_BYTES_MAX
from services.ocpp_link.url import connection_endpoint
from services.ocpp_link.websocket_connect import Target
from services.ocpp_link.websocket_thread import (
    BinaryReceived,
    Connected,
    ConnectFailed,
    FrameReceived,
    Lost,
    PingReceived,
    PongReceived,
)
from tests.ocpp_link.websocket_peers import (
    PATIENCE_S,
    Station,
    accept_handshake,
    central_system,
    echo,
    raw_peer,
    request_of,
    until_closed,
)


def test_text_goes_both_ways_with_our_subprotocol_and_identity(station: Station) -> None:
    """OCPP-J 1.6 §3.1: identity in the path, ocpp1.6 offered; no Origin, no compression (§5.1)."""
    requests: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        requests.append(connection.request)
        echo(connection)

    with central_system(handler) as url:
        number = station.connect(url)
        connected = station.expect(Connected)
        assert (connected.connection, connected.subprotocol, connected.tls) == (number, "ocpp1.6", "")
        for text in ("[2]", "ä€😀", "", "x" * FRAME_BYTES_MAX):
            assert station.thread.send(text)
            assert station.expect(FrameReceived).text == text
        request = requests[0]
        assert request.path == "/ocpp/CP%201"
        assert request.headers["Sec-WebSocket-Protocol"] == "ocpp1.6"
        assert not {"Origin", "Authorization", "Sec-WebSocket-Extensions"} & set(request.headers)
        station.thread.close("done")
        lost = station.expect(Lost)
        assert (lost.connection, lost.reason, lost.code) == (number, "done", 1000)


def test_identity_and_key_are_sent_as_basic_authentication(station: Station) -> None:
    """OCPP-J 1.6 §6.2.2: the key's bytes, not its hexadecimal text (field report H56)."""
    headers: list[str] = []

    def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        headers.append(connection.request.headers["Authorization"])

    with central_system(handler) as url:
        key = bytes.fromhex("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF")
        station.connect(url, user="AL1000", password=key)
        station.expect(Connected)
        station.expect(Lost)
    assert headers == ["Basic QUwxMDAwOgABAgMEBQYH////////////////"]


def test_a_password_never_shows_in_a_target() -> None:
    assert "secret" not in repr(Target(connection_endpoint("ws://x", "1"), password=b"secret"))


def test_pings_of_the_central_system_are_answered_and_told(station: Station) -> None:
    """field report B19."""

    def handler(connection: ServerConnection) -> None:
        assert connection.ping(b"are you there").wait(PATIENCE_S)

    with central_system(handler) as url:
        station.connect(url)
        station.expect(Connected)
        station.expect(PingReceived)
        assert station.expect(Lost).code == 1000


def test_our_pings_come_back_as_pongs(station: Station) -> None:
    with central_system(echo) as url:
        station.connect(url)
        station.expect(Connected)
        station.thread.ping(b"7")
        assert station.expect(PongReceived).payload == b"7"


def test_binary_messages_are_told_by_size_and_the_next_text_works(station: Station) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(b"12345")
        connection.send("next")

    with central_system(handler) as url:
        station.connect(url)
        station.expect(Connected)
        assert station.expect(BinaryReceived).size_bytes == 5
        assert station.expect(FrameReceived).text == "next"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (HTTPStatus.UNAUTHORIZED, "check [station] identity and authorization_key (HTTP 401)"),
        (HTTPStatus.FORBIDDEN, "(HTTP 403)"),
        (HTTPStatus.NOT_FOUND, "does not know this station"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "a problem of its own: the station tries again; tell the operator (HTTP 500)"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "(HTTP 503)"),
        (HTTPStatus.FOUND, "it redirects us (HTTP 302), which is not followed"),
        (HTTPStatus.OK, "(HTTP 200)"),
        (HTTPStatus.IM_A_TEAPOT, "ask the operator (HTTP 418)"),
    ],
)
def test_http_refusals_say_what_to_do(station: Station, status: HTTPStatus, words: str) -> None:
    """OCPP-J 1.6 §3.2; issue: a Central System that answers 401, 404, 500."""

    def refuse(connection: ServerConnection, _: Any) -> Any:
        response = connection.respond(status, "no\n")
        response.headers["Location"] = "ws://127.0.0.1:1/elsewhere"
        return response

    with central_system(echo, process_request=refuse) as url:
        station.connect(url)
        failed = station.expect(ConnectFailed)
        assert words in failed.reason
        assert url.split("/")[2] in failed.reason
        assert failed.unauthorized == (status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN))


def test_a_server_without_our_subprotocol_is_refused(station: Station) -> None:
    """OCPP-J 1.6 §3.2; field report §2.23."""
    closed: list[int] = []

    def handler(connection: ServerConnection) -> None:
        with pytest.raises(Exception, match="1002"):
            connection.recv(PATIENCE_S)
        closed.append(connection.close_code or 0)

    with central_system(handler, subprotocols=None, select_subprotocol=lambda *_: None) as url:
        station.connect(url)
        assert "without the subprotocol ocpp1.6" in station.expect(ConnectFailed).reason
    assert closed == [1002]


def test_a_server_with_another_subprotocol_is_refused(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        accept_handshake(connection, protocol="ocpp2.0.1")
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url)
        assert "'ocpp2.0.1' instead of ocpp1.6" in station.expect(ConnectFailed).reason


def test_nobody_listens(station: Station) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    station.connect(f"ws://127.0.0.1:{port}/")
    assert "nothing listens there" in station.expect(ConnectFailed).reason


def test_a_name_without_an_address(station: Station) -> None:
    station.connect("ws://no-such-host.invalid/")
    assert "the name has no address" in station.expect(ConnectFailed).reason


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x00\xff" * 100,
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 X\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 X\r\nSet-Cookie: a\x01b=\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 500 X\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 500 X\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 302 X\r\n\r\n",
        b"X" * 100_000,
        b"HTTP/1.1 101 X\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_garbage_instead_of_a_handshake_fails_in_words(station: Station, answer: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(answer)

    with raw_peer(behave) as url:
        station.connect(url)
        assert station.expect(ConnectFailed).reason


def test_random_handshakes_never_end_the_thread(station: Station) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    good = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n"
    for _ in range(60):
        answer = bytearray(good)
        for _ in range(chance.randrange(1, 8)):
            answer[chance.randrange(len(answer))] = chance.randrange(256)

        def behave(connection: socket.socket, answer: bytes = bytes(answer)) -> None:
            request_of(connection)
            connection.sendall(answer)

        with raw_peer(behave) as url:
            station.connect(url)
            assert station.expect(ConnectFailed).reason, f"seed {seed}"


def test_a_peer_that_never_answers_the_handshake_is_given_up(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url, timeout_s=0.2)
        assert "no answer in time" in station.expect(ConnectFailed).reason


def test_a_handshake_that_drips_is_given_up_at_the_deadline(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        request_of(connection)
        while not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(b"H")

    with raw_peer(behave) as url:
        station.connect(url, timeout_s=0.4)
        assert "no answer in time" in station.expect(ConnectFailed).reason


def test_a_frame_right_behind_the_handshake_is_read(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        accept_handshake(connection, b"\x81\x02hi")
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        assert station.expect(FrameReceived).text == "hi"
        station.thread.close("done")
        station.expect(Lost)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"\x81\x05he", 1006, "in the middle of a message"),
        (b"", 1006, "without a close frame"),
        (b"\xff\x00", 1002, "breaks RFC 6455"),
        (b"\x81\x01\xff", 1007, "not UTF-8"),
        (b"\x81\x7f" + struct.pack("!Q", 2**40), 1009, "a message of more than"),
        (b"\x88\x05\x03\xe9bye", 1001, "closed the connection (code 1001: bye)"),
        (b"\x88\x00", 1005, "closed the connection (code 1005)"),
        (b"\x88\x06\x0f\xa0a\nbc", 4000, "code 4000: a?bc"),
    ],
)
def test_each_way_of_losing_a_connection_is_told_with_code_and_cause(
    station: Station, data: bytes, code: int, words: str
) -> None:
    """field reports B18, B21: every close path is reported, and a new connection works."""

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection, data)
        if code != 1006:
            goodbye = until_closed(connection)
            assert goodbye[0] == 0x88

    with raw_peer(behave) as url:
        number = station.connect(url)
        station.expect(Connected)
        lost = station.expect(Lost)
        assert (lost.connection, lost.code) == (number, code)
        assert words in lost.reason
    with central_system(echo) as url:
        station.connect(url)
        station.expect(Connected)


def test_a_reset_connection_is_told(station: Station) -> None:
    connected = threading.Event()

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        assert connected.wait(PATIENCE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        connected.set()
        assert "the connection broke: it reset the connection" in station.expect(Lost).reason


def test_a_reset_right_behind_the_handshake_is_a_lost_connection(station: Station) -> None:
    for _ in range(20):

        def behave(connection: socket.socket) -> None:
            accept_handshake(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with raw_peer(behave) as url:
            station.connect(url)
            report = station.expect_one_of(Connected, ConnectFailed)
            assert isinstance(report, ConnectFailed) or station.expect(Lost).code == 1006


def test_an_oversized_message_is_refused_with_1009_without_taking_it_in(station: Station) -> None:
    """Issue, "Bad input": oversized frames (bound them)."""
    goodbyes: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        connection.sendall(b"\x81\x7f" + struct.pack("!Q", 50_000_000) + b"x" * 1_000_000)
        goodbyes.append(until_closed(connection))

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        assert station.expect(Lost).code == 1009
    head, mask, masked = goodbyes[0][:2], goodbyes[0][2:6], goodbyes[0][6:8]
    assert head == b"\x88\x82"
    assert bytes(a ^ b for a, b in zip(masked, mask, strict=False)) == struct.pack("!H", 1009)


def test_an_oversized_message_in_fragments_is_refused_too(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        piece = b"x" * 60_000
        connection.sendall(b"\x01\x7e" + struct.pack("!H", len(piece)) + piece)
        for _ in range(6):
            connection.sendall(b"\x00\x7e" + struct.pack("!H", len(piece)) + piece)
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        assert station.expect(Lost).code == 1009


def test_a_silent_peer_keeps_the_connection_and_nothing_hangs(station: Station) -> None:
    """The pong deadline is the core's; the thread only tells that no pong came by saying nothing."""

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        station.thread.ping()
        station.thread.close("pong missing")
        assert station.expect(Lost).reason == "pong missing"


def test_a_peer_that_stops_reading_does_not_block_stop() -> None:
    """Issue: SIGTERM ends cleanly within a second; a stalled peer makes no difference."""
    station = Station()
    released = threading.Event()

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        released.wait(PATIENCE_S)

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        for _ in range(15):
            assert station.thread.send("x" * 100_000)
        assert station.thread.stop()
        released.set()
    station.reports.close()


def test_a_peer_that_stops_reading_is_dropped(station: Station) -> None:
    released = threading.Event()

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        released.wait(PATIENCE_S)

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        for _ in range(200):
            station.thread.send("x" * 200_000)
        lost = station.expect(Lost)
        assert (lost.code, lost.reason) == (1006, "the Central System does not read what the station sends")
        released.set()


def test_stop_ends_the_thread_while_it_connects() -> None:
    """Issue: SIGTERM ends cleanly within a second."""
    station = Station()
    asked = threading.Event()

    def behave(connection: socket.socket) -> None:
        request_of(connection)
        asked.set()
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url)
        assert asked.wait(PATIENCE_S)
        assert station.thread.stop()
    station.reports.close()


def test_stop_says_goodbye_to_the_central_system() -> None:
    station = Station()
    codes: list[int | None] = []

    def handler(connection: ServerConnection) -> None:
        for _ in connection:
            pass
        codes.append(connection.close_code)

    with central_system(handler) as url:
        station.connect(url)
        station.expect(Connected)
        assert station.thread.stop()
    station.reports.close()
    assert codes == [1001]


def test_close_ends_a_connection_that_is_being_made(station: Station) -> None:
    asked = threading.Event()

    def behave(connection: socket.socket) -> None:
        request_of(connection)
        asked.set()
        until_closed(connection)

    with raw_peer(behave) as url:
        number = station.connect(url)
        assert asked.wait(PATIENCE_S)
        station.thread.close("not wanted any more")
        failed = station.expect(ConnectFailed)
        assert (failed.connection, failed.reason) == (number, "not wanted any more")


def test_a_new_connect_replaces_the_old_connection(station: Station) -> None:
    with central_system(echo) as url:
        first = station.connect(url)
        station.expect(Connected)
        second = station.connect(url)
        assert station.expect(Lost).connection == first
        assert station.expect(Connected).connection == second


def test_what_was_meant_for_a_lost_connection_never_reaches_the_next(station: Station) -> None:
    received: list[str | bytes] = []

    def handler(connection: ServerConnection) -> None:
        for message in connection:
            received.append(message)
            connection.send(message)

    with central_system(ServerConnection.close) as leaving, central_system(handler) as url:
        station.connect(leaving)
        station.expect(Connected)
        station.expect(Lost)
        assert station.thread.send("for the first")
        station.connect(url)
        station.expect(Connected)
        station.thread.send("for the second")
        assert station.expect(FrameReceived).text == "for the second"
    assert received == ["for the second"]


def test_nothing_is_lost_when_the_reports_have_no_room() -> None:
    station = Station(limit=3)
    count = 50

    def handler(connection: ServerConnection) -> None:
        for number in range(count):
            connection.send(str(number))

    with central_system(handler) as url:
        station.connect(url)
        station.expect(Connected)
        assert [station.expect(FrameReceived).text for _ in range(count)] == [str(number) for number in range(count)]
        assert station.expect(Lost).code == 1000
    assert station.thread.stop()


@pytest.mark.parametrize(("count", "length"), [(60, 10), (60, 5_000), (15, 100_000)])
def test_frames_keep_their_order_whoever_writes_them(station: Station, count: int, length: int) -> None:
    """Most are written by who sends them; where the socket is full, or a ping is before them, the thread does it."""
    came: list[str] = []

    def handler(connection: ServerConnection) -> None:
        for text in connection:
            assert isinstance(text, str)
            came.append(text)
            connection.send(text[:20])
            if len(came) == count:
                return

    with central_system(handler) as url:
        station.connect(url)
        station.expect(Connected)
        for number in range(count):
            station.thread.send(f"{number} ".ljust(length, "x"))
            if number % 7 == 0:
                station.thread.ping(b"between")
        ended = 0
        while not ended:
            ended = isinstance(station.expect_one_of(FrameReceived, PongReceived, Lost), Lost)
    assert came == [f"{number} ".ljust(length, "x") for number in range(count)]


def test_a_frame_for_a_connection_that_just_broke_is_told_as_a_loss(station: Station) -> None:
    """Whoever finds out first, the thread tells."""

    def behave(connection: socket.socket) -> None:
        accept_handshake(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_peer(behave) as url:
        station.connect(url)
        station.expect(Connected)
        for number in range(20):
            station.thread.send(str(number))
        assert station.expect(Lost).code == 1006
