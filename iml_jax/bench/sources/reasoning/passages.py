"""Questions about a text: CoQA, QED, e-SNLI and WinoWhy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iml_jax.bench.sources.formats.records import Record, csv_records, json_records, listed
from iml_jax.bench.sources.reasoning.questions import Question, sentences, with_options

_NO_EXPLANATION = "no explanation"
_LABELS = ("entailment", "neutral", "contradiction")


def coqa(path: Path) -> Iterator[Question]:
    """CoQA: each turn of a conversation about a story; the highlighted span is the rationale.

    The question has the story and the turns before it. ``additional_answers`` (dev) are further solutions.
    """
    for story in listed(path, "data"):
        identity = story.text("id", str(story.number))
        questions, answers = story.records("questions"), story.records("answers")
        others = [story.record("additional_answers").records(key) for key in _keys(story)]
        if any(len(rows) != len(questions) for rows in (answers, *others)):
            raise story.error("there must be one answer to each question")
        text = f"{story.text('story')}\n"
        for turn, question in enumerate(questions):
            text += f"\nQ: {question.text('input_text')}"
            found = [_evidence(rows[turn]) for rows in (answers, *others)]
            solutions = tuple(dict.fromkeys(solution for solution in found if solution))
            missing = "" if solutions else "no evidence in the text"
            yield Question(f"{identity}.{turn + 1}", text, solutions, missing)
            text += f"\nA: {answers[turn].text('input_text')}"


def _keys(story: Record) -> list[str]:
    return sorted(story.mapping("additional_answers"))


def _evidence(answer: Record) -> tuple[str, str] | None:
    """(span, answer); None where the text does not say (``span_start`` is -1, the span reads "unknown")."""
    span = answer.text("span_text")
    if not span or answer.values.get("span_start") == -1:
        return None
    return " ".join(span.split()), answer.text("input_text")


def qed(path: Path) -> Iterator[Question]:
    """QED: the sentence that answers a question, and which of their phrases mean the same.

    Rows whose ``explanation_type`` is not ``single_sentence`` have no explanation (QED's README).
    """
    for row in json_records(path):
        identity = str(row.values.get("example_id", row.number))
        question = row.text("question_text")
        if question and not question.endswith("?"):
            question += "?"
        title = row.text("title_text", "")
        text = "\n".join(filter(None, (title, row.text("paragraph_text"), question)))
        annotation = row.record("annotation")
        answers = annotation.records("answer")
        if annotation.text("explanation_type", "") != "single_sentence" or not answers:
            yield Question(identity, text, unusable=_NO_EXPLANATION)
            continue
        rationale = sentences(_steps(annotation, answers))
        named = dict.fromkeys(answer.record("paragraph_reference").text("string") for answer in answers)
        yield Question(identity, text, ((rationale, ", ".join(named)),))


def _steps(annotation: Record, answers: list[Record]) -> Iterator[str]:
    yield f'The text says: "{annotation.record("selected_sentence").text("string")}"'
    for link in annotation.records("referential_equalities"):
        asked = link.record("question_reference").text("string")
        found = link.record("sentence_reference")
        # A bridged phrase is not in the sentence: a preposition links it to one that is.
        bridge = found.values.get("bridge")
        if isinstance(bridge, str) and bridge.strip():
            yield f'There "{found.text("string")}" is "{found.text("string")} {bridge.strip()} {asked}"'
        else:
            yield f'There "{found.text("string")}" is "{asked}" of the question'
    for answer in answers:
        said, meant = (
            answer.record(f"{where}_reference").text("string") for where in ("sentence", "paragraph")
        )
        if said != meant:
            yield f'There "{said}" is "{meant}"'


def esnli(path: Path) -> Iterator[Question]:
    """e-SNLI's CSV: one explanation in training files, up to three in the others."""
    for row in csv_records(path):
        identity = row.text("pairID", "") or str(row.number)
        label = row.text("gold_label")
        if label not in _LABELS:
            raise row.error(f"'gold_label' {label[:40]!r} is none of {', '.join(_LABELS)}")
        text = with_options(
            f"Premise: {row.text('Sentence1')}\nHypothesis: {row.text('Sentence2')}\n"
            "Does the premise entail the hypothesis or contradict it, or is it neutral?",
            _LABELS,
        )
        explanations = [row.text(f"Explanation_{index}", "") for index in (1, 2, 3)]
        solutions = tuple((explanation, label) for explanation in explanations if explanation)
        yield Question(identity, text, solutions or (("", label),))


def winowhy(path: Path) -> Iterator[Question]:
    """WinoWhy: Winograd schemas with reasons [text, origin, plausibility, verdict].

    The reasons that people wrote for the schema (origin ``human``) and others judged ``Valid`` are used;
    ``gpt`` and ``reverse`` reasons are distractors.
    """
    for row in json_records(path):
        parts = row.record("text")
        pronoun = parts.text("pron")
        schema = " ".join(filter(None, (parts.text("txt1", ""), pronoun, parts.text("txt2", ""))))
        candidates = row.texts("answers")
        letter = row.text("correctAnswer").removesuffix(".")
        if letter not in ("A", "B") or len(candidates) != 2:
            raise row.error("there must be two 'answers', and 'correctAnswer' must be A or B")
        text = with_options(f'{schema}\nWhat does "{pronoun}" refer to?', candidates)
        answer = candidates[letter == "B"]
        reasons = [reason for reason in row.items("reasons") if _is_reason(row, reason)]
        valid = dict.fromkeys(reason[0].strip() for reason in reasons if reason[1:4:2] == ["human", "Valid"])
        solutions = tuple((reason, answer) for reason in valid if reason)
        yield Question(str(row.number), text, solutions, "" if solutions else "no valid reason")


def _is_reason(row: Record, reason: object) -> bool:
    if not isinstance(reason, list) or len(reason) < 4 or not isinstance(reason[0], str):
        raise row.error("each of 'reasons' must be [text, origin, plausibility, verdict]")
    return True
