"""The fields of every task of FLAN, from a row in its dataset's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.flan_cases import CASES

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.base import Item
from iml_jax.bench.sources.flan import fields as flan_fields
from iml_jax.bench.sources.flan import rows as flan_rows
from iml_jax.bench.sources.flan.fields import Prepared, forms, render, takes, translation
from iml_jax.bench.sources.flan.patterns import Template, parse
from iml_jax.bench.sources.flan.rows import RowError


def _prepared(task: str, **changes: Any) -> Prepared | str:
    return forms()[task].prepare(CASES[task][0] | changes)


def test_every_task_of_flan_has_a_row_in_the_table_and_a_case() -> None:
    known = {row.task for row in known_tasks.every("flan")}
    assert len(known) == 70
    assert set(forms()) == set(CASES) == known
    used = {form.derive for form in forms().values() if form.derive}
    assert used == set(flan_rows.DERIVATIONS)
    steps = {
        step for form in forms().values() for field in (*form.inputs, form.target) for step in field.steps
    }
    steps |= {step for form in forms().values() if form.option_field for step in form.option_field.steps}
    assert steps == {*flan_rows.TEXT_STEPS, *flan_rows.LIST_STEPS}


def test_the_page_on_the_grammar_names_every_step_derivation_and_column() -> None:
    page = (Path(__file__).parents[4] / "docs" / "flan_fields.md").read_text(encoding="utf-8")
    columns = flan_fields.TABLE.read_text(encoding="utf-8").partition("\n")[0].split("\t")
    names = {*flan_rows.TEXT_STEPS, *flan_rows.LIST_STEPS, *flan_rows.DERIVATIONS, *columns}
    assert {name for name in names if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("task", sorted(CASES))
def test_fields_of(task: str) -> None:
    row, fields, answers, options = CASES[task]
    form = forms()[task]
    made = form.prepare(row)
    assert isinstance(made, Prepared)
    if options is not None and form.target.name != "answer":
        fields = fields | {form.target.name: answers[0]}
    assert made.fields == fields
    assert made.answers == answers
    assert made.choices.get(form.target.name) == options
    assert form.fields == set(fields)
    assert (form.metric == "accuracy") == (options is not None)


@pytest.mark.parametrize(
    ("task", "changes", "reason"),
    [
        ("rte", {"label": -1}, flan_rows.UNLABELLED),
        ("rte", {"label": None}, flan_rows.UNLABELLED),
        ("rte", {"label": float("nan")}, flan_rows.UNLABELLED),
        ("rte", {"label": " "}, flan_rows.UNLABELLED),
        ("rte", {"premise": " ", "hypothesis": ""}, flan_fields.EMPTY_INPUT),
        ("rte", {"premise": None}, flan_fields.NO_VALUE),
        ("xsum", {"summary": None}, flan_fields.NO_VALUE),
        ("xsum", {"summary": "\n"}, flan_fields.EMPTY_TARGET),
        ("piqa", {"sol1": "b "}, flan_fields.TOO_FEW_OPTIONS),
        ("piqa", {"sol1": " "}, flan_fields.TOO_FEW_OPTIONS),
        ("record", {"answers": []}, flan_rows.UNLABELLED),
        ("record", {"answers": ["Cy"]}, flan_fields.NOT_AN_OPTION),
        ("record", {"query": "He left."}, flan_rows.NO_PLACE),
        ("winogrande", {"sentence": "He left."}, flan_rows.NO_PLACE),
        ("arc_easy", {"choices": {"text": list("abc"), "label": list("123")}}, flan_rows.NOT_FOUR),
        ("gigaword", {"document": "of UNK"}, flan_rows.NOT_CLEAN),
        ("gigaword", {"summary": "#.# percent"}, flan_rows.NOT_CLEAN),
        ("sentiment140", {"polarity": 2}, flan_rows.NEUTRAL),
        ("story_cloze", {"label": -1}, flan_rows.UNLABELLED),
        ("stsb", {"label": -1.0}, flan_rows.UNLABELLED),
        ("true_case", {"en": "no capitals"}, flan_rows.NOTHING_TO_RESTORE),
        ("fix_punct", {"en": "No punctuation"}, flan_rows.NOTHING_TO_RESTORE),
        ("natural_questions", {"answer": []}, flan_fields.EMPTY_TARGET),
    ],
)
def test_rows_that_are_no_examples(task: str, changes: dict[str, Any], reason: str) -> None:
    assert isinstance(_prepared(task), Prepared)
    assert _prepared(task, **changes) == reason


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("rte", {"label": 2}, "column 'label' is 2; it must be a number below 2"),
        ("rte", {"label": "perhaps"}, "column 'label' is 'perhaps'"),
        ("rte", {"premise": ["a"]}, "column 'premise' is a list; it must be text"),
        ("xsum", {"document": {"a": 1}}, "column 'document' is a dict"),
        ("common_gen", {"references": {"a": 1}}, "column 'references' must be a list"),
        ("common_gen", {"references": [["a"]]}, "column 'references' is a list; it must be text"),
        ("common_gen", {"concepts": [1, 2]}, "column 'concepts'"),
        ("wic", {"sentence1": True}, "column 'sentence1' is a bool"),
        ("squad_v1", {"title": 3}, "column 'title' holds a int"),
        ("piqa", {"sol2": 3}, "column 'sol2' must hold texts"),
        ("record", {"entities": "Ann"}, "column 'entities' must be a list of texts"),
        ("stsb", {"label": "much"}, "column 'label' is 'much'; it must be a number"),
        ("winogrande", {"sentence": 3}, "column 'sentence' is a int; it must be text"),
    ],
)
def test_rows_of_another_schema(task: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RowError) as raised:
        _prepared(task, **changes)
    assert says in str(raised.value)


@pytest.mark.parametrize("task", sorted(CASES))
def test_a_missing_column_is_named(task: str) -> None:
    """Each column that the fields come from is needed, or marked as one that a row may lack."""
    row = CASES[task][0]
    needed = {
        field.columns[0].partition(".")[0]
        for field in (*forms()[task].inputs, forms()[task].target)
        if field.columns and not field.optional and field.columns[0].partition(".")[0] in row
    }
    for column in needed - {"question" if task == "openbookqa" else ""}:
        with pytest.raises(RowError, match=f"no column '{column}"):
            forms()[task].prepare({key: value for key, value in row.items() if key != column})


def test_labels_as_numbers_names_truth_values_and_texts() -> None:
    for label in (1, "1", 1.0, "not_entailment", True):
        made = _prepared("rte", label=label)
        assert isinstance(made, Prepared)
        assert made.answers == ("no",)
    # Yelp's classes are called "1" and "2": the name counts, not the number.
    for label, answer in (("1", "negative"), (1, "positive"), ("2", "positive")):
        made = _prepared("yelp_polarity_reviews", label=label)
        assert isinstance(made, Prepared)
        assert made.answers == (answer,)


def test_other_schemas_of_the_same_datasets() -> None:
    openbookqa = {
        "question_stem": "Q",
        "choices": {"text": list("abcd"), "label": list("ABCD")},
        "answerKey": "B",
    }
    made = forms()["openbookqa"].prepare(openbookqa)
    assert isinstance(made, Prepared)
    assert (made.fields["question"], made.answers, "fact" in made.fields) == ("Q", ("b",), False)
    winogrande = {"sentence": "so _ left.", "option1": "Ann", "option2": "Bo", "answer": "2"}
    made = forms()["winogrande"].prepare(winogrande)
    assert isinstance(made, Prepared)
    assert made.answers == ("Bo left.",)
    translated = forms()["wmt16_translate_deen"].prepare({"translation": {"en": "a", "de": "b"}})
    assert isinstance(translated, Prepared)
    assert (translated.fields["sent1"], translated.answers) == ("a", ("b",))
    squad = {"context": "C", "question": "Q", "answers": {"text": [], "answer_start": []}}
    unanswerable = forms()["squad_v2"].prepare(squad)
    assert isinstance(unanswerable, Prepared)
    assert unanswerable.answers == ("unanswerable", "unanswerable")
    listed = [{"text": "a", "answer_start": 1}, {"text": "b", "answer_start": 2}]
    answered = forms()["squad_v1"].prepare(squad | {"answers": listed})
    assert isinstance(answered, Prepared)
    assert answered.answers == ("a", "a", "b")
    open_question = forms()["natural_questions"].prepare({"question": "q", "answer": "a"})
    assert isinstance(open_question, Prepared)
    assert open_question.answers == ("a", "a")
    triples = forms()["dart"].prepare(
        {"tripleset": [["A", "B", "C"], ["D", "E", "F"]], "target": "t", "references": []}
    )
    assert isinstance(triples, Prepared)
    assert triples.fields["tripleset"] == "A B C; D E F"


def _rendered(task: str, source: str, target: str) -> Item | str:
    prepared = _prepared(task)
    assert isinstance(prepared, Prepared)
    return render(Template(0, parse(source), parse(target)), prepared, forms()[task].target.name)


def test_rendering() -> None:
    made = _rendered("rte", " {premise} {hypothesis}?\n{options_}\n", "{answer}")
    assert made == Item("It rains. It is wet.?\nOPTIONS:\n- yes\n- no", ("no",), ("yes", "no"), "0")
    assert _rendered("stsb", "{sentence1}", "{answer_str}") == _rendered("stsb", "{sentence1}", "{answer}")
    assert _rendered("rte", "{premise}", "{glm_answer}") == Item(
        "It rains.", ("false",), ("true", "false"), "0"
    )
    assert _rendered("multirc", "{question}", "[{glm_answer}] {response}") == Item(
        "Q", ("[True] R",), ("[False] R", "[True] R"), "0"
    )
    record = _rendered("record", "{passage}\n{options_str}", "{answer}")
    assert isinstance(record, Item)
    assert record.references == ("Bo left.", "Ann left.")
    assert record.options == ("Ann left.", "Bo left.")
    reversed_one = _rendered("sst2", "Write a {answer} review.", "{sentence}")
    assert reversed_one == Item("Write a positive review.", ("S",), (), "0")
    assert _rendered("squad_v1", "{context}", "Answer: {answer}") == Item(
        "C", ("Answer: a", "Answer: b"), (), "0"
    )
    assert _rendered("rte", "{premise}", " ") == flan_fields.EMPTY_TARGET
    assert _rendered("rte", "\n", "{answer}") == flan_fields.EMPTY_INPUT
    prepared = _prepared("bool_q", title=None)
    assert isinstance(prepared, Prepared)
    alone = Template(0, parse("{title}\n{text}"), parse("{answer}"))
    inside = Template(0, parse("{title}: {text}"), parse("{answer}"))
    rendered = render(alone, prepared, "answer")
    assert isinstance(rendered, Item)
    assert rendered.source == "P"
    assert render(inside, prepared, "answer") == flan_fields.NO_TEMPLATE


def test_which_templates_ask_to_choose() -> None:
    form = forms()["sst2"]
    assert takes(Template(0, parse("{sentence}"), parse("{answer}")), form)
    assert not takes(Template(0, parse("Write a {answer} review."), parse("{sentence}")), form)
    assert takes(Template(0, parse("{sentence1}"), parse("{answer_str}")), forms()["stsb"])
    assert not takes(Template(0, parse("{text}"), parse("{summary}")), forms()["xsum"])


def test_further_sets_of_sentence_pairs() -> None:
    keys = frozenset(("wmt16_translate", "wmt14_translate"))
    form = translation("flores_translate", "ru-en", keys)
    assert form is not None
    assert (form.task, form.patterns, form.metric) == ("flores_translate_ruen", "wmt16_translate", "rouge_l")
    made = form.prepare({"ru": "да", "en": "yes"})
    assert isinstance(made, Prepared)
    assert made.fields == {"lang1": "English", "lang2": "Russian", "sent1": "yes", "sent2": "да"}
    other = translation("wmt14_translate", "fr-de", keys)
    assert other is not None
    assert other.patterns == "wmt14_translate"
    assert [translation("x_translate", name, keys) for name in ("en-en", "readme-md", "de")] == [None] * 3
