"""Stage `prepare`: photos and captions checked, held out by scene, cropped and resized to the size of the base."""

from pathlib import Path

from pipeline.layout import DATA, PREPARED
from pipeline.params import Params
from pipeline.photos.manifest import summary
from pipeline.photos.prepare import prepare_photos
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Read `data/`, write `artifacts/prepared/`.

    Raises:
        PhotosError: photos or captions cannot be used.
        BaseNotFound: prepare.size is null (or crop is bucket) and the base, whose size it is, is not to be had.
    """
    size, multiple = _sizes(params)
    photos = prepare_photos(workspace / DATA, workspace / PREPARED, params.prepare, params.subject, size, multiple)
    print(summary(photos))


def _sizes(params: Params) -> tuple[int, int]:
    """Side of a square picture, and what sides must be multiples of; the base is asked only where it has to be."""
    if params.prepare.size and params.prepare.crop != "bucket":
        return params.prepare.size, 8
    from pipeline.base.resolve import resolve_base, size_multiple

    base = resolve_base(params.base)
    return params.prepare.size or base.size, size_multiple(base.folder)


if __name__ == "__main__":
    main(run)
