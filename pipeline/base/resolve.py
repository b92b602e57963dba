"""From `base.model` in params.yaml to a folder on this machine whose content is known by digest."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.base.completeness import (
    WEIGHTED,
    doubled_weights,
    file_names,
    hint,
    index_problems,
    missing_files,
    other_weights,
)
from pipeline.base.components import weight_files
from pipeline.base.configurations import size_problems, tokenizer_problems
from pipeline.base.digest import digested_files, folder_digest
from pipeline.base.digest_cache import cached_digest
from pipeline.base.kind import kind_problems, weight_problems
from pipeline.base.learned import LEARNED
from pipeline.base.single_files import file_problem
from pipeline.base.weights_fit import fit_problems
from pipeline.errors import UserError, first_line
from pipeline.files import read_json
from pipeline.layout import EMBEDDED_BASES
from pipeline.network.reachable import silence
from pipeline.params import Base

COMPONENTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
EMBEDDED = {"pocket": EMBEDDED_BASES / "model"}
LICENSES = {"pocket": "MIT", "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML Open RAIL-M"}
HUB_TEXTS = ["model_index.json", LEARNED, *(f"{part}/*.{end}" for part in COMPONENTS for end in ("json", "txt"))]


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


def resolve_base(
    base: Base, revision: str | None = None, read_again: bool = False, recorded: bool = False
) -> ResolvedBase:
    """Find the base's folder, download it from the hub if it lies there, and check that it is complete.

    Args:
        revision: the commit of a hub base that a record names; None: `base.revision`.
        read_again: compute the digest from the files, even where these very files were read before.
        recorded: it is the base of a record, not of a training to come (see `kind_problems`).

    Raises:
        BaseNotFound: not embedded, no such folder, not on the hub or not reachable, or components missing.
    """
    wanted, revision = revision or base.revision, None
    if base.model in EMBEDDED:
        folder = EMBEDDED[base.model]
    elif is_path(base.model):
        folder = local_folder("base.model", base.model)
    else:
        check_kind(from_hub("base.model", base.model, wanted, HUB_TEXTS), base.model, recorded)  # before gigabytes
        check_hub_files(base.model, wanted, base.variant)
        folder = from_hub("base.model", base.model, wanted, [*HUB_TEXTS, *_weights(base.variant)])
        revision = commit_of(folder)
    check_complete(folder, base.model, base.variant, recorded)
    if base.model not in EMBEDDED:
        check_fit(folder, base.model, base.variant)
    digest = partial(folder_digest, folder, COMPONENTS, base.variant)
    files = digested_files(folder, COMPONENTS, base.variant)
    return ResolvedBase(
        model=base.model,
        revision=revision,
        variant=base.variant,
        folder=folder.resolve(),
        digest=digest() if read_again else cached_digest(files, base.variant, digest),
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


def check_complete(folder: Path, name: str, variant: str | None = None, recorded: bool = False) -> None:
    """Refuse a folder that is no whole Stable Diffusion pipeline, or another kind of model, naming all that is wrong.

    Args:
        recorded: see `kind_problems`.

    Raises:
        BaseNotFound: components or weights are missing or damaged, or it is a model that cannot be trained here.
    """
    problems, names = kind_problems(folder, recorded), file_names(folder)
    if missing := missing_files(names, variant):
        if "model_index.json" in missing and len(missing) > len(COMPONENTS):
            raise BaseNotFound(f"base.model '{name}' is no Stable Diffusion pipeline in diffusers format{hint(folder)}")
        problems.append(f"{folder} lacks {', '.join(missing)}{other_weights(names, variant)}")
    problems += doubled_weights(names, variant) + index_problems(folder, variant)
    problems += weight_problems([path for part in WEIGHTED for path in weight_files(folder / part, variant)])
    if not problems:
        problems += [*size_problems(folder), *tokenizer_problems(folder)]
    _refuse(name, problems)


def check_fit(folder: Path, name: str, variant: str | None = None) -> None:
    """Refuse a whole pipeline whose weights are not those of its configurations; loads torch and diffusers.

    Raises:
        BaseNotFound: tensors are missing, unknown or of another shape.
    """
    _refuse(name, fit_problems(folder, variant))


def check_kind(folder: Path, name: str, recorded: bool = False) -> None:
    """Refuse a model that cannot be trained here, by its configurations alone.

    Args:
        recorded: see `kind_problems`.

    Raises:
        BaseNotFound: it is another kind of model, or a configuration cannot be read.
    """
    _refuse(name, kind_problems(folder, recorded))


def check_hub_files(name: str, revision: str | None, variant: str | None) -> None:
    """Refuse a hub base that lacks files by the hub's list of them; where the hub does not answer, nothing is said.

    Raises:
        BaseNotFound: weights or small files are missing.
    """
    from huggingface_hub import list_repo_files

    try:
        names = [file for file in list_repo_files(name, revision=revision) if file.count("/") <= 1]
    except Exception:  # offline, a proxy, a server in between: the download itself tells what is wrong
        return
    if missing := missing_files(names, variant):
        _refuse(name, [f"it lacks {', '.join(missing)}{other_weights(names, variant)}"])


def _refuse(name: str, problems: list[str]) -> None:
    if problems:
        raise BaseNotFound(f"base.model '{name}' cannot be used: " + "; ".join(problems))


def is_path(model: str) -> bool:
    """Whether a name means a file or folder of this machine, and not a model on the hub."""
    return model.startswith(("/", "./", "../", "~")) or Path(model).exists()


def beside_base(key: str, base: str, part: str, what: str, instead: str, value: str = "base") -> Path:
    """The folder `part` beside an embedded base, for a `key` of params.yaml that says 'base', or another `value`.

    Args:
        base: the `base.model`.
        what: what is in the folder, in words; `instead`: what to set the key to where there is none.

    Raises:
        BaseNotFound: the base is not embedded, or brings no such folder.
    """
    folder = EMBEDDED_BASES / part
    if base not in EMBEDDED or not folder.is_dir():
        raise BaseNotFound(
            f"{key} is '{value}', but base.model '{base}' brings no {what} of its own; set it to {instead}"
        )
    return folder


def local_folder(key: str, name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_file():
        raise BaseNotFound(f"{key} '{name}' {file_problem(folder)}")
    if not folder.is_dir():
        raise BaseNotFound(f"{key} is '{name}', but there is no such folder")
    return folder


def from_hub(key: str, name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    away = silence(constants.ENDPOINT) is not None  # else the library tries again for half a minute, for each model
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=away))
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
        raise _refused(key, name, revision, error) from None
    except Exception as error:  # a proxy, a full disk, a cache that cannot be written: each library has its own
        cached = _cached(name, revision, patterns)
        if cached is not None:
            return cached
        reason = first_line(error, "no reason given")[:200]
        raise BaseNotFound(
            f"{key} '{name}' could not be fetched from the hub ({type(error).__name__}: {reason}), and it is not whole "
            "in the local cache; check the network, the proxy (HTTPS_PROXY), HF_HOME and the free disk space"
        ) from None


def _cached(name: str, revision: str | None, patterns: list[str]) -> Path | None:
    """The snapshot in the local cache, where it is there; None where it is not."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))
    except (OSError, ValueError):
        return None


def _refused(key: str, name: str, revision: str | None, error: Any) -> BaseNotFound:
    status = error.response.status_code if error.response is not None else "?"
    return BaseNotFound(
        f"the hub answers {status} for {key} '{name}' (revision {revision or 'default'}): "
        "check the name, the revision, and whether its licence must be accepted with `hf auth login`"
    )


def _weights(variant: str | None) -> list[str]:
    """Patterns for one set of weights: the same repository may hold full, half and untrained ones, gigabytes each."""
    middle = f".{variant}" if variant else ""
    stems = ("model", "diffusion_pytorch_model")
    ends = (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors")
    return [f"{part}/{stem}{end}" for part in ("text_encoder", "unet", "vae") for stem in stems for end in ends]


def commit_of(folder: Path) -> str | None:
    """The hub's cache names a snapshot's folder by its commit."""
    return folder.name if folder.parent.name == "snapshots" else None
