"""The WebSocket thread over TLS: security profile 2 (security whitepaper §2.4)."""

import socket
from pathlib import Path

import pytest

from services.ocpp_link.rpc import FRAME_BYTES_MAX
from services.ocpp_link.websocket_thread import (
    Connected,
    ConnectFailed,
    FrameReceived,
    Lost,
)
from tests.ocpp_link.websocket_peers import Station, accept_handshake, central_system, echo, raw_peer, until_closed
from tests.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


def test_tls_with_a_known_authority_and_the_right_name_works(station: Station, authority: Authority) -> None:
    """Security whitepaper §2.4 (profile 2)."""
    with central_system(echo, ssl=authority.server("127.0.0.1")) as url:
        station.connect(url, ca_files=(authority.file,), user="CP 1", password=b"x" * 16)
        assert station.expect(Connected).tls.startswith("TLSv1.3 ")
        for text in ("hello", "x" * FRAME_BYTES_MAX):
            station.thread.send(text)
            assert station.expect(FrameReceived).text == text


def test_many_tls_messages_in_one_record_are_all_read(station: Station, authority: Authority) -> None:
    """What TLS has taken from the socket is not seen by poll."""

    def behave(connection: socket.socket) -> None:
        with authority.server("127.0.0.1").wrap_socket(connection, server_side=True) as secured:
            accept_handshake(secured, b"".join(b"\x81\x01" + str(n % 10).encode() for n in range(3000)))
            until_closed(secured)

    with raw_peer(behave) as url:
        station.connect(url.replace("ws:", "wss:"), ca_files=(authority.file,))
        station.expect(Connected)
        for number in range(3000):
            assert station.expect(FrameReceived).text == str(number % 10)
        station.thread.close("done")
        station.expect(Lost)


def test_a_certificate_for_another_name_is_refused_in_words(station: Station, authority: Authority) -> None:
    """field report §2.28: TLS failures with their cause in plain words."""
    with central_system(echo, ssl=authority.server("other.example")) as url:
        station.connect(url, ca_files=(authority.file,))
        assert "its certificate is not for this address" in station.expect(ConnectFailed).reason
        station.connect(url.replace("127.0.0.1", "localhost"), ca_files=(authority.file,))
        assert "its certificate is not for this host name" in station.expect(ConnectFailed).reason


def test_a_certificate_of_an_unknown_authority_is_refused_in_words(
    station: Station, authority: Authority, tmp_path: Path
) -> None:
    with central_system(echo, ssl=authority.server("127.0.0.1")) as url:
        for trusted in ((Authority(tmp_path, "another").file,), ()):
            station.connect(url, ca_files=trusted)
            assert "an authority that is not in root_ca_files" in station.expect(ConnectFailed).reason


def test_an_expired_certificate_is_refused_in_words(station: Station, authority: Authority) -> None:
    with central_system(echo, ssl=authority.server("127.0.0.1", days=-1)) as url:
        station.connect(url, ca_files=(authority.file,))
        assert "has expired" in station.expect(ConnectFailed).reason


def test_tls_to_a_port_without_it_is_refused_in_words(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url.replace("ws:", "wss:"))
        assert "it does not speak TLS on this port" in station.expect(ConnectFailed).reason


def test_a_peer_that_hangs_up_on_tls_is_told_in_words(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(10_000)

    with raw_peer(behave) as url:
        station.connect(url.replace("ws:", "wss:"))
        assert "it hung up during the TLS handshake" in station.expect(ConnectFailed).reason


def test_a_ca_file_that_went_away_is_told(station: Station, tmp_path: Path) -> None:
    with central_system(echo) as url:
        station.connect(url.replace("ws:", "wss:"), ca_files=(str(tmp_path / "gone.pem"),))
        assert "gone.pem: can't be used" in station.expect(ConnectFailed).reason


def test_a_peer_that_is_silent_during_the_tls_handshake_is_given_up(station: Station) -> None:
    def behave(connection: socket.socket) -> None:
        until_closed(connection)

    with raw_peer(behave) as url:
        station.connect(url.replace("ws:", "wss:"), timeout_s=0.2)
        assert "no answer in time" in station.expect(ConnectFailed).reason
