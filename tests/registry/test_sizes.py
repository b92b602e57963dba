"""Three versions of one subject take little more than what they learned, in every store."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.disk import COPIES, METHODS, STORES, measure

HARD_LINKS = "hardlink"  # alone: beside others DVC leaves copies of files that its cache has already


@pytest.mark.parametrize(("method", "links"), [*((method, COPIES) for method in METHODS), ("dreambooth", HARD_LINKS)])
def test_three_versions_take_what_they_learned_beyond_one_copy_of_the_base(
    tiny_base: Path, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str, links: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (row,) = measure(tiny_base, tmp_path, values["train"], [method], 3, links)
    shares = {store: row.share(store) for store in STORES}
    assert row.learned == 3 * row.last > 0
    assert row.frozen <= row.base
    assert row.workspace == (0 if links == HARD_LINKS else 2 * (row.frozen + row.last))
    assert all(1 <= share <= 1.2 for share in shares.values()), shares
