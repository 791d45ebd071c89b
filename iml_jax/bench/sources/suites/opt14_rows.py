"""A row of each of OPT's evaluation tasks as a question with options, in the prompts of GPT-3 that OPT uses.

The prompts are those of GPT-3's appendix G (Brown et al., 2020), which OPT follows (OPT paper, section 3);
sentence completions continue without a delimiter. Winograd schemas are scored as "candidate + rest of the
sentence" given what stands before the pronoun, since the options of a question share one prompt; GPT-3 scores
the rest of the sentence given each candidate.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from iml_jax.bench.sources.formats.records import Record
from iml_jax.bench.sources.shared_datasets.choice_questions import choice_question
from iml_jax.bench.sources.shared_datasets.labels import label_index
from iml_jax.bench.sources.shared_datasets.pronouns import wsc_highlighted

_NO_YES = (("no", "false"), ("yes", "true"))
_ENTAILMENT = (("entailment",), ("not_entailment", "not entailment"))
_CB = (("entailment",), ("contradiction",), ("neutral",))
_ARTICLES = ("the", "a", "an", "his", "her", "my", "our", "their")


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
      source: the prompt.
      options: the candidates.
      right: index of the right one; None where the row has no label.
      completion: as ``Example.completion``.
    """

    source: str
    options: tuple[str, ...]
    right: int | None
    completion: bool = False


def _label(row: Record, key: str, names: Sequence[Sequence[str]], first: int = 0) -> int | None:
    """Index of the right option; None where the key is missing, null, empty or -1.

    Args:
      row: the row.
      key: of the label: a bool (of two), a number from ``first`` on, or a name.
      names: for each option, the names it may have (lower case); an empty tuple where it has none.
      first: the number of the first option.

    Raises:
      UserError: it is no option.
    """
    value = row.values.get(key)
    try:
        return label_index(value, names, first)
    except ValueError:
        raise row.error(f"{key} = {str(value)[:40]!r} is no answer of this task") from None


def _first_key(row: Record, *keys: str) -> str:
    return next((key for key in keys if key in row.values), keys[0])


def _mark(text: str, mark: str) -> str:
    return text if text.endswith((".", "?", "!", '"', "'")) else text + mark


def story_cloze(row: Record) -> Question:
    """The four sentences of Hugging Face's rows or of the authors' table, and the two endings."""
    theirs = "input_sentence_1" in row.values
    names = [f"input_sentence_{n}" if theirs else f"InputSentence{n}" for n in range(1, 5)]
    endings = [f"sentence_quiz{n}" if theirs else f"RandomFifthSentenceQuiz{n}" for n in (1, 2)]
    right = _label(row, "answer_right_ending" if theirs else "AnswerRightEnding", ((), ()), first=1)
    story = " ".join(row.text(name) for name in names)
    return Question(story, tuple(row.text(name) for name in endings), right, completion=True)


def piqa(row: Record) -> Question:
    """``goal``, ``sol1``, ``sol2``, ``label``."""
    return Question(
        row.text("goal"), (row.text("sol1"), row.text("sol2")), _label(row, "label", ((), ())), True
    )


def arc(row: Record) -> Question:
    """ARC: ``question``, ``choices``, ``answerKey``."""
    asked = choice_question(row)
    return Question(f"Question: {asked.stem}\nAnswer:", asked.options, asked.right)


def openbookqa(row: Record) -> Question:
    """OpenBookQA: the answer continues the stem."""
    asked = choice_question(row)
    return Question(asked.stem, asked.options, asked.right, completion=True)


def boolq(row: Record) -> Question:
    """``passage``, ``question``, and ``answer`` (Google's) or ``label`` (SuperGLUE's)."""
    question = row.text("question").rstrip("?").rstrip()
    right = _label(row, _first_key(row, "label", "answer"), _NO_YES)
    return Question(f"{row.text('passage')}\nQuestion: {question}?\nAnswer:", ("no", "yes"), right)


def cb(row: Record) -> Question:
    """CommitmentBank: ``premise``, ``hypothesis``, ``label``."""
    asked = f"Question: {_mark(row.text('hypothesis'), '.')} True, False, or Neither?\nAnswer:"
    return Question(
        f"{row.text('premise')}\n{asked}", ("True", "False", "Neither"), _label(row, "label", _CB)
    )


def rte(row: Record) -> Question:
    """``premise``, ``hypothesis``, ``label``; GLUE's ``sentence1`` and ``sentence2`` as well."""
    premise = row.text(_first_key(row, "premise", "sentence1"))
    hypothesis = row.text(_first_key(row, "hypothesis", "sentence2"))
    asked = f"{premise}\nQuestion: {_mark(hypothesis, '.')} True or False?\nAnswer:"
    return Question(asked, ("True", "False"), _label(row, "label", _ENTAILMENT))


def copa(row: Record) -> Question:
    """``premise``, ``choice1``, ``choice2``, ``question`` (cause or effect), ``label``."""
    asked = row.text("question")
    if asked not in ("cause", "effect"):
        raise row.error(f"question = {asked[:40]!r} must be cause or effect")
    word = "because" if asked == "cause" else "therefore"
    options = tuple(_lowered(row.text(f"choice{number}")) for number in (1, 2))
    source = f"{row.text('premise').rstrip('.').rstrip()} {word}"
    return Question(source, options, _label(row, "label", ((), ())), completion=True)


def wic(row: Record) -> Question:
    """``word``, ``sentence1``, ``sentence2``, ``label``."""
    asked = f"Question: Is the word '{row.text('word')}' used in the same way in the two sentences above?"
    source = f"{row.text('sentence1')}\n{row.text('sentence2')}\n{asked}\nAnswer:"
    return Question(source, ("no", "yes"), _label(row, "label", _NO_YES))


def wsc(row: Record) -> Question:
    """Spans at the top of the row (Hugging Face's) or in ``target`` (SuperGLUE's)."""
    spans = row.record("target") if "target" in row.values else row
    noun, pronoun = spans.text("span1_text"), spans.text("span2_text")
    place = spans.values.get("span2_index")
    text = row.text("text")
    if isinstance(place, int):
        text = wsc_highlighted(text, place, pronoun) or text
    asked = f'Question: In the passage above, does the pronoun "*{pronoun}*" refer to {noun}?'
    return Question(f"Passage: {text}\n{asked}\nAnswer:", ("no", "yes"), _label(row, "label", _NO_YES))


def multirc(row: Record) -> Question:
    """``paragraph``, ``question``, one ``answer``, ``label``: whether it answers the question."""
    source = f"READING COMPREHENSION ANSWER KEY\n\n{row.text('paragraph')}\n\n{row.text('question')}\n-"
    answer = row.text("answer")
    options = (f"[False] {answer}", f"[True] {answer}")
    return Question(source, options, _label(row, "label", _NO_YES), completion=True)


def hellaswag(row: Record) -> Question:
    """``ctx``, ``endings``, ``label``; the marks of wikiHow's titles are taken out."""
    activity = row.text("activity_label", "")
    source = f"{activity}: {row.text('ctx')}" if activity else row.text("ctx")
    endings = tuple(map(_unmarked, row.texts("endings")))
    return Question(_unmarked(source), endings, _label(row, "label", [()] * len(endings)), completion=True)


def _unmarked(text: str) -> str:
    return " ".join(re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).split())


def winogrande(row: Record) -> Question:
    """``sentence`` with ``_``, ``option1``, ``option2``, ``answer`` (1 or 2)."""
    right = _label(row, "answer", ((), ()), first=1)
    before, after = _parted(row, row.text("sentence"), "_")
    return _schema(before, after, (row.text("option1"), row.text("option2")), right)


def winograd(row: Record) -> Question:
    """``sentence`` with ``[MASK]`` and ``candidates``; or ``text``, ``pronoun_loc``, ``options``."""
    if "sentence" in row.values:
        candidates = row.texts("candidates")
        answer = row.text("answer", "")
        if answer and answer not in candidates:
            raise row.error(f"answer {answer[:40]!r} is none of its candidates")
        right = candidates.index(answer) if answer else None
        return _schema(*_parted(row, row.text("sentence"), "[MASK]"), candidates, right)
    text, pronoun, place = row.text("text"), row.text("pronoun"), row.values.get("pronoun_loc")
    if not isinstance(place, int) or text[place : place + len(pronoun)] != pronoun:
        raise row.error(f"pronoun_loc = {place!r} is not where {pronoun[:40]!r} stands")
    options = row.texts("options")
    right = _label(row, "label", [()] * len(options))
    return _schema(text[:place], text[place + len(pronoun) :], options, right)


def _parted(row: Record, sentence: str, blank: str) -> tuple[str, str]:
    parts = sentence.split(blank)
    if len(parts) != 2:
        raise row.error(f"the sentence has {len(parts) - 1} blanks ({blank}), not one")
    return parts[0], parts[1]


def _schema(before: str, after: str, candidates: Sequence[str], right: int | None) -> Question:
    """The sentence up to its blank, and each candidate with what follows it."""
    before = " ".join(before.split())
    rest = re.sub(r"\s+(?=[.,;:!?]|'s\b)", "", " " + " ".join(after.split()))
    begins = not before or before.endswith((".", "!", "?", '."', '!"', '?"', ".'", ":"))
    options = tuple((_raised if begins else _articled)(candidate.strip()) + rest for candidate in candidates)
    return Question(before, options, right, completion=True)


def _lowered(text: str) -> str:
    """Lower-case at its beginning, except for I and names in capitals."""
    first = text.split(" ", 1)[0]
    return text if first.startswith(("I'", "I\u2019")) or first.isupper() else text[:1].lower() + text[1:]


def _articled(text: str) -> str:
    return _lowered(text) if text.split(" ", 1)[0].lower() in _ARTICLES else text


def _raised(text: str) -> str:
    return text[:1].upper() + text[1:]


# Task -> what makes a question of its row.
READERS: dict[str, Callable[[Record], Question]] = {
    "story_cloze": story_cloze,
    "piqa": piqa,
    "arc_easy": arc,
    "arc_challenge": arc,
    "openbookqa": openbookqa,
    "winograd": winograd,
    "winogrande": winogrande,
    "boolq": boolq,
    "cb": cb,
    "copa": copa,
    "rte": rte,
    "wic": wic,
    "wsc": wsc,
    "multirc": multirc,
    "hellaswag": hellaswag,
}
