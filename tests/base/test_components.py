"""Loading bases whose tokenizer names no length, and bases at a recorded commit."""

import json
import shutil
from pathlib import Path

import torch

from pipeline.base.components import load_parts, load_pipeline
from pipeline.base.resolve import resolve_base
from pipeline.params import Base


def test_a_tokenizer_without_a_length_reads_as_much_as_the_text_encoder(tiny_base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_base, tmp_path / "model"))
    path = model / "tokenizer" / "tokenizer_config.json"
    found = json.loads(path.read_text())
    found.pop("model_max_length")
    path.write_text(json.dumps(found))
    assert load_parts(model).tokenizer.model_max_length == 32
    assert load_pipeline(model, torch.float32, "cpu").tokenizer.model_max_length == 32


def test_a_recorded_commit_is_taken_whatever_the_branch_is_now(tiny_base: Path, tmp_path: Path, monkeypatch) -> None:
    snapshots = tmp_path / "models--owner--name" / "snapshots"
    for commit in ("0" * 40, "1" * 40):
        shutil.copytree(tiny_base, snapshots / commit)
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("1" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base = Base(model="owner/name")
    assert resolve_base(base).revision == "1" * 40
    assert resolve_base(base, revision="0" * 40).revision == "0" * 40
