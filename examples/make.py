"""Render the photos of a toy and their masks: `python -m examples.make mysks [--out FOLDER] [--force] [--only NAME]`."""

import argparse
import json
import os
from pathlib import Path

from tqdm import tqdm

from examples.camera import Photo, outline, take
from examples.photos import PHOTOS
from examples.toys import TOYS

DATA = Path(__file__).resolve().parents[1] / "data"


def file_name(index: int, photo: Photo) -> str:
    """'01_wooden_post.jpg'."""
    return f"{index + 1:02d}_{photo.name}.jpg"


def main() -> None:
    """Render what is missing, into the project's folder `data` where `--out` names no other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("toy", choices=sorted(TOYS))
    parser.add_argument("--force", action="store_true", help="render photos that are there already, too")
    parser.add_argument("--only", help="one photo, by name")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    render(arguments.toy, arguments.out, arguments.force, arguments.only)


def render(toy: str, out: Path, force: bool = False, only: str | None = None) -> None:
    """Write photos, masks and metadata.jsonl (Hugging Face imagefolder style, with scenes) into `out`.

    What is there already stays as it is, unless `force`; `only` names a single photo, and leaves metadata.jsonl out.
    """
    body, photos = TOYS[toy](), PHOTOS[toy]
    (out / "masks").mkdir(parents=True, exist_ok=True)
    for index, photo in enumerate(tqdm(photos, desc=f"photos of {toy}")):
        path = out / file_name(index, photo)
        mask = out / "masks" / f"{path.stem}.png"
        if only and photo.name != only:
            continue
        if force or not path.exists():
            part = path.with_suffix(".part")
            take(photo, body).save(part, "JPEG", quality=94, subsampling=0, optimize=True)
            os.replace(part, path)
        if force or not mask.exists():
            part = mask.with_suffix(".part")
            outline(photo, body).save(part, "PNG", optimize=True)
            os.replace(part, mask)
    if not only:
        rows = [
            {"file_name": file_name(index, photo), "text": photo.caption, "scene": photo.scene}
            for index, photo in enumerate(photos)
        ]
        (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
