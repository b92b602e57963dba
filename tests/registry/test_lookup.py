"""What `trace` says of a picture is what the picture's own record says, and what the registry says now is named so."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.lineage.deleted import DELETED
from pipeline.registry import lookup
from pipeline.registry.found import Found
from pipeline.registry.lookup import UnknownVersion, find_record, registered_version
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.credentials import signed_picture
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.signing_authority import signing_identity
from tests.tiny import picture

CONTENT = "ab" * 32
LINEAGE = {"weights": {"content_digest": CONTENT}, "photos": {"files": []}}
SEARCH = {"digest": "e" * 64, "suite": "mine", "suite_digest": "d" * 64, "pictures": 40}


@pytest.fixture
def registry(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of a registry with three versions of mysks of the same content, whose records are all the same."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(lookup.Artifacts, "of_run", lambda *_: tmp_path)
    monkeypatch.setattr(lookup, "read_lineage", lambda _: LINEAGE)
    shutil.copy(sqlite_template, tmp_path)
    client = connect(tmp_path)
    client.create_registered_model("mysks")
    run = client.create_run("0").info.run_id
    for _ in range(3):
        client.create_model_version("mysks", str(tmp_path), run_id=run, tags={"content_digest": CONTENT})
    return client


def traced(folder: Path, **record: Any) -> Found:
    file = folder / "drawn.png"
    origin = {"content_digest": CONTENT, **record}
    file.write_bytes(signed_picture(picture(1, 64, 64), origin, "png", signing_identity()))
    with find_record(folder, str(file)) as found:
        return found


def test_the_present_recipe_of_a_version_is_not_said_to_have_drawn_a_picture(
    registry: mlflow.MlflowClient, tmp_path: Path
) -> None:
    set_recipe(registry, "mysks", "1", Recipe(strength=0.5), "ann", search=SEARCH)
    facts = traced(tmp_path).facts
    assert not any(word in facts for word in ("drawn with", "found by a search", "recipe found by a search"))
    assert '"strength": 0.5' in facts["its version is now drawn with"]
    with find_record(tmp_path, "models:/mysks/1") as found:
        assert "drawn with" in found.facts and "found by a search" in found.facts
    facts = traced(tmp_path, recipe={"strength": 0.5}, recipe_digest=Recipe(strength=0.5).digest).facts
    assert facts["recipe found by a search"].startswith("40 pictures on suite mine")


def test_the_version_that_a_picture_names_is_the_one_that_is_shown(
    registry: mlflow.MlflowClient, tmp_path: Path
) -> None:
    assert traced(tmp_path).facts["made by"] == "mysks version 1"
    assert traced(tmp_path, title="mysks version 3").facts["made by"] == "mysks version 3"
    registry.set_model_version_tag("mysks", "1", DELETED, json.dumps({"by": "ann", "at": "now", "why": "", "size": 1}))
    assert traced(tmp_path, title="elk version 3").facts["made by"] == "mysks version 2"


def test_every_version_behind_a_picture_is_the_one_it_names_and_has_its_aliases(
    registry: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = "cd" * 32, "ef" * 32
    registry.create_registered_model("elk")
    run = registry.get_model_version("mysks", "1").run_id
    for content in (second, second, third):
        registry.create_model_version("elk", str(tmp_path), run_id=run, tags={"content_digest": content})
    monkeypatch.setattr(lookup, "_own", lambda *_: LINEAGE)
    registry.set_registered_model_alias("elk", "champion", "2")
    registry.set_registered_model_alias("elk", "challenger", "3")
    rows = [{"model": "models:/elk/2", "title": "elk version 2", "content_digest": second}]
    start = {"pixels": "0" * 64, "drawn": {"content_digest": third}}
    others = traced(tmp_path, models=rows, start=start).others
    told = [(one.title, one.facts["aliases"]) for one in others]
    assert told == [("elk version 2", "champion"), ("elk version 3", "challenger")]


def test_a_picture_and_a_run_lead_to_the_aliases_of_their_version(
    registry: mlflow.MlflowClient, tmp_path: Path
) -> None:
    registry.set_registered_model_alias("mysks", "champion", "1")
    assert traced(tmp_path).facts["aliases"] == "champion"
    run = registry.get_model_version("mysks", "1").run_id
    with find_record(tmp_path, run) as found:
        assert found.facts["aliases"] == "champion"


def test_a_picture_whose_caller_named_the_steps_leads_to_the_search_too(
    registry: mlflow.MlflowClient, tmp_path: Path
) -> None:
    searched, by_hand = Recipe(strength=0.5, steps=30, guidance=4.0), Recipe(strength=0.5, guidance=4.0)
    set_recipe(registry, "mysks", "1", searched, "ann", search=SEARCH)
    called = {"recipe": by_hand.changed, "recipe_digest": by_hand.digest}
    words = "recipe found by a search, but for steps and guidance"
    assert traced(tmp_path, **called).facts[words].startswith("40 pictures on suite mine")
    other = Recipe(strength=0.6)
    assert words not in traced(tmp_path, recipe=other.changed, recipe_digest=other.digest).facts
    set_recipe(registry, "mysks", "1", by_hand, "bob", "by hand")
    assert not [fact for fact in traced(tmp_path, **called).facts if "search" in fact]


@pytest.mark.parametrize("number", ["2147483648", "9" * 30, "9" * 5000, "0", "\u0663", "1\n", "-1"])
@pytest.mark.parametrize("name", ["mysks", "elk"])
def test_a_number_that_no_version_has_is_named_and_not_taken_for_a_silent_store(
    registry: mlflow.MlflowClient, tmp_path: Path, name: str, number: str
) -> None:
    for find in (find_record, registered_version):
        with pytest.raises(UnknownVersion) as found, find(tmp_path, f"models:/{name}/{number}"):
            pass
        assert "does not answer" not in str(found.value)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\ud800", "x" * 5000, "'", "%"])
def test_a_name_that_no_model_has_is_named_and_not_taken_for_a_silent_store(
    registry: mlflow.MlflowClient, tmp_path: Path, name: str
) -> None:
    for end in ("/1", "@champion"):
        with pytest.raises(UnknownVersion) as found:
            registered_version(tmp_path, f"models:/{name}{end}")
        assert "does not answer" not in str(found.value)
