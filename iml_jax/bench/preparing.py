"""Mixture -> prepared directory: what is unchanged is kept, the rest goes through the Beam job."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench import cache_folders, mixture_table, mixtures, unused_files
from iml_jax.bench.effective_mixture import caps_and_rates, without_examples
from iml_jax.bench.mixtures import MixtureConfig, PlannedTask, PrepareConfig
from iml_jax.bench.prompted_examples import prompted_examples
from iml_jax.data import manifest as manifests
from iml_jax.data import tokenizer as bpe
from iml_jax.data.manifest import Manifest, SplitEntry, TaskEntry, VocabularyEntry
from iml_jax.foundation import extras
from iml_jax.foundation.errors import UserError
from iml_jax.storage import lease, local, ownership
from iml_jax.storage.reading import read_json
from iml_jax.storage.sealed import fingerprint_of
from iml_jax.storage.writing import check_writable, delete, write_atomically

KIND = "prepared directory"
CODE_FORMAT = 8  # raise it whenever the same files would give other records
_TRAINING_ROWS = 5_000  # of a task that a vocabulary is trained on
# Each further process costs its own imports (about 2 s).
BYTES_PER_PROCESS = 2 << 20
BYTES_PER_SLICE = 64 << 20
_MOST_SLICES = 16
_STDERR_SHOWN = 16_384  # bytes of the workers' output that an unexpected error shows
Log = Callable[[str], None]


def prepare(
    mixture: MixtureConfig, vocabulary: bpe.VocabularyConfig, config: PrepareConfig, log: Log
) -> Manifest:
    """Prepares every task of a mixture and writes the manifest.

    Args:
      mixture: which tasks.
      vocabulary: the tokenizer's directory, or the size to train.
      config: where and how.
      log: receives progress lines.

    Returns:
      The manifest, as saved in ``config.output_dir``.

    Raises:
      UserError: the mixture, a source file or the vocabulary is wrong, or the directory is in use.
      Fault: the disk is full, or a worker died.
    """
    ownership.check_given(config.output_dir, "Prepare.output_dir")
    extras.require(*extras.EXTRAS["prepare"], what="iml prepare")
    if config.pipeline_options:
        from iml_jax.bench import beam_options

        beam_options.check(config.pipeline_options)
    output_dir = Path(config.output_dir).absolute()
    check_writable(output_dir / manifests.FILE_NAME, "choose another Prepare.output_dir")
    survey = mixtures.survey(mixture)
    planned = survey.planned
    digest = functools.cache(_digest)
    with held(output_dir) as taken:
        tokenizer = _vocabulary(output_dir, vocabulary, planned, config.seed, digest)
        keys = {task.name: task_fingerprint(task, tokenizer.fingerprint, config, digest) for task in planned}
        work = [
            task for task in planned if cache_folders.read(output_dir, task.name, keys[task.name]) is None
        ]
        log(f"{len(planned)} tasks, {len(planned) - len(work)} of them already prepared")
        if work:
            # The old manifest describes files that are about to be replaced.
            delete(output_dir / manifests.FILE_NAME)
            _cache(output_dir, config, [(task, keys[task.name]) for task in work], log)
        splits = {}
        for task in planned:
            content = cache_folders.read(output_dir, task.name, keys[task.name])
            if content is None:
                raise UserError(
                    f"{output_dir}: {task.name} changed while it was prepared; run `iml prepare` again"
                )
            splits[task.name] = content
        manifest = build_manifest(mixture, config, planned, splits, keys, tokenizer)
        taken.check()
        manifests.save(manifest, output_dir)
        left = (
            *survey.left,
            *unused_files.unused(survey.unused),
            *without_examples(mixture, manifest, survey.left),
            *unused_files.counted(mixture, survey.listed),
        )
        mixture_table.save(manifest, output_dir, left)
    return manifest


def build_manifest(  # noqa: PLR0917
    mixture: MixtureConfig,
    config: PrepareConfig,
    planned: Sequence[PlannedTask],
    splits: Mapping[str, Mapping[str, SplitEntry]],
    keys: Mapping[str, str],
    tokenizer: bpe.Tokenizer,
) -> Manifest:
    """Rates, levels and counts of prepared tasks.

    A task of which no example is left to train on (evaluate) counts as not trained (evaluated).
    """
    trained = [t for t in planned if t.trained and splits[t.name]["train"].examples]
    evaluated = [t for t in planned if t.evaluation_split and splits[t.name][t.evaluation_split].examples]
    levels = mixtures.levels((t.info for t in trained), (t.info for t in evaluated))
    examples = {t.name: splits[t.name]["train"].examples for t in trained}
    caps, rates = caps_and_rates(mixture, trained, examples)
    asked = {t.name for t in evaluated}  # another variant of the same task may be evaluated
    entries = []
    for task in planned:
        level = levels[task.info.key] if task.name in asked else ""
        entries.append(
            TaskEntry(
                name=task.name,
                benchmark=task.info.benchmark,
                task=task.info.task,
                category=task.info.category,
                role=task.info.role,
                level=level,
                metric=task.info.metric,
                trained=task.name in caps,
                evaluated=bool(level),
                evaluation_split=task.evaluation_split if level else "",
                cap=caps.get(task.name, 0),
                rate=rates.get(task.name, 0.0),
                fingerprint=keys[task.name],
                splits=dict(splits[task.name]),
            )
        )
    vocabulary = VocabularyEntry(tokenizer.tokens, tokenizer.rows, tokenizer.fingerprint)
    return Manifest(name=mixture.name, length=config.length, vocabulary=vocabulary, tasks=tuple(entries))


def task_fingerprint(
    task: PlannedTask, vocabulary: str, config: PrepareConfig, digest: Callable[[Path], str]
) -> str:
    """SHA-256 (hex) over everything that decides a task's records and counts.

    Args:
      task: what to read of which files.
      vocabulary: fingerprint of the tokenizer.
      config: its seed and length count.
      digest: content hash of a file.
    """
    return fingerprint_of([CODE_FORMAT, _reading(task, config.seed, digest), config.length, vocabulary])


def _reading(task: PlannedTask, seed: int, digest: Callable[[Path], str]) -> list[object]:
    info = dataclasses.asdict(task.info)
    info["files"] = [[path.name, digest(path)] for path in task.info.files]
    source = [type(task.source).__name__, task.source.settings()]
    variant = [type(task.variant).__name__, dataclasses.asdict(task.variant)]  # type: ignore[call-overload]
    return [task.name, info, source, task.caps, task.pooled, task.generated, variant, seed]


def _digest(path: Path) -> str:
    try:
        return cache_folders.file_sha256(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its rights"
        ) from None


def _vocabulary(
    output_dir: Path,
    config: bpe.VocabularyConfig,
    planned: Sequence[PlannedTask],
    seed: int,
    digest: Callable[[Path], str],
) -> bpe.Tokenizer:
    """The tokenizer of the directory: copied from the one given, or trained once on what is trained on."""
    folder = output_dir / "tokenizer"
    note = output_dir / ".vocabulary.json"
    if config.directory:
        tokenizer = bpe.load(config.directory)
        delete(note)
    else:
        trained = [task for task in planned if task.trained]
        if not trained:
            raise UserError(
                "Vocabulary.size: the mixture trains on no task; give Vocabulary.directory instead"
            )
        reading = [_reading(task, seed, digest) for task in trained]
        key = fingerprint_of([CODE_FORMAT, config.size, _TRAINING_ROWS, reading])
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UserError):
            noted = read_json(note)
            if noted["key"] == key:
                kept = bpe.load(folder)
                if kept.fingerprint == noted["fingerprint"]:
                    return kept
        tokenizer = bpe.train(_texts(trained, seed), config.size)
        write_atomically(note, json.dumps({"key": key, "fingerprint": tokenizer.fingerprint}))
    tokenizer.save(folder)
    return tokenizer


def _texts(planned: Sequence[PlannedTask], seed: int) -> Iterator[str]:
    for task in planned:
        # Without demonstrations, which would only repeat the same texts.
        plain = dataclasses.replace(task, variant=mixtures.ZERO_SHOT)
        examples = prompted_examples(plain, "train", seed, collections.Counter())
        for row in itertools.islice(examples, _TRAINING_ROWS):
            yield f"{row.prompt_text} {row.target_text}"


def choose_workers(config: PrepareConfig, work: Sequence[PlannedTask]) -> int:
    """Processes for a piece of work: as configured, else one for each 2 MiB of files, at most the CPUs."""
    if config.workers:
        return config.workers
    size = sum(path.stat().st_size for path in {path for task in work for path in task.info.files})
    return max(1, min(os.cpu_count() or 1, len(work), size // BYTES_PER_PROCESS))


def choose_slices(config: PrepareConfig, work: Sequence[PlannedTask]) -> dict[str, int]:
    """Slices by task: one, or more where a task alone would keep a worker busy longer than all the others.

    Every slice reads the whole task, which costs a part of what rendering and tokenising it costs, so a task
    is not divided further than the workers need. Of an external runner the number of workers is not known: a
    task is then divided by its bytes.
    """
    sizes = _sizes(work)
    if config.pipeline_options:
        return {name: min(_MOST_SLICES, 1 + int(size // BYTES_PER_SLICE)) for name, size in sizes.items()}
    workers = choose_workers(config, work)
    fair = sum(sizes.values()) / workers
    return {
        name: min(workers, 1 + int(size // max(fair, BYTES_PER_PROCESS))) if workers > 1 else 1
        for name, size in sizes.items()
    }


def _sizes(work: Sequence[PlannedTask]) -> dict[str, float]:
    """Bytes of source files by task; tasks that share a file have equal parts of it."""
    shared = collections.Counter(path for task in work for path in task.info.files)
    return {task.name: sum(path.stat().st_size / shared[path] for path in task.info.files) for task in work}


def _beam_options(config: PrepareConfig, work: Sequence[PlannedTask]) -> list[str]:
    if config.pipeline_options:
        return list(config.pipeline_options)
    workers = choose_workers(config, work)
    mode = "multi_processing" if workers > 1 else "in_memory"
    # What DirectRunner becomes for such a pipeline, without first looking for other runners.
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    return [f"--runner={runner}", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]


def _cache(
    output_dir: Path, config: PrepareConfig, work: Sequence[tuple[PlannedTask, str]], log: Log
) -> None:
    from iml_jax.bench import caching

    cache_folders.start(output_dir)
    job = caching.CacheJob(str(output_dir), str(output_dir / "tokenizer"), config.seed, config.length)
    planned = [task for task, _ in work]
    options = _beam_options(config, planned)
    # Largest first: runners hand the tasks out in this order, and none must begin the largest one last.
    sizes = _sizes(planned)
    slices = choose_slices(config, planned)
    work = sorted(work, key=lambda part: -sizes[part[0].name])
    with _progress(output_dir, len(work), log), _redirected_stderr():
        caching.run(job, [caching.Work(task, key, slices[task.name]) for task, key in work], options)
    cache_folders.finish(output_dir, len(work))


@contextlib.contextmanager
def _progress(output_dir: Path, total: int, log: Log) -> Iterator[None]:
    """A bar on a terminal, else a line for each tenth of the tasks."""
    stop = threading.Event()

    def watch() -> None:
        began, reported = time.monotonic(), 0
        while not stop.wait(0.5):
            done = cache_folders.noted(output_dir)
            if done - reported >= max(1, total // 10):
                reported = done
                log(f"prepared {done}/{total} tasks, {time.monotonic() - began:.0f} s")

    def bar() -> None:
        from rich.progress import Progress

        with Progress(transient=True) as progress:
            task = progress.add_task("preparing tasks", total=total)
            while not stop.wait(0.2):
                progress.update(task, completed=cache_folders.noted(output_dir))

    thread = threading.Thread(target=bar if sys.stdout.isatty() else watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _redirected_stderr() -> Iterator[None]:
    """Keeps what Beam's worker processes log off the terminal; an exception brings back its end.

    The workers configure their own logging and inherit the redirection.
    """
    if logging.getLogger().isEnabledFor(logging.INFO):  # --verbose
        yield
        return
    sys.stderr.flush()
    original = os.dup(2)
    with local.temporary_file() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except KeyboardInterrupt:  # needs no explanation
            raise
        except BaseException:
            captured.seek(max(0, captured.seek(0, os.SEEK_END) - _STDERR_SHOWN))
            os.write(original, captured.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


@contextlib.contextmanager
def held(output_dir: Path) -> Iterator[lease.Lease]:
    """Holds a prepared directory: two processes writing one would replace each other's files.

    Raises:
      UserError: another process writes it, or it is somebody else's directory.
      Fault: the disk refuses.
    """
    ownership.check_own(output_dir, KIND, "Prepare.output_dir", _was_prepared)
    what = f"the prepared directory {output_dir}"
    with (
        lease.hold(output_dir / cache_folders.LEASE, what) as taken,
        ownership.claimed(output_dir, KIND),
    ):
        yield taken


def _was_prepared(folder: Path) -> bool:
    """Whether a directory without a marker was written by ``iml prepare`` before there was one."""
    if (folder / manifests.FILE_NAME).exists():
        return manifests.is_manifest(folder)
    ours = {".lock", ".vocabulary.json", ".job", "cache", "tokenizer"}  # killed before its manifest
    return (folder / ".lock").is_file() and {path.name for path in folder.iterdir()} <= ours
