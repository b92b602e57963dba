"""Files of DVC that hold something else than DVC writes end in a sentence, never in a traceback."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.lineage.digests import tracked_md5
from pipeline.lineage.dvc_stages import lock_problem, locked_stages, stage_names
from pipeline.lineage.links import Evidence
from pipeline.lineage.record import _lock
from pipeline.lineage.verify_files import _lock_links
from pipeline.lineage.verify_photos import class_image_links, prepared_links
from pipeline.runs.status import read_status

GOOD = {"prepare": {"cmd": "x", "deps": [{"path": "data", "md5": "m"}], "outs": [{"path": "o", "md5": "n"}]}}
STAGES: dict[str, Any] = {
    "a list": [],
    "a list with stages": ["prepare"],
    "a number": 3,
    "a text": "prepare",
    "null": None,
    "a stage that is null": {"prepare": None},
    "a stage that is a list": {"prepare": [1]},
    "deps that are a mapping": {"prepare": {"deps": {"data": "m"}}},
    "outs that are null": {"prepare": {"outs": None}},
    "an entry that is a text": {"prepare": {"deps": ["data"]}},
    "an entry without a path": {"prepare": {"outs": [{"md5": "m"}]}},
}
DOCUMENTS: dict[str, Any] = {"a list": [1], "a number": 3, "a text": "stages"} | {
    f"stages: {what}": {"stages": found} for what, found in STAGES.items()
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_lock_of_another_form_is_refused_by_every_reader_in_a_sentence(tmp_path: Path, document: Any) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text(yaml.safe_dump(document))
    for read in (locked_stages, _lock):
        with pytest.raises(UserError, match=r"dvc\.lock.*(not a|without a path)"):
            read(lock)
    (link,) = _lock_links({"lock": GOOD}, lock)
    assert (link.name, link.state) == ("record files", "broken")
    assert link.detail.startswith("dvc.lock in the run's artifacts") and "restore" not in link.detail


@pytest.mark.parametrize("stages", [stages for stages in STAGES.values() if stages], ids=str)
def test_a_record_with_a_lock_of_another_form_is_broken(tmp_path: Path, stages: Any) -> None:
    lineage = {"lock": stages, "photos": {"path": "data", "dvc_md5": "m"}}
    for links in (prepared_links, class_image_links):
        (link,) = links(lineage, Evidence(tmp_path))
        assert link.state == "broken" and "lineage.json" in link.detail


@pytest.mark.parametrize(("links", "stage"), [(prepared_links, "prepare"), (class_image_links, "prior")])
@pytest.mark.parametrize("lock", [None, {"train": {}}])
def test_a_record_without_the_lock_of_a_stage_leaves_its_output_unknown(
    tmp_path: Path, links: Any, stage: str, lock: Any
) -> None:
    (link,) = links({"lock": lock, "photos": {"path": "data", "dvc_md5": "m"}}, Evidence(tmp_path))
    assert (link.state, link.detail) == ("unknown", f"the record has no lock of the stage {stage}")


def test_a_lock_as_dvc_writes_it_is_read_and_an_empty_one_has_no_stages(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": GOOD}))
    assert locked_stages(lock) == GOOD == _lock(lock) and lock_problem(GOOD) == ""
    for text in ("", "schema: '2.0'\n"):
        lock.write_text(text)
        assert locked_stages(lock) == {}
    lock.write_text("stages: [")
    (link,) = _lock_links({"lock": GOOD}, lock)
    assert link.state == "broken" and link.detail.startswith("dvc.lock in the run's artifacts, line ")


@pytest.mark.parametrize("text", ["", "3", "[1]", "stages:", "stages: [prepare]", "stages: 3", "stages: {}", "a: ["])
def test_a_pipeline_without_stages_is_a_problem_of_the_status(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        stage_names(tmp_path / "dvc.yaml")
    (problem,) = read_status(tmp_path).problems
    assert "dvc.yaml" in problem


@pytest.mark.parametrize(
    "text", ["", "3", "[1]", "outs:", "outs: {md5: m}", "outs: [null]", "outs: [m]", "outs: []", "outs: [{md5: null}]"]
)
def test_a_dvc_file_of_another_form_records_no_photos(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.dvc").write_text(text)
    assert tracked_md5(tmp_path / "data.dvc") is None
