"""Stage `prepare`: photos and captions checked, held out by scene, cropped and resized to the size of the base."""

from pathlib import Path

from pipeline.layout import DATA, PREPARED
from pipeline.params import Params
from pipeline.photos.manifest import summary
from pipeline.photos.prepare import prepare_photos
from pipeline.photos.target import target_of
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Read `data/`, write `artifacts/prepared/`.

    Raises:
        PhotosError: photos or captions cannot be used.
        BaseNotFound: prepare.size is null (or crop is bucket) and the base, whose size it is, is not available.
    """
    target = target_of(params)
    if target.unknown:
        print(f"the length of the captions was not checked: {target.unknown}")
    photos = prepare_photos(
        workspace / DATA,
        workspace / PREPARED,
        params.prepare,
        params.subject,
        target.size,
        target.multiple,
        target.encoder,
    )
    print(summary(photos))


if __name__ == "__main__":
    main(run)
