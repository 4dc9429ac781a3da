"""Fixtures of the link's tests."""

from collections.abc import Iterator

import pytest

from tests.ocpp_link.websocket_peers import Station


@pytest.fixture
def station() -> Iterator[Station]:
    """The deciding side of a WebSocket thread, which is stopped at the end."""
    found = Station()
    yield found
    assert found.thread.stop()
    found.reports.close()
