"""From the judges in params.yaml, networks that look at pictures, to folders on this machine."""

from pathlib import Path

from pipeline.base.components import weight_files
from pipeline.base.resolve import BaseNotFound, beside_base, from_hub, is_path, local_folder
from pipeline.params import Base, Evaluate


def resolve_scorer(evaluate: Evaluate, base: Base) -> Path:
    """The folder of the CLIP that judges: beside the embedded base, on the hub, or a folder here.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not available.
    """
    key, instead = "evaluate.scorer", "a hub id such as openai/clip-vit-base-patch32, or to a folder"
    if evaluate.scorer == "base":
        return beside_base(key, base.model, "clip", "CLIP", instead)
    return resolve_encoder(key, evaluate.scorer, evaluate.revision, "a CLIP")


def resolve_identity(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of the encoder that compares pictures with photos; None: the scorer does it.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not available.
    """
    if evaluate.identity == "scorer":
        return None
    key, instead = "evaluate.identity", "'scorer', to the hub id of an image encoder such as a DINO, or to a folder"
    if evaluate.identity == "base":
        return beside_base(key, base.model, "identity", "encoder", instead)
    return resolve_encoder(key, evaluate.identity, evaluate.identity_revision, "an image encoder")


def resolve_copies(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of what finds copies of training photos; None: nothing does, or the pixels themselves.

    Raises:
        BaseNotFound: it is not available.
    """
    if evaluate.copies in (None, "pixels"):
        return None
    return _one_of_these(evaluate, base, evaluate.copies) or resolve_encoder(
        "evaluate.copies", evaluate.copies, evaluate.copies_revision, "a copy detector"
    )


def resolve_perceptual(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of what tells pictures of one prompt apart; None: nothing does.

    Raises:
        BaseNotFound: it is not available.
    """
    if evaluate.perceptual is None:
        return None
    return _one_of_these(evaluate, base, evaluate.perceptual) or resolve_encoder(
        "evaluate.perceptual", evaluate.perceptual, evaluate.perceptual_revision, "an LPIPS"
    )


def _one_of_these(evaluate: Evaluate, base: Base, name: str) -> Path | None:
    """The folder of the scorer or of the encoder of likeness, where `name` is 'scorer' or 'identity'."""
    if name == "scorer":
        return resolve_scorer(evaluate, base)
    if name == "identity":
        return resolve_identity(evaluate, base) or resolve_scorer(evaluate, base)
    return None


def resolve_encoder(key: str, name: str, revision: str | None, kind: str) -> Path:
    """The folder of a network that looks at pictures (`kind` in words): on the hub, or a folder here.

    Raises:
        BaseNotFound: it is not available, or lacks its weights, its configuration or its preprocessing.
    """
    if is_path(name):
        folder = local_folder(key, name)
    else:
        folder = from_hub(key, name, revision, ["*.json", "*.txt", "model*.safetensors"])
    missing = [name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()]
    if weight_files(folder) and not (folder / "model.safetensors").is_file():
        raise BaseNotFound(
            f"{key} '{name}': the weights in {folder} are split into several files or named otherwise; save them "
            "as one model.safetensors (`save_pretrained(folder, max_shard_size='100GB')`)"
        )
    missing += [] if weight_files(folder) else ["model.safetensors"]
    if missing:
        raise BaseNotFound(f"{key} '{name}' is not {kind}: {folder} lacks {', '.join(missing)}")
    return folder
