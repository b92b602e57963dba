"""Which versions saw a photo: the file itself, altered copies, versions nobody can tell of; and taking them away."""

import json
import sqlite3
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.commands.errors import CommandError
from pipeline.commands.trace import show_trace
from pipeline.commands.withdraw import NotConfirmed, run_withdrawal
from pipeline.files import digest_file
from pipeline.layout import PHOTO_INDEX
from pipeline.lineage.tags import photos_tag
from pipeline.params import load_params
from pipeline.photos.read import open_photo
from pipeline.photos.similarity import perceptual_hash
from pipeline.registry import impact as impact_module
from pipeline.registry import photo_index, publication, version_photos, versions, withdrawal
from pipeline.registry.examination import Refused, withdrawal_objections
from pipeline.registry.found import Found
from pipeline.registry.impact import NoSuchPhoto, impact
from pipeline.registry.lock import promotion_lock
from pipeline.registry.promotion import rollback
from pipeline.registry.publication import remember_hub
from pipeline.registry.store import connect
from pipeline.registry.withdrawal import Unfinished, withdraw
from pipeline.registry.withdrawn_photos import Matches, WithdrawnPhoto, matches, record_withdrawn, withdrawn_photos
from pipeline.runs import withdrawn_inputs as before_a_run
from tests import tiny

SETS = {1: [0, 1], 2: [1, 2], 3: [2, 3]}  # photos of each version of 'mysks'


@pytest.fixture
def workspace(empty_registry: Path) -> Path:
    """A registry with three versions of one model, one of another, and four photos."""
    tmp_path = empty_registry
    tiny.make_photos(tmp_path / "data", 4)
    client = connect(tmp_path)
    for name in ("mysks", "other"):
        client.create_registered_model(name)
    for numbers in SETS.values():
        client.create_model_version("mysks", str(tmp_path), tags={"photos": tag(tmp_path, numbers)})
    client.create_model_version("other", str(tmp_path), tags={"photos": tag(tmp_path, [0])})
    client.set_registered_model_alias("mysks", "champion", "2")
    client.set_registered_model_alias("mysks", "previous-champion", "1")
    return tmp_path


def photo(workspace: Path, number: int) -> Path:
    return workspace / "data" / f"photo{number}.jpg"


def tag(workspace: Path, numbers: list[int]) -> str:
    rows = []
    for path in (photo(workspace, number) for number in numbers):
        likeness = perceptual_hash(open_photo(path, 10**6, 1))
        rows.append({"sha256": digest_file(path), "phash": f"{likeness:016x}"})
    text = photos_tag(rows)
    assert text is not None
    return text


def altered(workspace: Path, number: int) -> Path:
    """A resized copy of a photo, beside it, of which only the perceptual hash is the same."""
    with Image.open(photo(workspace, number)) as picture:
        picture.resize((90, 90)).save(workspace / "data" / f"photo{10 + number}.jpg")
    return photo(workspace, 10 + number)


def record(photos: list[dict], base: str = "") -> dict:
    """As much of a version's record as a registration asks about withdrawals."""
    return {"photos": {"files": photos}, "base": {"digest": base}}


def names(workspace: Path, asked: str) -> list[str]:
    return [item.name for item in impact(workspace, asked).affected]


def test_the_file_itself_and_its_digest_name_every_version_with_its_aliases(workspace: Path) -> None:
    assert names(workspace, str(photo(workspace, 0))) == ["mysks version 1", "other version 1"]
    found = impact(workspace, digest_file(photo(workspace, 1)))
    assert [(item.name, item.aliases) for item in found.affected] == [
        ("mysks version 1", ("previous-champion",)), ("mysks version 2", ("champion",)),
    ]  # fmt: skip
    assert all(item.sighting.exact and item.sighting.distance == 0 for item in found.affected)
    assert names(workspace, "f" * 64) == []
    with pytest.raises(NoSuchPhoto, match="neither a file nor the sha256"):
        impact(workspace, "nowhere.jpg")
    (workspace / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(NoSuchPhoto, match="is not a picture"):
        impact(workspace, str(workspace / "broken.jpg"))


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"quality": 60}), ("a.png", {}), ("a.jpg", {"quality": 50})])
@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_an_altered_copy_is_found_and_marked(workspace: Path, name: str, options: dict, scale: float) -> None:
    with Image.open(photo(workspace, 3)) as picture:
        altered = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        altered.save(workspace / name, **options)
    found = impact(workspace, str(workspace / name)).affected
    assert [item.name for item in found] == ["mysks version 3"]
    assert not found[0].sighting.exact
    assert found[0].sighting.sha256 == digest_file(photo(workspace, 3))


def test_another_picture_is_nobody(workspace: Path) -> None:
    tiny.picture(99).save(workspace / "new.jpg")
    assert names(workspace, str(workspace / "new.jpg")) == []


def test_the_index_follows_the_registry_and_can_be_thrown_away(workspace: Path) -> None:
    asked = str(photo(workspace, 2))
    assert names(workspace, asked) == ["mysks version 2", "mysks version 3"]
    client = connect(workspace)
    client.create_model_version("mysks", str(workspace), tags={"photos": tag(workspace, [2])})
    assert names(workspace, asked)[-1] == "mysks version 4"
    client.delete_model_version("mysks", "3")
    assert names(workspace, asked) == ["mysks version 2", "mysks version 4"]
    (workspace / PHOTO_INDEX).write_bytes(b"damaged" * 1000)
    assert names(workspace, asked) == ["mysks version 2", "mysks version 4"]
    (workspace / PHOTO_INDEX).unlink()
    assert names(workspace, asked) == ["mysks version 2", "mysks version 4"]
    assert [item.name for item in impact(workspace, asked, rebuild=True).affected] == names(workspace, asked)


def test_another_registry_has_an_index_of_its_own(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = str(photo(workspace, 0))
    assert names(workspace, asked)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'second.db'}")
        assert names(workspace, asked) == []
    assert names(workspace, asked) == ["mysks version 1", "other version 1"]


def test_what_cannot_be_told_is_unknown(workspace: Path) -> None:
    client = connect(workspace)
    client.create_model_version("other", str(workspace), tags={"photos": '[["ab", null]]'})
    client.create_model_version("other", str(workspace), run_id=None)
    found = impact(workspace, str(photo(workspace, 0)))
    assert [(row.model, row.version) for row in found.unresolved] == [("other", "2"), ("other", "3")]
    assert "cannot be read" in found.unresolved[0].problem
    assert "no record" in found.unresolved[1].problem


def test_withdrawn_versions_lose_their_aliases_for_good(workspace: Path) -> None:
    client = connect(workspace)
    asked = str(photo(workspace, 0))
    withdraw(workspace, impact(workspace, asked).affected, "ann", "the owner asked")
    assert {alias: str(held) for alias, held in client.get_registered_model("mysks").aliases.items()} == {
        "champion": "2"
    }
    told = client.get_model_version("mysks", "1").tags["withdrawn"]
    assert "by ann" in told and told.endswith(": the owner asked")
    assert set(withdrawn_photos(client)) == {digest_file(photo(workspace, 0))}
    with pytest.raises(Refused, match="no previous champion"):
        rollback(workspace, "mysks", "bob")
    again = impact(workspace, asked).affected
    withdraw(workspace, again, "bob")
    assert client.get_model_version("mysks", "1").tags["withdrawn"] == told
    assert all(item.withdrawn for item in again)


def test_nothing_is_withdrawn_without_a_yes(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    asked = str(photo(workspace, 0))

    def nobody(_: str) -> str:
        raise EOFError

    for answer in (lambda _: "no", nobody):
        monkeypatch.setattr("builtins.input", answer)
        with pytest.raises(NotConfirmed, match="nothing was withdrawn"):
            run_withdrawal(workspace, asked, "ann", "", exact=False, yes=False)
    assert not any(item.withdrawn for item in impact(workspace, asked).affected)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    for repository in ("ann/toy", "ann/toy", "team/toy"):
        remember_hub(workspace, "mysks", "1", repository)
    run_withdrawal(workspace, asked, "ann", "", exact=False, yes=False)
    assert all(item.withdrawn for item in impact(workspace, asked).affected)
    said = capsys.readouterr().out
    assert "The photo is withdrawn, and 2 versions with it" in said
    assert [line.split()[0] for line in said.splitlines() if "Hugging Face hub keeps its files" in line] == [
        "ann/toy",
        "team/toy",
    ]


def test_withdrawal_waits_for_no_promotion(workspace: Path) -> None:
    client = connect(workspace)
    affected = impact(workspace, str(photo(workspace, 1))).affected
    with promotion_lock(client, "mysks", "ann"), pytest.raises(Unfinished, match="ann is changing it") as caught:
        withdraw(workspace, affected, "bob")
    assert caught.value.status == 75
    assert "withdrawn" not in client.get_model_version("mysks", "1").tags


def test_a_withdrawal_that_meets_another_holder_says_what_is_done_and_how_to_finish_it(workspace: Path) -> None:
    client, asked = connect(workspace), str(photo(workspace, 1))
    with promotion_lock(client, "mysks", "ann"), pytest.raises(CommandError) as caught:
        run_withdrawal(workspace, asked, "bob", "its owner asked", exact=True, yes=True)
    said, digest = str(caught.value), digest_file(photo(workspace, 1))
    assert said.startswith("the photo is withdrawn, but not all versions that were trained on it: mysks is in use")
    assert f"`dreamtrace withdraw {digest} --exact --reason 'its owner asked' --by bob` finishes it" in said
    assert caught.value.status == 75 and digest in withdrawn_photos(client)


@pytest.mark.parametrize("failing", ["find_impact", "retract_versions"])
def test_a_registry_that_fails_after_the_photo_is_withdrawn_is_told_with_the_way_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    asked = str(photo(workspace, 1))
    if failing == "retract_versions":
        monkeypatch.setattr(publication, "retract_versions", Mock(side_effect=MlflowException("it is away")))
    else:
        answers = [impact(workspace, asked, exact=True), MlflowException("it is away")]
        monkeypatch.setattr(impact_module, "impact", Mock(side_effect=answers))
    with pytest.raises(CommandError, match=r"is withdrawn, but not everything is done: .*it is away") as caught:
        run_withdrawal(workspace, asked, "bob", "", exact=True, yes=True)
    assert f"`dreamtrace withdraw {digest_file(photo(workspace, 1))} --exact --by bob` finishes it" in str(caught.value)


def test_a_withdrawal_whose_lock_was_taken_over_takes_no_alias_away(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(workspace)
    client.set_registered_model_alias("mysks", "champion", "1")
    affected = impact(workspace, str(photo(workspace, 1))).affected
    monkeypatch.setattr(withdrawal, "settle", lambda *_: client.delete_registered_model("mysks.promoting"))
    with pytest.raises(Unfinished, match="its lock expired"):
        withdraw(workspace, affected, "bob")
    assert str(client.get_registered_model("mysks").aliases["champion"]) == "1"


def test_a_tag_too_long_is_left_to_the_record() -> None:
    rows = [{"sha256": f"{number:064x}", "phash": f"{number:016x}"} for number in range(2000)]
    assert photos_tag(rows) is None
    assert len(json.loads(photos_tag(rows[:100]) or "")) == 100


def test_a_photo_that_no_version_has_seen_is_withdrawn_too_and_near_copies_with_it(workspace: Path) -> None:
    with Image.open(photo(workspace, 3)) as picture:
        picture.resize((90, 90)).save(workspace / "copy.png")
    tiny.picture(99).save(workspace / "new.jpg")
    files = [workspace / "new.jpg", workspace / "copy.png"]
    for file in files:
        run_withdrawal(workspace, str(file), "ann", "asked", exact=file.name == "new.jpg", yes=True)
    kept = withdrawn_photos(connect(workspace))
    assert set(kept) == {digest_file(path) for path in (*files, photo(workspace, 3))}
    assert kept[digest_file(workspace / "new.jpg")].phash is None  # --exact: nothing that only looks like it
    rows = json.loads(tag(workspace, [3]))
    found = matches([{"sha256": "e" * 64, "phash": rows[0][1]}], kept)
    assert (found.exact, len(found.near)) == ([], 1)


def test_hundreds_of_photos_are_withdrawn(workspace: Path) -> None:
    client = connect(workspace)
    many = [WithdrawnPhoto(f"{number:064x}", f"{number:016x}", "ann", "now", "\u00fc" * 9000) for number in range(200)]
    record_withdrawn(client, many)
    assert len(withdrawn_photos(client)) == 200


def test_a_training_that_ends_after_the_withdrawal_is_registered_as_withdrawn(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(workspace)
    record_withdrawn(client, [WithdrawnPhoto(digest_file(photo(workspace, 2)), None, "ann", "now", "asked")])
    monkeypatch.setattr(versions, "verdict_tags", lambda _: {})
    monkeypatch.setattr(versions, "model_card", lambda *_: "card")
    files = [{"sha256": digest_file(photo(workspace, 2)), "phash": None, "source": "photo2.jpg"}]
    late = versions.Version("mysks", "3", "run", "digest", True)
    standing = versions.describe_version(client, late, "challenger", record(files), {}, {})
    assert standing.withdrawn and standing.alias is None
    assert "photo2.jpg" in client.get_model_version("mysks", "3").tags["withdrawn"]
    assert "challenger" not in client.get_registered_model("mysks").aliases


@pytest.mark.parametrize(
    ("holder", "newer", "kept"),
    [("approved", "rejected", "1"), ("approved", "approved", None), ("rejected", "rejected", None), (None, None, None)],
)
def test_a_try_out_does_not_take_the_alias_of_a_good_version(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, holder: str | None, newer: str | None, kept: str | None
) -> None:
    client = connect(workspace)
    client.set_registered_model_alias("mysks", "challenger", "1")
    if holder:
        client.set_model_version_tag("mysks", "1", "validation_status", holder)
    monkeypatch.setattr(versions, "verdict_tags", lambda _: {"validation_status": newer} if newer else {})
    monkeypatch.setattr(versions, "model_card", lambda *_: "card")
    late = versions.Version("mysks", "3", "run", "digest", True)
    standing = versions.describe_version(client, late, "challenger", record([]), {}, {})
    assert (standing.alias, standing.better) == (None if kept else "challenger", kept) and not standing.withdrawn
    assert str(client.get_registered_model("mysks").aliases["challenger"]) == (kept or "3")


def test_a_model_made_anew_is_another_one(workspace: Path) -> None:
    asked = str(photo(workspace, 0))
    assert names(workspace, asked) == ["mysks version 1", "other version 1"]
    client = connect(workspace)
    client.delete_registered_model("mysks")
    client.create_registered_model("mysks")
    for numbers in ([3], [0]):
        client.create_model_version("mysks", str(workspace), tags={"photos": tag(workspace, numbers)})
    assert names(workspace, asked) == ["mysks version 2", "other version 1"]
    assert names(workspace, str(photo(workspace, 3))) == ["mysks version 1"]


def test_a_renamed_model_is_found_behind_more_versions_than_a_page_holds(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_index, "PAGE", 1)
    asked = str(photo(workspace, 0))
    client = connect(workspace)
    client.create_model_version("other", str(workspace), tags={"photos": tag(workspace, [3])})
    assert names(workspace, asked) == ["mysks version 1", "other version 1"]
    client.rename_registered_model("mysks", "bear")
    assert names(workspace, asked) == ["bear version 1", "other version 1"]


def test_a_damaged_index_is_made_anew(workspace: Path) -> None:
    asked = str(photo(workspace, 0))
    found = names(workspace, asked)
    content = bytearray((workspace / PHOTO_INDEX).read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)  # all pages but the first, which opening reads
    (workspace / PHOTO_INDEX).write_bytes(content)
    assert found and names(workspace, asked) == found


def test_a_record_that_could_not_be_read_is_tried_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(workspace)
    client.create_model_version("other", str(workspace))
    asked = str(photo(workspace, 3))
    assert [row.version for row in impact(workspace, asked).unresolved] == ["2"]
    rows = json.loads(tag(workspace, [3]))
    monkeypatch.setattr(version_photos, "_recorded", lambda _: rows)
    assert names(workspace, asked) == ["mysks version 3", "other version 2"]
    assert impact(workspace, asked).unresolved == []


def test_a_locked_index_is_not_a_broken_one(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = str(photo(workspace, 0))
    assert names(workspace, asked)
    monkeypatch.setattr(photo_index, "TIMEOUT", 0.1)
    other = sqlite3.connect(workspace / PHOTO_INDEX)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(photo_index.IndexBusy, match="in use by another process"):
        impact(workspace, asked)
    other.rollback()
    assert names(workspace, asked)


def test_versions_that_were_trained_on_an_affected_one_are_affected_through_their_base(workspace: Path) -> None:
    client, asked = connect(workspace), str(photo(workspace, 0))
    client.set_model_version_tag("mysks", "1", "content_digest", "a" * 64)
    for content, base in (("b", "a"), ("c", "b"), ("a", "c"), ("d", "e")):  # the third one closes a circle
        tags = {"photos": tag(workspace, [3]), "content_digest": content * 64, "base_digest": base * 64}
        client.create_model_version("other", str(workspace), tags=tags)
    client.set_registered_model_alias("other", "champion", "3")
    found = {item.name: item for item in impact(workspace, asked).affected}
    assert list(found) == [
        "mysks version 1",
        "other version 1",
        "other version 2",
        "other version 3",
        "other version 4",
    ]
    assert found["other version 2"].how == ": through its base, mysks version 1"
    assert found["other version 3"].how == ": through its base, other version 2"
    assert found["other version 3"].aliases == ("champion",) and found["mysks version 1"].how == ""
    run_withdrawal(workspace, asked, "ann", "asked", exact=True, yes=True)
    assert "champion" not in client.get_registered_model("other").aliases
    marked = [number for number in "12345" if "withdrawn" in client.get_model_version("other", number).tags]
    assert marked == ["1", "2", "3", "4"]


def test_an_exact_withdrawal_takes_a_version_that_also_holds_an_altered_copy_through_its_base(workspace: Path) -> None:
    client, asked = connect(workspace), str(photo(workspace, 0))
    client.create_registered_model("bear")
    altered(workspace, 0)
    client.set_model_version_tag("mysks", "1", "content_digest", "a" * 64)
    for content, base, photos in (("b", "a", [10]), ("c", "b", [3]), ("d", "e", [10])):
        tags = {"photos": tag(workspace, photos), "content_digest": content * 64, "base_digest": base * 64}
        client.create_model_version("bear" if content == "d" else "other", str(workspace), tags=tags)
    for model, alias, version in (("other", "champion", "2"), ("other", "challenger", "3"), ("bear", "champion", "1")):
        client.set_registered_model_alias(model, alias, version)
    near = impact(workspace, asked).affected
    assert {item.name: (item.sighting.exact, item.through) for item in near} == {
        "bear version 1": (False, ""),
        "mysks version 1": (True, ""),
        "other version 1": (True, ""),
        "other version 2": (True, "mysks version 1"),
        "other version 3": (True, "other version 2"),
    }
    both = next(item.sighting for item in near if item.name == "other version 2")
    assert both.all_sha256 == (digest_file(photo(workspace, 0)), digest_file(photo(workspace, 10)))  # none is lost
    run_withdrawal(workspace, asked, "ann", "asked", exact=True, yes=True)
    assert not client.get_registered_model("other").aliases
    assert all("withdrawn" in client.get_model_version("other", number).tags for number in "123")
    assert client.get_registered_model("bear").aliases  # only the look-alike, which --exact leaves out
    assert set(withdrawn_photos(client)) == {digest_file(photo(workspace, 0))}


def test_a_version_that_is_registered_after_its_base_was_withdrawn_is_withdrawn_and_no_promotion_takes_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(workspace)
    client.set_model_version_tag("other", "1", "content_digest", "a" * 64)
    withdraw(workspace, impact(workspace, str(photo(workspace, 0))).affected, "ann", "asked")
    monkeypatch.setattr(versions, "verdict_tags", lambda _: {})
    monkeypatch.setattr(versions, "model_card", lambda *_: "card")
    late = versions.Version("mysks", "3", "run", "digest", True)
    lineage = record([{"sha256": "e" * 64, "phash": None}], base="a" * 64)
    standing = versions.describe_version(client, late, "challenger", lineage, {}, {})
    assert standing.withdrawn and "challenger" not in client.get_registered_model("mysks").aliases
    told = client.get_model_version("mysks", "3").tags["withdrawn"]
    assert told == "trained on other version 1, which had been withdrawn"
    forbidden, _ = withdrawal_objections(client, {}, Matches([], []), "a" * 64)
    assert forbidden == ["it was trained on other version 1, which was withdrawn"]


def test_trace_marks_a_model_of_a_withdrawn_base_also_where_nobody_registered_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(workspace)
    client.set_model_version_tag("other", "1", "content_digest", "a" * 64)
    own = Found("./model", {**record([], base="a" * 64), "weights": {"content_digest": "c" * 64}})
    monkeypatch.setattr("pipeline.registry.lookup.find_record", lambda *_: nullcontext(own))

    def traced() -> str | None:
        assert show_trace(workspace, "./model", as_json=True, check=False)
        return json.loads(capsys.readouterr().out).get("withdrawn")

    assert traced() is None
    withdraw(workspace, impact(workspace, str(photo(workspace, 0))).affected, "ann", "asked")
    assert traced() == "it was trained on other version 1, which was withdrawn"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert str(traced()).startswith("unknown: ")


def test_withdrawn_photos_and_a_withdrawn_base_are_named_before_a_training(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(workspace)
    client.set_model_version_tag("other", "1", "content_digest", "a" * 64)
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    params = params.model_copy(update={"base": params.base.model_copy(update={"model": str(workspace)})})
    monkeypatch.setattr(before_a_run, "resolve_base", lambda _: SimpleNamespace(digest="a" * 64))
    assert before_a_run.withdrawn_inputs(workspace, params) == []
    withdraw(workspace, impact(workspace, str(photo(workspace, 0))).affected, "ann", "asked")
    of_photo, of_base = before_a_run.withdrawn_inputs(workspace, params)
    assert of_photo.startswith("data/photo0.jpg was withdrawn") and "is other version 1, which was withdrawn" in of_base
    run = workspace / "run"  # with photos of its own, and no registry
    (run / "data").mkdir(parents=True)
    (run / "data" / "own.jpg").write_bytes((workspace / "data" / "photo0.jpg").read_bytes())
    assert before_a_run.withdrawn_inputs(workspace, params, run)[0].startswith("data/own.jpg was withdrawn")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    (unknown,) = before_a_run.withdrawn_inputs(workspace, params)
    assert unknown.startswith("whether photos or the base were withdrawn is unknown: ")
