"""The report's sections about the recipe, and about the judge that nothing was chosen by."""

from typing import Any

from pipeline.evaluation.known_interval import figure_words
from pipeline.evaluation.report_inputs import ReportInputs, picture_file
from pipeline.evaluation.suite import noise_of

NOTHING = (
    "It has no figures here: of what the suite's prompts of the subject ask for it knows nothing. Name another judge "
    "(report.judge), or null."
)
SHOWN = 6  # prompts whose pictures stand side by side


def recipe_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """What the template shows of the searched recipe; None where the model is drawn with the default one."""
    found = inputs.evaluation.get("recipe")
    if found is None:
        return None
    given = found.get("given", False)
    named = "recipe of params.yaml" if given else "searched recipe"
    seed = inputs.params.sample.seeds[0]
    prompts = [prompt for prompt in inputs.suite.prompts if prompt.kind == "subject"]
    step = max(1, len(prompts) // SHOWN)
    return {
        "sentence": found["sentence"],
        "rule": found["rule"],
        "keys": [f"{key} {value}" for key, value in found["recipe"].items()],
        "digest": found["digest"],
        "named": named,
        "search": "" if given else _search(found["search"]),
        "gains": [
            {
                **gain,
                "figures": figure_words(gain, sign="+"),
                "sign": {"better": "up", "worse": "down"}.get(gain["verdict"], ""),
            }
            for gain in found["gains"]
        ],
        "failed": ", ".join(gate["gate"] for gate in found["gates"] if gate["verdict"] in ("failed", "missing")),
        "rows": [
            {
                "prompt": prompt.text,
                "pictures": [
                    {"model": title, "seed": noise_of(prompt.id, seed), "file": picture_file(model, prompt.id, seed)}
                    for model, title in (("tuned", "default recipe"), ("recipe", named))
                ],
            }
            for prompt in prompts[::step][:SHOWN]
        ],
    }


def kept_default(evaluation: dict[str, Any]) -> str:
    """A sentence on a search that found no recipe to change to; empty where there was none."""
    search = evaluation.get("search_without_result")
    return f"The search kept the default recipe: {_search(search)}." if search else ""


def _search(search: dict[str, Any]) -> str:
    suite = search["suite"]
    seeds = ", ".join(map(str, suite["seeds"]))
    return f"{suite['name']} ({suite['digest'][:16]}), seeds {seeds}, {search['pictures']['drawn']} pictures"


def second_section(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows of the judge that decides nothing; None where there is none.

    A judge that knows nothing of what the prompts ask for has no rows; `nothing` is the sentence in their place.
    """
    found = evaluation.get("second_opinion")
    if not found:
        return None
    named = "recipe of params.yaml" if evaluation.get("recipe", {}).get("given") else "searched recipe"
    titles = {"base": "base", "tuned": "tuned, default recipe", "recipe": f"tuned, {named}"}
    rows = [(titles[name], row) for name, row in found["models"].items()]
    rows += [(f"{named} minus default", found["gain"])] if found["gain"] else []
    return {
        "name": found["model"],
        "figure": found["figure"],
        "rows": [(title, figure_words(row)) for title, row in rows],
        "nothing": NOTHING,
    }


def control_section(inputs: ReportInputs) -> dict[str, Any] | None:
    """What the template shows of drawings after shapes; None where there are none."""
    found = inputs.evaluation.get("control")
    if not found:
        return None
    shown = {one.photo: one for one in reversed(inputs.followed)}
    return {
        "kind": found["kind"],
        "adapter": found["adapter"],
        "shapes": found["shapes"],
        "free": figure_words(found["free"]),
        "instrument": found["instrument"],
        "pictures": [
            {
                "shape": f"control/{one.shape.name}",
                "followed": picture_file("control", one.prompt_id, one.seed),
                "free": picture_file("tuned", one.prompt_id, one.seed),
            }
            for one in reversed(list(shown.values())[:SHOWN])
        ],
    }
