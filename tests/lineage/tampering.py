"""What somebody may change behind the registry's back, one thing at a time, and the link that must name it."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import layout
from pipeline.files import digest_file, read_json, write_json
from tests.workspace import git

RECORD = "*/artifacts/record/*"
SERVED = "models/*/artifacts"
MODEL = f"{SERVED}/artifacts/model"
DIFFUSERS = "diffusion_pytorch_model.safetensors"
CACHE, REMOTE = Path(".dvc/cache"), Path("remote")


@dataclass
class Scene:
    """A finished workspace to tamper with; everything that was touched is put back afterwards."""

    workspace: Path
    before: dict[Path, bytes | None] = field(default_factory=dict)
    tags_before: dict[str, str] = field(default_factory=dict)

    @property
    def lineage(self) -> dict[str, Any]:
        return read_json(self.workspace / layout.MODEL / "lineage.json")

    def touch(self, path: Path) -> Path:
        if path not in self.before:
            self.before[path] = path.read_bytes() if path.is_file() else None
            if path.is_file():
                path.chmod(0o644)
        return path

    def undo(self) -> None:
        for path, content in self.before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)  # git removes folders that are empty
                path.write_bytes(content)
        self.before.clear()
        for key, value in self.tags_before.items():
            self._write_tag(key, value)
        self.tags_before.clear()

    def artifact(self, pattern: str) -> Path:
        (path,) = sorted((self.workspace / "mlartifacts").glob(pattern))
        return self.touch(path)

    def object(self, store: Path, md5: str) -> Path:
        return self.touch(self.workspace / store / "files" / "md5" / md5[:2] / md5[2:])

    def photo_md5(self, name: str) -> str:
        listing = read_json(self.object(CACHE, self.lineage["photos"]["dvc_md5"]))
        return next(entry["md5"] for entry in listing if entry["relpath"] == name)

    def output_md5(self, stage: str, name: str) -> str:
        listing = read_json(self.object(CACHE, self.lineage["lock"][stage]["outs"][0]["md5"]))
        return next(entry["md5"] for entry in listing if entry["relpath"].endswith(name))

    def tags(self) -> dict[str, str]:
        with sqlite3.connect(self.workspace / "mlflow.db") as database:
            return dict(database.execute("SELECT key, value FROM model_version_tags").fetchall())

    def set_tag(self, key: str, value: str) -> None:
        self.tags_before.setdefault(key, self.tags()[key])
        self._write_tag(key, value)

    def _write_tag(self, key: str, value: str) -> None:
        """By a statement: MLflow's open connections would not notice a file that is put back under them."""
        with sqlite3.connect(self.workspace / "mlflow.db") as database:
            changed = database.execute("UPDATE model_version_tags SET value = ? WHERE key = ?", (value, key))
            assert changed.rowcount == 1, key


def flip(path: Path, at: int = -1) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    value = read_json(path)
    change(value)
    write_json(path, value)


def artifact_bit(pattern: str, at: int, scene: Scene) -> None:
    flip(scene.artifact(pattern), at)


def artifact_json(pattern: str, key: str, value: Any, scene: Scene) -> None:
    edit(scene.artifact(pattern), lambda found: found.update({key: value}))


def artifact_added(pattern: str, name: str, scene: Scene) -> None:
    (folder,) = (scene.workspace / "mlartifacts").glob(pattern)
    scene.touch(folder / name).write_text("planted\n")


def part(name: str, scene: Scene) -> Path:
    """The file of the store that the version shares with others, by its name in the model folder."""
    index = read_json(next((scene.workspace / "mlartifacts").glob(f"{MODEL}/parts.json")))
    return scene.touch(scene.workspace / "mlartifacts" / "parts" / index["files"][name]["sha256"])


def part_bit(name: str, scene: Scene) -> None:
    flip(part(name, scene))


def part_json(name: str, key: str, value: Any, scene: Scene) -> None:
    edit(part(name, scene), lambda found: found.update({key: value}))


def part_removed(name: str, scene: Scene) -> None:
    part(name, scene).unlink()


def part_exchanged(scene: Scene) -> None:
    def change(index: dict[str, Any]) -> None:
        index["files"][f"vae/{DIFFUSERS}"] = index["files"]["text_encoder/model.safetensors"]

    edit(scene.artifact(f"{MODEL}/parts.json"), change)


def artifact_removed(pattern: str, scene: Scene) -> None:
    scene.artifact(pattern).unlink()


def photo_bit(name: str, stores: tuple[Path, ...], scene: Scene) -> None:
    for store in stores:
        flip(scene.object(store, scene.photo_md5(name)), 60)


def listing_bit(store: Path, scene: Scene) -> None:
    flip(scene.object(store, scene.lineage["photos"]["dvc_md5"]), 20)


def output_bit(stage: str, name: str, scene: Scene) -> None:
    flip(scene.object(CACHE, scene.output_md5(stage, name)), 40)


def in_record(change: Callable[[dict[str, Any]], Any], scene: Scene) -> None:
    edit(scene.artifact(f"{RECORD}/lineage.json"), change)


def tag(key: str, value: str, scene: Scene) -> None:
    scene.set_tag(key, value)


def covered_up(name: str, change: Callable[[Path], None], scene: Scene) -> None:
    """A file of the record changed together with the digest of it in the version's tag."""
    path = scene.artifact(f"{RECORD}/{name}")
    change(path)
    digests = json.loads(scene.tags()["record_files"])
    scene.set_tag("record_files", json.dumps({**digests, name: digest_file(path)}, sort_keys=True))


def other_steps(path: Path) -> None:
    path.write_text(path.read_text().replace("steps: 4", "steps: 5"))


def other_model(path: Path) -> None:
    edit(path, lambda found: found["model"].update(content_digest="0" * 64))


def other_verdict(path: Path) -> None:
    edit(path, lambda found: found["verdict"].update(promotable=True))


def header(scene: Scene) -> None:
    path = scene.artifact(f"{MODEL}/unet/*.safetensors")
    path.write_bytes(path.read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2', 1))


def base_bit(scene: Scene) -> None:
    base = Path(scene.lineage["base"]["model"])
    flip(scene.touch(base / "vae" / "diffusion_pytorch_model.safetensors"))


def base_setting(scene: Scene) -> None:
    base = Path(scene.lineage["base"]["model"])
    edit(scene.touch(base / "vae" / "config.json"), lambda found: found.update(scaling_factor=1.0))


def rewritten_commit(scene: Scene) -> None:
    for path in (scene.workspace / ".git").rglob("*"):
        if path.is_file():
            scene.touch(path)
    git(scene.workspace, "commit", "-q", "--amend", "-m", "another story")
    git(scene.workspace, "reflog", "expire", "--expire=now", "--all")
    git(scene.workspace, "gc", "-q", "--prune=now")


# What is changed, the link that is broken, and a word of its detail that leads to the place.
TAMPERINGS: dict[str, tuple[Callable[[Scene], None], str, str]] = {
    "one bit of a photo in DVC's cache": (partial(photo_bit, "photo2.jpg", (CACHE,)), "photo photo2.jpg", "cache"),
    "one bit of a photo in DVC's remote": (partial(photo_bit, "photo2.jpg", (REMOTE,)), "photo photo2.jpg", "remote"),
    "one bit of a photo in both": (partial(photo_bit, "photo0.jpg", (CACHE, REMOTE)), "photo photo0.jpg", "remote"),
    "captions in DVC's cache": (partial(photo_bit, "metadata.jsonl", (CACHE,)), "file metadata.jsonl", "cache"),
    "captions in DVC's remote": (partial(photo_bit, "metadata.jsonl", (REMOTE,)), "file metadata.jsonl", "remote"),
    "list of the photos in DVC's cache": (partial(listing_bit, CACHE), "photos", "cache"),
    "list of the photos in DVC's remote": (partial(listing_bit, REMOTE), "photos", "remote"),
    "manifest of the prepared photos": (partial(output_bit, "prepare", "manifest.jsonl"), "prepared photos", "cache"),
    "a prepared photo": (partial(output_bit, "prepare", ".png"), "prepared photos", ".png"),
    "a class image": (partial(output_bit, "prior", "0001.png"), "class images", "0001.png"),
    "list of the class images": (partial(output_bit, "prior", "prior.json"), "class images", "prior.json"),
    "weights of the U-Net": (partial(artifact_bit, f"{MODEL}/unet/*.safetensors", -1), "weights", "content digest"),
    "weights of the VAE": (partial(part_bit, f"vae/{DIFFUSERS}"), "model files", "vae/"),
    "weights of the VAE removed": (partial(part_removed, f"vae/{DIFFUSERS}"), "model files", "vae/"),
    "the list of the files that versions share": (part_exchanged, "model files", "vae/"),
    "weights of the text encoder": (
        partial(part_bit, "text_encoder/model.safetensors"), "model files", "text_encoder/"),
    "embedding of the token": (
        partial(artifact_bit, f"{MODEL}/embeddings/mysks.safetensors", -1), "model files", "embeddings/mysks"),
    "unet/config.json": (
        partial(artifact_json, f"{MODEL}/unet/config.json", "sample_size", 8), "model files", "unet/config.json"),
    "vae/config.json": (
        partial(artifact_json, f"{MODEL}/vae/config.json", "scaling_factor", 1.0), "model files", "vae/config.json"),
    "text_encoder/config.json": (
        partial(artifact_json, f"{MODEL}/text_encoder/config.json", "hidden_act", "gelu"),
        "model files", "text_encoder/config.json"),
    "tokenizer_config.json": (
        partial(part_json, "tokenizer/tokenizer_config.json", "model_max_length", 3),
        "model files", "tokenizer_config.json"),
    "tokenizer.json": (
        partial(part_json, "tokenizer/tokenizer.json", "version", "2"), "model files", "tokenizer.json"),
    "scheduler_config.json": (
        partial(artifact_json, f"{MODEL}/scheduler/scheduler_config.json", "beta_end", 0.5),
        "model files", "scheduler_config.json"),
    "model_index.json": (
        partial(artifact_json, f"{MODEL}/model_index.json", "safety_checker", []), "model files", "model_index.json"),
    "the record beside the weights": (
        partial(artifact_json, f"{MODEL}/lineage.json", "subject", {}), "record", "beside the weights"),
    "the header of one file": (header, "record", "unet/"),
    "a file added to the model folder": (partial(artifact_added, f"{MODEL}/unet", "x.py"), "model files", "unet/x.py"),
    "a file removed from the model folder": (
        partial(artifact_removed, f"{MODEL}/unet/config.json"), "model files", "missing"),
    "code that serves the model": (
        partial(artifact_bit, f"{SERVED}/code/pipeline/sampling/sampler.py", 5), "served code", "sampler.py"),
    "the model class that MLflow loads": (
        partial(artifact_bit, f"{SERVED}/served_model.py", 5), "served code", "served_model.py"),
    "MLmodel": (partial(artifact_bit, f"{SERVED}/MLmodel", 5), "served code", "MLmodel"),
    "requirements of the served model": (
        partial(artifact_bit, f"{SERVED}/requirements.txt", 0), "served code", "requirements.txt"),
    "code added to the served model": (
        partial(artifact_added, f"{SERVED}/code/pipeline", "x.py"), "served code", "code/pipeline/x.py"),
    "params.yaml of the run": (partial(artifact_bit, f"{RECORD}/params.yaml", 9), "record files", "params.yaml"),
    "params.yaml and its digest": (partial(covered_up, "params.yaml", other_steps), "parameters", "train"),
    "dvc.lock of the run": (partial(artifact_bit, f"{RECORD}/dvc.lock", 40), "record files", "dvc.lock"),
    "dvc.lock removed": (partial(artifact_removed, f"{RECORD}/dvc.lock"), "record files", "dvc.lock is missing"),
    "evaluation.json": (
        partial(artifact_json, f"{RECORD}/evaluation.json", "size", [1, 1]), "record files", "evaluation.json"),
    "evaluation.json of another model, and its digest": (
        partial(covered_up, "evaluation.json", other_model), "evaluation", "judged model"),
    "the verdict in evaluation.json, and its digest": (
        partial(covered_up, "evaluation.json", other_verdict), "evaluation", "validation_status"),
    "a file added to the record": (partial(artifact_added, RECORD, "notes.txt"), "record files", "notes.txt"),
    "the page of the report": (partial(artifact_bit, "*/artifacts/report/*/index.html", 99), "report", "index.html"),
    "a picture of the report": (partial(artifact_bit, "*/artifacts/report/*/grid.png", 99), "report", "grid.png"),
    "digests of the report": (
        partial(artifact_json, f"{RECORD}/report_files.json", "index.html", "0"), "record files", "report_files.json"),
    "a parameter in the record": (
        partial(in_record, lambda found: found["params"]["train"].update(learning_rate=1.0)), "parameters", "digest"),
    "a caption in the record": (
        partial(in_record, lambda found: found["photos"]["files"][1].update(caption="x")),
        "photo photo1.jpg",
        "caption",
    ),
    "md5 of a photo in the record": (
        partial(in_record, lambda found: found["photos"]["files"][1].update(md5="0" * 32)), "photo photo1.jpg", "md5"),
    "sha256 of a photo in the record": (
        partial(in_record, lambda found: found["photos"]["files"][0].update(sha256="0" * 64)),
        "photo photo0.jpg", "sha256"),
    "a photo left out of the record": (
        partial(in_record, lambda found: found["photos"]["files"].pop()), "photos", "list of photos"),
    "class images in the record": (
        partial(in_record, lambda found: found["prior"].update(digest="0" * 64)), "class images", "list"),
    "the base model in the record": (
        partial(in_record, lambda found: found["base"].update(digest="0" * 64)), "base model", "digest"),
    "a patch added to the record": (
        partial(in_record, lambda found: found["code"].update(patch="x", clean=True)), "code", "patch"),
    "the commit in the record": (
        partial(in_record, lambda found: found["code"].update(commit="0" * 40)), "code", "not in this repository"),
    "the lock of prepare in the record": (
        partial(in_record, lambda found: found["lock"]["prepare"].update(cmd="x")), "record files", "stage prepare"),
    "tag validation_status": (partial(tag, "validation_status", "approved"), "evaluation", "validation_status"),
    "tag verdict": (partial(tag, "verdict", "Fit for promotion."), "evaluation", "verdict"),
    "tag gates_failed": (partial(tag, "gates_failed", "none"), "evaluation", "gates_failed"),
    "tag gates_missing": (partial(tag, "gates_missing", "none"), "evaluation", "gates_missing"),
    "tag suite_digest": (partial(tag, "suite_digest", "0" * 64), "evaluation", "suite_digest"),
    "tag record_digest": (partial(tag, "record_digest", "0" * 64), "record", "version's tag"),
    "tag base_digest": (partial(tag, "base_digest", "0" * 64), "tags", "base_digest"),
    "tag params_digest": (partial(tag, "params_digest", "0" * 64), "tags", "params_digest"),
    "tag photos": (partial(tag, "photos", "[]"), "tags", "photos"),
    "tag git_commit": (partial(tag, "git_commit", "0" * 40), "tags", "git_commit"),
    "tag record_files": (partial(tag, "record_files", "{}"), "record files", "not on record"),
    "tag served_files": (partial(tag, "served_files", "{}"), "served code", "not on record"),
    "the base model on this machine": (base_bit, "base model", "digest"),
    "a configuration of the base model on this machine": (base_setting, "base model", "configurations"),
    "a rewritten commit": (rewritten_commit, "code", "not in this repository"),
}  # fmt: skip


@contextmanager
def scene_of(workspace: Path) -> Iterator[Scene]:
    scene = Scene(workspace)
    try:
        yield scene
    finally:
        scene.undo()


def table() -> str:
    """The table of docs/registry.md."""
    rows = [f"| {name} | `{link}` |" for name, (_, link, _) in TAMPERINGS.items()]
    return "\n".join(["| changed behind the registry's back | the link that is broken |", "| --- | --- |", *rows])


def other_tensors(source: Path, target: Path) -> Path:
    """Another model's tensors under the header that was copied from `source`."""
    shutil.copy(source, target)
    flip(target)
    return target
