"""Whatever somebody writes into an address of the studio, the answer is a page in plain words, and no failure."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.studio import workplace
from tests.studio.browser import Browser
from tests.workspace import copy_of

ODD = {
    "empty": "",
    "NUL": "a%00b",
    "line end": "1%0A",
    "not UTF-8": "%ff%fe",
    "half a letter": "%ED%A0%80",
    "long": "x" * 10_000,
    "a long name of no form": "@" * 300,
    "negative": "-1",
    "beyond 32 bits": "2147483648",
    "beyond 64 bits": "9223372036854775808",
    "thousands of digits": "9" * 5000,
    "Arabic digits": "%D9%A3",
    "a raised digit": "%C2%B2",
    "leading zeros": "0001",
    "no number": "nan",
    "folders up": "..%2F..%2Fparams.yaml",
    "a folder up": "%2e%2e",
    "a path": "%2Fetc%2Fpasswd",
    "quotes": "%22%27",
    "a template": "{{7*7}}",
    "HTML": "%3Cscript%3Ex%3C%2Fscript%3E",
    "another reference": "models%3A%2Felk%2F1",
}
FILLED = {
    "model": "mysks",
    "version": "1",
    "kind": "tuned",
    "name": "p01-1.png",
    "prompt": "p01",
    "seed": "1",
    "step": "1",
    "number": "0",
    "key": "x",
    "at": "0",
    "side": "left",
}


QUERIES = {
    "/runs": "said",
    "/masks": "name said",
    "/masks/photo": "name",
    "/masks/now": "name",
    "/pictures": "left right prompt said",
    "/verdict": "version",
    "/blind": "version against",
    "/models": "photo",
    "/models/clean": "days",
    "/models/delete": "version",
}
ADDRESSES = sorted(
    {
        where
        for page in Path(workplace.__file__).parent.glob("*_page.py")
        for where in re.findall(r'routes\.get\("([^"]+)"\)', page.read_text())
    }
)


@pytest.fixture(scope="module")
def once(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser at a studio with a judged model, for all tests here: nothing is written by reading an address."""
    from mlflow.tracking._tracking_service import utils

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        utils._artifact_repos_cache.clear()
        folder = copy_of(origin, tmp_path_factory.mktemp("odd") / "w")
        patch.chdir(folder)
        with (found := Browser(folder)).client:
            yield found


def look(browser: Browser, where: str) -> int:
    """The status of the answer, which is no failure and tells nothing of the inside; a defect is raised by itself."""
    answer = browser.client.get(where, follow_redirects=False)
    assert answer.status_code < 500, (where[:100], answer.text[-500:])
    if answer.headers.get("content-type", "").startswith("text/"):
        assert not re.search(r"Traceback|site-packages", answer.text) and "<script>x" not in answer.text, where[:100]
        refused = answer.status_code != 200  # the head of every page shows the workspace
        assert not refused or str(Path.cwd()) not in answer.text.partition("</header>")[2], where[:100]
    return int(answer.status_code)


def test_every_address_that_is_read_is_tried() -> None:
    assert len(ADDRESSES) > 20 and set(QUERIES) <= set(ADDRESSES)
    parts = {name for where in ADDRESSES for name in re.findall(r"\{(\w+)\}", where)}
    assert parts <= set(FILLED)


@pytest.mark.parametrize("where", [where for where in ADDRESSES if "{" in where])
def test_an_odd_part_of_an_address_is_refused_in_plain_words(once: Browser, where: str) -> None:
    for part in re.findall(r"\{(\w+)\}", where):
        for odd in ODD.values():
            look(once, where.format_map({**FILLED, part: odd}))
        for other in ("elk", "99"):  # of nobody, or of somebody else
            assert look(once, where.format_map({**FILLED, part: other})) != 200 or part in ("key", "name")


@pytest.mark.parametrize("where", QUERIES)
def test_an_odd_query_is_answered_in_plain_words(once: Browser, where: str) -> None:
    names = QUERIES[where].split()
    for odd in ODD.values():
        look(once, f"{where}?{'&'.join(f'{name}={odd}' for name in names)}")
    first = names[0]
    for query in (first, f"{first}=1&{first}=2&{first}=%00", f"{first}[]=1&%ff=%ff&=&&;", "?".join(names * 50)):
        look(once, f"{where}?{query}")


def test_an_odd_place_in_the_list_of_pictures_is_answered_in_plain_words(once: Browser) -> None:
    for odd in ODD.values():
        look(once, f"/pictures?at={odd}")
    assert [look(once, f"/pictures?at={at}") for at in ("-5", "9" * 30)] == [200, 200]


@pytest.mark.parametrize("before", ["/", "/static/"])
def test_an_odd_address_of_no_page_is_refused_in_plain_words(once: Browser, before: str) -> None:
    for odd in ODD.values():
        assert look(once, f"{before}{odd}") != 200 or before + odd == "/"
