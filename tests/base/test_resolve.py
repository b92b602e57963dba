import shutil
from pathlib import Path

import pytest

from pipeline.base.judges import resolve_identity, resolve_scorer
from pipeline.base.resolve import BaseNotFound, native_size, resolve_base
from pipeline.params import Base, Evaluate


def base(model: str, **more) -> Base:
    return Base.model_validate({"model": model, **more})


def test_a_folder_is_resolved_with_its_size_and_digest(tiny_base: Path) -> None:
    found = resolve_base(base(str(tiny_base)))
    assert (found.folder, found.size, found.revision) == (tiny_base, 32, None)
    assert len(found.digest) == 64


def test_the_embedded_base_is_whole_and_known() -> None:
    found = resolve_base(base("pocket"))
    assert found.size == native_size(found.folder) == 64
    assert found.license == "MIT"


def test_a_folder_that_lacks_parts_is_refused_with_their_names(tiny_base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    shutil.rmtree(broken / "vae")
    for path in (broken / "unet").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(BaseNotFound, match=r"lacks vae, unet/\*\.safetensors"):
        resolve_base(base(str(broken)))


def test_another_variant_than_is_there_is_refused(tiny_base: Path) -> None:
    with pytest.raises(BaseNotFound, match=r"unet/\*\.fp16\.safetensors"):
        resolve_base(base(str(tiny_base), variant="fp16"))


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(BaseNotFound, match="no such folder"):
        resolve_base(base("./nowhere"))


def test_a_name_that_can_be_nothing_is_refused() -> None:
    with pytest.raises(BaseNotFound, match="nor a hub id of the form owner/name"):
        resolve_base(base("some model!"))


def test_a_hub_base_that_is_not_here_without_network_is_one_sentence(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseNotFound, match="not in the local cache and the hub cannot be reached") as caught:
        resolve_base(base("nobody/nothing-at-all"))
    assert "\n" not in str(caught.value)


def test_a_hub_base_in_the_cache_is_found_without_network(tiny_base: Path, tmp_path: Path, monkeypatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub"
    shutil.copytree(tiny_base, cache / "models--owner--name" / "snapshots" / commit)
    (cache / "models--owner--name" / "refs").mkdir()
    (cache / "models--owner--name" / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = resolve_base(base("owner/name"))
    assert found.revision == commit
    assert found.digest == resolve_base(base(str(tiny_base))).digest


def test_base_as_scorer_needs_an_embedded_base(tiny_base: Path) -> None:
    settings = Evaluate(scorer="base", revision=None, identity="base", bootstrap=10, seed=1)
    assert (resolve_scorer(settings, base("pocket")) / "model.safetensors").is_file()
    with pytest.raises(BaseNotFound, match="brings no CLIP of its own"):
        resolve_scorer(settings, base(str(tiny_base)))


def test_likeness_is_judged_by_the_embedded_encoder_the_scorer_or_a_folder(tiny_base: Path, tmp_path: Path) -> None:
    def settings(identity: str) -> Evaluate:
        return Evaluate(scorer="base", identity=identity, bootstrap=10, seed=1)

    embedded = resolve_identity(settings("base"), base("pocket"))
    assert embedded is not None and (embedded / "model.safetensors").is_file()
    assert resolve_identity(settings("scorer"), base("pocket")) is None
    with pytest.raises(BaseNotFound, match="brings no encoder of its own"):
        resolve_identity(settings("base"), base(str(tiny_base)))
    with pytest.raises(BaseNotFound, match="is not an image encoder"):
        resolve_identity(settings(str(tmp_path)), base("pocket"))


def test_a_folder_that_is_no_scorer_is_refused(tmp_path: Path) -> None:
    settings = Evaluate(scorer=str(tmp_path), revision=None, identity="base", bootstrap=10, seed=1)
    with pytest.raises(BaseNotFound, match=r"lacks config\.json, preprocessor_config\.json, model\.safetensors"):
        resolve_scorer(settings, base("pocket"))
