"""A part of ``scale.py``: the same cached records through ``seqio.get_dataset``, packed as long."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import seqio
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordReader
from measuring import clocks, rate, resident, timed

from iml_jax.data import manifest as manifests
from iml_jax.data.manifest import TaskEntry

BATCH = 8
BATCHES = 100


def copy_records(prepared: Path, cache: Path, task: TaskEntry) -> None:
    """The task's records in the one file format that SeqIO reads a cache from, TFRecord, byte for byte."""
    folder = cache.joinpath(*task.name.split(":"))
    if (folder / "COMPLETED").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    split = task.splits["train"]
    for number, file in enumerate(split.files):
        name = f"train.tfrecord-{number:05d}-of-{len(split.files):05d}"
        reader = ArrayRecordReader(str(prepared / file.path))
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for record in reader.read_all():
                writer.write(record)
        reader.close()
    ids = {"shape": [None], "dtype": "int32"}
    info = {"num_shards": len(split.files), "features": {"prompt_ids": ids, "target_ids": ids}}
    (folder / "info.train.json").write_text(json.dumps({**info, "seqio_version": seqio.__version__}))
    (folder / "stats.train.json").write_text(json.dumps({"examples": split.examples}))
    (folder / "COMPLETED").touch()


def joined(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Source and target as one sequence, as our stream packs them."""
    return dataset.map(
        lambda row: {"targets": tf.cast(tf.concat([row["prompt_ids"], row["target_ids"]], 0), tf.int32)}
    )


def mixture(manifest: manifests.Manifest) -> str:
    """Registers the trained tasks and their mixture; its name."""
    ids = seqio.Feature(seqio.PassThroughVocabulary(manifest.vocabulary.rows), add_eos=False)
    for task in manifest.trained:
        seqio.TaskRegistry.add(
            task.name,
            source=seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=("train",)),
            output_features={"targets": ids},
            preprocessors=[seqio.CacheDatasetPlaceholder(required=True), joined],
        )
    seqio.MixtureRegistry.add("scale", [(task.name, task.rate) for task in manifest.trained])
    return "scale"


def batches(dataset: tf.data.Dataset) -> Iterator[tuple[int, int]]:
    """Tokens and cells of each batch."""
    for batch in dataset.batch(BATCH).as_numpy_iterator():
        segments = batch["decoder_segment_ids"]
        yield int(np.count_nonzero(segments)), segments.size


def main() -> None:
    """Measures building, first batch and steady speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("cache", type=Path)
    arguments = parser.parse_args()
    manifest = manifests.load(arguments.prepared)
    start = clocks()
    for task in manifest.trained:
        copy_records(arguments.prepared, arguments.cache, task)
    start = timed("seqio: copy to TFRecord", start, "(not counted)")
    seqio.add_global_cache_dirs([str(arguments.cache)])
    name = mixture(manifest)
    start = timed("seqio: register", start)
    dataset = seqio.get_dataset(
        name,
        task_feature_lengths={"targets": manifest.length},
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        feature_converter=seqio.LMFeatureConverter(pack=True),
        use_cached=True,
        seed=0,
    )
    start = timed("seqio: build", start)
    stream = batches(dataset)
    next(stream)
    start = timed("seqio: first batch", start)
    tokens = cells = 0
    for _ in range(BATCHES):
        found, size = next(stream)
        tokens, cells = tokens + found, cells + size
    timed(f"seqio: steady, {BATCHES} batches", start, rate(tokens, cells, start))
    print(f"seqio: {'at the end':<21} RSS {resident():.3f} GiB")


if __name__ == "__main__":
    main()
