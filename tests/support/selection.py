"""Which tests run: the nightly tier, services that some tests need, and the count of what was skipped.

Options of pytest that ``scripts/test.sh`` sets:

``--nightly``
  also runs the tests marked ``nightly(seconds=..., reason=...)``.
``--strict-skips``
  a skipped test whose reason is not in ``EXPECTED`` fails the session; CI runs with it.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable

import pytest

# Reasons for which a test may be skipped where CI runs.
EXPECTED = (
    r"gcloud is not on the PATH",  # Google's command-line tools are in no package registry
    r"IML_SHARED does not name the folder with real task data",  # it lies beside the checkout or is absent
)


def add_options(parser: pytest.Parser) -> None:
    """Adds the options above."""
    group = parser.getgroup("iml_jax")
    group.addoption("--nightly", action="store_true", help="also run the tests marked nightly")
    group.addoption("--strict-skips", action="store_true", help="fail where a test is skipped unexpectedly")


def deselect_nightly(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Removes the nightly tests unless ``--nightly`` is given, and checks their marks.

    Raises:
      pytest.UsageError: a mark lacks the seconds or the reason.
    """
    nightly = []
    for item in items:
        mark = item.get_closest_marker("nightly")
        if mark is None:
            continue
        if set(mark.kwargs) != {"seconds", "reason"} or not mark.kwargs["reason"]:
            raise pytest.UsageError(f"{item.nodeid}: nightly takes seconds=... and reason=...")
        nightly.append(item)
    if nightly and not config.getoption("--nightly"):
        config.hook.pytest_deselected(items=nightly)
        kept = set(map(id, nightly))
        items[:] = [item for item in items if id(item) not in kept]


def finish(session: pytest.Session) -> None:
    """With ``--strict-skips``: a session that passed fails where a test was skipped unexpectedly."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):  # a worker of pytest-xdist
        return
    if (
        session.config.getoption("--strict-skips")
        and _unexpected(_reasons(reporter))
        and not session.exitstatus
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def summarise(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the reasons of skipped tests with their counts."""
    skipped = _reasons(reporter)
    strange = _unexpected(skipped) if config.getoption("--strict-skips") else set()
    for reason, count in skipped.most_common():
        label = "UNEXPECTEDLY SKIPPED" if reason in strange else "skipped"
        reporter.write_line(f"{label}: {count} test(s) or file(s): {reason}")


def _reasons(reporter: pytest.TerminalReporter) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found[reason.removeprefix("Skipped: ")] += 1
    return found


def _unexpected(skipped: Iterable[str]) -> set[str]:
    return {reason for reason in skipped if not any(re.search(known, reason) for known in EXPECTED)}
