"""The options of the suite: nightly tests, and skipped tests that are counted or fail the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import durations

pytest_plugins = ["pytester"]
CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
from support import selection
def pytest_addoption(parser):
    selection.add_options(parser)
def pytest_configure(config):
    config.addinivalue_line("markers", "nightly(seconds, reason): a test")
def pytest_collection_modifyitems(config, items):
    selection.deselect_nightly(config, items)
def pytest_sessionfinish(session):
    selection.finish(session)
def pytest_terminal_summary(terminalreporter, config):
    selection.summarise(terminalreporter, config)
"""
TESTS = """
import pytest
def test_one():
    pass
@pytest.mark.nightly(seconds=3, reason="slow")
def test_two():
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the options."""
    pytester.makeconftest(CONFTEST.format(tests=str(Path(__file__).parent)))
    return pytester


def test_nightly_tests_run_only_when_asked(suite: pytest.Pytester) -> None:
    suite.makepyfile(TESTS)
    suite.runpytest_subprocess().assert_outcomes(passed=1, deselected=1)
    suite.runpytest_subprocess("--nightly").assert_outcomes(passed=2)


def test_a_mark_without_its_reason_is_refused(suite: pytest.Pytester) -> None:
    suite.makepyfile(TESTS.replace(', reason="slow"', ""))
    done = suite.runpytest_subprocess()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_two: nightly takes seconds=... and reason=..."])


@pytest.mark.parametrize(
    ("reason", "status"),
    [("no Chromium on this machine", pytest.ExitCode.TESTS_FAILED), ("gcloud is not on the PATH", 0)],
)
def test_skips_are_counted_and_unexpected_ones_fail(suite: pytest.Pytester, reason: str, status: int) -> None:
    suite.makepyfile(
        f"import pytest\ndef test_one():\n    pytest.skip({reason!r})\ndef test_two():\n    pass"
    )
    done = suite.runpytest_subprocess()
    assert done.ret == 0
    done.stdout.fnmatch_lines([f"skipped: 1 test(s) or file(s): {reason}"])
    assert suite.runpytest_subprocess("--strict-skips").ret == status


def test_a_file_that_is_skipped_whole_counts(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\npytest.importorskip('no_such_module')\ndef test_one():\n    pass")
    suite.makepyfile(test_other="def test_two():\n    pass")
    assert suite.runpytest_subprocess("--strict-skips").ret == pytest.ExitCode.TESTS_FAILED


def test_the_longest_files_come_first() -> None:
    known = durations.load()
    assert list(known.values()) == sorted(known.values(), reverse=True)
    missing = [file for file in known if not (durations.TESTS / file).is_file()]
    assert not missing, (
        f"{durations.TABLE}: {missing} are gone; measure again, as tests/support/durations.py says"
    )
