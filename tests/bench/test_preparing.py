"""Preparing end to end on a fake source: records, counts, what is kept, what is told, what is left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordReader
from support import forking
from support.fake_source import FakeSource, simple_rows, write_rows

from iml_jax.bench import cache_folders, caching, mixture_table, mixtures, preparing
from iml_jax.bench.mixtures import MixtureConfig, PrepareConfig
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as tokenizers
from iml_jax.data.record_format import LONGEST_ROW
from iml_jax.data.tokenizer import VocabularyConfig
from iml_jax.evaluation.engine import questions
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.storage.sealed import fingerprint_of

VOCABULARY = VocabularyConfig(size=300)


@pytest.fixture
def mixture(tmp_path):
    for name in ("a", "b", "c"):
        write_rows(tmp_path / "src", name, "train", simple_rows(20))
        write_rows(tmp_path / "src", name, "test", simple_rows(5))
    return MixtureConfig("m", (FakeSource(str(tmp_path / "src"), roles={"c": "evaluation"}),), maximum_eta=15)


def prepare(mixture, out, **changes):
    lines = []
    config = PrepareConfig(str(out), length=16, workers=1, **changes)
    manifest = preparing.prepare(mixture, VOCABULARY, config, lines.append)
    return manifest, lines


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def examples(out, entry, split):
    for file in entry.splits[split].files:
        reader = ArrayRecordReader(str(out / file.path))
        yield from (tf.train.Example.FromString(record) for record in reader.read_all())
        reader.close()


def test_manifest_says_what_is_there(mixture, tmp_path):
    out = tmp_path / "out"
    manifest, _ = prepare(mixture, out)
    assert manifests.load(out) == manifest
    manifests.check_files(manifest, out)
    assert [t.name for t in manifest.trained] == ["fake:a:zero_shot", "fake:b:zero_shot"]
    assert [t.level for t in manifest.tasks] == ["fully_supervised"] * 2 + ["partially_supervised"]
    assert [(t.cap, t.rate) for t in manifest.trained] == [(15, 0.5), (15, 0.5)]
    for entry in manifest.tasks:
        for split, content in entry.splits.items():
            records = list(examples(out, entry, split))
            pairs = [
                (
                    len(r.features.feature["prompt_ids"].int64_list.value),
                    len(r.features.feature["target_ids"].int64_list.value),
                )
                for r in records
            ]
            assert len(records) == content.examples
            assert sum(map(sum, pairs)) == content.tokens
            assert sum(targets for _, targets in pairs) == content.loss_tokens
            assert sum(sum(pair) - 1 > 16 for pair in pairs) == content.left_truncated
            expected = {"prompt_ids", "target_ids", "example_id", "template"}
            if split != "train":
                expected |= {"prompt_text", "target_text", "references", "options"}
                expected |= {"option_ids", "option_lengths"}
            assert set(records[0].features.feature) == expected
    table = mixture_table.save(manifest, out)
    assert (out / "mixture_table.txt").read_text() == table
    totals = json.loads((out / "mixture_table.json").read_text())["totals"]
    assert totals["train"]["examples"] == 40
    assert totals["all"]["examples"] == 55
    assert "fake:c:zero_shot" in table


def test_very_long_prompts_are_stored_as_far_as_a_model_reads(mixture, tmp_path):
    text = "".join(np.random.default_rng().choice(list("abcdefghijklmnopqrstuvwxyz"), 60_000))
    long = {"source": text, "references": ["yes"], "options": ["yes", "no"]}
    for name, split in (("a", "train"), ("c", "test")):
        write_rows(tmp_path / "src", name, split, [*simple_rows(3), long])
    out = tmp_path / "out"
    manifest, _ = prepare(mixture, out)
    tokenizer = tokenizers.load(out / "tokenizer")
    asked = questions.read(out, manifest.task("fake:c:zero_shot"), "test", 0)
    assert [bool(one.cut) for one in asked] == [False] * 3 + [True]
    ids = tokenizer.encode(asked[3].prompt)
    assert text in asked[3].prompt and len(ids) > 20_000
    assert asked[3].prompt_ids.tolist() == ids[-(LONGEST_ROW + 2) :]
    assert asked[3].cut == len(ids) - (LONGEST_ROW + 2)
    counted = sum(len(tokenizer.encode(one.prompt)) for one in asked)
    entry = manifest.task("fake:c:zero_shot").splits["test"]
    assert entry.tokens == counted + entry.loss_tokens


def test_nothing_is_prepared_twice(mixture, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, _ = prepare(mixture, out)
    again = []
    real = caching.run

    def run(job, work, options):
        again.append([each.planned.info.task for each in work])
        real(job, work, options)

    monkeypatch.setattr(caching, "run", run)
    assert prepare(mixture, out)[0] == first
    assert again == []
    # rates are not records: another eta writes another manifest without any Beam work
    assert prepare(dataclasses.replace(mixture, maximum_eta=3), out)[0].tasks[0].cap == 3
    assert again == []
    write_rows(tmp_path / "src", "c", "test", simple_rows(7))  # c trains nothing: the vocabulary stays
    assert prepare(mixture, out)[0].task("fake:c:zero_shot").splits["test"].examples == 7
    assert again == [["c"]]
    shard = out / first.tasks[0].splits["train"].files[0].path
    shard.write_bytes(shard.read_bytes()[:-10])
    repaired, _ = prepare(mixture, out)
    assert again == [["c"], ["a"]]
    assert repaired.tasks[0] == first.tasks[0]
    (source,) = mixture.sources
    prepare(dataclasses.replace(mixture, sources=(dataclasses.replace(source, flavour="new"),)), out)
    assert sorted(again[-1]) == ["a", "b", "c"]
    prepare(mixture, out, seed=5)
    assert sorted(again[-1]) == ["a", "b", "c"]


def test_the_largest_tasks_come_first(mixture, tmp_path, monkeypatch):
    order = []
    real = caching.run

    def run(job, work, options):
        order.extend(each.planned.info.task for each in work)
        real(job, work, options)

    monkeypatch.setattr(caching, "run", run)
    write_rows(tmp_path / "src", "b", "train", simple_rows(90))
    write_rows(tmp_path / "src", "c", "test", simple_rows(200))
    prepare(mixture, tmp_path / "out")
    assert order == ["c", "b", "a"]


def test_the_same_bytes_wherever_and_whenever(mixture, tmp_path):
    first, _ = prepare(mixture, tmp_path / "one")
    second, _ = prepare(mixture, tmp_path / "two")
    assert first == second
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_bad_line_stops_only_its_task(mixture, tmp_path):
    out = tmp_path / "out"
    path = write_rows(tmp_path / "src", "c", "test", simple_rows(3))
    path.write_text(path.read_text() + "{bad\n")
    with pytest.raises(UserError, match=r"c\.test\.jsonl:4: not JSON") as caught:
        prepare(mixture, out)
    assert "\n" not in str(caught.value)
    assert not (out / "manifest.json").exists()
    assert not list(out.glob("cache/fake/c*/*"))
    assert not list(out.rglob("*.tmp"))
    write_rows(tmp_path / "src", "c", "test", simple_rows(3))
    _, lines = prepare(mixture, out)
    assert "3 tasks, 2 of them already prepared" in lines[0]


def test_full_disk_is_a_fault_and_leaves_nothing_half_written(mixture, tmp_path, monkeypatch):
    out = tmp_path / "out"

    class Full:
        def __init__(self, *_):
            pass

        def write(self, _):
            pass

        def close(self):  # ArrayRecord's own words, seen on a full tmpfs
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 262144")

    monkeypatch.setattr(caching, "ArrayRecordWriter", Full)
    with pytest.raises(Fault, match=r"No space left on device.*2 more tasks failed"):
        prepare(mixture, out)
    assert not (out / "manifest.json").exists()
    assert [p for p in (out / "cache").rglob("*") if p.is_file()] == []


def test_workers_that_vanish_are_noticed(tmp_path):
    cache_folders.start(tmp_path)
    cache_folders.note(tmp_path, "a", None)
    assert cache_folders.noted(tmp_path) == 1
    with pytest.raises(Fault, match="1 of 2 tasks reported nothing"):
        cache_folders.finish(tmp_path, 2)


def test_one_process_at_a_time(mixture, tmp_path):
    out = tmp_path / "out"
    with (
        preparing.held(out),
        pytest.raises(UserError, match=rf"is in use: host .*, pid {os.getpid()}, since"),
    ):
        prepare(mixture, out)
    assert [path.name for path in out.iterdir()] == [".iml_jax"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="output_dir"):
        prepare(mixture, tmp_path / "file")


@pytest.mark.parametrize(
    "foreign",
    [
        {"manifest.json": '{"name": "somebody else"}', "tokenizer/vocab.json": "mine"},
        {"cache/a": "mine", "tokenizer/vocab.json": "mine"},  # our names, without a word that they are ours
        {"notes.txt": "mine"},
        {".iml_jax": "run: written by iml_jax"},
    ],
    ids=["manifest", "names", "other", "run"],
)
def test_somebody_elses_directory_is_not_touched(mixture, tmp_path, foreign):
    out = tmp_path / "out"
    for name, text in foreign.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    with pytest.raises(UserError, match=r"Prepare\.output_dir = .*out: is (not empty and not|a run, not)"):
        prepare(mixture, out)
    left = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert left == foreign


def test_directory_prepared_before_there_were_markers_is_taken(mixture, tmp_path):
    out = tmp_path / "out"
    first, _ = prepare(mixture, out)
    (out / ".iml_jax").unlink()
    assert prepare(mixture, out)[0] == first
    (out / ".iml_jax").unlink()
    (out / "manifest.json").unlink()  # killed in the midst
    for name in ("mixture_table.json", "mixture_table.txt"):
        (out / name).unlink()
    (out / ".lock").touch()
    assert prepare(mixture, out)[0] == first


def test_a_directory_of_an_earlier_format_is_named_and_prepared_again(mixture, tmp_path):
    out = tmp_path / "out"
    first, _ = prepare(mixture, out)
    record = json.loads((out / "manifest.json").read_text()) | {"format": 2}
    record["fingerprint"] = fingerprint_of({k: v for k, v in record.items() if k != "fingerprint"})
    for marked in (True, False):  # directories of the first revisions have no marker
        (out / "manifest.json").write_text(json.dumps(record))
        if not marked:
            (out / ".iml_jax").unlink()
        with pytest.raises(
            UserError, match=r"prepared in format 2, but this version reads 3; run `iml prepare`"
        ):
            manifests.load(out)
        assert prepare(mixture, out)[0] == first


def test_empty_tasks_are_neither_trained_nor_evaluated(mixture, tmp_path):
    write_rows(tmp_path / "src", "b", "train", [{"source": "x:", "references": [" "]}] * 4)
    manifest, _ = prepare(mixture, tmp_path / "out")
    entry = manifest.task("fake:b:zero_shot")
    assert (entry.trained, entry.level, entry.rate) == (False, "partially_supervised", 0.0)
    assert entry.splits["train"].dropped == {"no loss token (empty target)": 4}
    assert manifest.task("fake:a:zero_shot").rate == 1.0


KILLED = """
    import sys
    sys.path[:0] = {path!r}
    from support.fake_source import FakeSource
    from iml_jax.bench import preparing
    from iml_jax.bench.mixtures import MixtureConfig, PrepareConfig
    from iml_jax.data.tokenizer import VocabularyConfig
    mixture = MixtureConfig("m", (FakeSource({source!r}, roles={{"c": "evaluation"}}),), maximum_eta=15)
    config = PrepareConfig({out!r}, length=16, workers=1)
    preparing.prepare(mixture, VocabularyConfig(size=300), config, print)
"""


@pytest.mark.slow
def test_kill_and_run_again(mixture, tmp_path):
    for number in range(20):
        write_rows(tmp_path / "src", f"d{number}", "train", simple_rows(200, number))
    whole, _ = prepare(mixture, tmp_path / "whole")
    out = tmp_path / "out"
    script = textwrap.dedent(KILLED).format(path=sys.path, source=str(tmp_path / "src"), out=str(out))
    for target in (2, 9):
        process = forking.Child(script)
        while len(list(out.glob("cache/*/*/*/prepared.json"))) < target and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    shutil.copytree(out, tmp_path / "before")
    resumed, lines = prepare(mixture, out)
    assert int(lines[0].split()[2]) >= 9
    assert resumed == whole
    ours, theirs = files(out), files(tmp_path / "whole")
    assert ours == theirs


def test_a_task_larger_than_a_fair_share_is_divided(mixture, tmp_path, monkeypatch):
    write_rows(tmp_path / "src", "b", "train", simple_rows(600))
    planned = mixtures.plan(mixture)

    def slices(**changes):
        chosen = preparing.choose_slices(PrepareConfig(str(tmp_path / "out"), **changes), planned)
        return [chosen[f"fake:{name}:zero_shot"] for name in ("a", "b", "c")]

    assert slices(workers=2) == [1, 1, 1]  # another process would cost more than the task
    monkeypatch.setattr(preparing, "BYTES_PER_PROCESS", 1)
    assert slices(workers=1) == [1, 1, 1]
    assert slices(workers=2) == [1, 2, 1]
    assert slices(workers=4) == [1, 4, 1]
    assert slices(pipeline_options=("--runner=X",)) == [1, 1, 1]
    monkeypatch.setattr(preparing, "BYTES_PER_SLICE", 10_000)
    assert slices(pipeline_options=("--runner=X",))[1] > 2


@pytest.mark.slow
def test_several_processes_give_the_same(mixture, tmp_path):
    write_rows(tmp_path / "src", "b", "train", simple_rows(600))
    one, _ = prepare(mixture, tmp_path / "one")
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    script = textwrap.dedent(KILLED).format(
        path=sys.path, source=str(tmp_path / "src"), out=str(tmp_path / "two")
    )
    # One task is larger than a worker's fair share and is divided into slices.
    script = script.replace("workers=1", "workers=2")
    script = script.replace("preparing.prepare(", "preparing.BYTES_PER_PROCESS = 1; preparing.prepare(")
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": path})
    assert manifests.load(tmp_path / "two") == one
    assert files(tmp_path / "two") == files(tmp_path / "one")
