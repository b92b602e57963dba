"""What later searches, later judgements and interruptions make of the recipe of a registered version."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from pipeline.commands import recipe as recipe_command
from pipeline.files import digest_file
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.links import Evidence, Link
from pipeline.lineage.tags import WITHDRAWN
from pipeline.lineage.verify_recipe import recipe_links, search_file
from pipeline.registry import recipe_change
from pipeline.registry.recipes import (
    RECIPE,
    adopt_searched,
    give_searched_default,
    recipe_history,
    recipe_in,
    set_recipe,
)
from pipeline.sampling.recipe import Recipe, RecipeError, recipe_of
from pipeline.stages.register import _log_record

FOUND: dict[str, Any] = {
    "recipe": {"strength": 0.5},
    "adopted": True,
    "sentence": "The searched recipe is better and becomes the model's own.",
    "digest": Recipe(strength=0.5).digest,
    "newly_failed": [],
    "search": {"suite": {"name": "mine", "digest": "d" * 64}, "pictures": {"drawn": 40, "planned": 44}},
}
FIRST, SECOND = "e" * 64, "f" * 64


@pytest.fixture
def client(bare_version: mlflow.MlflowClient) -> mlflow.MlflowClient:
    """A client of a registry with version 1 of mysks, whose recipe a search found."""
    assert adopt_searched(bare_version, "mysks", "1", FOUND, FIRST, "ann")
    return bare_version


def tags(client: mlflow.MlflowClient) -> dict[str, str]:
    return dict(client.get_model_version("mysks", "1").tags)


def present(client: mlflow.MlflowClient) -> Recipe:
    return recipe_in(tags(client), "it")


def test_a_later_search_that_ends_at_the_default_takes_the_recipe_of_the_earlier_one_back(
    client: mlflow.MlflowClient,
) -> None:
    assert not give_searched_default(client, "mysks", "1", FIRST, "ann")  # the very search that found it
    assert present(client) == Recipe(strength=0.5)
    assert "later search" in give_searched_default(client, "mysks", "1", SECOND, "ann")
    assert present(client) == Recipe()
    assert not give_searched_default(client, "mysks", "1", SECOND, "ann")


def test_a_later_search_whose_recipe_is_not_adopted_does_so_too_and_a_person_s_choice_stays(
    client: mlflow.MlflowClient,
) -> None:
    other = {**FOUND, "recipe": {"strength": 0.6}, "digest": Recipe(strength=0.6).digest, "adopted": False}
    assert not adopt_searched(client, "mysks", "1", other, FIRST, "ann")
    assert "later search" in adopt_searched(client, "mysks", "1", other, SECOND, "ann")
    assert present(client) == Recipe()
    set_recipe(client, "mysks", "1", Recipe(strength=0.5), "bob", "a person's choice")
    assert not adopt_searched(client, "mysks", "1", other, "0" * 64, "ann")
    assert not give_searched_default(client, "mysks", "1", "0" * 64, "ann")
    assert present(client) == Recipe(strength=0.5)


@pytest.mark.parametrize(("verdict", "stays"), [("worse", False), ("no difference shown", True)])
def test_a_recipe_that_is_worse_when_it_is_judged_again_is_taken_back(
    client: mlflow.MlflowClient, verdict: str, stays: bool
) -> None:
    again = {**FOUND, "adopted": False, "gains": [{"metric": "merit", "verdict": verdict}]}
    assert bool(adopt_searched(client, "mysks", "1", again, FIRST, "ann")) != stays
    assert present(client) == (Recipe(strength=0.5) if stays else Recipe())


@pytest.mark.parametrize("written", [0, 1])
def test_a_recipe_whose_setting_was_cut_off_is_set_by_the_same_call(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    given = {"given": True, "adopted": True, "recipe": {"strength": 0.7}, "sentence": "as params.yaml says"}
    real, done = client.set_model_version_tag, []

    def killed(name: str, version: str, key: str, value: str) -> None:
        if key.startswith("recipe"):
            if len(done) == written:
                raise KeyboardInterrupt
            done.append(key)
        real(name, version, key, value)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client, "set_model_version_tag", killed)
        adopt_searched(client, "mysks", "1", given, FIRST, "ann")
    if written:
        assert [link.state for link in links(client)][:1] == ["broken"]
    adopt_searched(client, "mysks", "1", given, FIRST, "ann")
    assert present(client) == Recipe(strength=0.7)
    assert recipe_history(tags(client))[-1]["digest"] == Recipe(strength=0.7).digest
    assert [link.state for link in links(client)] == ["verified"]


def links(client: mlflow.MlflowClient, files: Path | None = None) -> list[Link]:
    return list(recipe_links({}, Evidence(Path(), tags=tags(client), files=files)))


def test_the_record_of_a_search_outlives_later_searches_and_is_verified(
    client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    run, content = client.create_run("0"), "c" * 64
    digests, kept = [], {}
    (tmp_path / "reports" / "report").mkdir(parents=True)
    (tmp_path / "artifacts" / "tuned").mkdir(parents=True)
    search = tmp_path / "artifacts" / "tuned" / "search.json"
    for number in (1, 2):
        search.write_text(json.dumps({"number": number}))
        kept |= _log_record(client, tmp_path, run.info.run_id, content, (search.relative_to(tmp_path),))
        digests.append(digest_file(search))
    record = Path(client.download_artifacts(run.info.run_id, f"record/{content[:16]}", str(tmp_path)))
    for digest in digests:
        assert digest_file(record / search_file(digest)) == kept[search_file(digest)] == digest
    assert digest_file(record / "search.json") == digests[1]
    set_recipe(client, "mysks", "1", Recipe(strength=0.6), "ann", search={"digest": digests[0]})
    assert [(link.name, link.state) for link in links(client, record)] == [
        ("recipe", "verified"), ("recipe search", "verified"),
    ]  # fmt: skip
    (record / search_file(digests[0])).write_text("{}")
    assert links(client, record)[1].state == "broken"
    (record / search_file(digests[0])).unlink()
    assert links(client, record)[1].state == "unknown"


OTHER = {"adapters": [{"model": "models:/wuvl/1", "digest": "c" * 64, "weight": 0.5}]}


@pytest.fixture
def other(client: mlflow.MlflowClient, tmp_path: Path) -> mlflow.MlflowClient:
    """The registry with version 1 of wuvl, too."""
    client.create_registered_model("wuvl")
    client.create_model_version("wuvl", str(tmp_path / "wuvl"), tags={"content_digest": "c" * 64})
    return client


@pytest.mark.parametrize(
    ("mark", "words"), [(DELETED, "whose weights were deleted"), (WITHDRAWN, "which was withdrawn")]
)
@pytest.mark.parametrize("had_one", [True, False])
def test_a_recipe_gives_way_to_a_deletion_or_withdrawal_of_a_model_that_it_names(
    other: mlflow.MlflowClient, mark: str, words: str, had_one: bool
) -> None:
    if not had_one:
        other.delete_model_version_tag("mysks", "1", RECIPE)
    before = tags(other)

    def meanwhile() -> None:
        other.set_model_version_tag("wuvl", "1", mark, "by bob")

    recipe = recipe_of(OTHER, "it")
    with pytest.raises(RecipeError, match=f"keeps the recipe that it has: .*models:/wuvl/1, {words}"):
        set_recipe(other, "mysks", "1", recipe, "ann", locked=meanwhile)
    assert tags(other) == before


def test_a_recipe_of_models_in_use_is_set(other: mlflow.MlflowClient) -> None:
    recipe = recipe_of(OTHER, "it")
    assert set_recipe(other, "mysks", "1", recipe, "ann") and present(other) == recipe
    assert recipe_history(tags(other))[-1]["digest"] == recipe.digest


@pytest.fixture
def promoted_meanwhile(
    client: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> mlflow.MlflowClient:
    """The registry, where somebody promotes the version just before a recipe is set; champions are published."""
    monkeypatch.chdir(tmp_path)

    def later(*given: Any, **named: Any) -> bool:
        client.set_registered_model_alias("mysks", "champion", "1")
        return set_recipe(*given, **named)

    monkeypatch.setattr(recipe_change, "set_recipe", later)
    monkeypatch.setattr(recipe_change, "publish_to", lambda _: "s3://somewhere/else")
    monkeypatch.setattr(recipe_change, "find_record", lambda *_: nullcontext(SimpleNamespace(lineage={})))
    monkeypatch.setattr(recipe_change, "pinned", lambda _, recipe, *__: recipe)
    return client


def test_the_recipe_of_a_version_that_was_promoted_meanwhile_is_published(
    promoted_meanwhile: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    monkeypatch.setattr(recipe_command, "publish_where_set", lambda name, *_: published.append(name))
    (tmp_path / "recipe.yaml").write_text("negative: blur")
    recipe_command.use("models:/mysks/1", tmp_path / "recipe.yaml", "softer", "ann")
    assert present(promoted_meanwhile).negative == "blur" and published == ["mysks"]


def test_a_folder_in_the_recipe_of_a_version_that_was_promoted_meanwhile_is_refused(
    promoted_meanwhile: mlflow.MlflowClient,
) -> None:
    before = tags(promoted_meanwhile)
    recipe = recipe_of({"control": {"kind": "edges", "adapter": "./adapter"}}, "it")
    with pytest.raises(RecipeError, match="names a folder of this machine"):
        recipe_change.change_recipe(Path(), "mysks", "1", recipe, "ann")
    assert tags(promoted_meanwhile) == before
