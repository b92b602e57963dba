"""`dreamtrace export`: a model as one file for other programs."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.errors import CommandError
from pipeline.commands.withdrawal_warning import warn_of_withdrawal
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
    half: Annotated[bool, typer.Option("--half", help="half precision (float16): half the size")] = False,
    lora: Annotated[
        str | None,
        typer.Option(
            metavar="RANK|ENERGY",
            help="write LoRA layers of a whole model instead: of one rank (32), or of the ranks that hold this share "
            "of the change (0.95)",
        ),
    ] = None,
) -> None:
    """Write a model as one file for ComfyUI, AUTOMATIC1111 and others, or as LoRA layers for its base."""
    export_single_file(Path(), ref, file, half, lora)


def export_single_file(workspace: Path, ref: str, target: Path, half: bool = False, lora: str | None = None) -> None:
    """Write the model of a reference as one file in Stable Diffusion's original layout, or (`lora`) as LoRA layers for
    its base, with its record in the header, and the embedding of a learned token next to it.

    Raises:
        UserError: the reference cannot be resolved, its weights are not available, a file exists already, or the model
            has no place in that layout.
    """
    from pipeline.base.learned import read_learned
    from pipeline.lineage.header import HEADER_KEY, read_model_header
    from pipeline.lineage.standard_metadata import model_spec, predicts_velocity
    from pipeline.registry.lookup import find_record
    from pipeline.training.single_file import check_target, write_single_file

    check_target(target)
    size = parse_rank(lora) if lora is not None else None
    with find_record(workspace, ref) as found:
        if found.model is None:
            raise CommandError(found.why_without_weights)
        warn_of_withdrawal(workspace, found)
        embedding = find_embedding(found.model, found.lineage, target)
        kind = ("single file" if size is None else f"LoRA layers, {lora}") + (", half precision" if half else "")
        header = read_model_header(found.model) | {"exported": kind}
        record = {HEADER_KEY: json.dumps(header, sort_keys=True)}
        params, base = found.lineage["params"], found.lineage["base"]
        if size is None:
            rows = None
            if embedding is not None:  # the program adds them itself
                words = read_json(found.model / "text_encoder" / "config.json")["vocab_size"]
                rows = words if read_learned(found.model) else words - embedding.vectors
            spec = model_spec(found.model, params, base, "single file")
            write_single_file(found.model, target, spec | record, rows, half)
            print(f"{target} holds {found.title}")
        else:
            _write_lora(found.model, found.lineage, target, record, size, half)
        if embedding is not None:
            if not embedding.target.exists():
                shutil.copyfile(embedding.source, embedding.target)
            print(f"{embedding.target} holds its token: load both files, this one as an embedding (textual inversion)")
        if predicts_velocity(found.model):
            print(
                "the model predicts the velocity (v-prediction), and the file says so; in a program that draws noise "
                "with it, select v-prediction by hand"
            )


def parse_rank(text: str) -> int | float:
    """A rank (a whole number from 1), or a share of the change (a number between 0 and 1).

    Raises:
        CommandError: neither.
    """
    try:
        value = int(text) if text.isdigit() else float(text)
    except ValueError:
        value = 0
    if not (value >= 1 if isinstance(value, int) else 0 < value < 1):
        raise CommandError(f"--lora takes a rank, such as 32, or a share of the change, such as 0.95, not '{text}'")
    return value


def _write_lora(
    model: Path, lineage: dict[str, Any], target: Path, record: dict[str, str], size: int | float, half: bool
) -> None:
    from pipeline.base.resolve import resolve_base
    from pipeline.lineage.recorded_base import recorded_base
    from pipeline.lineage.standard_metadata import kohya_metadata, model_spec
    from pipeline.training.extract_lora import extract_lora
    from pipeline.training.single_file import save_whole, to_half

    recorded = lineage["base"]
    base = resolve_base(recorded_base(lineage), recorded=True)
    if base.digest != recorded["digest"]:
        raise CommandError(
            f"the base {recorded['model']} on this machine is not the one that the model was trained from (its content "
            f"is {base.digest[:12]}, the record says {recorded['digest'][:12]}): LoRA layers of it would fit neither"
        )
    rank, energy = (size, None) if isinstance(size, int) else (None, size)
    found = extract_lora(base.folder, base.variant, model, rank, energy)
    tensors = {key: to_half(key, tensor) for key, tensor in found.tensors.items()} if half else found.tensors
    params = lineage["params"]
    metadata = model_spec(model, params, recorded, "lora") | kohya_metadata(model, params, recorded)
    metadata |= {"ss_network_dim": str(found.rank), "ss_network_alpha": str(found.rank)}
    save_whole(tensors, target, {"format": "pt", **metadata, **record})
    print(
        f"{target} holds {found.layers} LoRA layers of rank {found.rank} or less for {recorded['model']}: "
        f"{found.kept:.1%} of what training changed (squared; biases, norms and embeddings stay the base's)"
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
