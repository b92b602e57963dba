"""`dreamtrace compare` prints what the comparison found, also where no interval is known."""

from typing import Any

import pytest

from pipeline.commands.compare import compare
from pipeline.registry import lookup
from tests.evaluation.test_comparison import evaluation


@pytest.mark.parametrize("same", [False, True])
def test_each_difference_is_printed_with_its_interval_or_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], same: bool
) -> None:
    found: dict[str, Any] = {"one": evaluation(1), "two": evaluation(1 if same else 2)}
    monkeypatch.setattr(lookup, "find_evaluation", lambda _folder, ref: (ref, found[ref]))
    compare("one", "two", as_json=False)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "two against one"
    rows = [line for line in printed if "  p " in line]
    assert rows
    assert all((" to " in line) or ("(no interval known)" in line) for line in rows)
