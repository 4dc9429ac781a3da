"""The connection URL: the endpoint of the Central System with the charge point identity appended (OCPP-J 1.6 §3.1.1).

Owns: taking a URL apart and putting it together. Pure. Does not: resolve names or connect.
"""

import msgspec

_PORTS = {"ws": 80, "wss": 443}


class UrlError(ValueError):
    """The URL can't be used; the text says why and what to do."""


class Endpoint(msgspec.Struct, frozen=True):
    """A WebSocket URL in its parts; `path` begins with a slash, `query` has no question mark."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str = ""

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL; the port is left out where the scheme implies it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def resource(self) -> str:
        """What is asked for in the HTTP request."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{self.authority}{self.resource}"


def parse(url: str) -> Endpoint:
    """The parts of `url`. Raises UrlError."""
    from urllib.parse import urlsplit

    if not (url.isascii() and url.isprintable()) or " " in url:
        raise UrlError("has spaces or characters that a URL can't have; percent-encode them")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UrlError(f"is not a URL ({error}); write it as ws://host:port/path") from None
    if parts.scheme not in _PORTS:
        raise UrlError("does not begin with ws:// or wss://; correct it")
    if not host or port == 0:
        raise UrlError("names no host or no port that can be connected to; write it as ws://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise UrlError("has a user name or password in it; use identity and authorization_key instead")
    if parts.fragment:
        raise UrlError("has a part after #, which a WebSocket can't carry; remove it")
    return Endpoint(parts.scheme, host, port or _PORTS[parts.scheme], parts.path or "/", parts.query)


def connection_endpoint(url: str, identity: str) -> Endpoint:
    """Where this charge point connects: `identity`, percent-encoded, is the last part of the path.

    It is appended unless it is there already; slashes at the end of the URL make no difference. Raises UrlError.
    """
    from urllib.parse import quote, unquote

    endpoint = parse(url)
    path = endpoint.path.rstrip("/")
    if unquote(path.rpartition("/")[2]) != identity:
        path = f"{path}/{quote(identity, safe='')}"
    return msgspec.structs.replace(endpoint, path=path)
