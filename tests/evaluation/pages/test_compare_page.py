"""The page of ``iml report``: one file, escaped, complete without its script, of a bounded size."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape
from rich.console import Console
from support.compared_results import EVIL, make_results, renamed

from iml_jax.evaluation.intervals import Interval
from iml_jax.evaluation.metrics.paired import Difference
from iml_jax.evaluation.pages import compare_answers, compare_page, compare_tables, rendering
from iml_jax.evaluation.pages.compare import ComparedEvaluation, Comparison, compare


class Elements(HTMLParser):
    """Every element with its attributes, and whether each is closed."""

    VOID = ("meta", "br", "wbr", "input", "path", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def compared(**changes) -> Comparison:
    first, second = make_results(1, 0.4, checkpoint=EVIL), make_results(2, 0.8, **changes)
    return compare([
        ComparedEvaluation("A", f"run {EVIL}, step 1", "run/evaluation/1.json", first),
        ComparedEvaluation("B", "run, step 2", "run/evaluation/2.json", second),
    ])  # fmt: skip


def test_page_stands_alone_and_runs_only_its_own_script() -> None:
    page = compare_page.render(compared(prefix=EVIL), per_task=4)
    elements = Elements(page)
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 1
    assert not {"img", "link", "iframe", "object", "base"} & set(tags)
    assert not any(name.startswith("on") for _, attrs in elements.found for name in attrs)
    addresses = [
        attrs.get(name) for _, attrs in elements.found for name in ("src", "href", "xlink:href", "action")
    ]
    assert all(address.startswith("#") for address in addresses if address)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    metas = {a.get("http-equiv"): a.get("content") for tag, a in elements.found if tag == "meta"}
    policy = metas["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )
    assert tags.count("svg") == 4  # the levels, and the categories of each
    assert "".join(elements.texts).count(EVIL) > 50  # shown as text, whole


def test_a_task_name_from_a_foreign_file_is_escaped() -> None:
    """Prepared names hold safe characters only, but result files may come from anywhere."""
    name = f"b:t{EVIL}:zero_shot"
    results = [renamed(make_results(n, n / 3), "bench:task0:zero_shot", name) for n in (1, 2)]
    found = compare([ComparedEvaluation(one, one, one, of) for one, of in zip("AB", results, strict=True)])
    elements = Elements(compare_page.render(found, per_task=1))
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "".join(elements.texts).count(name) >= 2  # in the table of tasks, above its answers
    assert {attrs.get("data-task") for _, attrs in elements.found} >= {name}


def test_numbers_and_what_is_clear() -> None:
    found = compared()
    page = compare_page.render(found, per_task=4)
    for line in found.lines:
        (difference,) = line.differences
        value = rendering.signed(difference.value)
        mark = "n strong" if difference.clear else "n"
        cells = "".join(f"<td class='n'>{score:.1f}</td>" for score in line.scores)
        assert f"{cells}<td class='{mark}'>{value}</td>" in page
        assert compare_page.interval(difference) in page
    assert "A is clearly better on 0 of 6 tasks" in page
    assert re.search(r"B is clearly better on [3-6] of 6 tasks", page)
    assert "class='warning'" not in page


@pytest.mark.parametrize(
    ("value", "shown"), [(0.04, "0.0"), (-0.04, "0.0"), (-0.06, "−0.1"), (12.345, "+12.3"), (-100, "−100.0")]
)
def test_signs(value: float, shown: str) -> None:
    assert rendering.signed(value) == shown


@pytest.mark.parametrize(
    ("p_value", "shown"), [(1.0, "1.000"), (0.0312, ".031"), (1e-9, "&lt;.001"), (None, "")]
)
def test_probabilities(p_value: float | None, shown: str) -> None:
    text = compare_page.probability(Difference(1, Interval(0, 2, ""), 1, 2, p_value))
    assert escape(text) == shown  # as every template prints it


def test_what_differs_in_the_facts_comes_first_and_marked() -> None:
    page = compare_page.render(compared(prefix="</s>", only_b=1), per_task=1)
    facts = page[page.index("<section id='facts'>") :]
    differing, alike = facts.split("<details>")
    assert "<tr class='differs'><td>prefix</td><td>none</td><td>&lt;/s&gt;</td></tr>" in differing
    assert "<tr class='differs'><td>only b</td><td>not recorded</td><td>1</td></tr>" in differing
    assert "<tr><td>versions.jax</td><td>1</td><td>1</td></tr>" in alike
    assert "differs" not in alike
    loud = page[page.index("class='warning'") : page.index("id='levels'")]
    assert "prefix differs (A: none; B: &lt;/s&gt;)" in loud


def test_the_checkbox_and_the_filters_find_their_targets() -> None:
    """The stylesheet's and the script's selectors name what the page has."""
    found = compared()
    elements = Elements(compare_page.render(found, per_task=4))
    identities = {attrs["id"] for _, attrs in elements.found if "id" in attrs}
    assert {"only", "level", "category", "task"} <= identities
    folds = [attrs for tag, attrs in elements.found if tag == "details" and "data-task" in attrs]
    rows = [attrs for tag, attrs in elements.found if tag == "tr" and attrs.get("data-task")]
    assert {one["data-task"] for one in folds} == set(found.shared) == {one["data-task"] for one in rows}
    for one in folds + rows:
        assert (one["data-level"], one["data-category"]) == found.groups[one["data-task"]]
    shown = [
        attrs["class"] for tag, attrs in elements.found if tag == "article" and "answer" in attrs["class"]
    ]
    assert len(shown) == 4 * 6
    assert {"answer", "answer same"} == set(shown)
    filters = [attrs for tag, attrs in elements.found if tag == "form"]
    assert "hidden" in filters[0]  # the script shows them; without it the page is whole


def test_sample_is_repeatable_and_half_of_it_differs() -> None:
    shared = compared().shared["bench:task0:zero_shot"]
    differing = [one for one in shared if one.answers[0].score != one.answers[1].score]
    found = compare_answers.sample(shared, 6, "seed")
    assert found == compare_answers.sample(shared, 6, "seed")
    assert found != compare_answers.sample(shared, 6, "another")
    assert sum(one in differing for one in found) >= 3
    assert len(found) == 6
    assert compare_answers.sample(shared, 1000, "seed") == list(shared)
    alike = [one for one in shared if one not in differing] * 20  # now few differ, and still half is shown
    assert sum(one in differing for one in compare_answers.sample([*alike, *differing], 6, "seed")) >= 3


def test_many_predictions_make_no_large_page(tmp_path: Path) -> None:
    def long(results):
        texts = {"prompt": "word " * 2000, "prediction": "answer " * 1000}
        changed = tuple(
            dataclasses.replace(one, **texts, options=(), log_likelihoods=()) for one in results.predictions
        )
        return dataclasses.replace(results, predictions=changed)

    sizes = {"tasks": 700, "examples": 4}
    found = compare([
        ComparedEvaluation("A", "a", "a", long(make_results(1, 0.4, **sizes))),
        ComparedEvaluation("B", "b", "b", long(make_results(2, 0.4, **sizes))),
    ])  # fmt: skip
    path = compare_page.write_page(tmp_path / "page.html", found, per_task=100)
    assert path.stat().st_size < 10e6  # the predictions have 100 MB
    page = path.read_text(encoding="utf-8")
    assert page.count("<article class='answer") == 1400
    assert page.count("2 of 4 examples") + page.count("2 of 8 examples") == 700


def test_training_runs_are_compared_line_by_line() -> None:
    found = compared(config=f"Train.seed = 7\nTrain.run_dir = '{EVIL}'")
    page = compare_page.render(found, per_task=1)
    assert "How the training runs differ" in page
    assert "<td>Train.seed</td>" in page and "<td>7</td>" in page
    assert EVIL not in page
    assert "How the training runs differ" not in compare_page.render(compared(), per_task=1)
    out = io.StringIO()
    compare_tables.print_tables(found, Console(file=out, width=200))
    told = "note: the training runs differ in 2 parameters (the page has values): Train.seed, Train.run_dir"
    assert told in out.getvalue()


def test_terminal_says_the_same() -> None:
    found = compared(prefix="</s>")
    out = io.StringIO()
    compare_tables.print_tables(found, Console(file=out, width=200))
    text = out.getvalue()
    assert "not measured alike: prefix differs (A: none; B: </s>)" in text
    for line in found.lines:
        if line.kind == "level":
            assert re.search(rf"{line.scores[0]:.1f} +│ +{line.scores[1]:.1f} +│ +\+", text)
    assert re.search(r"[3-6] of 6 tasks clearly differ", text)
    assert "[/]" not in text
    assert "note: the training runs differ" not in text
    assert "95% intervals over examples: augmented t of a task, augmented Welch of averages" in text
