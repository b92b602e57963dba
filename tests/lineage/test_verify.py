"""`trace --verify`: a chain that holds is verified, whatever is planted is found by name, the unknown stays unknown."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import layout
from pipeline.commands.export import export_single_file
from pipeline.commands.generate import draw_files
from pipeline.commands.trace import show_trace
from pipeline.files import read_json, write_json
from pipeline.lineage.header import short_record
from pipeline.lineage.links import Evidence, Link, verdict
from pipeline.lineage.read import LineageError
from pipeline.lineage.verify import verify
from pipeline.registry.artifacts import Artifacts, ArtifactsAway
from pipeline.registry.lookup import find_record
from tests.workspace import git

REF = "models:/mysks@challenger"


def links(workspace: Path, ref: str = REF) -> list[Link]:
    with find_record(workspace, ref) as found:
        return verify(found.lineage, found.evidence(workspace))


def broken(workspace: Path, ref: str = REF) -> set[str]:
    return {link.name for link in links(workspace, ref) if link.state == "broken"}


def artifact(workspace: Path, pattern: str) -> Path:
    (path,) = (workspace / "mlartifacts").glob(pattern)
    return path


def flip(path: Path, at: int = -1) -> None:
    """Change one byte."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def objects(workspace: Path, md5: str) -> list[Path]:
    found = [
        folder / "files" / "md5" / md5[:2] / md5[2:] for folder in (workspace / ".dvc" / "cache", workspace / "remote")
    ]
    return [path for path in found if path.exists()]


def listing(workspace: Path) -> dict[str, str]:
    lineage = read_json(workspace / layout.MODEL / "lineage.json")
    (path,) = objects(workspace, lineage["photos"]["dvc_md5"])[:1]
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_text())}


def tag(workspace: Path, key: str, value: str) -> None:
    with sqlite3.connect(workspace / "mlflow.db") as database:
        changed = database.execute("UPDATE model_version_tags SET value = ? WHERE key = ?", (value, key))
        assert changed.rowcount == 1


def edit_record(workspace: Path, change: Callable[[dict], None]) -> None:
    path = artifact(workspace, "*/artifacts/record/*/lineage.json")
    lineage = read_json(path)
    change(lineage)
    write_json(path, lineage)


def test_a_whole_chain_is_verified(copy: Path) -> None:
    found = links(copy)
    assert verdict(found) == "verified", [link for link in found if link.state != "verified"]
    names = {link.name for link in found}
    assert {"record", "tags", "record files", "weights", "parameters", "base model", "prepared photos", "code"} <= names
    assert {f"photo photo{index}.jpg" for index in range(4)} <= names


@pytest.mark.parametrize("kind", ["folder", "file", "run"])
def test_every_form_of_reference_leads_to_the_same_record(copy: Path, kind: str) -> None:
    ref = {
        "folder": str(copy / layout.MODEL),
        "file": str(copy / layout.MODEL / "unet" / "diffusion_pytorch_model.safetensors"),
        "run": read_json(copy / layout.REGISTRATION)["run_id"],
    }[kind]
    assert verdict(links(copy, ref)) == "verified"
    with find_record(copy, ref) as found, find_record(copy, REF) as other:
        assert found.lineage == other.lineage


def test_a_lone_file_is_traced_through_the_registry(copy: Path, tmp_path: Path) -> None:
    lone = tmp_path / "downloaded.safetensors"
    shutil.copy(copy / layout.MODEL / "unet" / "diffusion_pytorch_model.safetensors", lone)
    with find_record(copy, str(lone)) as found:
        assert found.facts["made by"] == "mysks version 1"
    assert verdict(links(copy, str(lone))) == "verified"


def test_a_drawn_picture_leads_to_its_model(copy: Path, tmp_path: Path) -> None:
    import mlflow
    import pandas

    with find_record(copy, REF):  # connects
        png = mlflow.pyfunc.load_model(REF).predict(pandas.DataFrame({"prompt": ["a photo of mysks"]}))[0]
    (tmp_path / "drawn.png").write_bytes(png)
    with find_record(copy, str(tmp_path / "drawn.png")) as found:
        assert found.facts["made by"] == "mysks version 1"
        assert (found.facts["prompt"], found.facts["seed"]) == ("a photo of mysks", "0")
    assert verdict(links(copy, str(tmp_path / "drawn.png"))) == "verified"


def photo_byte(workspace: Path) -> None:
    for path in objects(workspace, listing(workspace)["photo2.jpg"]):
        flip(path, 500)


def caption_byte(workspace: Path) -> None:
    for path in objects(workspace, listing(workspace)["metadata.jsonl"]):
        flip(path, 60)


def weight_byte(workspace: Path) -> None:
    flip(artifact(workspace, "**/unet/diffusion_pytorch_model.safetensors"))


def rewritten_commit(workspace: Path) -> None:
    git(workspace, "commit", "-q", "--amend", "-m", "another story")
    git(workspace, "reflog", "expire", "--expire=now", "--all")
    git(workspace, "gc", "-q", "--prune=now")


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "one byte of a photo": (photo_byte, "photo photo2.jpg"),
    "one byte of a caption": (caption_byte, "file metadata.jsonl"),
    "one byte of the weights": (weight_byte, "weights"),
    "a parameter in the record": (
        lambda w: edit_record(w, lambda record: record["params"]["train"].update(learning_rate=1.0)),
        "parameters",
    ),
    "a caption in the record": (
        lambda w: edit_record(w, lambda record: record["photos"]["files"][1].update(caption="a photo of mysks")),
        "photos",
    ),
    "params.yaml of the run": (lambda w: flip(artifact(w, "*/artifacts/record/*/params.yaml"), 9), "record files"),
    "the lock file": (lambda w: flip(artifact(w, "*/artifacts/record/*/dvc.lock"), 40), "record files"),
    "a missing lock file": (lambda w: artifact(w, "*/artifacts/record/*/dvc.lock").unlink(), "record files"),
    "a tag": (lambda w: tag(w, "base_digest", "0" * 64), "tags"),
    "the tag of the record": (lambda w: tag(w, "record_digest", "0" * 64), "record"),
    "a rewritten commit": (rewritten_commit, "code"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_tampering_is_found_by_name(copy: Path, planted: str) -> None:
    tamper, name = PLANTED[planted]
    tamper(copy)
    assert name in broken(copy)
    assert verdict(links(copy)) == "broken"


def test_the_tensors_of_a_folder_are_held_against_its_record(copy: Path) -> None:
    flip(copy / layout.MODEL / "vae" / "diffusion_pytorch_model.safetensors")
    assert broken(copy, str(copy / layout.MODEL)) == {"weights", "model files"}


def test_a_missing_manifest_is_unknown_never_good(copy: Path) -> None:
    lock = read_json(copy / layout.MODEL / "lineage.json")["lock"]["prepare"]
    for path in objects(copy, lock["outs"][0]["md5"]):
        path.unlink()
    found = links(copy)
    assert [link.state for link in found if link.name == "prepared photos"] == ["verified", "unknown"]
    assert verdict(found) == "unknown"


def test_photos_that_are_nowhere_are_unknown(copy: Path) -> None:
    for md5 in listing(copy).values():
        for path in objects(copy, md5):
            path.unlink()
    found = links(copy)
    states = {link.state for link in found if link.name.startswith("photo ")}
    assert (states, verdict(found)) == ({"unknown"}, "unknown")


def test_a_record_that_is_gone_is_unknown_never_good(copy: Path) -> None:
    shutil.rmtree(artifact(copy, "*/artifacts/record"))
    found = links(copy)
    unknown = {link.name for link in found if link.state == "unknown"}
    assert unknown == {"record files", "evaluation", "report"} and verdict(found) == "unknown"


def test_a_report_that_cannot_be_read_is_unknown_and_a_missing_one_is_broken(copy: Path, monkeypatch) -> None:
    whole = Artifacts.of_run

    def denied(self: Artifacts, run_id: str, path: str) -> Path:
        if path.startswith("report/"):
            raise ArtifactsAway("AccessDenied")
        return whole(self, run_id, path)

    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "of_run", denied)
        states = {link.state: link.detail for link in links(copy) if link.name == "report"}
    assert states == {"unknown": "the report could not be read: AccessDenied"}
    shutil.rmtree(artifact(copy, "*/artifacts/report"))
    assert [link.state for link in links(copy) if link.name == "report"] == ["broken"]


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        ("*/artifacts/record/*/report_files.json", b"{", "report"),
        ("*/artifacts/record/*/report_files.json", b"[]", "report"),
        ("*/artifacts/report/*/planted.safetensors", b"\xff" * 20, "report"),
        ("models/*/artifacts/planted.safetensors", b"\xff" * 20, "served code"),
        ("*/artifacts/record/*/evaluation.json", b"\xff", "evaluation"),
    ],
)
def test_damage_is_a_broken_link_and_no_trace(copy: Path, file: str, content: bytes, name: str) -> None:
    folder, _, last = file.rpartition("/")
    (next((copy / "mlartifacts").glob(f"**/{folder}" if folder.startswith("models") else folder)) / last).write_bytes(
        content
    )
    assert name in broken(copy)


def test_a_damaged_record_is_one_sentence(copy: Path) -> None:
    path = artifact(copy, "*/artifacts/record/*/lineage.json")
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    with pytest.raises(LineageError, match="is not JSON"):
        links(copy)


def test_a_picture_alone_is_not_called_a_verified_chain(copy: Path, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "drawn.png"
    draw_files(copy, REF, "a photo of mysks plush toy", picture, {"steps": 2})
    capsys.readouterr()
    assert show_trace(copy, str(picture), as_json=True, check=False)
    told = json.loads(capsys.readouterr().out)
    assert "verdict" not in told and [link["name"] for link in told["links"]] == ["picture"]
    assert show_trace(copy, str(picture), as_json=False, check=False)
    assert "the chain is" not in capsys.readouterr().out
    assert show_trace(copy, str(picture), as_json=False, check=True)
    assert "the chain is verified" in capsys.readouterr().out


@pytest.mark.parametrize("half", [False, True])
def test_an_export_is_unknown_and_no_forgery(copy: Path, tmp_path: Path, half: bool) -> None:
    export_single_file(copy, REF, tmp_path / "one.safetensors", half)
    found = [link for link in links(copy, str(tmp_path / "one.safetensors")) if link.name.startswith("file ")]
    assert [(link.state, "an export" in link.detail) for link in found] == [("unknown", True)]


@pytest.mark.parametrize(
    ("model", "revision", "name"),
    [
        ("/home/anna/sd15", None, "sd15"),
        ("~/sd15/", None, "sd15"),
        ("C:\\models\\sd15", None, "sd15"),
        ("bases/mine", None, "mine"),
        ("pocket", None, "pocket"),
        ("runwayml/stable-diffusion-v1-5", "39593d5", "runwayml/stable-diffusion-v1-5"),
    ],
)
def test_a_base_that_is_a_folder_has_no_path_in_what_is_handed_on(
    copy: Path, model: str, revision: str | None, name: str
) -> None:
    lineage = read_json(copy / layout.MODEL / "lineage.json")
    base = {**lineage["base"], "model": model, "revision": revision}
    assert short_record({**lineage, "base": base})["base"] == {**base, "model": name}


def test_a_header_of_an_older_version_that_names_the_whole_path_agrees(copy: Path) -> None:
    lineage = read_json(copy / layout.MODEL / "lineage.json")
    lineage["base"]["model"] = "/home/anna/sd15"
    for base in (lineage["base"], {**lineage["base"], "model": "sd15"}):
        header = short_record(lineage) | {"base": base}
        found = [link.state for link in verify(lineage, Evidence(copy, header=header)) if link.name == "record"]
        assert found == ["verified"]


def test_a_chain_without_links_is_not_verified() -> None:
    assert verdict([]) == "unknown"
