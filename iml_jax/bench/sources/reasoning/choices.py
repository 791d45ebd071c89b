"""Questions with options: AQuA, CommonsenseQA with CoS-E or ECQA, QASC, StrategyQA and CREAK."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from iml_jax.bench.sources.formats.bounds import bounded_lines
from iml_jax.bench.sources.formats.records import csv_records, json_records, listed
from iml_jax.bench.sources.reasoning.questions import NO_ANSWER, Question, sentences, with_options
from iml_jax.bench.sources.shared_datasets.choice_questions import ChoiceQuestion, choice_question
from iml_jax.foundation.errors import UserError

# A last line that only names the letter ("ANSWER:C", "Correct answer - A", "The answer is B."), not a step.
_LETTER_LINE = re.compile(
    r"(?i)\W*((so|hence|thus|therefore)\W+)?((the|correct|right|option|choice|ans|answer|answers|is)\W*)*"
    r"[(\[]?[A-E][)\]]?\W*"
)
# The same at the end of a step ("x = 250 m. Answer D").
_LETTER_END = re.compile(
    r"(?P<step>.*?\S.*?)(?i:[\s,;]*\b(so|hence|thus|therefore)?[\s,]*(the\s+)?(correct\s+)?"
    r"(answer|ans|option)\b(\s+is)?)"
    r"[\s:.\-–=]*[(\[]?[A-E][)\]]?[\s.]*"
)
_OPTION = re.compile(r"\(?([A-E])\s*[).:]\s*", re.DOTALL)
YES_NO = ("yes", "no")


def aqua(path: Path) -> Iterator[Question]:
    """AQuA's JSON lines: ``question``, ``options`` (``A)21``), ``rationale``, ``correct`` (a letter).

    Question and answer are put as FLAN v2's file of the same set puts them: ``(A) 21``, ``(A)``. The last
    lines of a rationale that only name the letter are left out.
    """
    for row in json_records(path):
        options = []
        for option in row.texts("options"):
            if not (match := _OPTION.match(option)):
                raise row.error(f"option {option[:40]!r} does not begin with a letter and ')'")
            options.append(f"({match[1]}) {option[match.end() :].strip()}")
        correct = f"({row.text('correct')})"
        if not any(option.startswith(correct) for option in options):
            raise row.error(f"'correct' {row.text('correct')[:40]!r} is the letter of no option")
        text = "\n".join([row.text("question"), "Options:", *options])
        yield Question(str(row.number), text, ((_without_letter(row.text("rationale")), correct),))


def _without_letter(rationale: str) -> str:
    """A rationale without the letter that it ends in: the sentence that follows names it."""
    lines = rationale.replace("\r\n", "\n").split("\n")  # splitlines cuts at more characters
    while lines and _LETTER_LINE.fullmatch(lines[-1].strip() or "A"):
        lines.pop()
    if lines and (match := _LETTER_END.fullmatch(lines[-1])):
        lines[-1] = match["step"].rstrip()
    return "\n".join(lines).strip()


def commonsense_qa(paths: Sequence[Path]) -> dict[str, ChoiceQuestion]:
    """CommonsenseQA's questions by id, of several files; the first file with an id counts."""
    questions: dict[str, ChoiceQuestion] = {}
    for path in paths:
        for row in json_records(path):
            questions.setdefault(row.text("id"), choice_question(row))
    return questions


def cos_e(path: Path, questions: Sequence[Path]) -> Iterator[Question]:
    """CoS-E: ``id``, ``explanation`` {``open-ended``, ``selected``}, joined to CommonsenseQA by id."""
    known = _joined(path, questions)
    for row in json_records(path):
        identity = row.text("id")
        rationale = row.record("explanation").text("open-ended", "")
        yield _explained(identity, known.get(identity), rationale)


def ecqa_lines(path: Path, questions: Sequence[Path]) -> Iterator[Question]:
    """ECQA's own split: ``author_split/SPLIT_ids.txt``, beside ``ecqa.jsonl``, joined to CommonsenseQA by id.

    Args:
      path: the file of ids.
      questions: ``ecqa.jsonl`` first, then CommonsenseQA's files.
    """
    if not questions or not questions[0].name.startswith("ecqa.jsonl"):
        raise UserError(f"{path}: no ecqa.jsonl beside author_split; fetch dair-iitd/ECQA-Dataset whole")
    known = _joined(path, questions[1:])
    explained = {row.text("id"): row.text("explanation", "") for row in json_records(questions[0])}
    for _, line in bounded_lines(path):
        if identity := line.strip():
            yield _explained(identity, known.get(identity), explained.get(identity, ""))


def _joined(path: Path, questions: Sequence[Path]) -> dict[str, ChoiceQuestion]:
    if not questions:
        raise UserError(
            f"{path}: explains questions of CommonsenseQA, which are not here; put "
            "train_rand_split.jsonl and dev_rand_split.jsonl beside it, bind "
            "Reasoning.commonsenseqa_dir, or exclude the task"
        )
    return commonsense_qa(questions)


def _explained(identity: str, question: ChoiceQuestion | None, rationale: str) -> Question:
    if question is None:
        return Question(identity, "", unusable="question not in the CommonsenseQA files")
    text = with_options(question.stem, question.options)
    return Question(identity, text, ((rationale, question.answer),))


def ecqa(path: Path) -> Iterator[Question]:
    """ECQA's generated CSV: ``q_text``, ``q_op1`` to ``q_op5``, ``q_ans``, and ``taskB``, the explanation."""
    for row in csv_records(path):
        options = [row.text(f"q_op{index}") for index in range(1, 6)]
        if row.text("q_ans") not in options:
            raise row.error(f"'q_ans' {row.text('q_ans')[:40]!r} is none of the options")
        text = with_options(row.text("q_text"), options)
        yield Question(row.text("q_no", str(row.number)), text, ((row.text("taskB"), row.text("q_ans")),))


def qasc(path: Path) -> Iterator[Question]:
    """QASC: ``fact1`` and ``fact2``, and ``combinedfact`` that follows from them, are the rationale."""
    for row in json_records(path):
        question = choice_question(row)
        text = with_options(question.stem, question.options)
        identity = row.text("id", str(row.number))
        if not question.answer:
            yield Question(identity, text, unusable=NO_ANSWER)
            continue
        facts = sentences(row.text(key, "") for key in ("fact1", "fact2", "combinedfact"))
        yield Question(identity, text, ((facts, question.answer),))


def strategyqa(path: Path) -> Iterator[Question]:
    """StrategyQA's JSON: ``question``, ``answer`` (true or false) and ``facts``, which are the rationale."""
    for row in json_records(path):
        identity, text = row.text("qid", str(row.number)), row.text("question")
        answer = row.values.get("answer")
        if answer is None:
            yield Question(identity, text, unusable=NO_ANSWER)
            continue
        if not isinstance(answer, bool):
            raise row.error("'answer' must be true or false")
        yield Question(identity, text, ((sentences(row.texts("facts")), YES_NO[not answer]),))


def strategyqa_bigbench(path: Path) -> Iterator[Question]:
    """BIG-bench's StrategyQA: ``examples`` of ``input``, ``target_scores``, ``target`` (``Yes. RATIONALE``).

    The file carries BIG-bench's canary: never to be trained on.
    """
    for row in listed(path, "examples"):
        scores = {name.strip().lower(): score for name, score in row.mapping("target_scores").items()}
        right = [name for name, score in scores.items() if score == 1]
        if len(right) != 1 or right[0] not in YES_NO:
            raise row.error("'target_scores' must give Yes or No the score 1 and the other 0")
        target = row.text("target", "")
        head = f"{right[0]}."
        rationale = target[len(head) :].strip() if target.lower().startswith(head) else target
        yield Question(str(row.number), row.text("input"), ((rationale, right[0]),))


def creak(path: Path) -> Iterator[Question]:
    """CREAK's JSON lines: ``sentence``, ``label`` (``true`` or ``false``), ``explanation``."""
    for row in json_records(path):
        label = row.text("label", "")
        if label not in ("true", "false", ""):
            raise row.error(f"'label' {label[:40]!r} is neither 'true' nor 'false'")
        text = with_options(f"{row.text('sentence')}\nIs this true or false?", ("true", "false"))
        identity = row.text("ex_id", str(row.number))
        if not label:
            yield Question(identity, text, unusable=NO_ANSWER)
            continue
        yield Question(identity, text, ((row.text("explanation", ""), label),))
