"""Stage `prepare`: photos and captions checked, held out by scene, cropped and resized to the size of the base."""

from pathlib import Path

from pipeline.layout import DATA, PREPARED
from pipeline.params import Params
from pipeline.photos.caption_length import TextEncoder
from pipeline.photos.manifest import summary
from pipeline.photos.prepare import prepare_photos
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Read `data/`, write `artifacts/prepared/`.

    Raises:
        PhotosError: photos or captions cannot be used.
        BaseNotFound: prepare.size is null (or crop is bucket) and the base, whose size it is, is not available.
    """
    size, multiple, encoder = _base(params)
    photos = prepare_photos(
        workspace / DATA, workspace / PREPARED, params.prepare, params.subject, size, multiple, encoder
    )
    print(summary(photos))


def _base(params: Params) -> tuple[int, int, TextEncoder | None]:
    """Side of a square picture, what sides must be multiples of, and how captions are read (None where a base that is
    not needed for the sizes is not available).
    """
    from pipeline.base.description import describe_base
    from pipeline.base.resolve import BaseNotFound

    needed = params.prepare.size is None or params.prepare.crop == "bucket"
    try:
        base = describe_base(params.base)
        tokenizer = base.tokenizer()
    except BaseNotFound as error:
        if needed:
            raise
        print(f"the length of the captions was not checked: {error}")
        return params.prepare.size or 0, 8, None
    token, learned = params.subject.token, params.train.token
    vectors = learned.vectors if learned.learn else len(tokenizer(token, add_special_tokens=False).input_ids)
    return params.prepare.size or base.size, base.multiple, TextEncoder(tokenizer, base.length, token, vectors)


if __name__ == "__main__":
    main(run)
