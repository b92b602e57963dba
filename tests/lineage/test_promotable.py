"""Objections to a version, looked up in a real registry and workspace."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.registry.aliases import champion_of
from pipeline.registry.examination import Refused, examine
from pipeline.registry.lookup import UnknownVersion
from pipeline.registry.promotion import promote
from pipeline.registry.store import connect
from tests.workspace import dvc, git


def test_gates_chain_and_champion_are_examined(copy: Path) -> None:
    first = examine(copy, "models:/mysks@challenger")
    assert (first.model, first.version, first.champion, first.comparison) == ("mysks", "1", None, None)
    kinds = [objection.split(":")[0] for objection in first.objections]
    assert set(kinds) == {"the gates"}, first.objections  # two steps on noise teach nothing, but the chain holds
    with pytest.raises(Refused, match="the gates: Not to be promoted"):
        promote(copy, first, "ann")
    promote(copy, first, "ann", "a start", force=True)
    assert champion_of(connect(copy), "mysks") == "1"

    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["train"]["seed"] = 2
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    git(copy, "commit", "-qam", "another seed")
    dvc(copy, "repro", "-q")
    second = examine(copy, "models:/mysks/2")
    assert second.champion == "1"
    assert second.comparison is not None
    assert any(objection.startswith("the champion, version 1:") for objection in second.objections) == (
        second.decision != "better"
    )

    weights = next((copy / "mlartifacts").glob("models/*/artifacts/artifacts/*/unet/*.safetensors"))
    weights.chmod(0o644)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = [*examine(copy, "models:/mysks/1").objections, *examine(copy, "models:/mysks/2").objections]
    assert any(objection.startswith("the chain: weights is broken") for objection in found)

    champion = connect(copy).get_model_version("mysks", "1")  # its record is lost, and the copy beside its weights
    shutil.rmtree(copy / "mlartifacts" / str(champion.run_id) / "artifacts" / "record")
    for path in (copy / "mlartifacts" / "models" / str(champion.source).rpartition("/models/")[2]).rglob(
        "lineage.json"
    ):
        path.unlink()
    third = examine(copy, "models:/mysks/2")
    lost = "the champion, version 1: it cannot be compared, because its record cannot be read"
    assert any(objection.startswith(lost) for objection in third.objections), third.objections
    with pytest.raises(Refused, match="its record cannot be read"):
        promote(copy, third, "ann")
    moved = promote(copy, third, "ann", "version 1 has no record any more", force=True)
    assert moved is not None and lost in moved.why
    assert champion_of(connect(copy), "mysks") == "2"


def test_only_registered_versions_are_promoted(copy: Path) -> None:
    with pytest.raises(Refused, match="is not a registered version"):
        examine(copy, str(copy / "artifacts" / "selected" / "model"))
    with pytest.raises(UnknownVersion, match="has versions 1"):
        examine(copy, "models:/mysks/7")
