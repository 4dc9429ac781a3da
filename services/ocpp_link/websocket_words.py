"""Why a connection could not be made or was lost, in plain words: what happened and what to do.

Owns: the words, for the log and `station status` (field report §2.28: TLS failures are logged with their cause). Pure.
Does not: connect or decide when to try again.
"""

import errno
import socket
import ssl

_VERIFICATION = {
    9: "its certificate is not valid yet: check the station's clock",
    10: "its certificate has expired: the operator must renew it, or the station's clock is wrong",
    18: "its certificate is self-signed: put it into root_ca_files if it is the right one",
    19: "its certificate comes from an authority that is not in root_ca_files: add that authority's certificate",
    20: "its certificate comes from an authority that is not in root_ca_files: add that authority's certificate",
    21: "its certificate comes from an authority that is not in root_ca_files: add that authority's certificate",
    23: "its certificate was revoked: the operator must renew it",
    62: "its certificate is not for this host name: check the host in [central_system] url",
    64: "its certificate is not for this address: use the host name that it was issued for in [central_system] url",
}
"""By X509_V_ERR number of OpenSSL."""
_TLS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port: check port and scheme of [central_system] url",
    "HTTP_REQUEST": "it does not speak TLS on this port: check port and scheme of [central_system] url",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS 1.2 or newer: the operator must enable it",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it accepts no TLS version of ours, 1.2 and newer: the operator must enable one",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it accepts no cipher of ours, or wants a client certificate (security profile 3)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate (security profile 3), which is not supported yet",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up during the TLS handshake: check port and scheme of [central_system] url",
}
_HTTP = {
    400: "it took our request for malformed: check the path of [central_system] url",
    401: "it refused identity or password: check [station] identity and authorization_key",
    403: "it refused this station: check [station] identity and authorization_key, and ask the operator",
    404: "it does not know this station: check [station] identity and [central_system] url, and ask the operator",
    426: "it wants another WebSocket version: check [central_system] url",
    429: "it has too many requests: the station tries again",
    503: "it is not available just now: the station tries again",
}
_SOCKET = {
    errno.ECONNREFUSED: "nothing listens there: check host and port, and whether the Central System runs",
    errno.ENETUNREACH: "no network leads there: check the station's network",
    errno.EHOSTUNREACH: "the host can't be reached: check the station's network",
    errno.ENETDOWN: "the network is down: check the station's network",
    errno.ECONNRESET: "it reset the connection",
    errno.EPIPE: "it closed the connection",
    errno.ETIMEDOUT: "it stopped answering",
}


def of_error(error: OSError) -> str:
    """Words for an error of name resolution, socket or TLS."""
    if isinstance(error, socket.gaierror):
        return f"the name has no address ({error.strerror}): check the host in [central_system] url, and the network's DNS"
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFICATION.get(error.verify_code)
        return known or f"its certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        known = _TLS.get(error.reason or "")
        return known or f"TLS failed ({error.reason or error})"
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time: check host and port, and whether the Central System is well"
    return _SOCKET.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__)


def of_status(status: int | None) -> str:
    """Words for an HTTP answer that is no WebSocket (OCPP-J 1.6 §3.2)."""
    if status is None:
        return "it answered with something that is not HTTP: check host and port of [central_system] url"
    if 300 <= status < 400:
        return f"it redirects us (HTTP {status}), which is not followed: put the final address into [central_system] url"
    known = _HTTP.get(status)
    if known is None and status >= 500:
        known = "it has a problem of its own: the station tries again; tell the operator"
    return f"{known or 'it refused the connection: ask the operator'} (HTTP {status})"


def of_subprotocol(wanted: str, got: str | None) -> str:
    """Words for a server that does not agree to our subprotocol (OCPP-J 1.6 §3.1.2, §3.2)."""
    if got is None:
        return f"it accepted without the subprotocol {wanted}, so it does not speak OCPP 1.6-J: check [central_system] url"
    return f"it chose the subprotocol '{got[:40]}' instead of {wanted}: check [central_system] url"


def of_close(code: int, reason: str) -> str:
    """Words for a close frame of the Central System."""
    said = "".join(char if char.isprintable() else "?" for char in reason)
    return f"the Central System closed the connection (code {code}{': ' + said if said else ''})"
