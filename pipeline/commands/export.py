"""`dreamtrace export`: a model as one file for other programs."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError


def export(
    ref: Annotated[str, typer.Argument(help="what `trace` takes")],
    file: Annotated[Path, typer.Argument(help="the safetensors file to write")],
) -> None:
    """Write a model as one file for ComfyUI, AUTOMATIC1111 and others."""
    export_single_file(Path(), ref, file)


def export_single_file(workspace: Path, ref: str, target: Path) -> None:
    """Write the model behind a reference as one file in Stable Diffusion's original layout, its record in the header.

    Raises:
        UserError: the reference cannot be resolved, its weights are not available, or the file exists.
    """

    from pipeline.files import read_json
    from pipeline.lineage.header import HEADER_KEY, read_model_header
    from pipeline.registry.lookup import find_record
    from pipeline.training.single_file import write_single_file

    with find_record(workspace, ref) as found:
        if found.model is None:
            raise CommandError(f"the weights of {found.title} are not available on this machine")
        header = read_model_header(found.model)
        token = found.lineage["params"]["train"]["token"]
        words = read_json(found.model / "text_encoder" / "config.json")["vocab_size"]
        known = words - token["vectors"] if token["learn"] else None
        write_single_file(found.model, target, {HEADER_KEY: json.dumps(header, sort_keys=True)}, known)
        print(f"{target} holds {found.title}")
        name = f"{found.lineage['subject']['token']}.safetensors"
        if known is not None and not (target.parent / name).exists():
            shutil.copy(found.model / "embeddings" / name, target.parent / name)
            print(f"{target.parent / name} holds the token, to be loaded beside it as an embedding (textual inversion)")
