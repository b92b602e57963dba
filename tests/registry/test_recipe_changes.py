"""What later searches, later judgements and interruptions make of the recipe of a registered version."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.files import digest_file
from pipeline.lineage.links import Evidence, Link
from pipeline.lineage.verify_recipe import recipe_links, search_file
from pipeline.registry.recipes import adopt_searched, give_searched_default, recipe_history, recipe_in, set_recipe
from pipeline.sampling.recipe import Recipe
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
