"""The connection URL (OCPP-J 1.6 §3.1.1; field report §2.23)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ocpp_link.url import UrlError, connection_endpoint, parse


@pytest.mark.parametrize(
    ("url", "identity", "expected"),
    [
        ("ws://centralsystem.example.com/ocpp", "CP001", "ws://centralsystem.example.com/ocpp/CP001"),
        ("wss://centralsystem.example.com/ocppj", "RDAM 123", "wss://centralsystem.example.com/ocppj/RDAM%20123"),
        ("ws://x/ocpp/", "CP001", "ws://x/ocpp/CP001"),
        ("ws://x/ocpp//", "CP001", "ws://x/ocpp/CP001"),
        ("ws://x", "CP001", "ws://x/CP001"),
        ("ws://x/", "CP001", "ws://x/CP001"),
        ("ws://x/ocpp/CP001", "CP001", "ws://x/ocpp/CP001"),
        ("ws://x/ocpp/CP001/", "CP001", "ws://x/ocpp/CP001"),
        ("ws://x/ocpp/RDAM%20123", "RDAM 123", "ws://x/ocpp/RDAM%20123"),
        ("ws://x/ocpp/XCP001", "CP001", "ws://x/ocpp/XCP001/CP001"),
        ("ws://x/ocpp?token=a%20b", "CP001", "ws://x/ocpp/CP001?token=a%20b"),
        ("ws://x:9000/", "a/b?c#d", "ws://x:9000/a%2Fb%3Fc%23d"),
        ("ws://x:80/", "é", "ws://x/%C3%A9"),
        ("wss://[::1]:8443/o", "1", "wss://[::1]:8443/o/1"),
        ("WS://Host/o", "1", "ws://host/o/1"),
    ],
)
def test_the_identity_is_appended_once_and_encoded(url: str, identity: str, expected: str) -> None:
    assert connection_endpoint(url, identity).url == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "ws:// or wss://"),
        ("http://x/", "ws:// or wss://"),
        ("ws:///path", "names no host"),
        ("ws://x:0/", "names no host or no port"),
        ("ws://x:99999/", "is not a URL"),
        ("ws://[::1/", "is not a URL"),
        ("ws://user@x/", "authorization_key"),
        ("ws://x/#a", "after #"),
        ("ws://x/a b", "percent-encode"),
        ("ws://x/\n", "percent-encode"),
        ("ws://exämple/", "percent-encode"),
    ],
)
def test_a_bad_url_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(UrlError, match=words):
        parse(url)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_identity_comes_back_from_the_url(identity: str) -> None:
    from urllib.parse import unquote

    endpoint = connection_endpoint("ws://x/ocpp", identity)
    assert unquote(endpoint.path.rpartition("/")[2]) == identity or identity == "ocpp"
    assert connection_endpoint(endpoint.url, identity) == endpoint


@settings(deadline=None)
@given(st.text())
def test_no_text_raises_anything_else(url: str) -> None:
    try:
        parse(url)
    except UrlError:
        pass
