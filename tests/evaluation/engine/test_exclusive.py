"""Results and pages: one writer at a time, and nothing of somebody else's is replaced."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from support.compared_results import make_results

from iml_jax.evaluation.engine import exclusive
from iml_jax.evaluation.pages import compare, compare_page, report
from iml_jax.foundation.errors import UserError


def test_second_evaluation_is_refused_and_a_patient_one_waits(tmp_path: Path) -> None:
    file = tmp_path / "evaluation/100.json"
    said, order = [], []

    def wait() -> None:
        with exclusive.held_result(file, patient=True, log=said.append) as check:
            check()
            order.append("patient")

    with exclusive.held_result(file) as check:
        with pytest.raises(UserError, match=r"the evaluation .*100\.json is in use: host"):
            exclusive.held_result(file).__enter__()
        other = exclusive.held_result(file.with_name("200.json"))
        with other:  # another step, another lease
            pass
        thread = threading.Thread(target=wait)
        thread.start()
        while not said:
            thread.join(0.01)
        order.append("first")
        check()
    thread.join()
    assert order == ["first", "patient"]
    assert said[0].endswith("waiting for it")
    assert list(file.parent.iterdir()) == []


def test_page_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    exclusive.check_page(page)
    page.write_text("<html>mine</html>")
    with pytest.raises(UserError, match=r"report\.html: exists and is no page of iml_jax"):
        exclusive.check_page(page)
    page.write_bytes(exclusive.PAGE_START + b"<title>ours</title>")
    exclusive.check_page(page)


def test_result_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "package.json"
    exclusive.check_result(file)
    file.write_text(json.dumps({"name": "mine"}))
    with pytest.raises(UserError, match=r"package\.json: exists and is no evaluation"):
        exclusive.check_result(file)
    file.write_text(json.dumps({"format": 1, "metadata": {}, "tasks": []}))
    exclusive.check_result(file)


def test_both_kinds_of_pages_start_as_checked() -> None:
    first, second = make_results(1, 0.4), make_results(2, 0.8)
    found = compare.compare(
        [compare.ComparedEvaluation("A", "a", "a", first), compare.ComparedEvaluation("B", "b", "b", second)]
    )
    for page in (report.render(first), compare_page.render(found, per_task=1)):
        assert page.encode().startswith(exclusive.PAGE_START)
