"""Files in the registry's store are listed and removed on S3 as on a disk."""

from pathlib import Path

import pytest

from pipeline.registry.stored_files import folders_in, remove_file, sizes_below, upload_folder


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_files_are_sent_listed_and_removed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = (tmp_path / "store").as_uri()
    if kind == "s3":
        uri = f"{request.getfixturevalue('bucket').url}/store"
    folder = tmp_path / "parts"
    (folder / "models" / "m-1").mkdir(parents=True)
    for name, size in {"parts-aa": 3, "parts-aab": 4, "models/m-1/own": 5}.items():
        (folder / name).write_bytes(b"x" * size)
    upload_folder(uri, folder, "deep")
    assert sizes_below(uri) == {"deep/parts-aa": 3, "deep/parts-aab": 4, "deep/models/m-1/own": 5}
    assert sizes_below(uri, "deep/models") == {"deep/models/m-1/own": 5}
    assert sizes_below(uri, "nowhere") == {}
    assert folders_in(uri, "deep/models") == ["deep/models/m-1"]
    remove_file(uri, "deep/parts-aa")  # and not the one whose name begins so
    remove_file(uri, "deep/parts-aa")
    assert sizes_below(uri) == {"deep/parts-aab": 4, "deep/models/m-1/own": 5}
