"""What a run takes from the hub: which models are not here yet, and whether the hub can be asked for them."""

from pipeline.base.named_paths import KEYWORDS
from pipeline.base.resolve import EMBEDDED, is_path
from pipeline.errors import joined
from pipeline.network.reachable import silence
from pipeline.params import Params
from pipeline.runs.costs import in_cache


def models_to_fetch(params: Params) -> dict[str, str]:
    """The models on the hub that are not on this machine, by the keys of params.yaml that name them."""
    evaluate, base = params.evaluate, params.base
    judges = {
        "evaluate.scorer": (evaluate.scorer, evaluate.revision),
        "evaluate.identity": (evaluate.identity, evaluate.identity_revision),
        "evaluate.copies": (evaluate.copies, evaluate.copies_revision),
        "evaluate.perceptual": (evaluate.perceptual, evaluate.perceptual_revision),
        "report.judge": (params.report.judge, params.report.revision),
    }
    if control := params.sample.control:
        judges["sample.control.adapter"] = (control.adapter, control.revision)
    found = {}
    if base.model not in EMBEDDED and not is_path(base.model) and not in_cache(base.model, base.revision):
        found["base.model"] = base.model
    for key, (name, revision) in judges.items():
        if name and name not in KEYWORDS and not is_path(name) and not in_cache(name, revision, "config.json"):
            found[key] = name
    return found


def unreachable(params: Params) -> list[str]:
    """A sentence that names the models which are not here and cannot be fetched; nothing where all is well."""
    wanted = models_to_fetch(params)
    reason = _hub_is_away() if wanted else None
    if reason is None:
        return []
    named = joined([f"{key} '{name}'" for key, name in wanted.items()])
    return [
        f"{named}: not in the local cache, and the hub cannot be reached ({reason}): connect once to download, or name "
        "folders that hold them"
    ]


def download_sentence(params: Params) -> str:
    """What will be downloaded."""
    wanted = list(dict.fromkeys(models_to_fetch(params).values()))
    return f"{joined(wanted)} from the hub" if wanted else "nothing"


def _hub_is_away() -> str | None:
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
