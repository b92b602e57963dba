"""Export of the trained model: the base's pipeline folder, with what was learned in files of its own."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from pipeline.base.components import Parts, weight_files
from pipeline.base.digest import PATH_KEYS
from pipeline.base.learned import LEARNED, Learned, write_learned
from pipeline.files import read_json, whole_folder, write_json
from pipeline.training.adapters import describe_adapters, save_adapters
from pipeline.training.token import restore_embedding, token_names
from pipeline.training.trainable import Trainable

if TYPE_CHECKING:
    from pipeline.training.job import Job

DROPPED = ("safety_checker", "feature_extractor", "image_encoder")


def export_model(job: "Job", parts: Parts, trainable: Trainable) -> None:
    """Write what was learned and the files of the base to `job.model`, a diffusers pipeline folder.

    What was learned is in float32: whole components in place of the base's, LoRA layers in `adapters/` with a README
    that says which file is for which program, the rows of a learned token in `embeddings/<token>.safetensors` as a
    textual inversion. Weights that nothing learned are the base's files, byte for byte. `job.model` appears only when
    it is complete; no configuration in it has a path of this machine.

    Afterwards `parts` can be trained no further.

    Raises:
        OSError: the folder cannot be written.
    """
    base, variant, lora = job.base, job.variant, job.params.method == "dreambooth-lora"
    modules: dict[str, Any] = {"unet": parts.unet, "text_encoder": parts.text_encoder}
    whole = {} if lora else {name: module for name, module in modules.items() if name in trainable.modules}
    words = tuple(token_names(job.token, job.params.token.vectors)) if trainable.token is not None else ()
    with whole_folder(job.model) as fresh:
        layers = None
        if lora:
            layers = f"adapters/{save_adapters(parts, trainable, job.params.lora.alpha, fresh / 'adapters')}"
            describe_adapters(fresh / "adapters", job.token if words else None)
        embedding = f"embeddings/{job.token}.safetensors" if words else None
        if trainable.token is not None and embedding is not None:
            (fresh / "embeddings").mkdir()
            rows = trainable.token.rows.detach().cpu().contiguous()
            save_file({job.token: rows}, fresh / embedding, {"format": "pt"})
        restore_embedding(parts.text_encoder)
        for name, module in whole.items():
            module.save_pretrained(fresh / name, safe_serialization=True)
        for name in ("tokenizer", "scheduler"):
            shutil.copytree(base / name, fresh / name, ignore=shutil.ignore_patterns(".*"))
        for name in ("text_encoder", "unet", "vae"):
            if name not in whole:
                _copy_frozen(base / name, fresh / name, variant)
        write_learned(fresh, Learned(tuple(sorted(whole)), words, embedding, layers, job.params.lora.alpha))
        index = read_json(base / "model_index.json")
        index |= {part: [None, None] for part in DROPPED if part in index}
        index |= {"requires_safety_checker": False}
        write_json(fresh / "model_index.json", index)
        for path in fresh.rglob("*.json"):
            _remove_path(path)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _copy_frozen(source: Path, target: Path, variant: str | None) -> None:
    """The configuration and the weights of a component, under the names that they have without a variant."""
    target.mkdir()
    shutil.copyfile(source / "config.json", target / "config.json")
    files = weight_files(source, variant)
    plain = {file.name: file.name.replace(f".{variant}", "", 1) if variant else file.name for file in files}
    for file in files:
        shutil.copyfile(file, target / plain[file.name])
    end = f"index.{variant}.json" if variant else "index.json"
    for file in source.glob(f"*.safetensors.{end}") if len(files) > 1 else ():
        index = read_json(file)
        index["weight_map"] = {tensor: plain.get(name, name) for tensor, name in index["weight_map"].items()}
        write_json(target / file.name.replace(end, "index.json"), index)


def _remove_path(path: Path) -> None:
    """Remove the folder that a configuration was loaded from, which means nothing on other machines."""
    if path.name == LEARNED:
        return
    value = read_json(path)
    if isinstance(value, dict) and not value.keys().isdisjoint(PATH_KEYS):
        value = {key: one for key, one in value.items() if key not in PATH_KEYS}
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
