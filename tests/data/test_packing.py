"""iml_jax/data/packing.py against plain restatements."""

import itertools

import grain
import numpy as np
import pytest
from grain.experimental import FirstFitPackIterDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from iml_jax.data import record_format
from iml_jax.data.packing import PAD, batch_of_rows, pack, training_example

IDS = st.lists(st.integers(4, 50000), max_size=30)


def plain_example(inputs, targets, length):
    """Position by position: (token, next token, is the next one a target token), the last `length`."""
    tokens = [(token, False) for token in inputs] + [(token, True) for token in targets]
    pairs = [(a, b, int(target)) for (a, _), (b, target) in itertools.pairwise(tokens)]
    return pairs[-length:]


@given(inputs=IDS, targets=st.lists(st.integers(4, 50000), max_size=30), length=st.integers(1, 40))
def test_training_example_equals_the_plain_rule(inputs, targets, length):
    targets = [*targets, 2]
    found = training_example(np.array(inputs, np.int64), np.array(targets, np.int64), length)
    assert found.dtype == np.int32
    assert [tuple(row) for row in found.tolist()] == plain_example(inputs, targets, length)
    if len(found):
        # The end of the target survives any truncation, and every kept target token counts.
        assert found[-1, 1] == 2
        assert found[:, 2].sum() == min(len(found), len(targets) if inputs else len(targets) - 1)
        assert found[-1, 2] == 1


@given(
    inputs=st.integers(0, 60),
    targets=st.integers(1, 60),
    length=st.integers(1, 20),
)
def test_what_is_stored_gives_the_same_training_rows(inputs, targets, length):
    """With rows of at most 20 positions, which are quicker to try than 16,384."""
    given_inputs, given_targets = np.arange(inputs), 100 + np.arange(targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_format, "LONGEST_ROW", 20)
        kept = record_format.truncate_example(given_inputs, given_targets)
    whole, cut = (training_example(*pair, length) for pair in ((given_inputs, given_targets), kept))
    np.testing.assert_array_equal(whole, cut)
    sizes = len(given_inputs) + len(given_targets), len(kept[0]) + len(kept[1])
    assert sizes[1] == min(sizes[0], 22)
    assert (sizes[0] - 1 > length) == (sizes[1] - 1 > length)


@given(inputs=st.integers(0, 60), targets=st.integers(1, 60), positions=st.integers(1, 20))
def test_what_is_stored_of_a_question_is_all_that_a_model_reads(inputs, targets, positions):
    prompt = np.arange(inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_format, "LONGEST_ROW", 20)
        kept, answer, cut = record_format.truncate_question(prompt, 100 + np.arange(targets))
    np.testing.assert_array_equal(kept[-positions:], prompt[-positions:])
    assert cut + len(kept) == inputs and len(kept) <= 22 and len(answer) == min(targets, 22)
    assert (inputs > positions) == (len(kept) > positions)


def test_truncation_takes_the_left_of_the_source():
    found = training_example(np.arange(10, 20), np.array([30, 31, 2]), 5)
    assert found[:, 0].tolist() == [17, 18, 19, 30, 31]
    assert found[:, 1].tolist() == [18, 19, 30, 31, 2]
    assert found[:, 2].tolist() == [0, 0, 1, 1, 1]


def examples_of(lengths):
    """Example k has tokens and targets that name it, and weights of 1 on its second half."""
    made = []
    for number, length in enumerate(lengths):
        tokens = np.empty((length, 3), np.int32)
        tokens[:, 0] = 1000 * (number + 1) + np.arange(length)
        tokens[:, 1] = tokens[:, 0] + 1
        tokens[:, 2] = np.arange(length) >= length // 2
        made.append({"tokens": tokens, "task": number})
    return made


def plain_first_fit(lengths, length, bins):
    """First-fit as described in Grain's documentation: sets of rows, each row the examples it holds."""
    groups, rows = [], [[]]
    for number, size in enumerate(lengths):
        fitting = [row for row in rows if sum(lengths[other] for other in row) + size <= length]
        if not fitting and len(rows) == bins:
            groups.append(rows)
            rows, fitting = [[]], None
        if fitting:
            fitting[0].append(number)
        elif rows[-1]:
            rows.append([number])
        else:
            rows[-1].append(number)
    return [*groups, rows]


def iterate(made, length, bins, seed=0):
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return pack(grain.MapDataset.source(made).to_iter_dataset(options), length, bins, seed)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=60),
    bins=st.integers(1, 6),
    seed=st.integers(0, 5),
)
def test_every_example_appears_once_and_whole(lengths, bins, seed):
    length = 24
    made = examples_of(lengths)
    rows = list(iterate(made, length, bins, seed))
    batch = batch_of_rows(rows)
    assert batch.inputs.shape == (len(rows), length)
    dtypes = [field.dtype for field in batch]
    assert dtypes == [np.int32, np.int32, np.float32, np.int32, np.int32]
    seen = []
    for row in range(len(rows)):
        segments = batch.segment_ids[row]
        tasks = list(rows[row]["task"])
        for segment, number in enumerate(tasks, start=1):
            at = np.flatnonzero(segments == segment)
            assert at.tolist() == list(range(at[0], at[0] + lengths[number]))  # whole and in one piece
            np.testing.assert_array_equal(batch.inputs[row, at], made[number]["tokens"][:, 0])
            np.testing.assert_array_equal(batch.targets[row, at], made[number]["tokens"][:, 1])
            np.testing.assert_array_equal(batch.loss_weights[row, at], made[number]["tokens"][:, 2])
            assert batch.positions[row, at].tolist() == list(range(lengths[number]))
            seen.append(number)
        padding = segments == 0
        assert padding.sum() == length - sum(lengths[number] for number in tasks)
        assert np.all(batch.inputs[row, padding] == PAD)
        assert np.all(batch.targets[row, padding] == PAD)
        assert np.all(batch.loss_weights[row, padding] == 0)
        assert np.all(batch.positions[row, padding] == 0)
    assert sorted(seen) == list(range(len(lengths)))
    assert batch.loss_weights.sum() == sum(example["tokens"][:, 2].sum() for example in made)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=60), bins=st.integers(1, 6))
def test_packs_first_fit(lengths, bins):
    rows = [sorted(row["task"]) for row in iterate(examples_of(lengths), 24, bins)]
    place = 0
    for group in plain_first_fit(lengths, 24, bins):
        assert sorted(rows[place : place + len(group)]) == sorted(group)
        place += len(group)
    assert place == len(rows)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=2, max_size=60),
    bins=st.integers(1, 6),
    data=st.data(),
)
def test_state_restores_a_fresh_iterator_exactly(lengths, bins, data):
    made = examples_of(lengths)
    whole = [row["tokens"].tobytes() for row in iterate(made, 24, bins)]
    stop = data.draw(st.integers(0, len(whole)))
    first = iter(iterate(made, 24, bins))
    for _ in range(stop):
        next(first)
    fresh = iter(iterate(made, 24, bins))
    fresh.set_state(first.get_state())
    assert [row["tokens"].tobytes() for row in fresh] == whole[stop:]


def test_batches_do_not_share_memory_with_the_packer():
    rows = list(iterate(examples_of([5, 7, 9]), 24, 2))
    batch = batch_of_rows(rows)
    before = batch.inputs.copy()
    for row in rows:
        row["tokens"][:] = -1
    np.testing.assert_array_equal(batch.inputs, before)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=80),
    bins=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    kept=st.integers(0, 20),
)
def test_rows_order_and_state_are_grains(lengths, bins, seed, kept):
    """Grain's own packer is the reference: runs saved under it go on under ours."""
    source = grain.MapDataset.source(examples_of(lengths)).to_iter_dataset()
    theirs = FirstFitPackIterDataset(
        source,
        length_struct={"tokens": 12},
        num_packing_bins=bins,
        seed=seed,
        meta_features=("task",),
        padding_struct={"tokens": PAD},
    )
    reference, found = iter(theirs), iter(pack(source, 12, bins, seed))
    expected = list(reference)
    states = []
    for row in expected:
        states.append(found.get_state())
        ours = next(found)
        assert ours.keys() == row.keys()
        assert all(np.array_equal(ours[name], row[name]) for name in ours)
    assert next(found, None) is None
    place = kept % len(expected)
    again, reference = iter(pack(source, 12, bins, seed)), iter(theirs)
    again.set_state(states[place])
    reference.set_state(states[place])
    for row, ours in zip(reference, again, strict=True):
        assert all(np.array_equal(ours[name], row[name]) for name in ours)
