"""`dreamtrace export`: a model as one file for other programs."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.errors import CommandError
from pipeline.files import digest_file, read_json


@dataclass(frozen=True)
class Embedding:
    """The file of a learned token: where the model folder has it, and where it is copied to."""

    source: Path
    target: Path
    vectors: int


def export(
    ref: Annotated[str, typer.Argument(help="any reference that `trace` accepts")],
    file: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
) -> None:
    """Write a model as one file for ComfyUI, AUTOMATIC1111 and others."""
    export_single_file(Path(), ref, file)


def export_single_file(workspace: Path, ref: str, target: Path) -> None:
    """Write the model of a reference as one file in Stable Diffusion's original layout, with its record in the header,
    and the embedding of a learned token next to it.

    Raises:
        UserError: the reference cannot be resolved, its weights are not available, a file exists already, or the model
            has no place in that layout.
    """

    from pipeline.lineage.header import HEADER_KEY, read_model_header
    from pipeline.registry.lookup import find_record
    from pipeline.training.single_file import check_target, predicts_velocity, write_single_file

    check_target(target)
    with find_record(workspace, ref) as found:
        if found.model is None:
            raise CommandError(f"the weights of {found.title} are not available on this machine")
        embedding = find_embedding(found.model, found.lineage, target)
        size = None
        if embedding is not None:
            size = read_json(found.model / "text_encoder" / "config.json")["vocab_size"] - embedding.vectors
        header = read_model_header(found.model)
        write_single_file(found.model, target, {HEADER_KEY: json.dumps(header, sort_keys=True)}, size)
        print(f"{target} holds {found.title}")
        if embedding is not None:
            if not embedding.target.exists():
                shutil.copyfile(embedding.source, embedding.target)
            print(f"{embedding.target} holds its token: load both files, this one as an embedding (textual inversion)")
        if predicts_velocity(found.model):
            print(
                "the model predicts the velocity (v-prediction), and the file says so; in a program that draws noise "
                "with it, select v-prediction by hand"
            )


def find_embedding(model: Path, lineage: dict[str, Any], target: Path) -> Embedding | None:
    """The learned token's embedding, which must be named like the token to be usable; None without a learned token.

    Raises:
        CommandError: the model folder lacks it, its name is no file name, or another file is in its place.
    """
    settings, token = lineage["params"]["train"]["token"], lineage["subject"]["token"]
    if not settings["learn"]:
        return None
    name = f"{token}.safetensors"
    if Path(name).name != name or "\\" in name:
        raise CommandError(f"the record names the token '{token}', which is no file name; the record was changed")
    source, copy = model / "embeddings" / name, target.parent / name
    if not source.is_file():
        raise CommandError(f"{source} is missing: without the token's embedding the file would not know the subject")
    if copy.resolve() == target.resolve():
        raise CommandError(f"{copy} is the name of the token's embedding; name another file for the model")
    if copy.exists() and digest_file(copy) != digest_file(source):
        raise CommandError(
            f"{copy} exists and is not this model's embedding of '{token}', which needs that name; remove it or export "
            "to another folder"
        )
    return Embedding(source, copy, settings["vectors"])
