"""Prompted rows: nothing is lost without being counted, and a cap draws fairly and repeatably."""

from __future__ import annotations

import collections

import pytest
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import prompted_examples, sampling
from iml_jax.bench.mixtures import ZERO_SHOT, PlannedTask, task_name
from iml_jax.bench.prompted_examples import TokenBudget
from iml_jax.bench.variants import FewShot, MetaICL
from iml_jax.foundation.errors import UserError


def planned(folder, rows, cap=0, variant=ZERO_SHOT, **fields):
    write_rows(folder, "t", "train", rows)
    source = FakeSource(str(folder))
    info = source.tasks()[0]
    caps = dict.fromkeys(info.splits, cap)
    return PlannedTask(task_name(info, variant.name), info, source, True, "", caps, variant, **fields)


def read(task, seed=0, split="train", **options):
    dropped = collections.Counter()
    return list(prompted_examples.prompted_examples(task, split, seed, dropped, **options)), dropped


def test_every_row_is_an_example_or_counted(tmp_path):
    rows = [
        *simple_rows(4),
        {"source": "x", "references": ["a"], "skip": True},
        {"source": "x:", "references": []},
        {"source": "  ", "references": ["a"]},
        {"source": "x:", "references": [" \n"]},
    ]
    found, dropped = read(planned(tmp_path, rows))
    assert len(found) == 4
    assert dropped == {"marked": 1, prompted_examples.NO_PROMPT: 2, prompted_examples.NO_LOSS: 1}
    assert found[1].references == ("green",)
    assert found[1].options == ("red", "green", "deep blue")
    assert found[1].example_id == "2"
    assert found[1].prompt_text.startswith("What is the colour of 1?")


def test_cap_is_random_repeatable_and_in_order(tmp_path):
    ids = {}
    for seed in range(60):
        found, dropped = read(planned(tmp_path, simple_rows(20), cap=5), seed)
        numbers = [int(row.example_id) for row in found]
        assert numbers == sorted(numbers)
        assert len(numbers) == 5
        assert dropped == {sampling.OVER_CAP: 15}
        ids[seed] = numbers
    assert ids[3] == [int(row.example_id) for row in read(planned(tmp_path, simple_rows(20), cap=5), 3)[0]]
    counts = collections.Counter(number for numbers in ids.values() for number in numbers)
    # 60 draws of 5 in 20: every row is expected 15 times, standard deviation 3.4
    assert set(counts) == set(range(1, 21))
    assert max(counts.values()) < 15 + 5 * 3.4


def test_errors_pass_through(tmp_path):
    task = planned(tmp_path, simple_rows(2))
    path = tmp_path / "t.train.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(UserError, match=r"t\.train\.jsonl:3"):
        read(task)


def words(text):
    """A tokenizer of words, for lengths that can be counted by hand."""
    return len(text.split())


def texts(row):
    return row.prompt_text, row.target_text


def test_texts_without_prompt_are_examples(tmp_path):
    rows = [{"source": "", "references": [" All of it.\n"]}, {"source": "", "references": [" "]}]
    for variant in (ZERO_SHOT, MetaICL(0)):
        fates = collections.Counter()
        found, dropped = read(planned(tmp_path, rows, variant=variant), demonstrations=fates)
        assert [texts(row) for row in found] == [("", " All of it.")]
        assert not fates
        assert dropped == {prompted_examples.NO_LOSS: 1}


def test_few_shot_evaluation_shows_the_train_split(tmp_path):
    write_rows(tmp_path, "t", "test", simple_rows(6, offset=100))
    fates = collections.Counter()
    task = planned(tmp_path, simple_rows(4), variant=FewShot(5))
    found, dropped = read(task, split="test", demonstrations=fates)
    assert len(found) == 6 and not dropped
    assert fates == {prompted_examples.SHOWN: 24, prompted_examples.MISSING: 6}
    for row in found:
        source, target = texts(row)
        assert target in ("red", "green", "deep blue") and row.options
        parts = source.split("\n\n\n")
        assert len(parts) == 5
        shown = {part.split("?")[0].split()[-1] for part in parts[:-1]}
        assert shown == {"0", "1", "2", "3"}
        assert 100 <= int(parts[-1].split("?")[0].split()[-1]) < 106
    assert found == read(task, split="test")[0]
    assert found != read(task, seed=1, split="test")[0]


def few_shot(folder, splits, variant=None):
    """A task with these splits, as (split evaluated last) -> what its prompts show."""
    for offset, split in enumerate(splits):
        write_rows(folder, "t", split, simple_rows(4, offset=100 * offset))
    source = FakeSource(str(folder))
    info = source.tasks()[0]
    caps = {splits[-1]: 0}
    task = PlannedTask("t", info, source, False, splits[-1], caps, variant or FewShot(3))
    fates = collections.Counter()
    found, dropped = read(task, split=splits[-1], demonstrations=fates)
    shown = {
        int(part.split("?")[0].split()[-1]) for row in found for part in texts(row)[0].split("\n\n\n")[:-1]
    }
    return found, dropped, shown, fates


def test_a_task_without_training_rows_shows_validation_rows(tmp_path):
    found, dropped, shown, fates = few_shot(tmp_path, ["validation", "test"])
    assert len(found) == 4 and not dropped
    assert shown == {0, 1, 2, 3} and fates == {prompted_examples.SHOWN: 12}
    _, _, shown, _ = few_shot(tmp_path / "b", ["train", "validation", "test"])
    assert shown == {0, 1, 2, 3}


class WithoutDemonstrations(FakeSource):
    """Its training rows must not be shown (as those of a source whose rows hold several questions)."""

    def demonstrations(self, task, skipped):
        return iter(())


def test_training_prompts_show_no_rows_of_another_split(tmp_path):
    for split in ("train", "validation"):
        write_rows(tmp_path, "t", split, simple_rows(6, offset=100 * (split == "validation")))
    source = WithoutDemonstrations(str(tmp_path))
    info = source.tasks()[0]
    task = PlannedTask("t", info, source, True, "validation", {"train": 0, "validation": 0}, MetaICL(3))
    fates = collections.Counter()
    found, _ = read(task, demonstrations=fates)
    assert len(found) == 6 and fates.keys() <= {prompted_examples.MISSING}
    assert not any("\n\n\n" in " ".join(texts(row)) for row in found)
    assert read(task, split="validation")[0]  # evaluated rows are prompted from what their split may show


def test_a_task_with_nothing_to_show_is_not_evaluated_with_demonstrations(tmp_path):
    for folder, splits in (("a", ["test"]), ("b", ["validation"]), ("c", ["test", "validation"])):
        found, dropped, _, fates = few_shot(tmp_path / folder, splits)
        assert not found and not fates
        assert dropped == {prompted_examples.NO_SHOTS: 4}
    # where that is asked for, other rows of the same split; never the row itself
    found, dropped, shown, fates = few_shot(tmp_path / "d", ["test"], FewShot(3, evaluated_rows=True))
    assert len(found) == 4 and not dropped and fates == {prompted_examples.SHOWN: 12}
    for row in found:
        *parts, last = [part.split("?")[0].split()[-1] for part in texts(row)[0].split("\n\n\n")]
        assert sorted([*parts, last]) == ["0", "1", "2", "3"]
    # training rows come first even then
    _, _, shown, _ = few_shot(tmp_path / "e", ["train", "test"], FewShot(3, evaluated_rows=True))
    assert shown == {0, 1, 2, 3}


@pytest.mark.parametrize("suffix_loss", [False, True])
def test_demonstrations_that_do_not_fit_go_whole_and_first_ones_first(tmp_path, suffix_loss):
    variant = MetaICL(0, suffix_loss=suffix_loss)
    task = planned(tmp_path, simple_rows(30), variant=variant)
    whole, _ = read(task)
    fates = collections.Counter()
    found, dropped = read(task, budget=TokenBudget(words, 25), demonstrations=fates)
    assert len(found) == len(whole) == 30 and not dropped
    cut = 0
    for row, full in zip(found, whole, strict=True):
        text, longest = (" ".join(texts(each)) for each in (row, full))
        assert longest.endswith(text)
        parts, all_parts = text.split("\n\n\n"), longest.split("\n\n\n")
        assert parts == all_parts[-len(parts) :]
        cut += len(all_parts) - len(parts)
        assert words(text) <= 25
        if len(parts) < len(all_parts):  # one more would have been too much
            assert words("\n\n\n".join(all_parts[-len(parts) - 1 :])) > 25
    assert cut and fates[prompted_examples.CUT] == cut
    assert fates[prompted_examples.SHOWN] == sum(" ".join(texts(row)).count("\n\n\n") for row in found)
    # what does not fit by itself is left as it is
    tight = collections.Counter()
    alone, _ = read(task, budget=TokenBudget(words, 1), demonstrations=tight)
    assert [texts(row) for row in alone] == [
        texts(row) for row in read(planned(tmp_path, simple_rows(30)))[0]
    ]
    assert tight == {prompted_examples.CUT: fates[prompted_examples.CUT] + fates[prompted_examples.SHOWN]}


def test_positions_are_left_for_the_answer(tmp_path):
    write_rows(tmp_path, "t", "test", simple_rows(1, offset=100))
    # a prompt has at most 7 words and its answer 2; a demonstration 9
    for generated, answer_tokens, length, shown in (
        (False, 50, 22, 1),
        (True, 50, 22, 0),
        (True, 6, 22, 1),
        (False, 0, 3, 0),
    ):
        fates = collections.Counter()
        variant = FewShot(1, answer_tokens=answer_tokens)
        task = planned(tmp_path, simple_rows(9), variant=variant, generated=generated)
        (row,), _ = read(task, split="test", budget=TokenBudget(words, length), demonstrations=fates)
        assert fates[prompted_examples.SHOWN] == shown, (generated, answer_tokens, length)
        assert bool(row.options) == (not generated)
