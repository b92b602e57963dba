"""Does a server answer at all? Asked first, because the libraries that use it would wait and try again for minutes."""

import http.client
import os
import socket
import ssl
import time
import urllib.request
from contextlib import closing
from urllib.parse import SplitResult, urlsplit

CONNECT_S, ANSWER_S = 3.0, 5.0  # until the connection stands, and until something comes back
REMEMBER_S = 5.0
SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL answers it with one letter, whoever asks
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


_silent: dict[str, tuple[float, str]] = {}  # addresses that gave no answer, when, and why


def silence(url: str) -> str | None:
    """Why nothing answers at an address; None where something does, or where that cannot be asked.

    Web servers (`http`, `https`) are asked for a page, PostgreSQL whether it speaks TLS; of other databases it is
    enough that they take a connection. Whether the answer is a friendly one is for the caller's library to find out.
    Silence is remembered for `REMEMBER_S`, so that a command which looks for many files waits once.
    """
    asked, reason = _silent.get(url, (-REMEMBER_S, ""))
    if time.monotonic() - asked < REMEMBER_S:
        return reason
    found = _ask(url)
    if found is not None:
        _silent[url] = (time.monotonic(), found)
    return found


def _ask(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        scheme = {"postgres": "postgresql"}.get(name := parts.scheme.split("+")[0], name)
        port = parts.port or PORTS.get(scheme)
    except ValueError:
        return None  # no address: its library says so
    if scheme not in PORTS or not parts.hostname or port is None or _proxied(scheme, parts.hostname):
        return None
    try:
        if scheme in ("http", "https"):
            _ask_web(scheme, parts, port)
        else:
            _ask_database(scheme, parts.hostname, port)
    except TimeoutError:
        return f"no answer within {ANSWER_S:g} seconds"
    except ssl.SSLError:
        return None  # it answers
    except (OSError, http.client.HTTPException) as error:
        return f"{error.strerror or error}" if isinstance(error, OSError) else f"it does not speak HTTP ({error})"
    return None


def _ask_web(scheme: str, parts: SplitResult, port: int) -> None:
    host = parts.hostname or ""
    if scheme == "https":  # nothing is sent that a stranger must not read
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=CONNECT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
    with closing(connection):
        connection.connect()
        connection.sock.settimeout(ANSWER_S)
        connection.request("GET", parts.path or "/")
        connection.getresponse()


def _ask_database(scheme: str, host: str, port: int) -> None:
    with socket.create_connection((host, port), CONNECT_S) as connection:
        connection.settimeout(ANSWER_S)
        if scheme == "postgresql":
            connection.sendall(SSL_REQUEST)
            if not connection.recv(1):
                raise ConnectionError("it closed the connection")


def _proxied(scheme: str, host: str) -> bool:
    """Whether a proxy stands between: what it says of a server is not what the server says."""
    if scheme not in ("http", "https"):
        return False
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def endpoint_of_s3() -> str | None:
    """Where the usual AWS environment says that S3 is; None: with Amazon."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def shown(uri: str) -> str:
    """An address without what may hold a password: the user and the query of one in the network; paths as they are."""
    scheme, mark, rest = uri.partition("://")
    if not mark or (rest.startswith("/") and scheme.split("+")[0] in ("sqlite", "file")):
        return uri
    try:
        parts = urlsplit(uri)
        _ = parts.port  # no number where a slash in the password, written as it is, ended the host
        return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
