"""Copies of a withdrawn photo: listed, deleted after a second yes, and looked for again."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pipeline.commands.errors import CommandError
from pipeline.commands.withdraw import run_withdrawal
from pipeline.files import digest_file, read_json
from pipeline.layout import MANIFEST, REGISTRATION, REPORT, SAMPLES, SHAPE_FILE
from pipeline.lineage.links import verdict
from pipeline.lineage.verify import verify
from pipeline.photos.manifest import read_manifest
from pipeline.registry.copies_on_disk import LARGEST, copies_on_disk
from pipeline.registry.impact import impact
from pipeline.registry.lookup import find_record
from pipeline.registry.photo_copies import find_copies
from pipeline.registry.store import connect
from pipeline.registry.versions import report_folder
from tests.workspace import dvc


def test_purge_removes_every_copy_that_is_listed_and_proves_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    photo = copy / "data" / "photo0.jpg"
    digest = digest_file(photo)
    affected = impact(copy, str(photo)).affected
    kinds = {found.kind for found in find_copies(copy, [digest], affected).found}
    assert kinds >= {"photo", "prepared picture", "report", "report in MLflow", "DVC's cache", "DVC's remote"}
    others = {path: digest_file(path) for path in (copy / "data").glob("*.jpg") if path != photo}
    answers = iter(["yes", "no"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    with pytest.raises(CommandError, match="nothing was deleted"):
        run_withdrawal(copy, str(photo), "ann", "asked", exact=False, yes=False, purge=True)
    assert photo.is_file()
    run_withdrawal(copy, digest, "ann", "asked", exact=False, yes=True, purge=True)  # by digest: the file may be lost
    assert "looked for again: 0 left" in capsys.readouterr().out
    assert not photo.exists()
    assert find_copies(copy, [digest], affected).found == []
    assert {path: digest_file(path) for path in others} == others


def test_copies_of_every_kind_below_the_workspace_are_found_and_no_other_file_is(copy: Path) -> None:
    photo, other = copy / "data" / "photo0.jpg", copy / "data" / "photo1.jpg"
    prepared = {one.source: copy / MANIFEST.parent / one.file for one in read_manifest(copy / MANIFEST)}
    mine, others = prepared["photo0.jpg"], prepared["photo1.jpg"]
    places = ("data.before-1", ".dreamtrace/left-out", ".dreamtrace/new", "reproduced/mysks/data", "somewhere/else")
    for folder in map(copy.joinpath, places):
        folder.mkdir(parents=True)
        shutil.copy(photo, folder / "renamed")
        shutil.copy(other, folder)
    small = copy / REPORT / "thumbs" / "photos"  # the pictures of the tiny base are too small to get some
    small.mkdir(parents=True)
    for one in (mine, others):
        shutil.copy(other, small / one.name)
    kept = copy / ".dreamtrace" / "studio" / "reports" / "0123"
    shutil.copytree(copy / REPORT, kept)
    there = read_json(copy / REGISTRATION)
    place, run_id = report_folder(there["content_digest"]), there["run_id"]
    connect(copy).log_artifact(run_id, str(small / mine.name), f"{place}/thumbs/photos")
    stored = copy / "reproduced" / "mysks" / ".dvc" / "cache" / "files" / "md5"
    digest = dvc_object(copy, mine)
    (stored / digest[:2]).mkdir(parents=True)
    shutil.copy(mine, stored / digest[:2] / digest[2:])

    before = {path for path in copy.rglob("*") if path.is_file()}
    run_withdrawal(copy, str(photo), "ann", "asked", exact=True, yes=True, purge=True)
    gone = {path.relative_to(copy).as_posix() for path in before if not path.exists()}
    name = mine.name
    assert gone >= {f"{folder}/renamed" for folder in places}
    for report in (REPORT, kept.relative_to(copy)):
        assert gone >= {f"{report}/{file}" for file in (f"photos/{name}", f"thumbs/photos/{name}", "grid.png")}
    assert (stored / digest[:2] / digest[2:]).relative_to(copy).as_posix() in gone
    in_mlflow = {path.rpartition(f"{place}/")[2] for path in gone if f"{place}/" in path}
    assert in_mlflow == {f"photos/{name}", f"thumbs/photos/{name}", "grid.png"}
    assert not [path for path in gone if path.endswith(("photo1.jpg", f"/{others.name}", ".json", ".safetensors"))]
    with find_record(copy, "models:/mysks/1") as found:
        links = verify(found.lineage, found.evidence(copy))
    assert verdict(links) == "unknown"  # as the documentation says: the photo is gone, nothing was tampered with


def test_the_shape_of_a_photo_s_subject_goes_with_the_photo(copy: Path) -> None:
    prepared = {one.source: Path(one.file).name for one in read_manifest(copy / MANIFEST)}
    places = [copy / SAMPLES, copy / REPORT, copy / REPORT / "thumbs"]
    files = {
        source: [place / str(SHAPE_FILE).format(prepared[source]) for place in places]
        for source in ("photo0.jpg", "photo1.jpg")
    }
    for source, there in files.items():
        for file in there:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{source} {file.parent}".encode())
    md5 = hashlib.md5(files["photo0.jpg"][0].read_bytes()).hexdigest()
    (copy / ".dvc" / "cache" / "files" / "md5" / md5[:2]).mkdir(parents=True, exist_ok=True)
    shutil.copy(files["photo0.jpg"][0], copy / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:])
    found = copies_on_disk(copy, [digest_file(copy / "data" / "photo0.jpg")], [])
    shown = {path for _, path in found.found}
    assert set(files["photo0.jpg"]) <= shown and not set(files["photo1.jpg"]) & shown
    assert {kind for kind, path in found.found if path == files["photo0.jpg"][0]} == {"shape of its subject"}
    assert any(kind == "object of DVC" and path.name == md5[2:] for kind, path in found.found)


def test_every_store_of_an_object_is_found_and_links_of_the_workspace_are_followed(copy: Path, tmp_path: Path) -> None:
    photo = copy / "data" / "photo0.jpg"
    md5 = hashlib.md5(photo.read_bytes(), usedforsecurity=False).hexdigest()
    for place in (copy / "reproduced" / "a", copy / "reproduced" / "b", copy / "kept"):
        (place / "files" / "md5" / md5[:2]).mkdir(parents=True)
        shutil.copy(photo, place / "files" / "md5" / md5[:2] / md5[2:])
    elsewhere, pictures = tmp_path / "big disk", tmp_path / "my pictures"
    for folder in (elsewhere, pictures):
        (folder / "data").mkdir(parents=True)
        shutil.copy(photo, folder / "data" / "a.jpg")
    (copy / ".dreamtrace" / "runs").mkdir(parents=True, exist_ok=True)
    (copy / ".dreamtrace" / "runs" / "one").symlink_to(elsewhere)
    (copy / ".dreamtrace" / "runs" / "round").symlink_to(copy)
    (copy / "library").symlink_to(pictures)
    (copy / "large").write_bytes(b"")
    os.truncate(copy / "large", LARGEST + 1)  # never read
    found = copies_on_disk(copy, [digest_file(photo)], [])
    names = [str(path.relative_to(copy)) for _, path in found.found]
    assert sorted(name for name in names if name.endswith(f"{md5[:2]}/{md5[2:]}") and not name.startswith(".dvc")) == [
        f"{place}/files/md5/{md5[:2]}/{md5[2:]}" for place in ("kept", "remote", "reproduced/a", "reproduced/b")
    ]
    assert ".dreamtrace/runs/one/data/a.jpg" in names
    assert not any(name.startswith(("library", ".dreamtrace/runs/round")) for name in names)
    assert len(names) == len(set(names)) and found.problems == []


def test_what_cannot_be_read_is_named_and_what_vanishes_meanwhile_is_not(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, opened = digest_file(copy / "data" / "photo0.jpg"), Path.open

    def refuse(path: Path, *arguments: object, **named: object) -> object:
        if path.name == "photo1.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        if path.name == "photo2.jpg":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return opened(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    found = copies_on_disk(copy, [digest], [])
    assert [problem.rpartition("/")[2] for problem in found.problems] == [
        "photo1.jpg cannot be read (Permission denied)"
    ]
    assert copy / "data" / "photo0.jpg" in [path for _, path in found.found]


def test_another_photo_s_picture_in_a_report_of_before_stays(copy: Path) -> None:
    name = next(one.file for one in read_manifest(copy / MANIFEST) if one.source == "photo0.jpg").rpartition("/")[2]
    shown = copy / REPORT / "photos"
    other = next(path for path in sorted(shown.iterdir()) if path.name != name)
    shutil.copy(other, shown / name)  # the report is of photos that had other names
    found = copies_on_disk(copy, [digest_file(copy / "data" / "photo0.jpg")], [])
    assert not any(path.is_relative_to(copy / REPORT) for _, path in found.found)


def test_a_photo_that_is_a_link_into_the_cache_is_a_copy_as_well(copy: Path) -> None:
    photo = copy / "data" / "photo0.jpg"
    digest = digest_file(photo)
    stored = copy / ".dvc/cache/files/md5" / dvc_object(copy, photo)[:2] / dvc_object(copy, photo)[2:]
    photo.unlink()
    photo.symlink_to(stored)
    where = {found.where for found in find_copies(copy, [digest], []).found}
    assert {str(photo), str(stored)} <= where


def dvc_object(workspace: Path, file: Path) -> str:
    """The name of a file's object in DVC's cache: its md5."""

    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    assert (workspace / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).is_file()
    return digest


def test_a_remote_that_cannot_be_asked_is_no_empty_one(copy: Path, capsys: pytest.CaptureFixture) -> None:
    photo = copy / "data" / "photo0.jpg"
    dvc(copy, "config", "--local", "core.remote", "elsewhere")  # which only another machine has
    with pytest.raises(CommandError, match=r"DVC's remote could not be read.*elsewhere"):
        run_withdrawal(copy, str(photo), "ann", "asked", exact=True, yes=True, purge=True)
    assert "could not be searched" in capsys.readouterr().out


def test_a_version_that_is_registered_while_the_question_stands_is_withdrawn_too(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(copy)

    def answer(question: str) -> bool:
        first = client.get_model_version("mysks", "1")
        made = client.create_model_version("mysks", first.source, first.run_id, tags=first.tags)
        client.set_registered_model_alias("mysks", "champion", made.version)
        return True

    monkeypatch.setattr("pipeline.commands.withdraw.confirmed", answer)
    run_withdrawal(copy, str(copy / "data" / "photo0.jpg"), "ann", "asked", exact=False, yes=False)
    assert client.get_registered_model("mysks").aliases == {}
    assert all("withdrawn" in client.get_model_version("mysks", number).tags for number in ("1", "2"))
