"""Where nothing may be skipped (DREAMTRACE_TESTS_SKIP_NOTHING is set), a skipped test fails and says what it lacked.

Continuous integration runs so: tests that vanish would otherwise look like tests that pass. A test marked `may_skip`
needs what such a machine cannot be asked for.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

SKIP_NOTHING = "DREAMTRACE_TESTS_SKIP_NOTHING"


def _fail_if_skipped(report: Any) -> None:
    if os.environ.get(SKIP_NOTHING) and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{why}\n{SKIP_NOTHING} is set, so that what this test lacks has to be here"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if item.get_closest_marker("may_skip") is None:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Whole files that are skipped."""
    report = yield
    _fail_if_skipped(report)
    return report
