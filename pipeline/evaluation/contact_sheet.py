"""The contact sheet: reference photos, then base and tuned model on the same prompts and seeds."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, LABEL = 128, 6, 26
INK, PAPER = "#222222", "#ffffff"


def draw_grid(references: Sequence[Path], rows: Sequence[tuple[str, Sequence[tuple[Path, Path]]]]) -> Image.Image:
    """One RGB picture: a strip of photos on top; below, for every prompt its (base, tuned) pairs, one per seed.

    Args:
        references: photos of the subject; as many as fit in the width are shown.
        rows: prompts with the files of each seed's pair.
    """
    seeds = max(len(pairs) for _, pairs in rows)
    width = GAP + max(2 * seeds, 4) * (SIDE + GAP)
    height = 2 * LABEL + SIDE + GAP + len(rows) * (SIDE + LABEL + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    pen.text((GAP, 6), "photos of the subject", INK, font)
    for column, file in enumerate(references[: max(2 * seeds, 4)]):
        sheet.paste(_tile(file), (GAP + column * (SIDE + GAP), LABEL))
    top = LABEL + SIDE + GAP
    for seed in range(seeds):
        for index, name in enumerate(("base", "tuned")):
            pen.text((GAP + (2 * seed + index) * (SIDE + GAP), top + 5), f"{name} model", INK, font)
    top += LABEL
    for prompt, pairs in rows:
        for seed, pair in enumerate(pairs):
            for index, file in enumerate(pair):
                sheet.paste(_tile(file), (GAP + (2 * seed + index) * (SIDE + GAP), top))
        pen.text((GAP, top + SIDE + 4), _cut(prompt, pen, font, width - 2 * GAP), INK, font)
        top += SIDE + LABEL + GAP
    return sheet


def draw_sheet(rows: Sequence[tuple[str, Sequence[Path]]], columns: int = 12) -> Image.Image:
    """One RGB picture: a labelled row of small pictures for each model; of longer rows, `columns` evenly spread."""
    left, side = 96, SIDE // 2
    count = min(columns, *(len(files) for _, files in rows))
    sheet = Image.new("RGB", (left + count * (side + GAP), len(rows) * (side + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for line, (label, files) in enumerate(rows):
        top = GAP + line * (side + GAP)
        pen.text((GAP, top + side // 2 - 8), label, INK, font)
        for column in range(count):
            file = files[column * len(files) // count]
            sheet.paste(_tile(file).resize((side, side), Image.Resampling.LANCZOS), (left + column * (side + GAP), top))
    return sheet


def _tile(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        small = picture.width < SIDE
        how = Image.Resampling.BICUBIC if small else Image.Resampling.LANCZOS
        return picture.convert("RGB").resize((SIDE, SIDE), how)


def _cut(text: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
