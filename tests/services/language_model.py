"""A stand-in for a server of language models: OpenAI's chat completions with answers that a test chose."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.services.loopback import on_loopback


@dataclass
class LanguageModel:
    """Its address; the answers to come (a text, an HTTP status, or something else); and what it was asked."""

    address: str
    answers: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    model: LanguageModel

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        self.model.asked.append(asked)
        self.model.keys.append(self.headers.get("Authorization"))
        answer = self.model.answers.pop(0)
        self.send_response(answer if isinstance(answer, int) else 200)
        self.end_headers()
        choices = {"choices": [{"message": {"content": answer}}]} if isinstance(answer, str) else {}
        self.wfile.write(json.dumps(choices).encode())


@contextmanager
def stand_in_model() -> Iterator[LanguageModel]:
    """A server on a loopback port until the block ends."""
    with on_loopback(_Handler) as address:
        _Handler.model = LanguageModel(f"{address}/v1")
        yield _Handler.model
