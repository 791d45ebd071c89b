"""FLAN's slices of published splits, whole sets and samples of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.splits import Slice, slices

STANDARD = {"train": "train[:30000]", "validation": "validation[:200]", "test": "test"}
CUT = {"train": "train[:-200]", "validation": "train[-200:]", "test": "validation"}


def _rows(part: Slice, count: int) -> list[int]:
    return list(part.of(lambda: iter(range(count))))


# How flan/tasks.py cuts each dataset: (train, validation, test), written down apart from the table.
_OWN_SPLITS = ("train[:30000]", "validation[:200]", "test")
_FROM_LARGE = ("train[:30000]", "train[-200:]", "validation")
_FROM_LARGE_WITH_TEST = ("train[:30000]", "train[-200:]", "test")
_REVIEWS = ("train[:-600]", "train[-600:-500]", "train[-500:]")
CUTS = {
    _OWN_SPLITS: "cnn_dailymail gigaword multi_news newsroom xsum anli_r2 anli_r3 paws_wiki wmt14_enfr snli "
    "wmt16_translate_csen wmt16_translate_deen wmt16_translate_fien wmt16_translate_roen "
    "wmt16_translate_ruen wmt16_translate_tren wiki_lingua_english_en",
    ("train", "validation[:200]", "test"): "anli_r1 openbookqa samsum",
    ("train", "validation[-200:]", "test"): "aeslc",
    _FROM_LARGE: "natural_questions record trivia_qa squad_v1 squad_v2 quac glue_qqp common_gen dart e2e_nlg "
    "web_nlg_en sst2 qnli hellaswag",
    _FROM_LARGE_WITH_TEST: "math_dataset ag_news_subset sentiment140 yelp_polarity_reviews",
    ("train[:-200]", "train[-200:]", "validation"): "bool_q rte wic multirc glue_mrpc cosmos_qa cola",
    ("train[:-200]", "train[-200:]", "test"): "arc_challenge arc_easy imdb_reviews trec "
    "definite_pronoun_resolution",
    ("train[:-50]", "train[-50:]", "validation"): "wsc cb copa",
    ("train[:-30]", "train[-30:]", "validation"): "wnli",
    ("train[:-100]", "train[-100:]", "validation"): "stsb piqa",
    ("train[:-100]", "train[-100:]", "test|validation"): "coqa",
    ("validation[:-200]", "validation[-200:]", "test"): "story_cloze",
    ("train[:30000]", "train[-200:]", "dev|validation"): "drop",
    ("train[:30000]", "train[-200:]", "validation_matched|validation"): "mnli_matched",
    ("train[:30000]", "train[-200:]", "validation_mismatched"): "mnli_mismatched",
    ("train_xl|train[:30000]", "train_xl|train[-200:]", "validation"): "winogrande",
    ("", "", "test"): "wsc273",
    _REVIEWS: "opinion_abstracts_idebate opinion_abstracts_rotten_tomatoes",
    ("train[:30000]", "train[-1200:-1000]", "train[-1000:]"): "para_crawl_enes",
    ("train[:30000]", "train[30000:30200]", "train[-3000:]"): "true_case",
    ("train[30200:60200]", "train[60200:60400]", "train[-3000:]"): "fix_punct",
    ("train[60400:90400]", "train[90400:90600]", "train[-3000:]"): "word_segment",
}


def test_every_task_is_cut_as_flan_cuts_it() -> None:
    wanted = {task: specs for specs, tasks in CUTS.items() for task in tasks.split()}
    assert {task: tuple(form.specs.values()) for task, form in forms().items()} == wanted


@pytest.mark.parametrize("count", [20_001, 100_000])
def test_whole_sets_are_cut_as_tfds_cuts_them(count: int) -> None:
    """Python's own slices say the same as TFDS's, for every slice of every task."""
    for form in forms().values():
        published = {spec.partition("[")[0].split("|")[0] for spec in form.specs.values()} - {""}
        made = slices(form.specs, published)
        assert set(made) == {split for split, spec in form.specs.items() if spec}
        for split, part in made.items():
            name, _, inside = form.specs[split].partition("[")
            assert part.names == (name.split("|")[0],)
            start, _, stop = inside.removesuffix("]").partition(":")
            wanted = range(count)[int(start or 0) if start else None : int(stop) if stop else None]
            if wanted or not part.wraps:
                tail = count - part.tail
                assert _rows(part, count) == [row for row in wanted if part.start < 0 or row < tail]


@given(st.sampled_from(sorted(forms())), st.integers(0, 2_000))
def test_no_row_is_in_two_splits(task: str, count: int) -> None:
    specs = forms()[task].specs
    published = {spec.partition("[")[0].split("|")[0] for spec in specs.values()} - {""}
    seen: set[tuple[str, int]] = set()
    for part in slices(specs, published).values():
        rows = {(part.names[0], row) for row in _rows(part, count)}
        assert not rows & seen
        seen |= rows


def test_samples_lose_at_most_a_third() -> None:
    parts = slices(CUT, {"train", "validation"})
    assert [len(_rows(parts[split], 400)) for split in CUT] == [267, 133, 400]
    assert [len(_rows(parts[split], 600)) for split in ("train", "validation")] == [400, 200]
    assert [len(_rows(parts[split], 599)) for split in ("train", "validation")] == [400, 199]
    assert [len(_rows(parts[split], 1)) for split in ("train", "validation")] == [1, 0]
    paracrawl = {"train": "train[:30000]", "validation": "train[-1200:-1000]", "test": "train[-1000:]"}
    parts = slices(paracrawl, {"train"})
    assert [len(_rows(parts[split], 360)) for split in paracrawl] == [240, 20, 100]
    assert [_rows(parts[split], 5_000)[0] for split in paracrawl] == [0, 3_800, 4_000]


def test_training_rows_start_anew_where_none_is_left() -> None:
    specs = {"train": "train[30200:60200]", "validation": "train[60200:60400]", "test": "train[-3000:]"}
    parts = slices(specs, {"train"})
    assert _rows(parts["train"], 70_000) == list(range(30_200, 60_200))
    assert _rows(parts["train"], 40_000) == list(range(30_200, 37_000))
    assert _rows(parts["train"], 20_000) == list(range(17_000))
    assert _rows(parts["train"], 300) == list(range(200))
    assert [_rows(parts["validation"], count) for count in (300, 20_000, 40_000)] == [[]] * 3


def test_validation_stands_in_for_test() -> None:
    parts = slices(STANDARD, {"train", "validation"})
    assert {split: part.names for split, part in parts.items()} == {
        "train": ("train",),
        "validation": ("train",),
        "test": ("validation",),
    }
    assert [len(_rows(parts[split], 900)) for split in STANDARD] == [700, 200, 900]
    assert {split: part.names for split, part in slices(STANDARD, {"dev"}).items()} == {"test": ("dev",)}
    # The rows that one task trains on, another split of it must not test on.
    story_cloze = {"train": "validation[:-200]", "validation": "validation[-200:]", "test": "test"}
    assert set(slices(story_cloze, {"validation"})) == {"train", "validation"}
    # Matched and mismatched rows are not each other's.
    assert set(slices(forms()["mnli_mismatched"].specs, {"train", "validation"})) == {"train", "validation"}
    assert slices(forms()["mnli_matched"].specs, {"train", "validation"})["test"].names == ("validation",)


def test_names_of_published_splits() -> None:
    parts = slices(STANDARD, {"train", "val", "test_2016_flickr", "test_2017_flickr"})
    assert parts["validation"] == Slice(("val",), 0, 200)
    assert parts["test"].names == ("test_2016_flickr", "test_2017_flickr")
    assert slices(forms()["winogrande"].specs, {"train_xl", "train"})["train"].names == ("train_xl",)
    assert slices(forms()["winogrande"].specs, {"train"})["train"].names == ("train",)
    assert slices(STANDARD, {"training_set", "challenge"}) == {}
    with pytest.raises(ValueError, match="no slice"):
        slices({"train": "train[1]", "test": ""}, {"train"})


def test_a_slice_from_the_start_reads_no_more_than_it_needs() -> None:
    read = 0

    def rows() -> Iterator[int]:
        nonlocal read
        for number in range(1_000_000):
            read = number
            yield number

    part = dataclasses.replace(Slice(("train",), 0, 100), tail=50)
    assert list(part.of(rows)) == list(range(100))
    assert read < 300
