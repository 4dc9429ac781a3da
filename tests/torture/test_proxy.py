"""The proxy does what it says: forwards, stalls, cuts in the middle, resets. Otherwise torture would torture nothing."""

import socket
from collections.abc import Iterator

import pytest

from tests.harness import wait_until
from tests.torture.proxy import DOWN, UP, Proxy


class Ends:
    """A client, and what it is connected to on the other side of the proxy."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self.server.getsockname()[1])

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=5)
        far, _ = self.server.accept()
        far.settimeout(5)
        return near, far


@pytest.fixture
def ends() -> Iterator[Ends]:
    found = Ends()
    with found.server, found.proxy:
        found.server.settimeout(5)
        yield found


def received(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def is_reset(sock: socket.socket) -> bool:
    with sock:
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True


def test_both_directions_are_forwarded(ends: Ends) -> None:
    near, far = ends.connect()
    with near, far:
        near.sendall(b"up" * 100_000)
        assert received(far, 200_000) == b"up" * 100_000
        far.sendall(b"down")
        assert received(near, 4) == b"down"


def test_a_polite_end_is_passed_on_after_all_that_was_sent(ends: Ends) -> None:
    near, far = ends.connect()
    with far:
        near.sendall(b"last words")
        near.close()
        assert received(far, 100) == b"last words"


def test_a_stalled_direction_keeps_its_bytes_until_it_is_healed(ends: Ends) -> None:
    near, far = ends.connect()
    with near, far:
        ends.proxy.stall(UP)
        near.sendall(b"waits")
        far.sendall(b"goes")
        assert received(near, 4) == b"goes"
        far.settimeout(0.05)
        with pytest.raises(TimeoutError):
            far.recv(1)
        far.settimeout(5)
        ends.proxy.heal()
        assert received(far, 5) == b"waits"


@pytest.mark.parametrize(("direction", "count"), [(UP, 7), (UP, 0), (DOWN, 3)])
def test_a_cut_after_some_bytes_falls_in_the_middle_of_what_was_sent(ends: Ends, direction: str, count: int) -> None:
    near, far = ends.connect()
    source, target = (near, far) if direction == UP else (far, near)
    ends.proxy.cut_after(direction, count)
    source.sendall(b"0123456789")
    wait_until(lambda: ends.proxy.cuts == 1, 5, "the connection is cut")
    try:
        assert len(target.recv(100)) <= count
    except ConnectionResetError:
        pass
    assert is_reset(source)
    target.close()


def test_a_cut_resets_both_sides_and_the_next_connection_works(ends: Ends) -> None:
    near, far = ends.connect()
    wait_until(lambda: ends.proxy.connections == 1, 5, "it is forwarded")
    ends.proxy.cut()
    assert is_reset(near)
    assert is_reset(far)
    near, far = ends.connect()
    with near, far:
        near.sendall(b"again")
        assert received(far, 5) == b"again"


def test_without_a_central_system_there_is_no_connection(ends: Ends) -> None:
    ends.server.close()
    try:
        near = socket.create_connection(("127.0.0.1", ends.proxy.port), timeout=5)
    except ConnectionResetError:
        return
    assert is_reset(near)
