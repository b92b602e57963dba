"""Single links of a chain: what could not be looked at is unknown, what must be there and is not is broken."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.base.digest import settings_digest
from pipeline.files import digest_file, digest_value, write_json
from pipeline.lineage.links import Evidence, Link, compare_files, verdict
from pipeline.lineage.tags import WITHDRAWN
from pipeline.lineage.verify import _settings
from pipeline.lineage.verify_files import REPORT_FILES, record_file_links, report_links
from pipeline.lineage.verify_photos import class_image_links, prepared_links
from pipeline.lineage.verify_recipe import recipe_links

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{"file": "images/0.png"}, {"file": "images/1.png"}]
IMAGES = [{"file": f"{name}.png", "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("a", "b", "c")]
PREPARED = {"manifest.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)}
PREPARED |= {
    f"{folder}/{number}.png": f"{folder}{number}".encode() for folder in ("images", "masks") for number in "01"
}
PRIOR = {"prior.json": json.dumps({"images": IMAGES}).encode(), **{f"{name}.png": name.encode() for name in "abc"}}


class Cache:
    """A repository of DVC whose cache was written by hand."""

    def __init__(self, root: Path):
        self.root = root
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")

    def place(self, content: bytes, end: str = "") -> Path:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return self.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}{end}"

    def write(self, content: bytes, end: str = "") -> str:
        path = self.place(content, end)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path.parent.name + path.name

    def folder(self, files: dict[str, bytes]) -> str:
        entries = [{"md5": self.write(content), "relpath": name} for name, content in files.items()]
        return self.write(json.dumps(entries).encode(), ".dir")

    def lineage(self) -> dict[str, Any]:
        prepared = {"deps": [{"path": "data", "md5": "d"}]}
        prepared["outs"] = [{"path": "artifacts/prepared", "md5": self.folder(PREPARED)}]
        prior = {"outs": [{"path": "artifacts/prior", "md5": self.folder(PRIOR)}]}
        return {
            "lock": {"prepare": prepared, "prior": prior},
            "photos": {"path": "data", "dvc_md5": "d", "manifest_digest": digest_value(ROWS)},
            "prior": {"digest": digest_value(IMAGES)},
        }


@pytest.mark.parametrize(
    ("links_of", "files", "index"),
    [(prepared_links, PREPARED, "manifest.jsonl"), (class_image_links, PRIOR, "prior.json")],
)
def test_pictures_that_no_store_has_are_unknown(tmp_path: Path, links_of: Any, files: dict, index: str) -> None:
    cache = Cache(tmp_path)
    lineage, evidence = cache.lineage(), Evidence(tmp_path)
    assert verdict(links_of(lineage, evidence)) == "verified"
    pictures = [content for name, content in files.items() if name != index]
    cache.place(pictures[0]).unlink()
    (one,) = [link.detail for link in links_of(lineage, evidence) if link.state == "unknown"]
    assert one.startswith(f"1 of {len(pictures)} files")
    for content in pictures[1:]:
        cache.place(content).unlink()
    found = list(links_of(lineage, evidence))
    (one,) = [link.detail for link in found if link.state == "unknown"]
    assert one.startswith(f"{len(pictures)} of {len(pictures)} files")
    assert verdict(found) == "unknown"


def test_a_class_image_that_was_changed_leaves_none_of_them_verified(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    lineage = cache.lineage()
    cache.place(b"a").write_bytes(b"another")
    details = {link.state: link.detail for link in class_image_links(lineage, Evidence(tmp_path))}
    assert details.keys() == {"verified", "broken"} and "digest of the list" in details["verified"]


def report(folder: Path, gone: str, tags: dict[str, str]) -> list[Link]:
    """The links of a report of three files that lacks those of a pattern."""
    record, shown = folder / "record", folder / "report"
    for path in (shown / "index.html", shown / "photos" / "0.png", shown / "grid.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    files = [path for path in shown.rglob("*") if path.is_file()]
    record.mkdir()
    write_json(record / REPORT_FILES, {path.relative_to(shown).as_posix(): digest_file(path) for path in files})
    for path in files:
        if path.match(gone):
            path.unlink()
    return list(report_links({}, Evidence(folder, tags=tags, files=record, report=shown)))


@pytest.mark.parametrize(
    ("gone", "states"),
    [
        ("nothing", ["verified"]),
        ("*.png", ["unknown", "verified"]),  # as `withdraw --purge` leaves it
        ("index.html", ["broken"]),
        ("*", ["unknown", "broken"]),
    ],
)
def test_the_report_of_a_withdrawn_version_may_lack_pictures_alone(tmp_path: Path, gone: str, states: list) -> None:
    assert [link.state for link in report(tmp_path, gone, {WITHDRAWN: "asked"})] == states


def test_the_report_of_another_version_lacks_nothing(tmp_path: Path) -> None:
    assert [link.state for link in report(tmp_path, "*.png", {})] == ["broken", "broken"]


def test_parameters_of_a_record_of_an_older_version_are_compared_as_they_are_read(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "profiles" / "pocket.yaml").read_text())
    values["train"]["max_grad_norm"] = math.inf  # null now
    del values["train"]["augment"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    tags = {"record_files": json.dumps({"params.yaml": digest_file(tmp_path / "params.yaml")})}
    evidence = Evidence(tmp_path, tags=tags, files=tmp_path)
    lineage = {"lock": None, "params": values}
    assert verdict(record_file_links(lineage, evidence)) == "verified"
    other = {**values, "train": {**values["train"], "steps": 1}}
    assert verdict(record_file_links({**lineage, "params": other}, evidence)) == "broken"
    for change, state in (({"seed": 7}, "broken"), ({"draw": {**values["prior"]["draw"], "batch": 1}}, "verified")):
        drawn = {**values, "prior": {**values["prior"], **change}}  # what the class images were drawn by, and how fast
        assert verdict(record_file_links({**lineage, "params": drawn}, evidence)) == state


@pytest.mark.parametrize(
    ("lines", "states"),
    [([], ["unknown"]), (["other"], ["verified", "unknown"]), (["other"] * 50, ["verified"]), (["it"], ["verified"])],
)
def test_an_adopted_recipe_that_no_line_of_the_history_names_is_unknown(
    tmp_path: Path, lines: list[str], states: list[str]
) -> None:
    digests = {"it": digest_value({"strength": 0.5}), "other": digest_value({})}
    evaluation = {"recipe": {"adopted": True, "digest": digests["it"]}}
    write_json(tmp_path / "evaluation.json", evaluation)
    tags = {"recipe_history": json.dumps([{"digest": digests[line]} for line in lines])}
    tags |= {"recipe": json.dumps({"strength": 0.5} if "it" in lines else {})}
    found = list(recipe_links({}, Evidence(tmp_path, tags=tags if lines else {}, files=tmp_path)))
    assert [link.state for link in found] == states
    write_json(tmp_path / "evaluation.json", {"recipe": {**evaluation["recipe"], "adopted": False}})
    assert list(recipe_links({}, Evidence(tmp_path, tags={}, files=tmp_path))) == []


def test_folders_that_the_hub_cache_got_later_do_not_change_the_configurations_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    write_json(tmp_path / "vae" / "config.json", {"scaling_factor": 0.18})
    recorded = settings_digest(tmp_path)
    (tmp_path / "safety_checker").mkdir()
    write_json(tmp_path / "safety_checker" / "config.json", {})
    assert settings_digest(tmp_path) != recorded == _settings(tmp_path, recorded)
    write_json(tmp_path / "vae" / "config.json", {"scaling_factor": 1.0})
    assert _settings(tmp_path, recorded) != recorded


def test_a_comparison_of_no_files_is_not_verified() -> None:
    assert [link.state for link in compare_files("report", {}, {}, "the report")] == ["unknown"]
