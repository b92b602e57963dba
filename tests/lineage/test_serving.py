"""`mlflow models serve`: prompts in over HTTP, pictures out that know where they come from."""

import base64
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.registry.lookup import find_record
from pipeline.registry.store import connect
from tests.services.debian import free_port
from tests.stages.test_chain import same_pixels


@pytest.fixture
def server(copy: Path) -> Iterator[str]:
    """The address of the copy's challenger, served as the champion."""
    connect(copy).set_registered_model_alias("mysks", "champion", "1")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/mysks@champion"]
    where = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{copy / 'mlflow.db'}"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (copy / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *where], cwd=copy, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{url}/ping", timeout=5):
                    break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise AssertionError((copy / "server.log").read_text()) from None
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 15)  # the group is the server's own
        process.wait(30)


def ask(url: str, rows: list[dict[str, Any]], **params: Any) -> list[bytes]:
    body = json.dumps({"dataframe_records": rows, "params": params}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return [base64.b64decode(png) for png in json.load(answer)["predictions"]]


def test_the_champion_answers_with_pictures_that_lead_back_to_it(server: str, copy: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a photo of mysks plush toy", "seed": 3}]
    first, second = ask(server, rows, count=2, steps=2, guidance=3.0, size=32, negative="blurry")
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size) == ("PNG", (32, 32))
    assert not same_pixels(first, second)
    (again,) = ask(server, [{**rows[0], "seed": 4}], steps=2, guidance=3.0, size=32, negative="blurry")
    assert same_pixels(again, second)
    asked = [{"steps": steps, "guidance": 3.0, "size": 32, "negative": "blurry"} for steps in (2, 5, 2, 3)]
    with ThreadPoolExecutor(4) as pool:  # a scheduler holds the state of a drawing: two at once would mix them
        answers = list(pool.map(lambda params: ask(server, [{**rows[0], "seed": 4}], **params)[0], asked))
    assert same_pixels(answers[0], second) and same_pixels(answers[2], second)
    assert not same_pixels(answers[1], second)
    path = tmp_path / "drawn.png"
    path.write_bytes(second)
    with find_record(copy, str(path)) as found:
        assert found.facts["made by"] == "mysks version 1"
        assert (found.facts["seed"], found.facts["prompt"]) == ("4", "a photo of mysks plush toy")
    for params, said in (({"steps": 1000}, "steps must be"), ({"count": 50}, "count must be"), ({"size": 33}, "size")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, rows, **params)
        assert 400 <= caught.value.code < 600
        assert said in caught.value.read().decode()
