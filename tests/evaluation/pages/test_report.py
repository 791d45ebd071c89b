"""report.html: self-contained, escaped, and only saying what the numbers show."""

from __future__ import annotations

import dataclasses
import html
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from iml_jax.data.positions import Positions
from iml_jax.evaluation.intervals import DIFFERENCES, Spread
from iml_jax.evaluation.metrics import cautions, levels
from iml_jax.evaluation.metrics.levels import CategoryScore, LevelScore, Scores
from iml_jax.evaluation.pages import narrative, plots, report, report_tables
from iml_jax.evaluation.pages.narrative import Gains
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


def test_every_name_is_escaped_and_nothing_may_run(results: Results) -> None:
    tasks = (
        dataclasses.replace(results.tasks[0], name=f"b:t{EVIL}:zero_shot", metric=EVIL),
        *results.tasks[1:],
    )
    page = report.render(dataclasses.replace(results, tasks=tasks))
    assert "script" not in parsed(page).tags
    assert html.unescape(page).count(f"b:t{EVIL}:zero_shot") == 2  # in the table of tasks and among the lost
    policy = html.unescape(page[page.index("Content-Security-Policy") :].partition('content="')[2])
    assert policy.startswith(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'none'; base-uri 'none'\">"
    )


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


def spread(mean: float, examples: int = 100) -> Spread:
    """Differences of two models that are the same but for 10 points."""
    return Spread(mean, mean**2 + 100.0, examples, limits=DIFFERENCES, added=(-20.0, 20.0))


def level(model: float, constant: float, reference: float | None) -> LevelScore:
    scores = Scores(model, constant, reference)
    weights = {"t": 1.0}
    return LevelScore("fully_held_out", scores, (CategoryScore("c", scores, (), {}, weights),), {}, weights)


@pytest.mark.parametrize(
    ("scores", "sentence", "verdict", "beaten"),
    [
        (
            (40, 20, 3),
            "20.0 points above the best constant answer (95% interval 17.5 to 21.7) and 37.0 points above",
            "does better than answering",
            1,
        ),
        (
            (10, 20, 3),
            "10.0 points below the best constant answer (95% interval -11.9 to -7.8) and 7.0 points above",
            "no generalization",
            0,
        ),
        (
            (10, 20, 30),
            "10.0 points below the best constant answer (95% interval -11.9 to -7.8) and 20.0 points below",
            "No generalization",
            0,
        ),
        (
            (21.9, 20, None),
            "not distinguishable from the best constant answer (difference +1.9, 95% interval -0.2 to 3.9)",
            "No generalization is shown here: it is not clearly",
            0,
        ),
        ((22.5, 20, None), "2.5 points above the best constant answer", "does better than answering", 1),
        ((40, 20, 50), "and 10.0 points below REF", "but not clearly better than REF", 1),
        ((40, 20, 39), "and not distinguishable from REF", "but not clearly better than REF", 1),
        ((20, 20, 3), "not distinguishable from the best", "better than REF, but not clearly better than", 0),
    ],
)
def test_words_follow_the_intervals(scores: tuple, sentence: str, verdict: str, beaten: int) -> None:
    one = level(*scores)
    model, constant, reference = scores
    over = {"t": spread(model - reference)} if reference is not None else {}
    gains = Gains({"t": spread(model - constant)}, over)
    said = narrative.level_sentence(one, gains, "REF")
    assert sentence in said
    assert verdict in narrative.verdict(one, gains, "REF")
    assert f"clearly beats the best constant answer in {beaten} of 1 category" in said


def test_a_small_difference_counts_where_it_is_sure() -> None:
    one = level(20.3, 20.0, None)
    unsure = Gains({"t": spread(0.3)})
    sure = Gains({"t": Spread(0.3, 0.2, 2000, limits=DIFFERENCES, added=(-1.0, 1.0))})
    assert "not distinguishable" in narrative.level_sentence(one, unsure)
    assert "0.3 points above" in narrative.level_sentence(one, sure)
    assert narrative.verdict(one, sure) == "Here the model does better than answering without reading."


def test_nothing_is_concluded_without_intervals() -> None:
    one = level(90, 20, 3)
    assert narrative.verdict(one, Gains()).startswith("No verdict (no interval: ")
    assert "run `iml evaluate` again" in narrative.level_sentence(one, Gains())
    assert "0 of 1 category" in narrative.level_sentence(one, Gains())


def test_what_to_doubt(results: Results) -> None:
    tasks = list(results.tasks)
    tasks[0] = dataclasses.replace(tasks[0], remark=cautions.ZERO, score=0.0)
    tasks[1] = dataclasses.replace(
        tasks[1], remark=cautions.CHANCE, chance=25.0, positions=Positions(50, (24, 26), 0.04, 2, 52.0)
    )
    tasks[2] = dataclasses.replace(tasks[2], positions=Positions(50, (49, 1), 1e-12, 1, 98.0))
    tasks[3] = dataclasses.replace(
        tasks[3], positions=Positions(50, (26, 24), 0.04, 1, 52.0), truncated=0, unfinished=0, dropped={}
    )
    doubted = dataclasses.replace(results, tasks=tuple(tasks))
    page = report.render(doubted)
    section = page[page.index("What to doubt") : page.index("<h2>Tasks</h2>")]
    assert "2 of 4 tasks score no more than an answer without reading" in section
    assert cautions.ZERO in section and cautions.CHANCE in section and "<td>25.0</td>" in section
    assert "49 of 50" in section and "98.0" in section
    assert "26 of 50" not in section  # p = 0.04, corrected for two such tasks
    assert section.count("<td>1 (20%)</td><td>2 (40%)</td><td>3 (empty prompt)</td>") == 3
    buffer = io.StringIO()
    report_tables.print_tables(doubted, console=Console(file=buffer, width=250))
    text = " ".join(buffer.getvalue().split())
    assert f"warning: 1 of 4 tasks have {cautions.ZERO}: bench:task1" in text
    assert "bench:task3:zero_shot (always option 1: 98.0)" in text
    assert "3 of 4 tasks lost prompts or answers" in text


def test_nothing_to_doubt(results: Results) -> None:
    whole = [dataclasses.replace(one, truncated=0, unfinished=0, dropped={}) for one in results.tasks]
    page = report.render(dataclasses.replace(results, tasks=tuple(whole)))
    assert "Nothing: no task is at 0" in page


def test_terminal_table(results: Results, untrained: Results) -> None:
    stream = io.StringIO()
    report_tables.print_tables(results, untrained, Console(file=stream, width=120))
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
    gains = Gains({one.name: one.gain for one in results.tasks if one.gain})
    assert narrative.level_sentence(held_out, gains)[:40] in text
    assert narrative.verdict(held_out, gains)[:40] in text
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
    report_tables.print_tables(shown, console=Console(file=buffer, width=200))
    assert "Selection score" in buffer.getvalue()
    assert f"{selection:.1f}" in buffer.getvalue()
