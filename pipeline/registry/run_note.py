"""The description of a training run in MLflow."""

from pipeline.errors import counted
from pipeline.params import Params


def run_note(params: Params, verdict: str = "", version: str = "") -> str:
    """The description of a run: what it trains, and once it is judged what came out, in Markdown."""
    subject, train = params.subject, params.train
    lines = [
        f"{subject.token} {subject.class_noun}: {train.method} on `{params.base.model}`, "
        f"{counted(train.steps, 'step')} of "
        f"{counted(train.photos_per_step, 'photo')}."
    ]
    if verdict:
        model = params.register_.model
        lines += [
            f"**{verdict}**",
            f"It is [{model} version {version}](#/models/{model}/versions/{version}). The report with its pictures is "
            "among the artifacts, in `report`.",
        ]
    return "\n\n".join(lines)
