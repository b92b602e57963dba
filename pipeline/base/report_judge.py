"""From `report.judge` in params.yaml to the folder of a judge that decides nothing."""

from pathlib import Path

from pipeline.base.judges import resolve_encoder
from pipeline.base.resolve import beside_base
from pipeline.params import Base, ReportJudge

KEY = "report.judge"


def resolve_report_judge(report: ReportJudge, base: Base) -> Path | None:
    """The folder of the report's further judge: beside the embedded base, on the hub, or a folder here; None: none.

    Raises:
        BaseNotFound: 'base' without an embedded base, or not available.
    """
    if report.judge is None:
        return None
    if report.judge == "base":
        instead = "null, or to a CLIP other than evaluate.scorer"
        return beside_base(KEY, base.model, "judge", "classifier", instead)
    return resolve_encoder(KEY, report.judge, report.revision, "a CLIP")
