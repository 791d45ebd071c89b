"""T5's text-to-text forms of dataset rows, without TensorFlow.

They equal ``t5.data.preprocessors`` of t5 0.9.4. Each form takes a row in the schema of TensorFlow Datasets
(Hugging Face's differs little, and is taken too) and yields the pairs that T5 makes of it, or the reason why
it makes none that could be trained on.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from iml_jax.bench.sources.formats.rows import Row
from iml_jax.bench.sources.shared_datasets.labels import label_index
from iml_jax.bench.sources.shared_datasets.pronouns import wnli_referent, wsc_highlighted

NO_LABEL = "no label"
# RE2's classes, which TensorFlow's string ops use, are ASCII: \s is no more than these five.
_SPACES = re.compile(r"[\t\n\f\r ]+")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_NOT_WORD = re.compile(r"[^0-9A-Za-z_]")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class MalformedRowError(ValueError):
    """A row that is not of its dataset's schema; says what is wrong with it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One text-to-text pair.

    Attributes:
      keyword: T5's task prefix, e.g. ``mnli`` or ``translate English to German:``; empty where it has none.
      body: the input after the prefix and a space.
      references: correct targets; T5's target is the first.
      options: the targets to choose from; empty for generation.
    """

    keyword: str
    body: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """T5's input."""
        return f"{self.keyword} {self.body}" if self.keyword else self.body


@dataclasses.dataclass(frozen=True)
class TaskForm:
    """How a task's rows become pairs: a row of ``tasks.tsv``.

    Attributes:
      task: T5's registry name, e.g. ``glue_mnli_v002``.
      form: one of ``FORMS``.
      keyword: T5's task prefix.
      fields: the columns shown, in T5's order; for translation the source and the target language's codes.
      labels: label texts in the order of the class indices.
      datasets: the dataset's names, TensorFlow Datasets' first.
      splits: the splits whose labels are public.
      instruction: one sentence that says what to do (OPT-IML appendix A.1); ours.
    """

    task: str
    form: str
    keyword: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    datasets: tuple[str, ...]
    splits: tuple[str, ...]
    instruction: str

    def pairs(self, row: Row, training: bool) -> Iterator[Pair | str]:
        """What T5 makes of a row: pairs, or the reason why there is none.

        Where T5 makes one pair an answer, an evaluated row gives one pair with every answer as reference.

        Raises:
          MalformedRowError: the row lacks a column or has a wrong type.
        """
        return FORMS[self.form](self, row, training)

    @property
    def metric(self) -> str:
        """How answers are scored, one of ``data.terms.METRICS``."""
        return _METRICS.get(self.form, "exact_match")


def pad_punctuation(text: str) -> str:
    """Spaces around every ASCII punctuation mark, and no run of spaces."""
    return _SPACES.sub(" ", _PUNCTUATION.sub(r" \1 ", text))


def _joined(*parts: str) -> str:
    return _SPACES.sub(" ", " ".join(parts))


def text_of(row: Row, key: str) -> str:
    """A text column.

    Raises:
      MalformedRowError: it is missing or no text.
    """
    value = row.get(key)
    if not isinstance(value, str):
        what = "is missing" if key not in row else f"is a {type(value).__name__}, not a text"
        raise MalformedRowError(f"column {key!r} {what}")
    return value


def texts_of(row: Row, key: str) -> list[str]:
    """A column that is a list of texts.

    Raises:
      MalformedRowError: it is missing or something else.
    """
    value = row.get(key)
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise MalformedRowError(f"column {key!r} is missing or no list of texts")
    return list(value)


def label_of(row: Row, labels: Sequence[str]) -> str | None:
    """The label's text: from its index, its text or a boolean; None where the row has none (-1).

    Raises:
      MalformedRowError: it is none of ``labels``.
    """
    value = row.get("label")
    try:
        index = label_index(value, [(label.lower(),) for label in labels])
    except ValueError:
        message = f"label {str(value)[:40]!r} is none of {', '.join(labels)}"
        raise MalformedRowError(message) from None
    return None if index is None else labels[index]


def _classify(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """``benchmark field: value field: value`` (t5's ``glue``)."""
    del training
    body = " ".join(f"{field}: {text_of(row, field)}" for field in task.fields)
    if task.keyword == "multirc":
        body = re.sub(r"</?b>", "", body.replace("<br>", " "))
    label = label_of(row, task.labels)
    yield NO_LABEL if label is None else Pair(task.keyword, body, (label,), task.labels)


def _axb(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """SuperGLUE's broad diagnostics, whose columns T5 names as RTE's."""
    renamed = {"premise": row.get("sentence1"), "hypothesis": row.get("sentence2"), "label": row.get("label")}
    return _classify(task, renamed, training)


def _similarity(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """STS-B: the score rounded to the nearest fifth, in single precision, half to even."""
    del training
    body = " ".join(f"{field}: {text_of(row, field)}" for field in task.fields)
    score = row.get("label")
    if isinstance(score, bool) or not isinstance(score, int | float | np.floating):
        if score is not None:
            raise MalformedRowError("column 'label' is no number")
        yield NO_LABEL
    elif not 0 <= score <= 5:  # -1 in the hidden test split
        yield NO_LABEL
    else:
        fifth = np.rint(np.float32(score) * np.float32(5)) / np.float32(5)
        yield Pair(task.keyword, body, (f"{fifth:.1f}",))


def _record(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """ReCoRD: query, entities, passage; in training one pair per answer."""
    passage = re.sub(r"([.?!\"'])\n@highlight\n", r"\1 ", text_of(row, "passage"))
    passage = passage.replace("\n@highlight\n", ". ")
    entities = ", ".join(texts_of(row, "entities"))
    body = f"query: {text_of(row, 'query')} entities: {entities} passage: {passage}"
    answers = tuple(dict.fromkeys(texts_of(row, "answers")))
    if not answers:
        yield NO_LABEL
    for references in [(answer,) for answer in answers] if training else [answers] * bool(answers):
        yield Pair(task.keyword, body, references)


def _squad(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """SQuAD, punctuation set apart; the fields say whether the context is shown."""
    del training
    answers = [pad_punctuation(answer) for answer in _squad_answers(row)]
    shown = [part for field in task.fields for part in (f"{field}:", pad_punctuation(text_of(row, field)))]
    body = _joined(*shown)
    yield Pair(task.keyword, body, tuple(dict.fromkeys(answers))) if answers else NO_LABEL


def _squad_answers(row: Row) -> list[str]:
    answers: Any = row.get("answers")
    if isinstance(answers, list | tuple) and all(isinstance(answer, dict) for answer in answers):
        return [text_of(answer, "text") for answer in answers]  # as the original JSON has them
    if not isinstance(answers, dict):
        raise MalformedRowError("column 'answers' is missing or no object with a list 'text'")
    return texts_of(answers, "text")


def _squad_span(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """SQuAD's answer as the numbers of its first and last word in the context."""
    for pair in _squad(task, row, training):
        if isinstance(pair, str):
            yield pair
            continue
        context = _NOT_WORD.sub(" ", pad_punctuation(text_of(row, "context"))).split(" ")
        answer = _NOT_WORD.sub(" ", pair.references[0]).split(" ")
        # T5 looks at all places but the last (preprocessors._span_answer), so an answer that ends the
        # context has no span.
        starts = range(len(context) - len(answer))
        start = next((at for at in starts if context[at : at + len(answer)] == answer), None)
        if start is None:
            yield "answer is not among the context's words"
        else:
            end = start + len(answer) - 1
            yield dataclasses.replace(pair, references=(f"start: {start} end: {end}",))


def _trivia_qa(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """TriviaQA: a pair for every context and every alias in it (evaluation: every context with its aliases).

    T5 cuts a random window around the answer out of the tokens; here the context is whole.
    """
    contexts = [
        context
        for pages, key in (("entity_pages", "wiki_context"), ("search_results", "search_context"))
        for context in _pages(row, pages, key)
    ]
    question = pad_punctuation(text_of(row, "question"))
    answer = row.get("answer")
    if not isinstance(answer, dict):
        raise MalformedRowError("column 'answer' is missing or no object")
    aliases = [pad_punctuation(alias) for alias in texts_of(answer, "normalized_aliases")]
    found = False
    for context in map(pad_punctuation, contexts):
        lowered = context.translate(_ASCII_LOWER)
        held = tuple(dict.fromkeys(a for a in aliases if a.translate(_ASCII_LOWER) in lowered))
        body = _joined("question:", question, "context:", context)
        for references in [(alias,) for alias in held] if training else [held] * bool(held):
            found = True
            yield Pair(task.keyword, body, references)
    if not found:
        yield "no context holds an answer" if aliases else NO_LABEL


def _pages(row: Row, pages: str, key: str) -> list[str]:
    value = row.get(pages)
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [text_of(page, key) if isinstance(page, dict) else text_of({}, key) for page in value]
    if not isinstance(value, dict):
        raise MalformedRowError(f"column {pages!r} is no object")
    return texts_of(value, key)


def _translate(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """``translate English to German: ...``; the keyword names the languages."""
    del training
    texts = row.get("translation", row)  # Hugging Face nests the two texts
    if not isinstance(texts, dict):
        raise MalformedRowError("column 'translation' is no object")
    source, target = (text_of(texts, language) for language in task.fields)
    if not source.strip() or not target.strip():
        yield "empty side"
    else:
        yield Pair(task.keyword, source, (target,))


def _summarize(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """``summarize: ARTICLE``; the fields name the columns of article and summary."""
    del training
    article, summary = (text_of(row, field) for field in task.fields)
    if not article.strip() or not summary.strip():
        yield "empty article or summary"
    else:
        yield Pair(task.keyword, article, (summary,))


def _wsc(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """SuperGLUE's WSC: the sentence with its pronoun in asterisks; the target is the referent."""
    del training
    index = row.get("span2_index")
    if isinstance(index, bool) or not isinstance(index, int | np.integer):
        raise MalformedRowError("column 'span2_index' is no whole number")
    body = wsc_highlighted(text_of(row, "text"), int(index), text_of(row, "span2_text"))
    yield _referent(task, row, body, text_of(row, "span1_text"))


def _wnli(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """GLUE's WNLI turned back into WSC's form."""
    del training
    premise, hypothesis = text_of(row, "sentence1"), text_of(row, "sentence2")
    body, referent = wnli_referent(premise, hypothesis) or (None, "")
    yield _referent(task, row, body, referent)


def _referent(task: TaskForm, row: Row, body: str | None, referent: str) -> Pair | str:
    label = label_of(row, ("False", "True"))
    if label is None:
        return NO_LABEL
    if label == "False":  # T5 evaluates whether such a referent is NOT generated; it is no target
        return "the referent given is the wrong one"
    return "pronoun not found" if body is None else Pair(task.keyword, body, (referent,))


def _definite_pronoun(task: TaskForm, row: Row, training: bool) -> Iterator[Pair | str]:
    """Definite pronoun resolution: the first occurrence of the pronoun is the one to resolve."""
    del training
    candidates = texts_of(row, "candidates")
    pattern = f" ({re.escape(text_of(row, 'pronoun'))})( |\\.|,)"
    body = re.sub(pattern, r" *\1*\2", text_of(row, "sentence"), count=1)
    label = label_of(row, candidates)
    yield NO_LABEL if label is None else Pair(task.keyword, body, (label,), tuple(candidates))


FORMS: dict[str, Callable[[TaskForm, Row, bool], Iterator[Pair | str]]] = {
    "classify": _classify,
    "axb": _axb,
    "similarity": _similarity,
    "record": _record,
    "squad": _squad,
    "squad_span": _squad_span,
    "trivia_qa": _trivia_qa,
    "translate": _translate,
    "summarize": _summarize,
    "wsc": _wsc,
    "wnli": _wnli,
    "definite_pronoun": _definite_pronoun,
}
_METRICS = dict(
    itertools.chain(
        dict.fromkeys(("classify", "axb", "definite_pronoun"), "accuracy").items(),
        dict.fromkeys(("translate", "summarize"), "rouge_l").items(),
    )
)
