"""Whatever is changed behind the registry's back is found, one thing at a time, and named by its place."""

import json
from pathlib import Path

import pytest

from pipeline import layout
from pipeline.lineage.links import Evidence, Link, verdict
from pipeline.lineage.verify import verify
from pipeline.lineage.verify_files import folder_files, served_links
from pipeline.registry.lookup import find_record
from tests.lineage.tampering import TAMPERINGS, Scene, flip, other_tensors, scene_of, table
from tests.workspace import copy_of

REF = "models:/mysks@challenger"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "registry.md"


@pytest.fixture(scope="module")
def scene(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(copy_of(origin, tmp_path_factory.mktemp("scene") / "w"))


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def links(workspace: Path, ref: str = REF) -> list[Link]:
    with find_record(workspace, ref) as found:
        return verify(found.lineage, found.evidence(workspace))


def bad(found: list[Link]) -> list[Link]:
    return [link for link in found if link.state != "verified"]


def test_a_clean_copy_is_verified(scene: Scene) -> None:
    assert bad(links(scene.workspace)) == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named_by_its_place(scene: Scene, name: str) -> None:
    tamper, link, place = TAMPERINGS[name]
    with scene_of(scene.workspace) as touched:
        tamper(touched)
        found = [item for item in links(scene.workspace) if item.state == "broken"]
    assert any(item.name == link and place in item.detail for item in found), found


def test_after_all_of_it_the_copy_is_verified_again(scene: Scene) -> None:
    assert bad(links(scene.workspace)) == []


def test_weights_of_the_base_in_a_model_folder_are_traced_by_the_record_beside_them(scene: Scene) -> None:
    file = scene.workspace / layout.MODEL / "vae" / "diffusion_pytorch_model.safetensors"
    with find_record(scene.workspace, str(file)) as found:
        assert "weights of the base" in found.facts["holds"]
    with scene_of(scene.workspace) as touched:
        flip(touched.touch(file))
        assert {item.name for item in bad(links(scene.workspace, str(file)))} >= {f"file {file.name}", "model files"}


@pytest.mark.parametrize("part", ["unet", "embeddings"])
def test_other_tensors_under_a_copied_header_are_found(scene: Scene, tmp_path: Path, part: str) -> None:
    source = next((scene.workspace / layout.MODEL / part).glob("*.safetensors"))
    lone = other_tensors(source, tmp_path / "downloaded.safetensors")
    (wrong,) = bad(links(scene.workspace, str(lone)))
    assert (wrong.name, wrong.state) == ("file downloaded.safetensors", "broken")
    lone.write_bytes(source.read_bytes())
    assert bad(links(scene.workspace, str(lone))) == []
    lone.write_bytes(source.read_bytes()[:-1])
    assert verdict(links(scene.workspace, str(lone))) == "broken"


def test_the_adapter_in_mlflows_form_is_compared_with_its_digests(tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "weights.bin").write_bytes(b"layers")
    tags = {"adapter": "runs:/1/adapter", "adapter_files": json.dumps(folder_files(tmp_path))}

    def states() -> list[str]:
        return [link.state for link in served_links({}, Evidence(tmp_path, tags=tags, adapter=tmp_path))]

    assert states() == ["verified"]
    (tmp_path / "lora" / "weights.bin").write_bytes(b"others")
    assert states() == ["broken"]
    assert [link.state for link in served_links({}, Evidence(tmp_path, tags=tags))] == ["broken"]


def test_the_table_in_the_docs_is_this_list() -> None:
    assert table() in DOCS.read_text()
    assert len(TAMPERINGS) >= 40
