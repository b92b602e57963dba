"""A model and the embedding of its learned token leave together, or not at all."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.errors import CommandError
from pipeline.commands.export import find_embedding
from pipeline.commands.withdrawal_warning import warn_of_withdrawal
from pipeline.registry.found import Found

LINEAGE: dict[str, Any] = {
    "params": {"train": {"token": {"learn": True, "vectors": 2}}},
    "subject": {"token": "mysks"},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "embeddings").mkdir(parents=True)
    (tmp_path / "model" / "embeddings" / "mysks.safetensors").write_bytes(b"version 2")
    return tmp_path / "model"


def test_the_token_s_embedding_goes_beside_the_file(model: Path, tmp_path: Path) -> None:
    found = find_embedding(model, LINEAGE, tmp_path / "one.safetensors")
    assert found is not None and found.target == tmp_path / "mysks.safetensors" and found.vectors == 2
    found.target.write_bytes(b"version 2")  # the very same is there already
    assert find_embedding(model, LINEAGE, tmp_path / "one.safetensors") == found
    fixed = {**LINEAGE, "params": {"train": {"token": {"learn": False, "vectors": 1}}}}
    assert find_embedding(model, fixed, tmp_path / "one.safetensors") is None


def test_a_name_that_the_embedding_needs_is_refused_for_the_model(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="name another file for the model"):
        find_embedding(model, LINEAGE, tmp_path / "mysks.safetensors")


def test_another_version_s_embedding_is_neither_replaced_nor_paired(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mysks.safetensors").write_bytes(b"version 1")
    with pytest.raises(CommandError, match="is not this model's embedding of 'mysks'"):
        find_embedding(model, LINEAGE, tmp_path / "v2.safetensors")
    assert (tmp_path / "mysks.safetensors").read_bytes() == b"version 1"


def test_a_token_that_leads_elsewhere_and_a_missing_embedding_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="which is no file name"):
        find_embedding(model, {**LINEAGE, "subject": {"token": "../mysks"}}, tmp_path / "one.safetensors")
    (model / "embeddings" / "mysks.safetensors").unlink()
    with pytest.raises(CommandError, match="is missing"):
        find_embedding(model, LINEAGE, tmp_path / "one.safetensors")


def test_a_registry_that_is_away_costs_a_warning_and_no_more(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    warn_of_withdrawal(tmp_path, Found("./model", {"weights": {"content_digest": "c" * 64}}))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "warning: whether ./model is withdrawn is unknown" in said
