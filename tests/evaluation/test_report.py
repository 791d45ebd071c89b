"""report.html: self-contained, escaped, and only saying what the numbers show."""

from __future__ import annotations

import dataclasses
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from iml_jax.evaluation import levels, plots, report, wording
from iml_jax.evaluation.levels import CategoryScore, LevelScore, Scores
from iml_jax.evaluation.results import Prediction, Results, TaskScore, TemplateScore

EVIL = "<script>alert('x')</script> & \"quoted\" $x_1$"


def task(number: int, level: str, score: float, category: str = "Question Answering") -> TaskScore:
    name = f"task{number}"
    return TaskScore(
        name=f"bench:{name}:zero_shot", benchmark="bench", task=name, category=category, level=level,
        metric="rouge_l", split="test", score=score, templates={"": TemplateScore(score, 5)},
        constant_score=20.0, constant_answer=EVIL, examples=5, truncated=1, unfinished=2,
        dropped={"empty_prompt": 3},
    )  # fmt: skip


def prediction(name: str, number: int) -> Prediction:
    return Prediction(name, str(number), "", f"prompt {EVIL}", EVIL, (EVIL, "b"), (), (), 12.5, 0)


@pytest.fixture
def results() -> Results:
    tasks = (
        task(1, "fully_held_out", 15.0, f"Word Analogy {EVIL}"),
        task(2, "partially_supervised", 20.2),
        task(3, "fully_supervised", 91.0),
        task(4, "fully_supervised", 81.0, "Writing"),
    )
    predictions = tuple(prediction(one.name, number) for one in tasks for number in range(5))
    return Results({"step": 60, "checkpoint": EVIL, "versions": {"jax": "0"}}, tasks, predictions)


@pytest.fixture
def untrained(results: Results) -> Results:
    tasks = tuple(dataclasses.replace(one, score=3.0) for one in results.tasks)
    return Results({"step": 0}, tasks)


class Tags(HTMLParser):
    """Collects tags, the addresses they name, and whether every element is closed."""

    VOID = ("meta", "path", "use", "br")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")
        ]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def test_page_is_self_contained_and_escaped(results: Results, untrained: Results, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 5.0 / step}) for step in range(1, 9)]
    metrics.write_text("\n".join([*lines, '{"step": 9, "evaluation/fully_held_out": 3}', '{"step": 10, "lo']))
    path = report.write_report(tmp_path / "report.html", results, reference=untrained, metrics_file=metrics)
    page = path.read_text(encoding="utf-8")
    tags = parsed(page)
    assert "script" not in tags.tags
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert all(address.startswith("#") for address in tags.addresses)  # marks inside the SVG itself
    assert "url(http" not in page
    assert tags.tags.count("svg") == 5  # levels, three levels' categories, loss
    for text in (
        "Fully held out",
        "Partially supervised",
        "Fully supervised",
        "bench:task4:zero_shot",
        "viewport",
    ):
        assert text in page
    assert [file.name for file in tmp_path.iterdir() if "report" in file.name] == ["report.html"]


def test_numbers_of_the_page(results: Results, untrained: Results) -> None:
    page = report.render(results, untrained)
    assert "<p class='figure'>86.0</p>" in page  # the mean of two categories
    assert "best constant answer 20.0, the model before training 3.0" in page
    assert "20 examples" in page
    assert "1 prompts shortened, 2 answers cut off, 3 not asked (empty prompt)" in page
    alone = report.render(results)
    assert "before training" not in alone
    assert alone.count("<svg") == 4
    assert "training loss" not in alone


def level(model: float, constant: float, reference: float | None) -> LevelScore:
    scores = Scores(model, constant, reference)
    return LevelScore("fully_held_out", scores, (CategoryScore("c", scores, ()),))


@pytest.mark.parametrize(
    ("scores", "sentence", "verdict"),
    [
        (
            (40, 20, 3),
            "20.0 points above the best constant answer and 37.0 points above REF",
            "does better than",
        ),
        (
            (10, 20, 3),
            "10.0 points below the best constant answer and 7.0 points above REF",
            "no generalization",
        ),
        (
            (10, 20, 30),
            "10.0 points below the best constant answer and 20.0 points below REF",
            "No generalization",
        ),
        (
            (20.2, 20, None),
            "level with the best constant answer (difference +0.2); it beats",
            "No generalization",
        ),
        ((40, 20, 50), "above the best constant answer and 10.0 points below REF", "but no better than REF"),
        ((40, 20, None), "20.0 points above the best constant answer; it beats", "does better than"),
    ],
)
def test_words_follow_numbers(scores: tuple, sentence: str, verdict: str) -> None:
    one = level(*scores)
    assert sentence in wording.level_sentence(one, "REF")
    assert verdict in wording.verdict(one, "REF")
    beaten = "1 of 1 category" if scores[0] - scores[1] >= 0.5 else "0 of 1 category"
    assert beaten in wording.level_sentence(one, "REF")


def test_terminal_table(results: Results, untrained: Results) -> None:
    stream = io.StringIO()
    report.print_tables(results, untrained, Console(file=stream, width=120))
    text = stream.getvalue()
    order = [
        text.index(name)
        for name in ("Fully held out", "bench:task1", "Partially", "Fully supervised", "task4")
    ]
    assert order == sorted(order)
    assert "<script>" in text  # a terminal runs nothing; rich markup is off
    assert "before training" in text
    assert "86.0" in text
    held_out = levels.aggregate(results.tasks)[0]
    assert wording.level_sentence(held_out)[:40] in text
    assert "plus four or augmented t of one task" in " ".join(text.split())


def test_the_loss_curve_needs_two_points(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert plots.loss_curve(file) == ""
    file.write_text('{"step": 1, "loss": 2.0}\nnot json\n{"step": 2, "loss": NaN}\n')
    assert plots.loss_curve(file) == ""
    file.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
    svg = plots.loss_curve(file)
    assert svg.startswith("<svg")
    assert "var(--model)" in svg
    assert plots.MODEL not in svg
    assert svg == plots.loss_curve(file)  # the same numbers give the same bytes


def test_averages_spread_and_other_metrics_are_shown(results: Results) -> None:
    first = dataclasses.replace(
        results.tasks[0],
        templates={"a": TemplateScore(10.0, 3), "b": TemplateScore(20.0, 2)},
        others={"squad_f1": 33.25, "bleu": 7.0},
        interval=(11.0, 19.0),
    )
    shown = dataclasses.replace(results, tasks=(first, *results.tasks[1:]))
    page = report.render(shown)
    assert "2 templates: 10.0 to 20.0, standard deviation 5.0, squad f1 33.2, bleu 7.0" in page
    assert "(11.0 to 19.0)" in page
    selection = levels.selection_score(shown.tasks)
    assert f"Selection score: {selection:.1f}" in page
    assert "0-shot" in page
    buffer = io.StringIO()
    report.print_tables(shown, console=Console(file=buffer, width=200))
    assert "Selection score" in buffer.getvalue()
    assert f"{selection:.1f}" in buffer.getvalue()
