"""`dreamtrace generate`: draw with a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.errors import CommandError, finite
from pipeline.commands.withdrawal_warning import warn_of_withdrawal


def generate(
    prompt: Annotated[str, typer.Argument(help="what to draw, such as 'a photo of mysks plush toy on the beach'")],
    model: Annotated[str, typer.Option(help="what `trace` takes, such as models:/mysks@challenger or a model folder")],
    out: Annotated[Path, typer.Option(help="PNG, JPEG or WebP; of several pictures each name ends in its seed")] = Path(
        "generated.png"
    ),
    seed: Annotated[int, typer.Option(help="of the first picture")] = 0,
    count: Annotated[int, typer.Option(help="pictures")] = 1,
    negative: Annotated[str, typer.Option(help="what not to draw")] = "",
    steps: Annotated[int | None, typer.Option(help="denoising steps; default: as the model was judged")] = None,
    guidance: Annotated[
        float | None, typer.Option(callback=finite, help="how strongly the prompt pulls; default: as judged")
    ] = None,
    size: Annotated[int | None, typer.Option(help="side in pixels; default: as trained")] = None,
    recipe: Annotated[Path | None, typer.Option(help="a recipe file; default: that of the registered version")] = None,
    start: Annotated[Path | None, typer.Option(help="a picture to start from")] = None,
    start_strength: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="how much of it is drawn again; default: 0.6, with a mask 1"),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="where the picture is drawn again: white; its own size")] = None,
    control: Annotated[Path | None, typer.Option(help="the picture that a recipe with control follows")] = None,
    reference: Annotated[Path | None, typer.Option(help="the picture that a recipe with reference takes after")] = None,
) -> None:
    """Draw with a model; Content Credentials in the picture lead back to it."""
    if mask is not None and start is None:
        raise CommandError("--mask needs --start, the picture that is kept outside the mask")
    if start_strength is not None and start is None:
        raise CommandError("--start-strength needs --start, the picture of which so much is drawn again")
    asked = {"seed": seed, "count": count, "negative": negative, "steps": steps, "guidance": guidance, "size": size}
    draw_files(Path(), model, prompt, out, asked, recipe, _start(start, start_strength, mask), control, reference)


def _start(picture: Path | None, strength: float | None, mask: Path | None) -> tuple[Path, float, Path | None] | None:
    if picture is None:
        return None
    return picture, (1.0 if mask else 0.6) if strength is None else strength, mask


def draw_files(
    workspace: Path,
    ref: str,
    prompt: str,
    out: Path,
    asked: dict[str, Any],
    recipe: Path | None = None,
    start: tuple[Path, float, Path | None] | None = None,
    control: Path | None = None,
    reference: Path | None = None,
) -> None:
    """Draw a prompt with the model behind a reference: one file, or several whose names end in their seeds.

    Args:
        asked: seed, and the parameters of `pipeline.sampling.generation_request`; what is None is the model's own.
        recipe: a recipe file; None: the recipe of the registered version, or the default.
        start: a picture to start from, how much of it is drawn again (above 0 to 1), and a mask or None.
        control: the picture that a recipe with control follows.
        reference: the picture that drawings by a recipe with reference take after.

    Raises:
        UserError: the reference cannot be resolved, its weights are not available, a value is impossible, or a file
            exists.
    """
    from pipeline.base.resolve import native_size
    from pipeline.files import write_bytes
    from pipeline.lineage.header import read_model_header
    from pipeline.registry.judged_draw import judged_draw
    from pipeline.registry.lookup import find_record
    from pipeline.registry.recipe_fit import left_as_base
    from pipeline.registry.recipe_loading import (
        check_pictures,
        load_sampler,
        read_start,
        refuse_two_recipes,
        unread_recipe,
    )
    from pipeline.registry.recipes import recipe_in
    from pipeline.sampling.credentials import picture_format, signed_picture
    from pipeline.sampling.generation_request import read_generation_request
    from pipeline.sampling.picture_index import remember_picture
    from pipeline.sampling.provenance import draw_with_records
    from pipeline.sampling.recipe import read_recipe, refuse_idle
    from pipeline.sampling.recipe_sampler import refuse_idle_negative, refuse_unseen_token
    from pipeline.sampling.signing_authority import signing_identity

    kind, identity = picture_format(out), signing_identity()
    # What the caller gives is read before the weights are fetched.
    chosen = read_recipe(recipe) if recipe is not None else None
    if chosen is not None:
        check_pictures(chosen, control, reference)
    begin = read_start(*start) if start else None
    with find_record(workspace, ref) as found:
        if found.model is None:
            raise CommandError(found.why_without_weights)
        draw = judged_draw(found.lineage, found.tags)
        size = found.lineage["params"]["prepare"]["size"] or native_size(found.model)
        given = {name: value for name, value in asked.items() if value is not None}
        generation = read_generation_request([(prompt, given.pop("seed", 0))], given, {**draw, "size": size})
        counts = chosen if chosen is not None else recipe_in(found.tags or {}, found.title)
        counts = counts.model_copy(update=dict.fromkeys({"steps", "guidance"} & set(given)))
        refuse_idle_negative(counts, generation.requests, generation.guidance)
        if chosen is not None:
            first = begin.first_step(counts.steps or generation.steps) if begin else 0
            refuse_idle(counts, generation.steps, generation.guidance, first, left_as_base(found.lineage, {}))
        else:
            refuse_two_recipes(workspace, ref, found)
            if (unread := unread_recipe(found)) is not None:
                typer.echo(f"note: {unread} is not read by itself; --recipe {unread} draws with it", err=True)
        files = (
            [out]
            if len(generation.requests) == 1
            else [out.with_name(f"{out.stem}-{request.seed}{out.suffix}") for request in generation.requests]
        )
        there = [str(file) for file in files if file.exists()]
        if there:
            raise CommandError(f"{', '.join(there)} exists; remove it or name another file")
        origin = read_model_header(found.model)
        if found.version is not None:
            origin["title"] = found.title  # other versions may have the same weights
        warn_of_withdrawal(workspace, found)
        sampler = load_sampler(workspace, found, chosen, begin, given, control, reference)
        if chosen is not None:
            refuse_unseen_token(sampler, generation.requests)
        drawn = draw_with_records(sampler, generation, origin, draw["batch"], draw["scheduler"])
        for file, (picture, record) in zip(files, drawn, strict=True):
            write_bytes(file, signed_picture(picture, record, kind, identity))
            remember_picture(workspace, picture, record, file)
            print(file)
