"""Benchmarks' own metrics against T5's functions and definitions written out here."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import re
import string

import numpy as np
import pytest

from iml_jax.evaluation.metrics import benchmark_metrics, corpus_metrics
from iml_jax.evaluation.results import Prediction
from iml_jax.storage import tables

WORDS = ("the", "The", "a", "an", "cat", "dog", "cat.", "runs,", "it's", "über", "3.5", "mat", "sat", "on")


@dataclasses.dataclass(frozen=True)
class Answer:
    prediction: str
    references: tuple[str, ...]
    prompt: str = ""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def sentence(rng: np.random.Generator, least: int = 1, most: int = 14) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(least, most + 1)))


def edited(rng: np.random.Generator, text: str) -> str:
    """The text with some words exchanged, so that n-grams agree in part."""
    return " ".join(str(rng.choice(WORDS)) if rng.random() < 0.25 else word for word in text.split())


def labelled(rng: np.random.Generator, classes: list[str], count: int = 200) -> tuple[list[int], list[int]]:
    right = rng.integers(len(classes), size=count)
    given = np.where(rng.random(count) < 0.6, right, rng.integers(len(classes), size=count))
    return right.tolist(), given.tolist()


def answers(right: list[str], given: list[str]) -> list[Answer]:
    return [Answer(b, (a,)) for a, b in zip(right, given, strict=True)]


def test_bleu_equals_t5_and_takes_any_number_of_references(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    references = [sentence(rng, 5, 20) for _ in range(60)]
    predictions = [edited(rng, text) for text in references]
    pairs = answers(references, predictions)
    expected = t5.bleu(references, predictions)["bleu"]
    assert 5 < expected < 95
    assert corpus_metrics.bleu(pairs) == pytest.approx(expected, abs=1e-9)
    # A corpus metric: not the mean over single answers.
    alone = np.mean([corpus_metrics.bleu([one]) for one in pairs])
    assert abs(alone - expected) > 0.1
    second = [sentence(rng, 5, 20) for _ in references]
    both = [Answer(p, (a, b)) for p, a, b in zip(predictions, references, second, strict=True)]
    expected = t5.bleu([references, second], predictions)["bleu"]
    assert corpus_metrics.bleu(both) == pytest.approx(expected, abs=1e-9)
    # Where one example alone has a second reference, it must not shift the others'.
    uneven = [both[0], *pairs[1:]]
    padded = [second[0], *references[1:]]
    expected = t5.bleu([references, padded], predictions)["bleu"]
    assert corpus_metrics.bleu(uneven) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("said", "wanted", "right"),
    [
        ("rome, oslo", "oslo, rome", True),
        ("oslo, oslo", "oslo", False),
        ("oslo", "oslo, rome", False),
        ("3", "3.0", True),
        ("1e3, x", "x, 1000", True),
        ("1,000", "1000", False),  # not of TAPEX's numbers
        (" oslo ", "oslo", True),
        ("Oslo", "oslo", False),
        ("nan", "nan", True),
    ],
)
def test_denotation(said: str, wanted: str, right: bool) -> None:
    assert corpus_metrics.denotation([Answer(said, ("other", wanted))]) == 100 * right


def test_rouge_of_summaries_equals_t5(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    ends = np.array([" . ", "\n", " "])
    found: list[Answer] = []
    for _ in range(20):
        wanted = str(rng.choice(ends)).join(sentence(rng, 3, 9) for _ in range(3))
        found.append(Answer(str(rng.choice(ends)).join(edited(rng, wanted).split("\n")), (wanted,)))
    metrics = {"rouge1": corpus_metrics.rouge1, "rouge2": corpus_metrics.rouge2}
    metrics["rougeLsum"] = corpus_metrics.rouge_lsum
    # One pair at a time: T5 gives the middle of a bootstrap over pairs.
    alone = [t5.rouge(one.references, [one.prediction]) for one in found]
    for name, metric in metrics.items():
        expected = np.mean([one[name] for one in alone])
        assert metric(found) == pytest.approx(expected, abs=1e-9)
        assert 5 < expected < 98
    both = [Answer(one.prediction, (sentence(rng), *one.references)) for one in found]
    assert all(metric(both) >= metric(found) for metric in metrics.values())  # the best reference counts


def official_squad(prediction: str, references: tuple[str, ...]) -> tuple[float, float]:
    """SQuAD v1.1's exact match and F1, from its definition."""

    def clean(text: str) -> list[str]:
        kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return [word for word in re.split(r"\s+", kept) if word and word not in ("a", "an", "the")]

    best_match, best_f1 = 0.0, 0.0
    for reference in references:
        said, wanted = clean(prediction), clean(reference)
        best_match = max(best_match, float(said == wanted))
        same = sum(min(said.count(word), wanted.count(word)) for word in set(said))
        if same:
            precision, recall = same / len(said), same / len(wanted)
            best_f1 = max(best_f1, 2 * precision * recall / (precision + recall))
    return best_match, best_f1


def test_squad_equals_t5_and_the_definition(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    found = []
    for _ in range(200):
        references = tuple(sentence(rng, 1, 4) for _ in range(rng.integers(1, 4)))
        found.append(Answer(edited(rng, references[-1]), references))
    expected = t5.squad([list(one.references) for one in found], [one.prediction for one in found])
    em, f1 = corpus_metrics.squad_em(found), corpus_metrics.squad_f1(found)
    assert 0 < em < f1 < 100
    assert (em, f1) == pytest.approx((expected["em"], expected["f1"]), abs=1e-9)
    by_hand = np.mean([official_squad(one.prediction, one.references) for one in found], axis=0) * 100
    assert (em, f1) == pytest.approx(tuple(by_hand), abs=1e-9)
    assert corpus_metrics.squad_em([Answer("The cat!", ("a  Cat",))]) == 100
    # Punctuation goes before articles do: here "the" is no word of its own.
    qa_utils = pytest.importorskip("t5.evaluation.qa_utils")
    assert qa_utils.normalize_squad("the-cat") == corpus_metrics.normalize_squad("the-cat") == "thecat"


def test_trivia_qa_equals_t5(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    marks = np.array(["", "", "'", "\u2019", "\u2018s", "_", "-", ". ", "`", " the "])
    found = []
    for _ in range(300):
        aliases = tuple(sentence(rng, 1, 4).replace(" ", str(rng.choice(marks)) + " ") for _ in range(3))
        given = edited(rng, str(rng.choice(aliases))).replace(" ", str(rng.choice(marks)) + " ")
        found.append(Answer(given, aliases))
    expected = t5.trivia_qa([list(one.references) for one in found], [one.prediction for one in found])
    em, f1 = corpus_metrics.trivia_qa_em(found), corpus_metrics.trivia_qa_f1(found)
    assert (em, f1) == pytest.approx((expected["em"], expected["f1"]), abs=1e-9)
    assert 0 < em < f1 < 100
    # A hyphen parts words here and joins them under SQuAD's rules.
    pair = [Answer("spider man", ("Spider-Man",))]
    assert (corpus_metrics.trivia_qa_em(pair), corpus_metrics.squad_em(pair)) == (100, 0)


def test_f1_and_matthews_equal_t5(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    names = ["not_duplicate", "duplicate"]
    right, given = labelled(rng, names)
    texts = [[names[i] for i in side] for side in (right, given)]
    texts[1][:5] = ["dunno"] * 5  # no label at all
    given[:5] = [-1] * 5
    pairs = answers(*texts)
    expected = t5.f1_score_with_invalid(np.array(right), np.array(given))["f1"]
    assert corpus_metrics.positive_f1(pairs) == pytest.approx(expected, abs=1e-9)
    wrapper = t5.sklearn_metrics_wrapper("matthews_corrcoef", metric_post_process_fn=lambda x: 100 * x)
    assert corpus_metrics.matthews(pairs) == pytest.approx(
        wrapper(right, given)["matthews_corrcoef"], abs=1e-9
    )
    classes = ["entailment", "neutral", "contradiction"]
    right, given = labelled(rng, classes)
    expected = t5.mean_multiclass_f1(num_classes=3)(right, given)["mean_3class_f1"]
    pairs = answers([classes[i] for i in right], [classes[i] for i in given])
    assert corpus_metrics.macro_f1(pairs) == pytest.approx(expected, abs=1e-9)


def test_multirc_labels_before_the_answer() -> None:
    right = ["[True] x", "[False] y", "[True] z"]
    given = ["[True] x", "[True] y", "[False] z"]
    assert corpus_metrics.positive_f1(answers(right, given)) == pytest.approx(50)  # 1 hit, 1 false, 1 missed


def test_macro_f1_by_hand() -> None:
    # class a: 1 hit of 2, nothing false: F1 2/3; class b: 1 of 1, nothing false: F1 1; "c" is no class.
    assert corpus_metrics.macro_f1(answers(["a", "a", "b"], ["a", "c", "b"])) == pytest.approx(100 * 5 / 6)


def test_constant_answers_correlate_with_nothing() -> None:
    pairs = answers(["1.0", "2.0", "3.0"], ["2.0", "2.0", "2.0"])
    for metric in (corpus_metrics.matthews, corpus_metrics.pearson, corpus_metrics.spearman):
        assert metric(pairs) == 0
        assert metric(pairs[1:2]) == 0
    assert corpus_metrics.positive_f1(answers(["True"] * 2, ["False"] * 2)) == 0


def test_correlations_equal_t5(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    right = np.round(rng.uniform(0, 5, 80) * 5) / 5
    given = np.round((right + rng.normal(0, 1, 80)) * 5) / 5
    pairs = answers([f"{x:.1f}" for x in right], [f"{x:.1f}" for x in given])
    pairs[0] = dataclasses.replace(pairs[0], prediction="very alike")  # T5 reads what is no number as -1
    given[0] = -1
    for name, metric in (("pearson", corpus_metrics.pearson), ("spearman", corpus_metrics.spearman)):
        expected = getattr(t5, f"{name}_corrcoef")(right, given)[f"{name}_corrcoef"]
        assert metric(pairs) == pytest.approx(expected, abs=1e-9)
        assert 10 < expected < 100


def test_multirc_equals_t5(rng: np.random.Generator) -> None:
    t5 = pytest.importorskip("t5.evaluation.metrics")
    found, targets, predictions = [], [], []
    for number in range(60):
        question, paragraph = f"Q{number % 40}?", f"P{number % 20} says: answer: none."
        for choice in range(rng.integers(1, 5)):
            right = int(rng.integers(2))
            given = right if rng.random() < 0.8 else 1 - right
            prompt = f"multirc question: {question} answer: A{choice} {number} paragraph: {paragraph}"
            found.append(Answer(("False", "True")[given], (("False", "True")[right],), prompt))
            key = f"{question}/{paragraph}"
            targets.append({"group": key, "value": right})
            predictions.append({"group": key, "value": given})
    f1 = t5.multirc_f1_over_all_answers(targets, predictions)["f1"]
    em = t5.mean_group_metric(t5.all_match)(targets, predictions)["exact_match"]
    assert corpus_metrics.positive_f1(found) == pytest.approx(f1, abs=1e-9)
    assert corpus_metrics.question_em(found) == pytest.approx(em, abs=1e-9)
    assert 0 < em < 100


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She has 3 + 4 = 7. The answer is 7.", "7"),
        ("The answer is $1,200.00.", "1200"),
        ("the answer is: yes", "yes"),
        ("The answer is 3. No: the answer is -0.50%", "-0.5"),
        ("The answer is (C).\nSo there", "(c)"),
        ("The answer is 72 apples.", "72 apples"),
        ("It is 7.", ""),
        ("The answer is ", ""),
        ("The answer is nan", "nan"),
        ("The answer is 1e999999999", "1e999999999"),
        ("The answer is \nno", ""),
    ],
)
def test_final_answer(text: str, answer: str) -> None:
    assert corpus_metrics.final_answer(text) == answer


def test_final_answer_accuracy() -> None:
    references = ("Half of 8 is 4. The answer is 4.", "8 / 2 = 4. The answer is 4.")
    right = Answer("8 - 4 = 4. The answer is 4.0", references)
    assert corpus_metrics.final_answer_accuracy([right, Answer("The answer is 5.", references)]) == 50
    # No conclusion is never right, whatever the reference is.
    assert corpus_metrics.final_answer_accuracy([Answer("4", ("4",))]) == 0


def prediction(template: str, text: str, reference: str) -> Prediction:
    return Prediction("raft:x:zero_shot", "1", template, "", text, (reference,), (), (), 0.0, 0)


def test_only_asked_tasks_have_other_metrics_and_templates_count_alike() -> None:
    assert benchmark_metrics.names("super_natural_instructions", "task001") == ()
    assert benchmark_metrics.compute("flan", "copa", [prediction("", "a", "a")]) == {}
    assert benchmark_metrics.names("t5", "glue_stsb_v002") == ("pearson", "spearman")
    assert benchmark_metrics.names("t5", "wmt16_enro_v003") == ("bleu",)
    asked = [prediction("one", "a", "a")] * 9 + [prediction("two", "b", "a")]
    assert benchmark_metrics.compute("raft", "x", asked) == {"macro_f1": 50.0}
    assert benchmark_metrics.compute("raft", "x", []) == {}


def test_the_table_names_metrics_that_exist_and_tasks_that_are_known() -> None:
    from iml_jax.bench import known_tasks

    known = collections.defaultdict(set)
    for row in known_tasks.every():
        known[row.benchmark].add(row.task)
    not_in_the_bench = {("unifiedskg", "e2e_nlg_cleaned"), ("unifiedskg", "web_nlg")}
    for row in tables.rows(benchmark_metrics.TABLE):
        benchmark, pattern = row["benchmark"], row["task"]
        assert set(row["metrics"].split(",")) <= set(corpus_metrics.CORPUS_METRICS)
        if benchmark in known and (benchmark, pattern) not in not_in_the_bench:
            assert fnmatch.filter(known[benchmark], pattern), (benchmark, pattern)
