"""From the IP-Adapter that a recipe names to its files on this machine, known by digest."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.base.digest_cache import cached_digest
from pipeline.base.resolve import BaseNotFound, commit_of, from_hub, is_path, local_folder
from pipeline.files import digest_file, digest_value, read_json

KEY = "reference.adapter"


@dataclass(frozen=True)
class ReferenceFiles:
    """An IP-Adapter that is here: its weights, the folder of its image encoder, and the sha256 over both."""

    name: str
    revision: str | None
    weights: Path
    encoder: Path
    digest: str


def resolve_reference(name: str, revision: str | None, weights: str, encoder: str) -> ReferenceFiles:
    """The IP-Adapter in the repository or folder `name`.

    Args:
        weights: its .safetensors file, as a path in the repository or folder.
        encoder: the folder there of the image encoder in transformers format.

    Raises:
        BaseNotFound: it is not available, or files are missing.
    """
    wanted = [weights, f"{encoder}/config.json", f"{encoder}/model.safetensors"]
    folder = local_folder(KEY, name) if is_path(name) else from_hub(KEY, name, revision, wanted)
    if missing := [file for file in wanted if not (folder / file).is_file()]:
        raise BaseNotFound(
            f"{KEY} '{name}' lacks {', '.join(missing)}: reference.weights and reference.encoder name the file and the "
            "folder of its image encoder, as paths in it; only safetensors are read"
        )
    files = [folder / file for file in wanted]

    def digest() -> str:
        return digest_value([digest_file(files[0]), read_json(files[1]), digest_file(files[2])])

    return ReferenceFiles(name, commit_of(folder), files[0], folder / encoder, cached_digest(files, KEY, digest))
