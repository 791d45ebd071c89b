"""Our text of a row equals what t5's own preprocessors make of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from iml_jax.bench.sources.t5.source import forms
from iml_jax.bench.sources.t5.text import NO_LABEL, MalformedRowError, Pair, pad_punctuation

TEXT = (
    'the cat sat. on X a mat , "quoted" it\'s 50% (twice) É漢字 ü  double\ttab new\nline \\1 back\\slash '
    "<br> <b>bold</b> [MASK] a.b.c U.S. \U0001f600 \u00a0nbsp \u2028sep\n@highlight\nmore ?\n@highlight\n "
    "he it she"
)
WORDS = TEXT.split(" ")
Rows = Callable[[random.Random], dict[str, Any]]


def _text(rng: random.Random, least: int = 0) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, 14)))


def _columns(*names: str, labels: int = 0) -> Rows:
    def make(rng: random.Random) -> dict[str, Any]:
        row: dict[str, Any] = {name: _text(rng) for name in names}
        return row | ({"label": rng.randrange(labels)} if labels else {}) | {"idx": 1}

    return make


def _stsb(rng: random.Random) -> dict[str, Any]:
    score = rng.choice((rng.random() * 5, rng.randint(0, 50) / 10, rng.randint(0, 20) / 4))
    return {"sentence1": _text(rng), "sentence2": _text(rng), "label": score, "idx": 1}


def _multirc(rng: random.Random) -> dict[str, Any]:
    row = _columns("question", "answer", "paragraph", labels=2)(rng)
    return row | {"idx": {"paragraph": 0, "question": 1, "answer": 2}}


def _wic(rng: random.Random) -> dict[str, Any]:
    row = _columns("sentence1", "sentence2", "word", labels=2)(rng)
    return row | {"start1": 1, "end1": 2, "start2": 3, "end2": 4}


def _record(rng: random.Random) -> dict[str, Any]:
    entities = [f"{_text(rng)} {index}" for index in range(rng.randint(1, 5))]
    answers = rng.sample(entities, rng.randint(1, len(entities)))
    row = {"passage": _text(rng), "query": _text(rng), "entities": entities, "answers": answers}
    return row | {"idx": {"passage": 0, "query": 1}}


def _squad(rng: random.Random) -> dict[str, Any]:
    context = _text(rng, 5)
    words = context.split()
    start = rng.randrange(len(words))
    inside = " ".join(words[start : start + rng.randint(1, 3)])
    answers = {"text": [inside, *(_text(rng, 1) for _ in range(rng.randint(0, 2)))]}
    return {"id": "a", "question": _text(rng), "context": context, "answers": answers}


def _trivia(rng: random.Random) -> dict[str, Any]:
    contexts = [_text(rng, 3) for _ in range(3)]
    aliases = rng.sample(("cat", "THE CAT", "mat", "double", "nowhere", "new line", "Üü"), 3)
    return {
        "question": _text(rng),
        "entity_pages": {"wiki_context": contexts[:1]},
        "search_results": {"search_context": contexts[1:]},
        "answer": {"normalized_aliases": aliases},
    }


def _dpr(rng: random.Random) -> dict[str, Any]:
    pronoun = rng.choice(("he", "it", "she"))
    sentence = f"{_text(rng)} {pronoun}{rng.choice((' ', '.', ',', '!'))}{_text(rng)} {pronoun} {_text(rng)}"
    return {"sentence": sentence, "pronoun": pronoun, "candidates": ["Ann", "Bo"], "label": rng.randrange(2)}


def _wsc(rng: random.Random) -> dict[str, Any]:
    words = _text(rng, 6).split(" ")
    index = rng.randrange(1, len(words) - 1)
    words[index] = pronoun = rng.choice(("he", "them"))
    row = {"text": " ".join(words), "span1_text": "Tom", "span1_index": 0, "span2_text": pronoun}
    return row | {"span2_index": index, "label": rng.randrange(2), "idx": 1}


def _wnli(rng: random.Random) -> dict[str, Any]:
    who, verb = rng.choice(("the red fish", "Tom's aunt", "Bob")), rng.choice(("ate", "saw, then hid"))
    pronoun = rng.choice(("it", "He", "her", "their"))
    if rng.random() < 0.3:  # two pronouns that fit as well
        acted = rng.choice(("slept", "ran away."))
        row = {"sentence1": f"It {acted} and then {pronoun} {acted}", "sentence2": f"{who} {acted}"}
        return row | {"label": 1, "idx": 1}
    end = rng.choice(("was glad.", "had been very late today", "was, as ever, there!"))
    premise = f"A worm {verb} {who}. {pronoun} {end}"
    return {"sentence1": premise, "sentence2": f"{who.capitalize()} {end}", "label": 1, "idx": 1}


def _pair(*names: str) -> Rows:
    return lambda rng: {name: _text(rng, 1) for name in names}


ROWS: dict[str, Rows] = {
    "glue_ax": _columns("premise", "hypothesis", labels=3),
    "glue_cola": _columns("sentence", labels=2),
    "glue_mnli_matched": _columns("premise", "hypothesis", labels=3),
    "glue_mnli_mismatched": _columns("premise", "hypothesis", labels=3),
    "glue_mnli": _columns("premise", "hypothesis", labels=3),
    "glue_mrpc": _columns("sentence1", "sentence2", labels=2),
    "glue_qnli": _columns("question", "sentence", labels=2),
    "glue_qqp": _columns("question1", "question2", labels=2),
    "glue_rte": _columns("sentence1", "sentence2", labels=2),
    "glue_sst2": _columns("sentence", labels=2),
    "glue_stsb": _stsb,
    "glue_wnli_v002_simple": _wnli,
    "glue_wnli": _columns("sentence1", "sentence2", labels=2),
    "super_glue_axb": _columns("sentence1", "sentence2", labels=2),
    "super_glue_axg": _columns("premise", "hypothesis", labels=2),
    "super_glue_boolq": _columns("question", "passage", labels=2),
    "super_glue_cb": _columns("premise", "hypothesis", labels=3),
    "super_glue_copa": _columns("premise", "choice1", "choice2", "question", labels=2),
    "super_glue_multirc": _multirc,
    "super_glue_record": _record,
    "super_glue_rte": _columns("premise", "hypothesis", labels=2),
    "super_glue_wic": _wic,
    "super_glue_wsc": _wsc,
    "cnn_dailymail": _pair("article", "highlights"),
    "dpr": _dpr,
    "squad": _squad,
    "trivia_qa": _trivia,
    "wmt14_ende": _pair("en", "de"),
    "wmt14_enfr": _pair("en", "fr"),
    "wmt15_enfr": _pair("en", "fr"),
    "wmt16_enro": _pair("en", "ro"),
    "wmt19_ende": _pair("en", "de"),
    "wmt_t2t_ende": _pair("en", "de"),
}


def _rows(task: str, number: int) -> list[dict[str, Any]]:
    rng = random.Random(task)
    make = ROWS[next(prefix for prefix in sorted(ROWS, reverse=True) if task.startswith(prefix))]
    return [make(rng) for _ in range(number)]


def _ours(task: str, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    pairs = [pair for row in rows for pair in forms()[task].pairs(row, training=True)]
    return [(pair.text, pair.references[0]) for pair in pairs if isinstance(pair, Pair)]


def _signature(value: Any) -> Any:
    import tensorflow as tf

    if isinstance(value, dict):
        return {key: _signature(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tf.TensorSpec((None,), tf.string)
    kind = {str: tf.string, int: tf.int32, float: tf.float32}[type(value)]
    return tf.TensorSpec((), kind)


def _theirs(task: str, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    import seqio
    import t5.data.tasks  # noqa: F401 - registers the tasks
    import tensorflow as tf

    def stream() -> Iterator[dict[str, Any]]:
        yield from rows

    dataset = tf.data.Dataset.from_generator(stream, output_signature=_signature(rows[0]))
    for preprocessor in seqio.TaskRegistry.get(task).preprocessors:
        if preprocessor is seqio.preprocessors.tokenize:
            break
        dataset = preprocessor(dataset)
    return [(made["inputs"].decode(), made["targets"].decode()) for made in dataset.as_numpy_iterator()]


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(forms()))
def test_text_equals_t5s_own(task: str) -> None:
    rows = _rows(task, 60)
    positive = rows
    if task == "super_glue_wsc_v102_simple_eval":  # T5 keeps the wrong referents, to see them not generated
        positive = [row for row in rows if row["label"]]
    ours = _ours(task, rows)
    assert len(ours) >= 8
    assert ours == _theirs(task, positive)


@pytest.mark.slow
def test_the_registry_has_no_other_supervised_task() -> None:
    import seqio
    import t5.data.tasks  # noqa: F401

    unsupervised = ("c4_", "wikipedia_")
    registered = [
        name
        for name in seqio.TaskRegistry.names()
        if not name.startswith(unsupervised) and "_sentinel" not in name and ":" not in name
    ]
    assert sorted(forms()) == sorted(registered)


@pytest.mark.slow
def test_datasets_and_labels_are_t5s() -> None:
    import seqio
    import t5.data.tasks  # noqa: F401
    import tensorflow_datasets as tfds

    for name, form in forms().items():
        dataset = seqio.TaskRegistry.get(name).source.tfds_dataset.name
        assert form.datasets[0] == dataset.rpartition(":")[0]
        builders = {"glue": tfds.text.glue.Glue, "super_glue": tfds.text.super_glue.SuperGlue}
        benchmark, _, config = form.datasets[0].partition("/")
        if form.labels:
            assert builders[benchmark].builder_configs[config].label_classes == form.labels or list(
                builders[benchmark].builder_configs[config].label_classes
            ) == list(form.labels)


def _only(task: str, row: dict[str, Any], training: bool = True) -> Pair | str:
    (made,) = forms()[task].pairs(row, training)
    return made


def test_forms_by_hand() -> None:
    row = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 2, "idx": 0}
    pair = _only("glue_mnli_v002", row)
    assert isinstance(pair, Pair)
    assert pair.text == "mnli hypothesis: It is wet. premise: It rains."
    assert (pair.references, pair.options) == (("contradiction",), ("entailment", "neutral", "contradiction"))
    stsb = _only("glue_stsb_v002", {"sentence1": "a", "sentence2": "b", "label": 3.25})
    assert isinstance(stsb, Pair)
    assert (stsb.text, stsb.references) == ("stsb sentence1: a sentence2: b", ("3.2",))
    translation = _only("wmt14_ende_v003", {"translation": {"en": "Good.", "de": "Gut."}})
    assert isinstance(translation, Pair)
    assert (translation.text, translation.references) == ("translate English to German: Good.", ("Gut.",))


def test_answers_are_pairs_in_training_and_references_in_evaluation() -> None:
    row = {"passage": "p", "query": "q", "entities": ["A", "B"], "answers": ["B", "A"]}
    form = forms()["super_glue_record_v102"]
    assert [p.references for p in form.pairs(row, True) if isinstance(p, Pair)] == [("B",), ("A",)]
    assert [p.references for p in form.pairs(row, False) if isinstance(p, Pair)] == [("B", "A")]
    row = {
        "question": "q?",
        "search_results": [{"search_context": "Ann met Bo."}, {"search_context": "none"}],
        "answer": {"normalized_aliases": ["bo", "ann"]},
    }
    form = forms()["trivia_qa_v010"]
    assert [p.references for p in form.pairs(row, True) if isinstance(p, Pair)] == [("bo",), ("ann",)]
    assert [p.references for p in form.pairs(row, False) if isinstance(p, Pair)] == [("bo", "ann")]


@pytest.mark.parametrize("label", ["True", "true", "1", 1, 1.0, True])
def test_labels_as_published_files_spell_them(label: Any) -> None:
    pair = _only("super_glue_boolq_v102", {"question": "q", "passage": "p", "label": label})
    assert isinstance(pair, Pair)
    assert pair.references == ("True",)


@pytest.mark.parametrize("label", [-1, None, "", "-1"])
def test_rows_without_a_label(label: Any) -> None:
    row = {"question": "q", "passage": "p", "label": label}
    assert _only("super_glue_boolq_v102", row) == NO_LABEL
    assert _only("glue_stsb_v002", {"sentence1": "a", "sentence2": "b", "label": -1.0}) == NO_LABEL


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("glue_cola_v002", {"label": 1}, "column 'sentence' is missing"),
        ("glue_cola_v002", {"sentence": 3, "label": 1}, "column 'sentence' is a int, not a text"),
        ("glue_cola_v002", {"sentence": "s", "label": 2}, "label '2' is none of unacceptable, acceptable"),
        ("glue_cola_v002", {"sentence": "s", "label": [1]}, "is none of"),
        ("glue_stsb_v002", {"sentence1": "a", "sentence2": "b", "label": "x"}, "no number"),
        ("squad_v010", {"question": "q", "context": "c", "answers": "a"}, "column 'answers'"),
        ("super_glue_record_v102", {"passage": "p", "query": "q", "entities": "A"}, "column 'entities'"),
        ("trivia_qa_v010", {"question": "q", "entity_pages": 3, "answer": {}}, "column 'entity_pages'"),
        ("wmt14_ende_v003", {"translation": "x"}, "column 'translation' is no object"),
        ("super_glue_wsc_v102_simple_train", {"text": "a it b", "span2_index": "1"}, "no whole number"),
    ],
)
def test_rows_of_another_schema(task: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedRowError, match=message):
        list(forms()[task].pairs(row, training=True))


_VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-3, 9)
    | strategies.floats()
    | strategies.text(),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.sampled_from(("text", "normalized_aliases", "en", "de")), inner)
    ),
    max_leaves=6,
)


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, max_examples=200)
def test_any_row_gives_pairs_or_reasons_or_is_called_malformed(data: strategies.DataObject) -> None:
    task = data.draw(strategies.sampled_from(sorted(forms())))
    columns = sorted(_rows(task, 1)[0])
    row = data.draw(strategies.fixed_dictionaries(dict.fromkeys(columns, _VALUES)))
    for training in (True, False):
        try:
            made = list(forms()[task].pairs(row, training))
        except MalformedRowError as error:
            assert str(error)
            assert "\n" not in str(error)
        else:
            pairs = [pair for pair in made if isinstance(pair, Pair)]
            assert all(isinstance(text, str) for pair in pairs for text in (pair.text, *pair.references))
            assert all(not pair.options or pair.references[0] in pair.options for pair in pairs)


def test_winograd_rows_that_t5_mends_by_hand() -> None:
    base = {"span1_text": "the pony", "span1_index": 0, "label": 1}
    row = base | {"text": 'Bo rode. "Good for him," he said. ', "span2_text": "him", "span2_index": 4}
    pair = _only("super_glue_wsc_v102_simple_train", row)
    assert isinstance(pair, Pair)
    assert pair.text == 'wsc: Bo rode. "Good for *him* ," he said.'
    row = base | {"text": "They want to use it , but later", "span2_text": "it", "span2_index": 3}
    pair = _only("super_glue_wsc_v102_simple_train", row)
    assert isinstance(pair, Pair)
    assert pair.text == "wsc: They want to use *it* , but later"
    row = base | {"text": "They want it", "span2_text": "him", "span2_index": 1}
    assert _only("super_glue_wsc_v102_simple_train", row) == "pronoun not found"
    assert (
        _only("super_glue_wsc_v102_simple_train", row | {"label": 0}) == "the referent given is the wrong one"
    )


def test_padding() -> None:
    assert pad_punctuation("It's 5%\u00a0(five).") == "It ' s 5 % \u00a0 ( five ) . "
