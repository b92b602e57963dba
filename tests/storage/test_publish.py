"""Champions on a real S3 server: whole or not at all, resumed after a cut, one winner of two, verified when fetched."""

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.files import digest_file
from pipeline.lineage.digests import content_digest
from pipeline.storage.fetch import fetch
from pipeline.storage.publish import publish, retract
from pipeline.storage.s3 import ChangedMeanwhile, Place, StorageError, Store, read_url
from tests.services.fixtures import Bucket
from tests.services.s3 import S3Server

PART = 5 << 20  # the smallest that S3 takes


@pytest.fixture
def model(tiny_base: Path, tmp_path: Path) -> Path:
    return make_model(tiny_base, tmp_path / "first", 1)


def make_model(base: Path, folder: Path, seed: int, megabytes: int = 0) -> Path:
    """A pipeline folder with its record; `megabytes` of other things make it large."""
    import shutil

    shutil.copytree(base, folder)
    if megabytes:
        noise = np.random.default_rng(seed).integers(0, 255, megabytes << 20, dtype=np.uint8)
        (folder / "embeddings").mkdir()
        save_file({"noise": noise}, folder / "embeddings" / "noise.safetensors")
    (folder / "tokenizer" / "note.txt").write_text(str(seed))
    record = {"format": 1, "weights": {"content_digest": content_digest(folder)}, "seed": seed}
    (folder / "lineage.json").write_text(json.dumps(record))
    return folder


def facts(model: Path, version: str) -> dict[str, str]:
    return {"model": "mysks", "version": version, "content_digest": content_digest(model), "by": "ann"}


def place(bucket: Bucket) -> Place:
    return read_url(f"{bucket.url}/models/")


def always() -> bool:
    return True


def test_what_was_published_is_fetched_bit_for_bit(model: Path, bucket: Bucket, tmp_path: Path) -> None:
    done = publish(place(bucket), facts(model, "1"), {"model": model}, always)
    assert done.moved and done.sent == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    again = publish(place(bucket), facts(model, "1"), {"model": model}, always)
    assert (again.moved, again.sent) == (False, 0)
    pointer = fetch(f"{bucket.url}/models/mysks", tmp_path / "got")
    assert pointer["version"] == "1"
    assert content_digest(tmp_path / "got" / "model") == content_digest(model)
    same = {path.relative_to(model): digest_file(path) for path in model.rglob("*") if path.is_file()}
    got = tmp_path / "got" / "model"
    assert {path.relative_to(got): digest_file(path) for path in got.rglob("*") if path.is_file()} == same
    assert fetch(f"{bucket.url}/models/mysks", tmp_path / "got") == pointer  # again: it is there
    (tmp_path / "mine").mkdir()
    with pytest.raises(StorageError, match="exists and is something else"):
        fetch(f"{bucket.url}/models/mysks", tmp_path / "mine")


@pytest.mark.slow
def test_a_gateway_killed_in_the_middle_is_told_and_the_rest_is_sent_later(
    tiny_base: Path, bucket: Bucket, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_model(tiny_base, tmp_path / "first", 1)
    publish(place(bucket), facts(first, "1"), {"model": first}, always)
    large = make_model(tiny_base, tmp_path / "large", 2, megabytes=64)
    monkeypatch.setattr("pipeline.storage.s3.AT_ONCE", 2)
    store = Store(PART)
    sent = []
    real = store.client.upload_part

    def upload_part(**request):
        done = real(**request)
        sent.append(request["PartNumber"])
        if len(sent) == 4:
            s3_server.kill_gateway()
        return done

    monkeypatch.setattr(store.client, "upload_part", upload_part)
    with pytest.raises(StorageError, match="did not answer"):
        publish(place(bucket), facts(large, "2"), {"model": large}, always, store)
    s3_server.start_gateway()
    assert fetch(f"{bucket.url}/models/mysks", tmp_path / "then")["version"] == "1"  # readers see what was there
    done = publish(place(bucket), facts(large, "2"), {"model": large}, always, Store(PART))
    assert done.moved
    whole = sum(path.stat().st_size for path in large.rglob("*") if path.is_file())
    assert 0 < done.sent <= whole - 4 * PART  # four parts were there already
    assert fetch(f"{bucket.url}/models/mysks", tmp_path / "now")["version"] == "2"
    assert content_digest(tmp_path / "now" / "model") == content_digest(large)


def test_of_two_writers_one_is_told_that_it_lost(tiny_base: Path, bucket: Bucket, tmp_path: Path) -> None:
    models = {number: make_model(tiny_base, tmp_path / number, int(number)) for number in ("1", "2")}
    champion = ["2"]  # the registry knows one champion, whoever writes first
    told: dict[str, str] = {}
    both = threading.Barrier(2)

    def work(version: str) -> None:
        both.wait()
        try:
            publish(
                place(bucket), facts(models[version], version), {"model": models[version]},
                lambda: champion[0] == version,
            )  # fmt: skip
            told[version] = "done"
        except ChangedMeanwhile as error:
            told[version] = str(error)

    threads = [threading.Thread(target=work, args=(version,)) for version in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told["2"] == "done"
    assert "version 1 is not the champion any more" in told["1"]
    assert fetch(f"{bucket.url}/models/mysks", tmp_path / "got")["version"] == "2"


def test_the_pointer_moves_only_from_what_was_read(bucket: Bucket) -> None:
    store = Store()
    store.replace(bucket.name, "p.json", b"1", None)
    with pytest.raises(ChangedMeanwhile):
        store.replace(bucket.name, "p.json", b"2", None)
    found = store.read(bucket.name, "p.json")
    assert found is not None
    store.replace(bucket.name, "p.json", b"3", found[1])
    with pytest.raises(ChangedMeanwhile):
        store.replace(bucket.name, "p.json", b"4", found[1])
    kept = store.read(bucket.name, "p.json")
    assert kept is not None and kept[0] == b"3"


def test_tampering_and_absence_are_found(model: Path, bucket: Bucket, tmp_path: Path) -> None:
    url = f"{bucket.url}/models/mysks"
    with pytest.raises(StorageError, match="nothing was published there"):
        fetch(url, tmp_path / "got")
    with pytest.raises(StorageError, match="not an S3 address"):
        fetch("mysks", tmp_path / "got")
    done = publish(place(bucket), facts(model, "1"), {"model": model}, always)
    key = f"models/mysks/{done.pointer['folder']}/model/unet/diffusion_pytorch_model.safetensors"
    content = bytearray(bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read())
    content[-1] ^= 1
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=bytes(content))
    with pytest.raises(StorageError, match="arrived with sha256"):
        fetch(url, tmp_path / "got")
    assert not (tmp_path / "got").exists()
    listing = f"models/mysks/{done.pointer['folder']}/files.json"
    bucket.client.put_object(Bucket=bucket.name, Key=listing, Body=b"{}")
    with pytest.raises(StorageError, match=r"is not the list that champion\.json names"):
        fetch(url, tmp_path / "got")
    bucket.client.put_object(Bucket=bucket.name, Key="models/mysks/champion.json", Body=b"[]")
    with pytest.raises(StorageError, match="holds no JSON object"):
        fetch(url, tmp_path / "got")


OUTSIDE = (
    "../x", "/etc/x", "model/../../x", "model//x", "model/./x", "./x", "..", ".", "", "model/", "C:\\x", "model\\..\\x",
    "model/a\0b",
)  # fmt: skip


def planted(bucket: Bucket, names: list[str], folder: str = "models/" + "a" * 64) -> str:
    """A champion whose list names other files than a publisher would; digests and all else fit."""
    listing = json.dumps({name: {"size": 1, "sha256": "0" * 64} for name in names}).encode()
    pointer = {"model": "mysks", "version": "1", "content_digest": "c", "folder": folder}
    pointer["files_sha256"] = hashlib.sha256(listing).hexdigest()
    for key, body in {f"{folder}/files.json": listing, "champion.json": json.dumps(pointer).encode()}.items():
        bucket.client.put_object(Bucket=bucket.name, Key=f"models/mysks/{key}", Body=body)
    return f"{bucket.url}/models/mysks"


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_no_name_in_a_published_list_leads_out_of_the_folder(bucket: Bucket, tmp_path: Path) -> None:
    before = everything(tmp_path)
    for name in OUTSIDE:
        with pytest.raises(StorageError, match="outside of the folder"):
            fetch(planted(bucket, [name]), tmp_path / "got")
    with pytest.raises(StorageError, match="as a file and as a folder"):
        fetch(planted(bucket, ["model", "model/x"]), tmp_path / "got")
    for folder in ("../../other", "models/../x", "models/A", "/models/aa"):
        with pytest.raises(StorageError, match="which is no folder of a model"):
            fetch(planted(bucket, ["model/x"], folder), tmp_path / "got")
    assert everything(tmp_path) == before


def test_a_link_in_a_prepared_folder_leads_nowhere(bucket: Bucket, tmp_path: Path) -> None:
    url = planted(bucket, ["model/x"])
    bucket.client.put_object(Bucket=bucket.name, Key=f"models/mysks/models/{'a' * 64}/model/x", Body=b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "got.partial").mkdir()
    (tmp_path / "got.partial" / "model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="leads out of"):
        fetch(url, tmp_path / "got")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_without_credentials_one_sentence_says_what_to_set(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"there are no AWS credentials for s3://.*set AWS_PROFILE") as told:
        fetch(f"{bucket.url}/models/mysks", tmp_path / "got")
    assert "\n" not in str(told.value)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "x").write_text("x")
    with pytest.raises(StorageError, match="there are no AWS credentials"):
        publish(
            place(bucket), {"model": "m", "version": "1", "content_digest": "c"}, {"model": tmp_path / "first"}, always
        )
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match=r"AWS settings cannot be used: .*nobody"):
        fetch(f"{bucket.url}/models/mysks", tmp_path / "got")


def test_a_withdrawn_champion_is_not_fetched(model: Path, bucket: Bucket, tmp_path: Path) -> None:
    publish(place(bucket), facts(model, "1"), {"model": model}, always)
    assert not retract(place(bucket), "mysks", "7", "another version")
    assert retract(place(bucket), "mysks", "1", "the owner asked")
    with pytest.raises(StorageError, match="was withdrawn: the owner asked"):
        fetch(f"{bucket.url}/models/mysks", tmp_path / "got")


def test_a_refusal_is_one_sentence_without_the_secret(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="S3 refused PutObject of s3://no-such-bucket-here/a: NoSuchBucket"):
        Store().write("no-such-bucket-here", "a", b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StorageError, match="check the AWS credentials") as caught:
        Store().read(bucket.name, "a")
    assert "wrong-secret" not in str(caught.value) and "\n" not in str(caught.value)
