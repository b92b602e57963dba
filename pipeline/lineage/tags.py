"""The tags by which a registered version is found, and which vouch for its record."""

import json
from typing import Any

from pipeline.files import digest_value

PHOTOS = "photos"
WITHDRAWN = "withdrawn"  # of a version that was trained on a withdrawn photo
ROOM = 90_000  # MLflow takes 100,000 characters in a version's tag


def version_tags(lineage: dict[str, Any]) -> dict[str, str]:
    """What a version is found by: digests of content, each photo, parameters and base, and the commit."""
    base, photos = lineage["base"], lineage["photos"]
    tags = {
        "content_digest": lineage["weights"]["content_digest"],
        "record_digest": digest_value(lineage),
        "dataset_md5": photos["dvc_md5"],
        "manifest_digest": photos["manifest_digest"],
        "params_digest": lineage["params_digest"],
        "base_model": base["model"],
        "base_revision": base["revision"],
        "base_digest": base["digest"],
        "git_commit": lineage["code"]["commit"],
        "git_patch_sha256": lineage["code"]["patch_sha256"],
        PHOTOS: photos_tag(photos["files"]),
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


def photos_tag(files: list[dict[str, Any]]) -> str | None:
    """sha256 and perceptual hash of each photo, for the index that answers who saw it; None where they are too many."""
    text = json.dumps([[photo["sha256"], photo.get("phash")] for photo in files], separators=(",", ":"))
    return text if len(text) <= ROOM else None


def verdict_tags(evaluation: dict[str, Any]) -> dict[str, str]:
    """What the gates said; unlike the other tags it follows the newest evaluation."""
    verdict = evaluation["verdict"]
    return {
        "validation_status": "approved" if verdict["promotable"] else "rejected",
        "verdict": verdict["sentence"],
        "gates_failed": ", ".join(gate["gate"] for gate in evaluation["gates"] if gate["verdict"] == "failed"),
        "gates_missing": ", ".join(gate["gate"] for gate in evaluation["gates"] if gate["verdict"] == "missing"),
        "suite_digest": evaluation["suite"]["digest"],
    }
