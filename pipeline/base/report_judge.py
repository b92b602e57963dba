"""From `report.judge` in params.yaml to the folder of a judge that decides nothing."""

from pathlib import Path

from pipeline.base.resolve import BaseNotFound, resolve_encoder
from pipeline.layout import EMBEDDED_BASES
from pipeline.params import Base, ReportJudge

KEY = "report.judge"
EMBEDDED_JUDGES = {"pocket": EMBEDDED_BASES / "judge"}


def resolve_report_judge(report: ReportJudge, base: Base) -> Path | None:
    """The folder of the report's further judge: beside the embedded base, on the hub, or a folder here; None: none.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not available.
    """
    if report.judge is None:
        return None
    if report.judge == "base":
        if base.model not in EMBEDDED_JUDGES:
            raise BaseNotFound(
                f"{KEY} is 'base', but base.model '{base.model}' brings no classifier of its own; set it to null, or "
                "to a CLIP other than evaluate.scorer"
            )
        return EMBEDDED_JUDGES[base.model]
    return resolve_encoder(KEY, report.judge, report.revision, "a CLIP")
