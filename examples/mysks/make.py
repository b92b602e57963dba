"""Render the photos and their masks into the project's `data` folder: `python -m examples.mysks.make [--force] [--only NAME]`."""

import argparse
import json
import os
from pathlib import Path

from tqdm import tqdm

from examples.mysks.camera import Photo, outline, take
from examples.mysks.photos import PHOTOS

DATA = Path(__file__).resolve().parents[2] / "data"


def file_name(index: int, photo: Photo) -> str:
    """'01_wooden_post.jpg'."""
    return f"{index + 1:02d}_{photo.name}.jpg"


def main() -> None:
    """Render what is missing, photos and masks, and write metadata.jsonl (Hugging Face imagefolder style, with scenes)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="render photos that are there already, too")
    parser.add_argument("--only", help="one photo, by name")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, photo in enumerate(tqdm(PHOTOS, desc="photos")):
        name = file_name(index, photo)
        rows.append({"file_name": name, "text": photo.caption, "scene": photo.scene})
        path = arguments.out / name
        if (arguments.only and photo.name != arguments.only) or (path.exists() and not arguments.force):
            continue
        part = path.with_suffix(".part")
        take(photo).save(part, "JPEG", quality=94, subsampling=0, optimize=True)
        os.replace(part, path)
    masks = arguments.out / "masks"
    masks.mkdir(exist_ok=True)
    for index, photo in enumerate(tqdm(PHOTOS, desc="masks")):
        path = masks / f"{Path(file_name(index, photo)).stem}.png"
        if (arguments.only and photo.name != arguments.only) or (path.exists() and not arguments.force):
            continue
        outline(photo).save(path, optimize=True)
    if not arguments.only:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (arguments.out / "metadata.jsonl").write_text(text)


if __name__ == "__main__":
    main()
