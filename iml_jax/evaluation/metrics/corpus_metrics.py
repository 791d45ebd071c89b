"""Benchmarks' own metrics beside a task's main one: over single answers, or over all answers at once.

BLEU, F1 and correlations are no means over examples: they are computed from all answers of a task under one
prompt template. Every function takes those and gives points, 0..100 (-100..100 for the correlations). They
agree with ``t5.evaluation.metrics``, whose libraries (sacrebleu, scikit-learn, scipy) they call.
"""

from __future__ import annotations

import collections
import functools
import math
import re
import string
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from iml_jax.evaluation.metrics import drop_metrics
from iml_jax.evaluation.metrics.answer_metrics import normalize
from iml_jax.evaluation.metrics.numbers import EMPHASIS, plain_number

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_FINAL = re.compile(r"\banswer is:?", re.IGNORECASE)
_AT_ENDS = f"{EMPHASIS} "
_T5_ANSWER = re.compile(r"\banswer: .*?(?=\bparagraph: )", re.DOTALL)
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# TriviaQA's script puts a space for each, and takes these quotes for punctuation too.
_TRIVIA_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "\u2018\u2019\u00b4`_", " "))
_ROUGE = ("rouge1", "rouge2", "rougeLsum")
POSITIVE = frozenset({"yes", "true", "duplicate", "equivalent", "acceptable"})


class Answered(Protocol):
    """What the metrics read of an answered prompt; ``results.Prediction`` is one."""

    @property
    def prompt(self) -> str:
        """The text that was asked."""

    @property
    def prediction(self) -> str:
        """The answer."""

    @property
    def references(self) -> Sequence[str]:
        """The answers that are right."""


Metric = Callable[[Sequence[Answered]], float]


def normalize_squad(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and extra spaces (SQuAD v1.1's evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_em(answers: Sequence[Answered]) -> float:
    """Share of answers that equal a reference after ``normalize_squad``."""
    return _match(answers, normalize_squad)


def squad_f1(answers: Sequence[Answered]) -> float:
    """Mean F1 of the words in common with the best reference, after ``normalize_squad``."""
    return _words(answers, normalize_squad)


def normalize_trivia_qa(text: str) -> str:
    """As ``normalize_squad``, but every punctuation mark becomes a space (TriviaQA's evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_TRIVIA_PUNCTUATION)).split())


def trivia_qa_em(answers: Sequence[Answered]) -> float:
    """Share of answers that equal one of the aliases after ``normalize_trivia_qa``."""
    return _match(answers, normalize_trivia_qa)


def trivia_qa_f1(answers: Sequence[Answered]) -> float:
    """Mean F1 of the words in common with the best alias, after ``normalize_trivia_qa``."""
    return _words(answers, normalize_trivia_qa)


def drop_em(answers: Sequence[Answered]) -> float:
    """DROP's exact match, the best over the annotators' answers (``drop_metrics``)."""
    return _mean(
        100.0 * drop_metrics.best_scores(one.prediction, tuple(one.references))[0] for one in answers
    )


def drop_f1(answers: Sequence[Answered]) -> float:
    """DROP's F1 over bags of words with agreeing numbers, best over the answers (``drop_metrics``)."""
    return _mean(
        100.0 * drop_metrics.best_scores(one.prediction, tuple(one.references))[1] for one in answers
    )


def denotation(answers: Sequence[Answered]) -> float:
    """Share of answers with the values of a reference, in any order: parted by ", ", numbers as numbers.

    The denotation accuracy of TAPEX (Liu et al. 2022), which UnifiedSKG reports for questions about tables.
    """

    def values(text: str) -> collections.Counter[str | float]:
        return collections.Counter(map(_value, text.split(", ")))

    return _mean(100.0 * (values(one.prediction) in map(values, one.references)) for one in answers)


def _value(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text.strip()
    return number if math.isfinite(number) else text.strip()


def _match(answers: Sequence[Answered], clean: Callable[[str], str]) -> float:
    return _mean(100.0 * (clean(one.prediction) in map(clean, one.references)) for one in answers)


def _words(answers: Sequence[Answered], clean: Callable[[str], str]) -> float:
    return _mean(
        100.0 * max(_words_f1(clean(one.prediction), clean(text)) for text in one.references)
        for one in answers
    )


def _words_f1(prediction: str, reference: str) -> float:
    written, wanted = prediction.split(), reference.split()
    common = sum((collections.Counter(written) & collections.Counter(wanted)).values())
    return 2.0 * common / (len(written) + len(wanted)) if common else 0.0


def final_answer(text: str) -> str:
    """What a rationale concludes: the text after its last "the answer is", up to the end of that line.

    Without the final full stop and Markdown's emphasis; numbers in plain digits (``plain_number``), so that
    ``-$1,200.00`` is ``-1200`` (GSM8K's own scorer compares numbers as such). Empty where nothing is
    concluded.
    """
    parts = _FINAL.split(text)
    line = normalize(parts[-1].strip(" ").partition("\n")[0]) if len(parts) > 1 else ""
    number = plain_number(line)
    if number is not None:
        return number
    return line.rstrip(_AT_ENDS + ".").lstrip(_AT_ENDS).casefold()


def final_answer_accuracy(answers: Sequence[Answered]) -> float:
    """Share of rationales that conclude what a reference concludes."""

    def right(one: Answered) -> bool:
        concluded = final_answer(one.prediction)
        return bool(concluded) and concluded in {final_answer(text) for text in one.references}

    return _mean(100.0 * right(one) for one in answers)


def bleu(answers: Sequence[Answered]) -> float:
    """Corpus BLEU as ``t5.evaluation.metrics.bleu``: sacrebleu with "intl" tokens; all references count."""
    from sacrebleu.metrics.bleu import BLEU

    most = max(len(one.references) for one in answers)
    # One stream a place among the references; None where an example has fewer.
    streams = [
        [one.references[place] if place < len(one.references) else None for one in answers]
        for place in range(most)
    ]
    scorer = BLEU(tokenize="intl", smooth_method="exp")
    return float(scorer.corpus_score([one.prediction for one in answers], streams).score)  # type: ignore[arg-type]


def rouge1(answers: Sequence[Answered]) -> float:
    """Mean Rouge-1 F1 of the best reference, as ``t5.evaluation.metrics.rouge`` (summaries)."""
    return _mean(_rouge(one.prediction, tuple(one.references))[0] for one in answers)


def rouge2(answers: Sequence[Answered]) -> float:
    """Mean Rouge-2 F1 of the best reference, as ``t5.evaluation.metrics.rouge`` (summaries)."""
    return _mean(_rouge(one.prediction, tuple(one.references))[1] for one in answers)


def rouge_lsum(answers: Sequence[Answered]) -> float:
    """Mean Rouge-Lsum F1 of the best reference, as ``t5.evaluation.metrics.rouge`` (summaries).

    The longest common subsequences of the lines; ``" . "`` ends a line too.
    """
    return _mean(_rouge(one.prediction, tuple(one.references))[2] for one in answers)


@functools.lru_cache(maxsize=1 << 14)
def _rouge(prediction: str, references: tuple[str, ...]) -> tuple[float, ...]:
    """Points of Rouge-1, Rouge-2 and Rouge-Lsum; a page of comparisons asks for them again and again."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(rouge_types=list(_ROUGE), use_stemmer=False)
    said, *wanted = (text.replace(" . ", " .\n") for text in (prediction, *references))
    found = [scorer.score(target=text, prediction=said) for text in wanted]
    return tuple(100.0 * max(one[kind].fmeasure for one in found) for kind in _ROUGE)


def _labels(answers: Sequence[Answered]) -> tuple[list[str], list[str]]:
    """(right, given) labels; of several right ones the given one, if it is among them, else the first."""
    right, given = [], []
    for one in answers:
        wanted = [normalize(text) for text in one.references]
        given.append(normalize(one.prediction))
        right.append(given[-1] if given[-1] in wanted else wanted[0])
    return right, given


def macro_f1(answers: Sequence[Answered]) -> float:
    """Unweighted mean of each class's F1; the classes are the labels that are right somewhere.

    As ``t5.evaluation.metrics.mean_multiclass_f1`` where every class occurs. A text that is never right is no
    class of its own, only a wrong answer. RAFT's metric; CrossFit's for classification.
    """
    from sklearn.metrics import f1_score

    right, given = _labels(answers)
    classes = sorted(set(right))
    return 100.0 * float(f1_score(right, given, labels=classes, average="macro", zero_division=0))


def positive_f1(answers: Sequence[Answered]) -> float:
    """F1 of the positive class, a label in ``POSITIVE``; a text that is no label is a wrong answer.

    As ``t5.evaluation.metrics.f1_score_with_invalid`` (GLUE's MRPC and QQP; over all of MultiRC's answers,
    whose labels in GPT-3's prompts stand before the answer, ``[True] ...``).
    """
    right, given = _labels(answers)
    wanted = [label.casefold() in POSITIVE or label.startswith("[True] ") for label in right]
    # Of two classes a wrong answer is the other one; so is, as in T5, a text that is no label.
    chosen = [truth == (a == b) for truth, a, b in zip(wanted, right, given, strict=True)]
    both = sum(a and b for a, b in zip(wanted, chosen, strict=True))
    return 200.0 * both / (sum(wanted) + sum(chosen)) if both else 0.0


def matthews(answers: Sequence[Answered]) -> float:
    """Matthews correlation of the labels (GLUE's CoLA); 0 where one side is constant."""
    from sklearn.metrics import matthews_corrcoef

    right, given = _labels(answers)
    return 100.0 * float(matthews_corrcoef(right, given)) if len({*right, *given}) > 1 else 0.0


def _numbers(answers: Sequence[Answered]) -> tuple[list[float], list[float]]:
    """(right, given) numbers; -1 for a text that is none, as T5 reads STS-B's answers."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return -1.0
        return value if math.isfinite(value) else -1.0

    return [number(one.references[0]) for one in answers], [number(one.prediction) for one in answers]


def pearson(answers: Sequence[Answered]) -> float:
    """Pearson correlation of the numbers (GLUE's STS-B); 0 where it is undefined: one side is constant."""
    import scipy.stats

    return _correlation(scipy.stats.pearsonr, *_numbers(answers))


def spearman(answers: Sequence[Answered]) -> float:
    """Spearman correlation of the numbers (GLUE's STS-B); 0 where it is undefined: one side is constant."""
    import scipy.stats

    return _correlation(scipy.stats.spearmanr, *_numbers(answers))


def _correlation(
    function: Callable[..., tuple[float, float]], right: list[float], given: list[float]
) -> float:
    if len(set(right)) < 2 or len(set(given)) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly constant input: the figure is what T5's is
        value = 100.0 * float(function(right, given)[0])
    return value if math.isfinite(value) else 0.0


def question_of(prompt: str) -> str:
    """A MultiRC prompt of T5's form without its answer: the same for all answers to one question."""
    return _T5_ANSWER.sub("", prompt)


def question_em(answers: Sequence[Answered]) -> float:
    """MultiRC: share of questions of which every answer was judged right.

    As T5's ``mean_group_metric(all_match)``; the answers to a question have prompts that differ in nothing
    but the answer.
    """
    right: dict[str, bool] = {}
    for one in answers:
        question = question_of(one.prompt)
        agreed = normalize(one.prediction) in map(normalize, one.references)
        right[question] = right.get(question, True) and agreed
    return _mean(100.0 * value for value in right.values())


def exact_match(answers: Sequence[Answered]) -> float:
    """Share of answers that equal a reference but for white space; beside a main metric that is Rouge-L."""
    return _match(answers, normalize)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


CORPUS_METRICS: dict[str, Metric] = {
    "exact_match": exact_match,
    "squad_em": squad_em,
    "squad_f1": squad_f1,
    "trivia_qa_em": trivia_qa_em,
    "trivia_qa_f1": trivia_qa_f1,
    "drop_em": drop_em,
    "drop_f1": drop_f1,
    "denotation": denotation,
    "final_answer": final_answer_accuracy,
    "bleu": bleu,
    "rouge1": rouge1,
    "rouge2": rouge2,
    "rouge_lsum": rouge_lsum,
    "macro_f1": macro_f1,
    "f1": positive_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "question_em": question_em,
}
