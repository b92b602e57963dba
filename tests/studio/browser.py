"""A browser without a screen: it sends the forms that it was shown."""

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from pipeline.studio.application import make_studio

PASSWORD = "twelve-letters-or-more"


class Browser:
    """A browser at a studio: it sends the forms that it was shown."""

    def __init__(self, workspace: Path, **headers: str):
        self.app = make_studio(workspace, PASSWORD)
        coded = b64encode(f"dreamtrace:{PASSWORD}".encode()).decode()
        given = {"Authorization": f"Basic {coded}", **headers}
        self.client = TestClient(self.app, base_url="http://127.0.0.1:8100", headers=given)

    def get(self, where: str) -> str:
        answer = self.client.get(where)
        assert answer.status_code == 200, answer.text
        return answer.text

    def token(self, page: str = "/runs") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(page))
        assert found
        return found[1]

    def send(self, where: str, data: dict[str, Any] | None = None, files: Any = None) -> Any:
        return self.client.post(where, data={"csrf": self.token(), **(data or {})}, files=files)
