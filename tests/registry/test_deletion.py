"""Weights of registered versions are deleted: who is safe, what stays, what goes, and what happens in between."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from pipeline import layout
from pipeline.base.digest import folder_digest
from pipeline.base.resolve import COMPONENTS
from pipeline.files import read_json
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.links import verdict
from pipeline.lineage.verify import verify
from pipeline.registry import deletion, logged_model, unused_parts
from pipeline.registry.deletion import delete_weights, objections_to, plan_deletion
from pipeline.registry.examination import Refused, examine
from pipeline.registry.lock import Busy
from pipeline.registry.lookup import find_record
from pipeline.registry.overview import overview
from pipeline.registry.shared_parts import INDEX, PARTS
from pipeline.registry.store import connect
from pipeline.registry.unused_parts import PartUsers, parts_nobody_needs, remove_unused
from pipeline.runs.leftovers import Leftovers, find_leftovers, remove_leftovers
from tests.commands.test_app import dreamtrace
from tests.stages.test_chain import run

ONE, TWO = "models:/mysks/1", "models:/mysks/2"


@pytest.fixture
def two(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose first version has no alias; the second one, the challenger, needs the same shared files."""
    client = connect(copy)
    first = client.get_model_version("mysks", "1")
    folder = model_folder(copy, ONE).parents[2]
    shutil.copytree(folder, folder.with_name("m-second"))
    source = (folder.with_name("m-second") / "artifacts").as_uri()
    client.create_model_version("mysks", source, first.run_id, tags={**first.tags, "content_digest": "0" * 64})
    client.set_registered_model_alias("mysks", "challenger", "2")
    monkeypatch.chdir(copy)
    return copy


def delete(workspace: Path, *refs: str) -> tuple[int, list[str]]:
    return delete_weights(workspace, plan_deletion(workspace, list(refs)), "ann", "a try-out")


def model_folder(workspace: Path, ref: str) -> Path:
    name, version = ref.removeprefix("models:/").split("/")
    uri = connect(workspace).get_model_version_download_uri(name, version)
    return Path(uri.removeprefix("file://")) / "artifacts" / "model"


def parts(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / "mlartifacts" / PARTS).iterdir()}


def draws(ref: str) -> bool:
    return bool(mlflow.pyfunc.load_model(ref).predict(["a photo of mysks"], params={"steps": 1}))


def without_aliases(workspace: Path) -> None:
    connect(workspace).delete_registered_model_alias("mysks", "challenger")


def test_versions_in_use_stay_and_every_objection_is_told(two: Path) -> None:
    client = connect(two)
    client.set_registered_model_alias("mysks", "champion", "1")
    client.set_registered_model_alias("mysks", "previous-champion", "2")
    with pytest.raises(Refused) as refused:
        plan_deletion(two, [ONE, TWO])
    assert "version 1 is the champion" in str(refused.value)
    assert "version 2 is the previous-champion: `dreamtrace rollback` needs it" in str(refused.value)
    assert "version 2 is the challenger" in str(refused.value)
    client.copy_model_version(ONE, "a-copy")
    client.delete_registered_model_alias("mysks", "champion")
    with pytest.raises(Refused, match="needed by a-copy version 1, which has the same files"):
        plan_deletion(two, [ONE])
    assert not plan_deletion(two, [ONE, "models:/a-copy/1"]).doomed[0].before  # they do not hold each other
    client.set_model_version_tag("mysks", "2", "base_model", str(model_folder(two, ONE)))
    client.delete_model_version("a-copy", "1")
    with pytest.raises(Refused, match="needed by mysks version 2, which was trained on it"):
        plan_deletion(two, [ONE])
    client.set_model_version_tag("mysks", "2", "base_model", "other")
    recipe = {"adapters": [{"model": ONE, "weight": 0.5}]}
    client.set_model_version_tag("mysks", "2", "recipe", json.dumps(recipe))
    with pytest.raises(Refused, match="needed by mysks version 2, whose recipe draws with it"):
        plan_deletion(two, [ONE])
    assert draws(ONE)


def test_weights_that_a_version_was_trained_on_stay_by_whatever_path_it_names_them(
    bare_version: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    weights = tmp_path / "files" / "model"
    (weights / "tokenizer").mkdir(parents=True)
    (weights / "tokenizer" / "merges.txt").write_text("a b")
    (tmp_path / "link").symlink_to(weights)
    content = folder_digest(weights, COMPONENTS)
    client = bare_version
    version = client.create_model_version("mysks", str(tmp_path / "files"), tags={"content_digest": content})

    def objections(base: str, digest: str) -> list[str]:
        client.set_model_version_tag("mysks", "1", "base_model", base)
        client.set_model_version_tag("mysks", "1", "base_digest", digest)
        return objections_to(client, version)

    needed = ["mysks version 2 is needed by mysks version 1, which was trained on it"]
    for base in (str(weights), "files/model", "./files/model", "link", "~/files/model"):
        assert objections(base, "f" * 64) == needed
    assert not objections("pocket", content) and not objections("./elsewhere", "f" * 64)
    shutil.copytree(weights, "own")
    assert not objections("./own", content)  # it has what it needs
    (tmp_path / "own" / "tokenizer" / "merges.txt").write_text("c d")
    assert objections("./own", content) == needed  # another model by now
    shutil.rmtree("own")
    assert objections("./own", content) == needed == objections("/of/another/machine", content)
    client.set_model_version_tag("mysks", "1", "base_revision", "c" * 40)
    assert not objections("ann/toy", content)  # the hub has it


def test_weights_go_and_the_record_and_what_others_share_stay(two: Path, monkeypatch, capsys) -> None:
    assert dreamtrace(monkeypatch, "generate", "a mysks", "--model", ONE, "--steps", "1", "--out", "drawn.png") == 0
    shared, own = parts(two), model_folder(two, ONE)
    size = sum(path.stat().st_size for path in own.rglob("*") if path.is_file() and path.name != "lineage.json")
    plan = plan_deletion(two, [ONE])
    assert (plan.size, plan.parts, plan.doomed[0].pictures) == (size, {}, 1)
    assert delete_weights(two, plan, "ann", "a try-out") == (size, [])
    assert [path.name for path in own.rglob("*") if path.is_file()] == ["lineage.json"]
    assert parts(two) == shared and draws(TWO)

    with find_record(two, ONE) as found:
        assert found.model is None and "by ann" in found.facts["weights"]
        links = verify(found.lineage, found.evidence(two))
    assert verdict(links) == "unknown" and not [link for link in links if link.state == "broken"]
    assert next(link.detail for link in links if link.name == "weights").endswith("a try-out")
    capsys.readouterr()
    assert dreamtrace(monkeypatch, "trace", "drawn.png") == 0
    said = capsys.readouterr().out
    assert "photo0.jpg" in said and "deleted by ann" in said
    assert dreamtrace(monkeypatch, "generate", "a mysks", "--model", ONE, "--steps", "1") == 1
    assert "no weights any more: they were deleted by ann" in capsys.readouterr().err
    with pytest.raises(Exception, match="somebody deleted"):
        mlflow.pyfunc.load_model(ONE)
    assert any("weights deleted by ann" in line for line in examine(two, ONE).forbidden)
    first = next(one for one in overview(two)["mysks"] if one.version == "1")
    assert first.state == "deleted" and "a try-out" in first.deleted
    assert delete(two, ONE) == (0, [])


def test_shared_files_go_with_the_last_version_that_needs_them(two: Path) -> None:
    without_aliases(two)
    delete(two, ONE)
    plan = plan_deletion(two, [TWO])
    assert set(plan.parts) == parts(two)
    freed, problems = delete_weights(two, plan, "ann", "a try-out")
    assert (freed, problems) == (plan.size, [])
    assert not parts(two)


def test_a_file_of_a_version_that_cannot_be_read_keeps_all_shared_files(two: Path) -> None:
    without_aliases(two)
    (model_folder(two, ONE) / INDEX).write_text("{")
    plan = plan_deletion(two, [TWO])
    assert not plan.parts and "mysks version 1 needs cannot be read" in plan.parts_stay
    assert delete_weights(two, plan, "ann", "a try-out")[1] == []
    assert parts(two)
    assert set(plan_deletion(two, [ONE, TWO]).parts) == parts(two)  # a second call, with version 1, finds them
    delete(two, ONE)
    assert {part.path.name for part in parts_nobody_needs(two)} == parts(two)

    def found() -> Leftovers:
        return Leftovers([item for item in find_leftovers(two, 0).found if f"/{PARTS}/" in item.where], [], [])

    assert not found().found  # a registration that is at work may need them
    for path in (two / "mlartifacts" / PARTS).iterdir():
        os.utime(path, (0, 0))
    leftovers = found()
    assert len(leftovers.found) == len(parts(two))
    assert remove_leftovers(leftovers) == (leftovers.size, [])
    assert not parts(two)


def test_where_one_version_came_into_use_nothing_is_deleted(two: Path) -> None:
    client = connect(two)
    without_aliases(two)
    plan = plan_deletion(two, [ONE, TWO])
    client.set_registered_model_alias("mysks", "champion", "2")
    with pytest.raises(Refused, match="version 2 is the champion"):
        delete_weights(two, plan, "ann", "a try-out")
    assert DELETED not in client.get_model_version("mysks", "1").tags
    assert draws(ONE) and draws(TWO)


def test_copies_go_together(two: Path) -> None:
    client = connect(two)
    client.copy_model_version(ONE, "a-copy")
    plan = plan_deletion(two, [ONE, "models:/a-copy/1"])
    freed, problems = delete_weights(two, plan, "ann", "a try-out")
    assert not problems and freed == plan.size
    assert DELETED in client.get_model_version("a-copy", "1").tags
    assert not list(model_folder(two, ONE).rglob("*.safetensors"))


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def after(count: int) -> None:
        left = [count]

        def remove(*given: str) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            right(*given)

        right = deletion.remove_file
        monkeypatch.setattr(deletion, "remove_file", remove)
        monkeypatch.setattr(unused_parts, "remove_file", remove)

    return after


@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_cut_off_anywhere_the_same_call_finishes_it(two: Path, killed, monkeypatch, count: int) -> None:
    without_aliases(two)
    delete(two, TWO)
    right = deletion.remove_file
    killed(count)
    with pytest.raises(KeyboardInterrupt):
        delete(two, ONE)
    for module in (deletion, unused_parts):
        monkeypatch.setattr(module, "remove_file", right)
    with find_record(two, ONE) as found:
        assert (found.model is None) == (count > 0)
    assert delete(two, ONE)[1] == []
    assert not parts(two)
    assert {path.name for path in model_folder(two, ONE).rglob("*") if path.is_file()} == {"lineage.json"}


def test_registered_again_the_same_version_has_its_weights_back(two: Path, capsys) -> None:
    without_aliases(two)
    delete(two, ONE, TWO)
    run(two, "register")
    assert "the weights of mysks version 1 had been deleted; they are back" in capsys.readouterr().out
    registration = read_json(two / layout.REGISTRATION)
    assert registration["version"] == "1" and draws(ONE)
    assert DELETED not in connect(two).get_model_version("mysks", "1").tags
    with find_record(two, ONE) as found:
        assert not [link for link in verify(found.lineage, found.evidence(two)) if link.state == "broken"]


def test_parts_that_are_removed_during_a_registration_are_sent_again(two: Path, monkeypatch) -> None:
    without_aliases(two)
    delete(two, ONE, TWO)
    client = connect(two)
    client.set_model_version_tag("mysks", "1", "record_digest", "another")  # so that a new version is made
    root = (two / "mlartifacts").as_uri()
    right, removed, hidden = logged_model.served_files, [], two / "hidden"
    hidden.mkdir()

    def between(*given):
        for folder in (two / "mlartifacts" / "models").iterdir():  # the upload itself is not seen by the other side
            folder.rename(hidden / folder.name)
        removed.append(remove_unused(PartUsers(client), root, sorted(parts(two))))
        for folder in hidden.iterdir():
            folder.rename(two / "mlartifacts" / "models" / folder.name)
        return right(*given)

    monkeypatch.setattr("pipeline.registry.versions.served_files", between)
    run(two, "register")
    assert removed[0] > 0
    assert read_json(two / layout.REGISTRATION)["version"] == "3" and draws("models:/mysks/3")


def test_a_version_made_since_the_plan_keeps_its_parts(two: Path) -> None:
    without_aliases(two)
    delete(two, ONE)
    plan = plan_deletion(two, [TWO])
    needed = parts(two)
    connect(two).delete_model_version_tag("mysks", "1", DELETED)  # another registration, with the same parts
    index = read_json(model_folder(two, TWO) / INDEX)
    (model_folder(two, ONE) / INDEX).write_text((model_folder(two, TWO) / INDEX).read_text())
    delete_weights(two, plan, "ann", "a try-out")
    assert parts(two) == needed == {entry["sha256"] for entry in index["files"].values()}


def test_what_two_registrations_uploaded_at_once_is_kept_once(two: Path, monkeypatch) -> None:
    client = connect(two)
    folders = set((two / "mlartifacts" / "models").iterdir())
    from pipeline.registry import versions

    right, asked = versions.find_version, []

    def late(*given):  # the other registration finishes between the two looks
        asked.append(given)
        return None if len(asked) <= 2 else right(*given)

    monkeypatch.setattr(versions, "find_version", late)
    run(two, "register")
    assert len(asked) == 3
    left = [path for path in (two / "mlartifacts" / "models").iterdir() if path not in folders]
    assert not [file for folder in left for file in folder.rglob("*") if file.is_file()]
    assert len(list(client.search_model_versions("name = 'mysks'"))) == 2


def test_the_command_says_what_goes_asks_and_keeps_name_and_reason(two: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert dreamtrace(monkeypatch, "delete", ONE, "--reason", "a try-out") == 1
    said = capsys.readouterr()
    assert "mysks version 1: its weights" in said.out and "kB" in said.out and "nothing was deleted" in said.err
    assert dreamtrace(monkeypatch, "delete", ONE, "--reason", " ") == 1
    assert dreamtrace(monkeypatch, "delete", TWO, "--reason", "x", "--yes") == 1
    assert "is the challenger" in capsys.readouterr().err
    assert draws(ONE)
    assert dreamtrace(monkeypatch, "delete", ONE, "--reason", "a try-out", "--by", "ann", "--yes") == 0
    assert "are free" in capsys.readouterr().out
    assert dreamtrace(monkeypatch, "delete", ONE, "--reason", "again", "--by", "bob") == 0
    said = capsys.readouterr().out
    assert "weights deleted by ann" in said and "nothing is left" in said
    assert dreamtrace(monkeypatch, "list") == 0
    assert "deleted by ann" in capsys.readouterr().out


def test_a_deletion_whose_lock_was_taken_over_marks_nothing(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(two)
    monkeypatch.setattr(deletion, "settle", lambda *_: client.delete_registered_model("mysks.promoting"))
    with pytest.raises(Busy, match="its lock expired"):
        delete(two, ONE)
    assert DELETED not in client.get_model_version("mysks", "1").tags and model_folder(two, ONE).is_dir()
