"""iml_jax/data/loader.py: the same stream for any hosts, exact resume, exact counts, clear refusals."""

import collections
import dataclasses
import itertools
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.fixtures_prepared import SyntheticTask, random_rows

from iml_jax.data import manifest as manifests
from iml_jax.data.batch import Batch
from iml_jax.data.loader import LoaderConfig, make_loader, merge_states
from iml_jax.data.packing import training_example
from iml_jax.foundation.errors import UserError

CONFIG = LoaderConfig(batch_size=8, virtual_shards=4, seed=5, packing_bins=16, prefetch=2)
LENGTH = 64
EVERY = "sampled_before", "sampled_since"


def bench(rng, sizes=(1, 3, 17, 60), rates=(1.0, 2.0, 3.0, 4.0)):
    return [
        SyntheticTask(
            f"bench:t{number}:zero_shot", {"train": random_rows(rng, size, high=90)}, rate, shards=2
        )
        for number, (size, rate) in enumerate(zip(sizes, rates, strict=True))
    ]


@pytest.fixture
def prepared(make_prepared):
    return make_prepared(bench(np.random.default_rng()), length=LENGTH)


@pytest.fixture
def open_loader():
    """make_loader whose loaders are closed at the end."""
    opened = []

    def make(*arguments, **options):
        opened.append(make_loader(*arguments, **options))
        return opened[-1]

    yield make
    for loader in opened:
        loader.close()


def take(loader, count):
    return [next(loader) for _ in range(count)]


def joined(parts):
    """The global batch from the hosts' local ones."""
    return Batch(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def hosts(open_loader, prepared, count, config=CONFIG):
    return [open_loader(prepared, config, process_index=host, process_count=count) for host in range(count)]


def test_a_host_whose_rows_lie_apart_reads_those(prepared, open_loader):
    whole = open_loader(prepared, CONFIG)
    one, other = (open_loader(prepared, CONFIG, rows=rows) for rows in ([(0, 2), (4, 6)], [(2, 4), (6, 8)]))
    for _ in range(3):
        batch, first, second = next(whole), next(one), next(other)
        same(Batch(*(field[[0, 1, 4, 5]] for field in batch)), first)
        same(Batch(*(field[[2, 3, 6, 7]] for field in batch)), second)
    merged = merge_states([one.state(), other.state()])
    assert merged["shards"] == whole.state()["shards"]
    with pytest.raises(UserError, match=r"rows 1 to 2, which are no whole virtual shards of 2 rows"):
        make_loader(prepared, CONFIG, rows=[(1, 3)])


def examples_in(batch):
    """Every packed example as (input ids, targets, weights) bytes, by row and segment."""
    for row in range(len(batch.inputs)):
        for segment in range(1, batch.segment_ids[row].max() + 1):
            at = batch.segment_ids[row] == segment
            yield tuple(field[row, at].tobytes() for field in batch[:3])


def test_batches_have_the_shape_of_the_contract(prepared, open_loader):
    batch = next(open_loader(prepared, CONFIG))
    assert [field.shape for field in batch] == [(8, LENGTH)] * 5
    assert [field.dtype.name for field in batch] == ["int32", "int32", "float32", "int32", "int32"]
    assert set(np.unique(batch.loss_weights)) <= {0.0, 1.0}
    assert next(open_loader(prepared, dataclasses.replace(CONFIG, length=100))).inputs.shape == (8, 100)


def test_every_example_is_a_record_of_the_tasks_and_is_counted(make_prepared, open_loader):
    """Restates the stream from the files: contents, and sampled_counts of exactly what was handed out."""
    tasks = bench(np.random.default_rng())
    prepared = make_prepared(tasks, length=LENGTH)
    known = {}
    for task in tasks:
        for row in task.splits["train"]:
            example = training_example(row["prompt_ids"], row["target_ids"], LENGTH)
            columns = [example[:, 0], example[:, 1], example[:, 2].astype(np.float32)]
            known[tuple(np.ascontiguousarray(column).tobytes() for column in columns)] = task.name
    loader = open_loader(prepared, CONFIG)
    assert set(loader.sampled_counts().values()) == {0}
    found = collections.Counter()
    for _ in range(12):
        found.update(known[example] for example in examples_in(next(loader)))
        assert loader.sampled_counts() == {task.name: found[task.name] for task in tasks}
    assert loader.batches == 12


def test_rates_are_kept_by_a_task_with_fewer_records_than_shards(prepared, open_loader):
    loader = open_loader(prepared, dataclasses.replace(CONFIG, packing_bins=1))
    take(loader, 400)
    counts = np.array(list(loader.sampled_counts().values()))
    np.testing.assert_allclose(counts / counts.sum(), [0.1, 0.2, 0.3, 0.4], atol=0.01)


@pytest.mark.parametrize("count", [2, 4])
def test_rows_are_the_same_for_any_number_of_hosts(prepared, open_loader, count):
    alone = open_loader(prepared, CONFIG)
    together = hosts(open_loader, prepared, count)
    for _ in range(6):
        same(next(alone), joined([next(loader) for loader in together]))
    merged = merge_states([loader.state() for loader in together])
    assert merged["shards"] == alone.state()["shards"]
    assert merged["sampled_since"] == list(alone.sampled_counts().values())


@pytest.mark.parametrize("before, after", list(itertools.product([1, 2, 4], repeat=2)))
def test_resumes_exactly_with_another_host_count(prepared, open_loader, before, after):
    first = hosts(open_loader, prepared, before)
    for loader in first:
        take(loader, 5)
    text = json.dumps(merge_states([loader.state() for loader in first]))
    expected = [joined(parts) for parts in zip(*(take(loader, 4) for loader in first), strict=True)]
    second = hosts(open_loader, prepared, after)
    for loader in second:
        loader.restore(json.loads(text))
        assert loader.batches == 5
    for batch in expected:
        same(joined([next(loader) for loader in second]), batch)
    ends = [merge_states([loader.state() for loader in loaders]) for loaders in (first, second)]
    totals = [np.sum([end[name] for name in EVERY], axis=0).tolist() for end in ends]
    assert totals[0] == totals[1]
    assert ends[0]["shards"] == ends[1]["shards"]


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_state_is_of_the_last_batch_handed_out(prepared, open_loader, prefetch):
    """Whatever the thread has prepared ahead, and at every place in the packer's cycle."""
    whole = take(open_loader(prepared, CONFIG), 12)
    loader = open_loader(prepared, dataclasses.replace(CONFIG, prefetch=prefetch))
    states = [json.loads(json.dumps(loader.state()))]
    for _ in range(11):
        next(loader)
        states.append(json.loads(json.dumps(loader.state())))
    fresh = open_loader(prepared, CONFIG)
    for number in (3, 0, 11, 7):  # one loader, forwards and backwards
        fresh.restore(states[number])
        same(next(fresh), whole[number])
    assert fresh.batches == 8


def test_counts_go_on_through_one_restore_after_another(prepared, open_loader):
    whole = open_loader(prepared, CONFIG)
    take(whole, 9)
    state = open_loader(prepared, CONFIG).state()
    for _ in range(3):
        loader = open_loader(prepared, CONFIG)
        loader.restore(state)
        take(loader, 3)
        state = json.loads(json.dumps(loader.state()))
    assert loader.sampled_counts() == whole.sampled_counts()
    assert sum(state["sampled_since"]) < sum(loader.sampled_counts().values())
    assert state["shards"] == json.loads(json.dumps(whole.state()))["shards"]


def test_shards_do_not_all_refill_in_the_same_step(prepared, open_loader):
    """Filling all packers at once would stall one step in many; after the first time they take turns."""
    config = LoaderConfig(batch_size=4, virtual_shards=4, packing_bins=16, prefetch=0)
    loader = open_loader(prepared, config)
    started, refilled = [], []
    for _ in range(90):
        next(loader)
        started.append([state["parent"]["next_index"] for state in loader.state()["shards"].values()])
        if len(started) > 1:
            refilled.append(sum(a != b for a, b in zip(*started[-2:], strict=True)))
    assert sum(refilled) >= 4 * 5
    assert max(refilled) <= 2


def test_seeds_give_other_streams(prepared, open_loader):
    first = next(open_loader(prepared, CONFIG))
    other = next(open_loader(prepared, dataclasses.replace(CONFIG, seed=6)))
    assert not np.array_equal(first.inputs, other.inputs)
    same(first, next(open_loader(prepared, CONFIG)))


def test_one_task_and_empty_and_untrained_tasks(make_prepared, open_loader):
    rng = np.random.default_rng()
    one = SyntheticTask("bench:one:zero_shot", {"train": random_rows(rng, 2)}, 1.0)
    empty = SyntheticTask("bench:empty:zero_shot", {"train": []}, 0.0)
    held_out = SyntheticTask("bench:held:zero_shot", {"test": random_rows(rng, 3)}, 0.0, trained=False)
    loader = open_loader(make_prepared([empty, one, held_out]), CONFIG)
    take(loader, 10)
    counts = loader.sampled_counts()
    assert list(counts) == ["bench:one:zero_shot"]
    assert counts["bench:one:zero_shot"] > 100


@pytest.mark.parametrize(
    "changes, hosts_count, message",
    [
        ({"virtual_shards": 3}, 1, "virtual_shards = 3 does not divide Loader.batch_size = 8"),
        ({"virtual_shards": 4}, 3, "3 hosts do not divide Loader.virtual_shards = 4"),
        ({"batch_size": 0, "virtual_shards": 1}, 1, "Loader.batch_size must be at least 1, not 0"),
        ({"packing_bins": 0}, 1, "Loader.packing_bins must be at least 1"),
        ({"length": -1}, 1, "Loader.length must be at least 0"),
        ({"prefetch": -1}, 1, "Loader.prefetch must be at least 0"),
    ],
)
def test_impossible_settings_are_one_line(prepared, changes, hosts_count, message):
    with pytest.raises(UserError, match=message) as caught:
        make_loader(prepared, dataclasses.replace(CONFIG, **changes), process_count=hosts_count)
    assert "\n" not in str(caught.value)


def test_virtual_shards_by_default(prepared, open_loader):
    for batch_size, shards in ((6, 2), (7, 1), (32, 8), (8, 8)):
        loader = open_loader(prepared, LoaderConfig(batch_size, prefetch=0))
        assert loader.state()["virtual_shards"] == shards
        assert len(next(loader).inputs) == batch_size


def test_another_mixture_or_settings_refuse_the_state(prepared, make_prepared, open_loader):
    loader = open_loader(prepared, CONFIG)
    take(loader, 2)
    state = loader.state()
    elsewhere = open_loader(make_prepared(bench(np.random.default_rng()), length=LENGTH, name="b"), CONFIG)
    with pytest.raises(UserError, match="another prepared mixture"):
        elsewhere.restore(state)
    for change in (
        {"seed": 6},
        {"batch_size": 16},
        {"virtual_shards": 2},
        {"length": 32},
        {"packing_bins": 4},
    ):
        name = next(iter(change))
        other = open_loader(prepared, dataclasses.replace(CONFIG, **change))
        with pytest.raises(UserError, match=f"another {name}"):
            other.restore(state)
    with pytest.raises(UserError, match="format 99"):
        loader.restore({**state, "format": 99})
    half = open_loader(prepared, CONFIG, process_index=0, process_count=2)
    with pytest.raises(UserError, match=r"lacks virtual shards \[2, 3\]"):
        loader.restore(half.state())
    # prefetching is no part of the order
    free = open_loader(prepared, dataclasses.replace(CONFIG, prefetch=0))
    free.restore(state)
    same(next(free), next(loader))


HOSTILE = (None, True, -1, 1.5, 10**400, 1 << 60, float("nan"), "7", "", [], [3], {}, {"next_index": 1})
LEAVES = (
    ("batches",),
    ("shards",),
    ("shards", "1"),
    ("shards", "1", "parent"),
    ("shards", "1", "parent", "next_index"),
    ("shards", "1", "next_row"),
    ("shards", "1", "counter"),
    ("sampled_before",),
    ("sampled_since",),
    ("sampled_since", 2),
)


@pytest.mark.parametrize("place", LEAVES, ids=lambda place: ".".join(map(str, place)))
def test_a_damaged_state_is_one_line_and_changes_nothing(prepared, open_loader, place):
    loader = open_loader(prepared, CONFIG)
    take(loader, 5)
    text = json.dumps(loader.state())
    expected = take(loader, 2)
    fresh = open_loader(prepared, CONFIG)
    valid = {"next_index": 1} if place[-1] == "parent" else None
    for value in (*(value for value in HOSTILE if valid is None or value != valid), "missing", "unknown"):
        state = json.loads(text)
        inner = state
        for key in place[:-1]:
            inner = inner[key]
        if value == "missing":
            del inner[place[-1]]
        elif value == "unknown":
            if len(place) == 1 or isinstance(inner, list):
                continue
            inner["more"] = 1
        else:
            inner[place[-1]] = value
        with pytest.raises(UserError) as caught:
            fresh.restore(state, "run/checkpoints/5/data/metadata")
        said = str(caught.value)
        assert said.startswith("run/checkpoints/5/data/metadata: ") and "\n" not in said and len(said) < 400
        assert "; " in said
    fresh.restore(json.loads(text))
    for batch in expected:
        same(next(fresh), batch)


@pytest.mark.parametrize("state", [None, 3, [], "x", {}, {"format": [[]] * 1000}])
def test_a_state_of_another_kind_is_one_line(prepared, open_loader, state):
    with pytest.raises(UserError) as caught:
        open_loader(prepared, CONFIG).restore(state, "run/checkpoints/5/data/metadata")
    assert "run/checkpoints/5/data/metadata" in str(caught.value) and len(str(caught.value)) < 400


def test_settings_of_a_damaged_state_are_quoted_in_short(prepared, open_loader):
    loader = open_loader(prepared, CONFIG)
    for name in ("manifest", "seed", "batch_size"):
        for value in ("x" * 9999, 10**300, float("nan"), None, [[1]] * 999):
            with pytest.raises(UserError) as caught:
                loader.restore({**loader.state(), name: value})
            assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_states_of_different_steps_do_not_merge(prepared, open_loader):
    first, second = hosts(open_loader, prepared, 2)
    next(first)
    with pytest.raises(UserError, match="not of the same step"):
        merge_states([first.state(), second.state()])
    elsewhere = open_loader(prepared, dataclasses.replace(CONFIG, seed=6), process_index=1, process_count=2)
    next(elsewhere)
    with pytest.raises(UserError, match="not of the same step"):
        merge_states([first.state(), elsewhere.state()])
    next(second)
    overlapping = {
        **second.state(),
        "shards": {**second.state()["shards"], "0": first.state()["shards"]["0"]},
    }
    with pytest.raises(UserError, match="not of the same step"):
        merge_states([first.state(), overlapping])


def test_hosts_with_the_same_rows_count_once(prepared, open_loader):
    first, second = hosts(open_loader, prepared, 2)
    twin = open_loader(prepared, CONFIG, process_index=0, process_count=2)
    states = []
    for loader in (first, second, twin):
        take(loader, 3)
        states.append(loader.state())
    assert merge_states(states) == merge_states(states[:2])
    assert list(merge_states(states)["shards"]) == ["0", "1", "2", "3"]


def test_mixtures_that_train_nothing_are_refused(make_prepared):
    rows = random_rows(np.random.default_rng(), 3)
    nothing = make_prepared([SyntheticTask("bench:a:zero_shot", {"test": rows}, trained=False)])
    with pytest.raises(UserError, match="trains no task"):
        make_loader(nothing, CONFIG)
    empty = make_prepared([SyntheticTask("bench:a:zero_shot", {"train": []}, 1.0)])
    with pytest.raises(UserError, match=r"has rate 1\.0 but no training examples"):
        make_loader(empty, CONFIG)
    with pytest.raises(UserError, match="no such manifest"):
        make_loader(nothing / "nowhere", CONFIG)


def test_a_missing_or_cut_shard_is_found_on_opening(prepared):
    shard = manifests.load(prepared).tasks[2].splits["train"].files[1]
    path = prepared / shard.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{shard.path}: .*manifest says"):
        make_loader(prepared, CONFIG)
    path.unlink()
    with pytest.raises(UserError, match=f"{shard.path}: shard of bench:t2:zero_shot is missing"):
        make_loader(prepared, CONFIG)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    "row, message",
    [
        ({"prompt_ids": [5], "target_ids": []}, "record 0 lacks token ids"),
        ({"target_ids": [5, 2]}, "record 0 lacks token ids"),
        ({"prompt_ids": [b"text"], "target_ids": [5, 2]}, "record 0 lacks token ids"),
        ({"prompt_ids": [], "target_ids": [2]}, "record 0 has no token to train on"),
    ],
)
def test_unusable_records_name_their_place(make_prepared, open_loader, row, message, prefetch):
    prepared = make_prepared([SyntheticTask("bench:a:zero_shot", {"train": [row]}, 1.0)])
    loader = open_loader(prepared, dataclasses.replace(CONFIG, prefetch=prefetch))
    with pytest.raises(UserError, match=message) as caught:
        next(loader)
    assert str(prepared) in str(caught.value)


def test_close_ends_the_thread(prepared):
    loader = make_loader(prepared, CONFIG)
    next(loader)
    ours = [thread for thread in threading.enumerate() if "prefetch" in thread.name]
    assert ours
    loader.close()
    assert not any(thread.is_alive() for thread in ours)
    loader.close()
    with pytest.raises(ValueError, match="closed"):
        next(loader)


@pytest.mark.parametrize("end", ["loader.close();", ""])
def test_leaves_tensorflow_out_and_says_nothing(prepared, end):
    """A loader built and a batch taken in a fresh process: no TensorFlow, no warning, no log line."""
    code = (
        "import sys; from iml_jax.data.loader import LoaderConfig, make_loader;"
        f"loader = make_loader({str(prepared)!r}, LoaderConfig(8)); next(loader); state = loader.state();"
        f"loader.restore(state); next(loader); {end}"
        "print([name for name in ('tensorflow', 'seqio', 't5') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:iml_jax", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")
