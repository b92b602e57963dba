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
        BaseNotFound: prepare.size is null and the base, whose size it stands for, is not to be had.
    """
    size = params.prepare.size or _size_of_base(params)
    photos = prepare_photos(workspace / DATA, workspace / PREPARED, params.prepare, params.subject, size)
    print(summary(photos))


def _size_of_base(params: Params) -> int:
    from pipeline.base.resolve import resolve_base

    return resolve_base(params.base).size


if __name__ == "__main__":
    main(run)
