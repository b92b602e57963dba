"""From `base.model` in params.yaml to a folder on this machine whose content is known by digest."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.base.components import weight_files
from pipeline.base.digest import folder_digest
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.layout import EMBEDDED_BASES
from pipeline.params import Base, Evaluate

COMPONENTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
EMBEDDED = {"pocket": EMBEDDED_BASES / "model"}
EMBEDDED_SCORERS = {"pocket": EMBEDDED_BASES / "clip"}
EMBEDDED_IDENTITY = {"pocket": EMBEDDED_BASES / "identity"}
LICENSES = {"pocket": "MIT", "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML Open RAIL-M"}
HUB_TEXTS = ["model_index.json", *(f"{part}/*.{end}" for part in COMPONENTS for end in ("json", "txt"))]


class BaseNotFound(UserError):
    """The base model cannot be had on this machine, or is not a Stable Diffusion pipeline."""


@dataclass(frozen=True)
class ResolvedBase:
    """A base model that is here, whole, and known.

    `digest` is the sha256 over its tensors, tokenizer and scheduler; `size` the side in pixels it was trained at.
    """

    model: str
    revision: str | None
    variant: str | None
    folder: Path
    digest: str
    size: int
    license: str | None


def resolve_base(base: Base) -> ResolvedBase:
    """Find the base's folder, download it from the hub if it lies there, and check that it is complete.

    Raises:
        BaseNotFound: not embedded, no such folder, not on the hub or not reachable, or components missing.
    """
    revision = None
    if base.model in EMBEDDED:
        folder = EMBEDDED[base.model]
    elif _is_path(base.model):
        folder = Path(base.model).expanduser()
        if not folder.is_dir():
            raise BaseNotFound(f"base.model is '{base.model}', but there is no such folder")
    else:
        folder = _from_hub("base.model", base.model, base.revision, [*HUB_TEXTS, *_weights(base.variant)])
        revision = _commit(folder)
    check_complete(folder, base.model, base.variant)
    return ResolvedBase(
        model=base.model,
        revision=revision,
        variant=base.variant,
        folder=folder.resolve(),
        digest=folder_digest(folder, COMPONENTS, base.variant),
        size=native_size(folder),
        license=LICENSES.get(base.model),
    )


def native_size(folder: Path) -> int:
    """Side of the square pictures the base was trained on, in pixels: latent side times the VAE's factor."""
    latent = read_json(folder / "unet" / "config.json")["sample_size"]
    levels = len(read_json(folder / "vae" / "config.json")["block_out_channels"])
    return int(latent) * 2 ** (levels - 1)


def size_multiple(folder: Path) -> int:
    """What sides of pictures must be multiples of, in pixels, so that every level of VAE and U-Net halves evenly."""
    vae = len(read_json(folder / "vae" / "config.json")["block_out_channels"])
    unet = len(read_json(folder / "unet" / "config.json")["block_out_channels"])
    return int(2 ** (vae - 1 + unet - 1))


def check_complete(folder: Path, name: str, variant: str | None = None) -> None:
    """Refuse a folder that lacks a component of a Stable Diffusion pipeline, naming all that is missing."""
    missing = [part for part in COMPONENTS if not (folder / part).is_dir()]
    missing += [] if (folder / "model_index.json").is_file() else ["model_index.json"]
    weighted = [part for part in ("text_encoder", "unet", "vae") if part not in missing]
    kind = f"*.{variant}.safetensors" if variant else "*.safetensors"
    missing += [f"{part}/{kind}" for part in weighted if not weight_files(folder / part, variant)]
    if missing:
        raise BaseNotFound(
            f"base.model '{name}' is not a whole Stable Diffusion pipeline in diffusers format: "
            f"{folder} lacks {', '.join(missing)}"
        )


def _is_path(model: str) -> bool:
    return model.startswith(("/", "./", "../", "~")) or Path(model).is_dir()


def resolve_scorer(evaluate: Evaluate, base: Base) -> Path:
    """The folder of the CLIP that judges: beside the embedded base, on the hub, or a folder here.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not to be had.
    """
    if evaluate.scorer == "base":
        if base.model not in EMBEDDED_SCORERS:
            raise BaseNotFound(
                f"evaluate.scorer is 'base', but base.model '{base.model}' brings no CLIP of its own; "
                "set it to a hub id such as openai/clip-vit-base-patch32, or to a folder"
            )
        return EMBEDDED_SCORERS[base.model]
    return _encoder("evaluate.scorer", evaluate.scorer, evaluate.revision, "a CLIP")


def resolve_identity(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of the encoder that compares pictures with photos; None: the scorer does it.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not to be had.
    """
    if evaluate.identity == "scorer":
        return None
    if evaluate.identity == "base":
        if base.model not in EMBEDDED_IDENTITY:
            raise BaseNotFound(
                f"evaluate.identity is 'base', but base.model '{base.model}' brings no encoder of its own; "
                "set it to 'scorer', to the hub id of an image encoder such as a DINO, or to a folder"
            )
        return EMBEDDED_IDENTITY[base.model]
    return _encoder("evaluate.identity", evaluate.identity, evaluate.identity_revision, "an image encoder")


def resolve_copies(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of what finds copies of training photos; None: nothing does, or the pixels themselves.

    Raises:
        BaseNotFound: it is not to be had.
    """
    if evaluate.copies in (None, "pixels"):
        return None
    if evaluate.copies == "scorer":
        return resolve_scorer(evaluate, base)
    return _encoder("evaluate.copies", evaluate.copies, evaluate.copies_revision, "a copy detector")


def resolve_perceptual(evaluate: Evaluate, base: Base) -> Path | None:
    """The folder of what tells pictures of one prompt apart; None: nothing does.

    Raises:
        BaseNotFound: it is not to be had.
    """
    if evaluate.perceptual is None:
        return None
    if evaluate.perceptual == "scorer":
        return resolve_scorer(evaluate, base)
    return _encoder("evaluate.perceptual", evaluate.perceptual, evaluate.perceptual_revision, "an LPIPS")


def _encoder(key: str, name: str, revision: str | None, kind: str) -> Path:
    if _is_path(name):
        folder = Path(name).expanduser()
    else:
        folder = _from_hub(key, name, revision, ["*.json", "*.txt", "model*.safetensors"])
    missing = [name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()]
    missing += [] if weight_files(folder) else ["model.safetensors"]
    if missing:
        raise BaseNotFound(f"{key} '{name}' is not {kind}: {folder} lacks {', '.join(missing)}")
    return folder


def _from_hub(key: str, name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise BaseNotFound(
            f"{key} is '{name}': neither embedded ({', '.join(EMBEDDED)}), nor a folder here, "
            "nor a hub id of the form owner/name"
        ) from None
    except LocalEntryNotFoundError:
        raise BaseNotFound(
            f"{key} '{name}' is not in the local cache and the hub cannot be reached; "
            f"connect once to download it, or set {key} to a folder that holds it"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        raise BaseNotFound(
            f"the hub answers {status} for {key} '{name}' (revision {revision or 'default'}): "
            "check the name, the revision, and whether its licence must be accepted with `hf auth login`"
        ) from None


def _weights(variant: str | None) -> list[str]:
    """Patterns for one set of weights: the same repository may hold full, half and untrained ones, gigabytes each."""
    middle = f".{variant}" if variant else ""
    stems = ("model", "diffusion_pytorch_model")
    ends = (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors")
    return [f"{part}/{stem}{end}" for part in ("text_encoder", "unet", "vae") for stem in stems for end in ends]


def _commit(folder: Path) -> str | None:
    """The hub's cache names a snapshot's folder by its commit."""
    return folder.name if folder.parent.name == "snapshots" else None
