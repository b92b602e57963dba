"""From the control adapter that a recipe names to a folder on this machine, known by digest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.digest_cache import cached_digest
from pipeline.base.resolve import BaseNotFound, beside_base, commit_of, from_hub, is_path, local_folder
from pipeline.files import digest_file, digest_value, read_json

KEY = "control.adapter"
KINDS = ("ControlNetModel", "T2IAdapter")


@dataclass(frozen=True)
class ControlAdapter:
    """A control adapter that is here: `digest` is the sha256 over its configuration and weights."""

    name: str
    revision: str | None
    folder: Path
    digest: str


def resolve_control(name: str, revision: str | None, base: str, key: str = KEY) -> ControlAdapter:
    """The control adapter `name`: 'base', a hub id or a folder in diffusers format.

    Args:
        base: the `base.model` of the model that is drawn with.
        key: where it is named, for messages.

    Raises:
        BaseNotFound: it is not available, or is no control adapter.
    """
    if name == "base":
        instead = "a hub id such as lllyasviel/control_v11p_sd15_canny, or to a folder"
        folder = beside_base(key, base, "control", "control adapter", instead)
    elif is_path(name):
        folder = local_folder(key, name)
    else:
        folder = from_hub(key, name, revision, ["config.json", "diffusion_pytorch_model.safetensors"])
    files = weight_files(folder)
    try:
        kind = read_json(folder / "config.json")["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind not in KINDS or len(files) != 1:
        raise BaseNotFound(
            f"{key} '{name}' is no control adapter: {folder} must hold the config.json of a {' or '.join(KINDS)} and "
            "one diffusion_pytorch_model.safetensors"
        )
    config = folder / "config.json"
    digest = cached_digest([config, files[0]], KEY, lambda: digest_value([read_json(config), digest_file(files[0])]))
    return ControlAdapter(name, commit_of(folder), folder, digest)


def fit_problem(adapter: dict[str, Any], unet: dict[str, Any], factor: int) -> str | None:
    """Why a control adapter was made for another base, by the configurations of both; None where it fits.

    Args:
        factor: pixels along a side of a latent.
    """
    if adapter["_class_name"] == "T2IAdapter":
        pairs = [("channels", adapter["channels"], unet["block_out_channels"])]
        own = adapter["downscale_factor"]
    else:
        names = ("block_out_channels", "cross_attention_dim", "in_channels")
        pairs = [(name, adapter[name], unet[name]) for name in names]
        own = 2 ** (len(adapter["conditioning_embedding_out_channels"]) - 1)
    pairs.append(("pixels in a side of a latent", own, factor))
    wrong = [f"{name} {_plain(have)}, not {_plain(want)}" for name, have, want in pairs if _plain(have) != _plain(want)]
    return f"the control adapter was made for another base: it has {'; '.join(wrong)}" if wrong else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
