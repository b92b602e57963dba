"""Champions on S3 and withdrawals: what went elsewhere comes back, and no race leaves it published."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pipeline.base.learned import Learned, write_learned
from pipeline.commands.publish import fetch as fetch_command
from pipeline.lineage.digests import content_digest
from pipeline.registry import publication
from pipeline.registry.found import Found
from pipeline.registry.impact import Affected, impact
from pipeline.registry.publication import (
    hub_repositories,
    places_of,
    publish_champion,
    remember_hub,
    retract_versions,
)
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.registry.withdrawal import Unfinished, withdraw
from pipeline.sampling.composition import Control
from pipeline.sampling.recipe import Recipe, read_recipe
from pipeline.stages.register import _publish_champion
from pipeline.storage.fetch import fetch
from pipeline.storage.s3 import ChangedMeanwhile, StorageError, Store, read_url
from tests.services.fixtures import Bucket
from tests.storage.test_publish import make_model

NAME, PHOTO = "mysks", "a" * 64


@pytest.fixture
def workspace(
    empty_registry: Path, tiny_base: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A registry with a champion, which was trained on one photo; publish.to is `<bucket>/own`."""
    model = make_model(tiny_base, tmp_path / "model", 1)
    write_learned(model, Learned(components=("unet",)))
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "params.yaml").write_text("{}")
    digest = content_digest(model)
    lineage = {"format": 1, "weights": {"content_digest": digest}, "subject": {"token": "mysks", "class_noun": "toy"}}
    (model / "lineage.json").write_text(json.dumps(lineage))

    @contextmanager
    def find_record(workspace: Path, ref: str) -> Iterator[Found]:
        yield Found(ref, lineage, folder=model, files=tmp_path / "record")

    monkeypatch.setattr(publication, "find_record", find_record)
    client = connect(empty_registry)
    client.create_registered_model(NAME)
    tags = {"photos": json.dumps([[PHOTO, None]]), "content_digest": digest}
    client.create_model_version(NAME, str(empty_registry), tags=tags)
    client.set_registered_model_alias(NAME, "champion", "1")
    values = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    values["publish"]["to"] = f"{bucket.url}/own"
    (empty_registry / "params.yaml").write_text(yaml.safe_dump(values))
    return empty_registry


def affected(workspace: Path) -> list[Affected]:
    return impact(workspace, PHOTO).affected


def pointer(bucket: Bucket, place: str) -> dict[str, str] | None:
    found = Store().read(bucket.name, f"{place}/{NAME}/champion.json")
    return None if found is None else dict(json.loads(found[0]))


def test_what_went_elsewhere_is_retracted_too(workspace: Path, bucket: Bucket, tmp_path: Path) -> None:
    for place in ("own", "elsewhere", "third"):
        publish_champion(workspace, NAME, f"{bucket.url}/{place}", "ann")
    assert places_of(connect(workspace), NAME) == sorted(f"{bucket.url}/{p}" for p in ("own", "elsewhere", "third"))
    withdraw(workspace, affected(workspace), "bob", "asked")
    retracted, problems = retract_versions(workspace, [(NAME, "1")], "asked")
    assert problems == []
    assert set(retracted) == {f"{bucket.url}/{place}/{NAME}" for place in ("own", "elsewhere", "third")}
    for place in ("own", "elsewhere", "third"):
        with pytest.raises(StorageError, match="was withdrawn: asked"):
            fetch(f"{bucket.url}/{place}/{NAME}", tmp_path / place)
    assert retract_versions(workspace, [(NAME, "1")], "asked") == ([], [])


def test_a_place_that_cannot_be_asked_is_named_and_asked_again(
    workspace: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("own", "elsewhere"):
        publish_champion(workspace, NAME, f"{bucket.url}/{place}", "ann")
    withdraw(workspace, affected(workspace), "bob")
    replace = Store.replace

    def away(store: Store, bucket_name: str, key: str, content: bytes, etag: str | None) -> None:
        if key.startswith("elsewhere/"):
            raise StorageError("S3 did not answer")
        replace(store, bucket_name, key, content, etag)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "replace", away)
        retracted, problems = retract_versions(workspace, [(NAME, "1")], "asked")
    assert retracted == [f"{bucket.url}/own/{NAME}"]
    assert problems == [f"{bucket.url}/elsewhere: S3 did not answer"]
    assert retract_versions(workspace, [(NAME, "1")], "asked") == ([f"{bucket.url}/elsewhere/{NAME}"], [])


def test_a_withdrawal_during_the_upload_leaves_nothing_published(
    workspace: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, done = Store.upload, []

    def withdrawn_meanwhile(store: Store, *arguments: object) -> int:
        if not done:
            done.append(withdraw(workspace, affected(workspace), "bob"))
            assert retract_versions(workspace, [(NAME, "1")], "asked") == ([], [])  # no pointer is there yet
        return upload(store, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "upload", withdrawn_meanwhile)
    with pytest.raises(ChangedMeanwhile, match="is not the champion any more"):
        publish_champion(workspace, NAME, f"{bucket.url}/elsewhere", "ann")
    assert pointer(bucket, "elsewhere") is None


def test_a_withdrawal_at_the_last_moment_waits_and_then_retracts(
    workspace: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Store.replace

    def withdrawing(store: Store, *arguments: object) -> None:
        with pytest.raises(Unfinished, match="ann is publishing the champion"):
            withdraw(workspace, affected(workspace), "bob")
        replace(store, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "replace", withdrawing)
        publish_champion(workspace, NAME, f"{bucket.url}/elsewhere", "ann")
    assert (pointer(bucket, "elsewhere") or {})["version"] == "1"
    withdraw(workspace, affected(workspace), "bob")
    assert retract_versions(workspace, [(NAME, "1")], "asked") == ([f"{bucket.url}/elsewhere/{NAME}"], [])
    assert (pointer(bucket, "elsewhere") or {})["withdrawn"] == "asked"
    with pytest.raises(publication.NothingToPublish):
        publish_champion(workspace, NAME, f"{bucket.url}/elsewhere", "ann")


def test_another_recipe_moves_the_pointer_though_the_weights_are_the_same(
    workspace: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, to = connect(workspace), f"{bucket.url}/own"
    assert publish_champion(workspace, NAME, to, "ann").moved
    kept = [key for key, _, _ in Store().list(read_url(f"{to}/parts"))]
    assert len(kept) > 2  # frozen weights and the tokenizer
    assert not publish_champion(workspace, NAME, to, "ann").moved
    assert "recipe" not in pointer(bucket, "own")
    set_recipe(client, NAME, "1", Recipe(strength=0.8), "ann")
    assert publish_champion(workspace, NAME, to, "ann").moved
    assert pointer(bucket, "own")["recipe_digest"] == Recipe(strength=0.8).digest
    monkeypatch.chdir(tmp_path)
    fetch_command(f"{to}/{NAME}", Path("got"))
    assert read_recipe(Path("got/recipe.yaml")) == Recipe(strength=0.8)
    fetch_command(f"{to}/{NAME}", Path("got"))  # a second call verifies what is there
    set_recipe(client, NAME, "1", Recipe(), "bob")
    assert publish_champion(workspace, NAME, to, "bob").moved
    assert "recipe" not in pointer(bucket, "own")
    fetch_command(f"{to}/{NAME}", Path("got"))
    assert not Path("got/recipe.yaml").exists()  # the recipe of the champion before is not this one's
    here = Recipe(control=Control(kind="silhouette", adapter="/home/anna/adapter"))
    set_recipe(client, NAME, "1", here, "bob")
    with pytest.raises(publication.NothingToPublish, match="names a folder of this machine"):
        publish_champion(workspace, NAME, to, "bob")


def test_a_recipe_that_was_changed_during_the_upload_is_not_overwritten_by_the_one_before(
    workspace: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, to, upload, done = connect(workspace), f"{bucket.url}/own", Store.upload, []

    def changed_meanwhile(store: Store, *arguments: object) -> int:
        if not done:
            done.append(set_recipe(client, NAME, "1", Recipe(strength=0.8), "bob"))
        return upload(store, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "upload", changed_meanwhile)
    with pytest.raises(ChangedMeanwhile, match="the recipe of mysks version 1 was changed"):
        publish_champion(workspace, NAME, to, "ann")
    assert pointer(bucket, "own") is None
    assert publish_champion(workspace, NAME, to, "ann").pointer["recipe_digest"] == Recipe(strength=0.8).digest


def test_a_registration_that_changes_the_champion_s_recipe_publishes_it_and_does_without_the_store(
    workspace: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(workspace)
    set_recipe(client, NAME, "1", Recipe(strength=0.8), "ann")
    _publish_champion(client, workspace, NAME, "1")
    assert (pointer(bucket, "own") or {})["recipe_digest"] == Recipe(strength=0.8).digest
    set_recipe(client, NAME, "1", Recipe(strength=0.7), "ann")

    def away(*_: object) -> int:
        raise StorageError("S3 did not answer")

    monkeypatch.setattr(Store, "upload", away)
    capsys.readouterr()
    _publish_champion(client, workspace, NAME, "1")
    told = capsys.readouterr().out
    assert told.startswith("warning: S3 did not answer") and f"`dreamtrace publish {NAME}`" in told
    client.delete_registered_model_alias(NAME, "champion")
    _publish_champion(client, workspace, NAME, "1")  # of no other version's recipe
    assert capsys.readouterr().out == ""


def test_places_that_two_processes_add_at_the_same_time_are_both_kept(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(workspace)
    client.set_model_version_tag(NAME, "1", "hub_repositories", '["old/one"]')  # as earlier versions kept them
    stale = client.get_model_version(NAME, "1")
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.get_model_version", lambda *_: stale)
        for repository in ("ann/toy", "team/toy"):
            remember_hub(workspace, NAME, "1", repository)
    assert set(hub_repositories(client, NAME, "1")) == {"old/one", "ann/toy", "team/toy"}
