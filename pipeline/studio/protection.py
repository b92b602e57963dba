"""Who may ask the studio for what: a password, its own pages only, and nothing loaded from elsewhere."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.servers.authentication import USER

HOSTS = ("127.0.0.1", "localhost")
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def policy_with_style(page: str) -> str:
    """The policy for a page that brings its own style sheet: that one, by its digest, and no other."""
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return POLICY.replace("style-src 'self'", f"style-src 'sha256-{digest}'")


def _name_of(host: str) -> str | None:
    """The name in a Host header; None where it holds none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # '[' without its end, and other addresses that are none
        return None


class Refusal(Exception):
    """A form that does not come from a page of this studio."""


class Guard:
    """Around all pages: loopback names only (a foreign name may lead here by DNS), the password, and the headers.

    The headers are those of failures, too: `failed` makes the answer to an exception that no page has caught, and says
    whether it is known; what is not known is raised again, so that its trace is printed.
    """

    def __init__(
        self, app: ASGIApp, password: str | None, failed: Callable[[Request, Exception], tuple[Response, bool]]
    ):
        self.app, self.password, self.failed = app, password, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if _name_of(headers.get("host", "")) not in HOSTS:
            await PlainTextResponse("open http://127.0.0.1 or http://localhost", 421)(scope, receive, send)
            return
        if self.password is not None and not self._known(headers.get("authorization", "")):
            asked = {"WWW-Authenticate": 'Basic realm="dreamtrace", charset="UTF-8"'}
            await PlainTextResponse("user and password, please", 401, asked)(scope, receive, send)
            return

        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if begun:
                raise
            answer, known = self.failed(Request(scope), error)
            await answer(scope, receive, send_with_headers)
            if not known:
                raise

    def _known(self, given: str) -> bool:
        scheme, _, coded = given.partition(" ")
        try:
            text = base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(text, f"{USER}:{self.password}".encode())


class FormToken:
    """A word that the studio's own forms carry, so that no other site's form is taken for one of them (CSRF)."""

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(24)

    def check(self, request: Request, given: object) -> None:
        """Let a form pass.

        Raises:
            Refusal: it comes from another site, or from a studio that was stopped meanwhile.
        """
        origin = request.headers.get("origin")
        if origin not in (None, f"{request.url.scheme}://{request.url.netloc}"):
            raise Refusal("this form comes from another site")
        word = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else b""
        if not hmac.compare_digest(word, self.value.encode()):
            raise Refusal("this page is of a studio that was stopped; go back, load it again, and send it once more")
