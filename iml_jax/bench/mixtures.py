"""What a mixture is made of: which tasks are trained and evaluated, with which prompts (no TensorFlow)."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from iml_jax.bench import (
    known_tasks,
    leakage_decisions,
    left_out,
    matching,
    rates,
    roles,
    source_paths,
    taxonomy,
)
from iml_jax.bench.left_out import LeftOut, Thing
from iml_jax.bench.sources import expand
from iml_jax.bench.sources.base import NothingFoundError, Source, TaskInfo
from iml_jax.bench.subsets import Subset
from iml_jax.bench.variants import Variant, ZeroShot, check_prompts
from iml_jax.config.paths import OptionalPath, RequiredPath
from iml_jax.data.record_format import LONGEST_ROW
from iml_jax.foundation.errors import UserError
from iml_jax.foundation.seeds import check_seed

ZERO_SHOT = ZeroShot()
# What happens where a benchmark of ``proportions`` or ``shares`` trains on nothing.
STOP, RENORMALISE = MISSING = ("stop", "renormalise")
_OTHER_SPLIT = "the mixture neither trains on it nor evaluates it"


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """Which tasks, and how much of each.

    Patterns are shell-style (``*``, ``?``, ``[...]``) and match ``benchmark:task``.
    """

    name: str = dataclasses.field(
        metadata={"help": "name of the mixture, as the manifest and SeqIO's registry carry it."}
    )
    sources: tuple[Source, ...] = dataclasses.field(
        metadata={"help": "the meta-datasets, e.g. (@SuperNaturalInstructions(), @PromptSource())."}
    )
    data_dir: OptionalPath = dataclasses.field(
        default="",
        metadata={
            "help": "the folder that the sources' relative paths start from; empty is the working directory."
        },
    )
    roles: str = dataclasses.field(
        default=roles.PUBLISHED,
        metadata={
            "help": "who says what is trained on and evaluated: the benchmarks themselves "
            "(published), OPT-IML (opt_iml), or OPT-IML-Max (opt_iml_max), which trains on "
            "every task.",
            "choices": roles.ROLES,
        },
    )
    train: tuple[str, ...] = dataclasses.field(
        default=("*",),
        metadata={
            "help": "patterns; a task of role ``train`` with a train split that matches one is trained on."
        },
    )
    evaluate: tuple[str, ...] = dataclasses.field(
        default=("*",),
        metadata={
            "help": "patterns; a task of role ``train`` or ``evaluation`` that matches one is evaluated."
        },
    )
    exclude: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"help": "patterns; what matches is neither trained on nor evaluated."}
    )
    subset: Subset = dataclasses.field(
        default_factory=Subset, metadata={"help": "a part of the training tasks, for scaling studies."}
    )
    train_prompts: Variant = dataclasses.field(
        default=ZERO_SHOT,
        metadata={"help": "the prompts to train on: @ZeroShot(), or @MetaICL() for demonstrations."},
    )
    evaluation_prompts: tuple[Variant, ...] = dataclasses.field(
        default=(ZERO_SHOT,),
        metadata={
            "help": "each evaluated task is prepared with every one of these, e.g. (@ZeroShot(), @FewShot())."
        },
    )
    evaluation_set: str = dataclasses.field(
        default="",
        metadata={
            "help": "evaluate only OPT-IML's validation set (dev) or its test set (test), where "
            "``roles`` is not published; empty: both.",
            "choices": ("", "dev", "test"),
        },
    )
    evaluation_split: str = dataclasses.field(
        default="test",
        metadata={"help": "the split to evaluate where a task has both.", "choices": ("test", "validation")},
    )
    maximum_eta: int = dataclasses.field(
        default=4096,
        metadata={"help": "examples of a task that count at most for its rate (OPT-IML paper, table 4)."},
    )
    benchmark_etas: dict[str, int] = dataclasses.field(
        default_factory=dict, metadata={"help": "the same for single benchmarks."}
    )
    example_cap: int = dataclasses.field(
        default=100_000,
        metadata={
            "help": "examples of a train split kept at most, drawn at random (OPT-IML paper, table 1)."
        },
    )
    benchmark_caps: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"flan": 30_000}, metadata={"help": "the same for single benchmarks."}
    )
    evaluation_cap: int = dataclasses.field(
        default=0,
        metadata={"help": "prompts of an evaluation split kept at most, drawn at random; 0 keeps all."},
    )
    development_cap: int = dataclasses.field(
        default=250,
        metadata={
            "help": "the same for the tasks of OPT-IML's validation set, where ``roles`` is not "
            "published; these are also no more than the split has examples (OPT-IML section "
            "2.4)."
        },
    )
    proportions: dict[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "help": "benchmark -> its share before normalisation (OPT-IML paper, table 5), among the "
            "benchmarks that ``shares`` does not name."
        },
    )
    shares: dict[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "help": 'benchmark -> its exact part of the training stream, e.g. {"pretrain": 0.05, '
            '"reasoning": 0.01}; everything else gets the rest.'
        },
    )
    smoothing: float = dataclasses.field(
        default=1.0,
        metadata={
            "help": "exponent of the rates before proportions; 1 leaves them, 0 makes all tasks alike."
        },
    )
    equal_categories: bool = dataclasses.field(
        default=False,
        metadata={"help": "give every category of a benchmark an equal part of the benchmark's share."},
    )
    leakage_decisions: OptionalPath = dataclasses.field(
        default="",
        metadata={"help": "a file of which side of overlapping pairs of tasks to drop (docs/leakage.md)."},
    )
    missing: str = dataclasses.field(
        default=STOP,
        metadata={
            "help": "what happens where a benchmark of ``proportions`` or ``shares`` trains on "
            'nothing: "stop" with an error, or "renormalise": it is left out and '
            "reported, and the others share what it would get.",
            "choices": MISSING,
        },
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.]+", self.name):
            raise UserError(f"Mixture.name {self.name!r}: letters, digits, '_' and '.' only")
        if not self.sources:
            raise UserError("Mixture.sources is empty; give at least one source, e.g. (@Miniature(),)")
        for field, least in (
            ("maximum_eta", 1),
            ("example_cap", 1),
            ("evaluation_cap", 0),
            ("development_cap", 0),
            ("smoothing", 0),
        ):
            if getattr(self, field) < least:
                raise UserError(f"Mixture.{field} must be at least {least}, not {getattr(self, field)}")
        if any(cap < 1 for cap in (*self.benchmark_caps.values(), *self.benchmark_etas.values())):
            raise UserError("Mixture: each of benchmark_caps and benchmark_etas must be at least 1")
        for field, allowed in (
            ("evaluation_split", ("test", "validation")),
            ("roles", roles.ROLES),
            ("missing", MISSING),
        ):
            if getattr(self, field) not in allowed:
                raise UserError(
                    f"Mixture.{field} must be {' or '.join(allowed)}, not {getattr(self, field)!r}"
                )
        if self.evaluation_set not in ("", "dev", "test"):
            raise UserError(f"Mixture.evaluation_set must be dev, test or empty, not {self.evaluation_set!r}")
        if self.evaluation_set and self.roles == roles.PUBLISHED:
            raise UserError(
                f"Mixture.evaluation_set = {self.evaluation_set}: a set of OPT-IML's; bind "
                'Mixture.roles = "opt_iml" as well'
            )
        rates.check(self.proportions, self.shares)
        check_prompts(self.train_prompts, self.evaluation_prompts)

    def eta(self, benchmark: str) -> int:
        """The maximum eta of a benchmark's tasks."""
        return self.benchmark_etas.get(benchmark, self.maximum_eta)

    def asks(self, key: str) -> bool:
        """Whether the patterns let a task (``benchmark:task``) be evaluated."""
        return matching.matches(self.evaluate, key) and not matching.matches(self.exclude, key)


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """How and where the tasks are prepared."""

    output_dir: RequiredPath = dataclasses.field(
        metadata={
            "help": "the prepared directory; what is unchanged in it is kept. Beam workers must see it too."
        }
    )
    length: int = dataclasses.field(
        default=2048, metadata={"help": "row length in tokens for which left truncation is counted."}
    )
    seed: int = dataclasses.field(
        default=0,
        metadata={
            "help": "decides the delimiters and demonstrations of the prompts, and which prompts are drawn."
        },
    )
    workers: int = dataclasses.field(
        default=0,
        metadata={"help": "processes; 0 chooses by the number of processors and the size of the work."},
    )
    pipeline_options: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata={"help": 'Beam\'s own, e.g. ("--runner=FlinkRunner",); they replace ``workers``.'},
    )

    def __post_init__(self) -> None:
        if self.length < 2:
            raise UserError(f"Prepare.length must be at least 2 tokens, not {self.length}")
        if self.length > LONGEST_ROW:
            raise UserError(f"Prepare.length must be at most {LONGEST_ROW} tokens, not {self.length}")
        if self.workers < 0:
            raise UserError(f"Prepare.workers must be at least 0, not {self.workers}")
        check_seed("Prepare.seed", self.seed)


@dataclasses.dataclass(frozen=True)
class PlannedTask:
    """A task of the mixture and what is to be prepared of it.

    Attributes:
      name: its SeqIO name.
      info: as its source lists it.
      source: reads its examples.
      trained: it belongs to the training mixture.
      evaluation_split: the split to evaluate; ``""`` where it is not evaluated.
      caps: split -> prompts kept at most, for every split to prepare; 0 keeps all.
      variant: how its examples become prompts.
      pooled: splits of which no more prompts are kept than they have examples, of all templates together.
      generated: answers are generated in evaluation, whatever options the examples name.
    """

    name: str
    info: TaskInfo
    source: Source
    trained: bool
    evaluation_split: str
    caps: dict[str, int]
    variant: Variant = ZERO_SHOT
    pooled: tuple[str, ...] = ()
    generated: bool = False


def task_name(info: TaskInfo, variant: str = ZERO_SHOT.name) -> str:
    """``benchmark:task:variant`` in the characters that SeqIO and file systems take.

    Other characters become ``#`` and the hexadecimal of their UTF-8 bytes, so that different tasks never
    share a name; so do dots at the start of a part, which would hide or escape a directory.
    """
    return ":".join(_escape(part) for part in (info.benchmark, info.task, variant))


def _escape(part: str) -> str:
    kept = re.sub(
        r"^\.+|[^A-Za-z0-9_.]", lambda match: "".join(f"#{byte:02x}" for byte in match[0].encode()), part
    )
    return kept or "#"


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a mixture's sources hold.

    Attributes:
      listed: every task with its source.
      planned: what is to be prepared of them, sorted by name.
      unused: the tasks that the mixture does not use, with their source -> why.
      left: benchmarks and splits that the mixture does not use, counted by reason.
    """

    listed: tuple[tuple[Source, TaskInfo], ...]
    planned: tuple[PlannedTask, ...]
    unused: tuple[tuple[Source, TaskInfo, str], ...]
    left: tuple[LeftOut, ...]


def offered(config: MixtureConfig) -> list[tuple[Source, TaskInfo]]:
    """Every task that the sources of a mixture list, with its source; a composite source is taken apart.

    Raises:
      UserError: a source is malformed.
    """
    return _offered(config)[0]


def _offered(config: MixtureConfig) -> tuple[list[tuple[Source, TaskInfo]], dict[str, str]]:
    """The tasks listed, and the benchmarks without a task that the mixture may go without -> why."""
    sources = [source_paths.located(source, config.data_dir) for source in config.sources]
    listed: list[tuple[Source, TaskInfo]] = []
    absent: dict[str, str] = {}
    for source in expand(sources):
        try:
            source_paths.check_folder(source)
            listed += ((source, info) for info in source.tasks())
        except NothingFoundError as error:
            if config.missing == STOP:
                raise
            absent[source.name] = str(error)
    return listed, {name: why for name, why in absent.items() if name not in {s.name for s, _ in listed}}


def plan(config: MixtureConfig) -> tuple[PlannedTask, ...]:
    """Lists every task of the mixture, once for each variant of its prompts, sorted by name.

    Raises:
      UserError: as ``survey``.
    """
    return survey(config).planned


def survey(config: MixtureConfig) -> Survey:
    """Lists what a mixture's sources hold, what of it is prepared, and what is left out.

    Raises:
      UserError: a source is malformed, two tasks share a name, a pattern, share or proportion names nothing
        (but for what ``config.missing`` lets it go without), or nothing is left to train on or evaluate.
    """
    listed, absent = _offered(config)
    uses = leakage_decisions.apply(roles.assign(config.roles, listed), config.leakage_decisions)
    names: set[str] = set()
    for use in uses:
        name = task_name(use.info)
        if name in names:
            raise UserError(
                f"Mixture.sources: the task {use.info.key} is offered twice; exclude or remove one source"
            )
        names.add(name)
    keys = [use.info.key for use in uses]
    for field in ("train", "evaluate", "exclude"):
        patterns = (each for each in getattr(config, field) if each.partition(":")[0] not in absent)
        matching.check(f"Mixture.{field}", patterns, keys)
    matching.check("Subset.always", config.subset.always, keys)
    trained = _trained(config, uses)
    planned = [task for use in uses for task in _planned(config, use, use.info.key in trained)]
    if not planned:
        raise UserError(f"Mixture {config.name}: no task of {len(uses)} listed is trained on or evaluated")
    known = {task.info.benchmark for task in planned if task.trained}
    absent |= dict.fromkeys(_weighted(config) - known - absent.keys(), "none of its tasks is trained on")
    for field in ("proportions", "shares"):
        if config.missing == STOP and (unknown := set(getattr(config, field)) - known):
            raise UserError(
                f"Mixture.{field} names {sorted(unknown)}, of which no task is trained on; leave it out of "
                f"Mixture.{field}, check its folder (`iml tasks --data_dir=DIR`), or bind "
                f'Mixture.missing = "{RENORMALISE}" to continue without it'
            )
    used = {task.info.key for task in planned}
    unused = [(use.source, use.info, _why_not(config, use)) for use in uses if use.info.key not in used]
    left = [Thing(name, left_out.BENCHMARK, why, name) for name, why in absent.items()]
    left += _other_splits(uses, planned)
    planned.sort(key=lambda task: task.name)
    return Survey(tuple(listed), tuple(planned), tuple(unused), left_out.counted(left))


def _other_splits(uses: Iterable[roles.Use], planned: Iterable[PlannedTask]) -> Iterator[Thing]:
    """The splits of the tasks in use that are neither trained on nor evaluated."""
    prepared: dict[str, set[str]] = collections.defaultdict(set)
    for task in planned:
        prepared[task.info.key].update(task.caps)
    for use in uses:
        for split in use.info.splits if use.info.key in prepared else ():
            if split not in prepared[use.info.key]:
                name = f"{use.info.task} {split}"
                yield Thing(use.info.benchmark, left_out.SPLIT, _OTHER_SPLIT, name)


def _weighted(config: MixtureConfig) -> set[str]:
    """The benchmarks that are given a part of the training stream."""
    return {*config.proportions, *config.shares}


def _why_not(config: MixtureConfig, use: roles.Use) -> str:
    """Why a task is neither trained on nor evaluated."""
    info = use.info
    if not info.splits:
        return "no split or no template of it can be used"
    if matching.matches(config.exclude, info.key):
        return "Mixture.exclude names it"
    if not use.trained and not use.evaluated:
        known = known_tasks.lookup(info.benchmark, info.task)
        if known is not None and known.same_as:
            return "OPT-IML's tables have it under another name"
        chosen = "its benchmark's lists exclude it or a leakage decision drops it"
        return (
            chosen if config.roles == roles.PUBLISHED else f"Mixture.roles = {config.roles} does not use it"
        )
    if use.trained and "train" in info.splits and matching.matches(config.train, info.key):
        return "Subset does not choose it"
    return "Mixture.train and Mixture.evaluate ask for no split that it has"


def _trained(config: MixtureConfig, uses: Sequence[roles.Use]) -> set[str]:
    """Keys of the tasks to train on."""
    wanted = [
        use
        for use in uses
        if use.trained
        and "train" in use.info.splits
        and matching.matches(config.train, use.info.key)
        and not matching.matches(config.exclude, use.info.key)
    ]
    apart = {use.info.key for use in wanted if use.info.benchmark in (*config.shares, *roles.CORPORA)}
    free = [use for use in wanted if use.info.key not in apart]
    always = {
        use.info.key
        for use in free
        if use.development or matching.matches(config.subset.always, use.info.key)
    }
    return apart | config.subset.choose([use.info for use in free], always)


def _planned(config: MixtureConfig, use: roles.Use, trained: bool) -> list[PlannedTask]:
    """A task for each variant in which it is trained on or evaluated."""
    info, split = use.info, _evaluation_split(config, use)
    corpus = info.benchmark in roles.CORPORA
    named = (*config.train, *config.evaluate)
    jobs: dict[Variant, list[str]] = collections.defaultdict(list)
    if trained:
        jobs[ZERO_SHOT if corpus else config.train_prompts].append("train")
    if split:
        for variant in (ZERO_SHOT,) if corpus else config.evaluation_prompts:
            jobs[variant].append(split)
    caps = {"train": config.benchmark_caps.get(info.benchmark, config.example_cap)}
    pooled = ["train"]
    if split:
        caps[split] = config.development_cap if use.development else config.evaluation_cap
        pooled += [split] if use.development else []
    return [
        PlannedTask(
            name=task_name(info, variant.name),
            info=info,
            source=use.source.asked_for(info.task) if info.key in named else use.source,
            trained="train" in splits,
            evaluation_split=split if split in splits else "",
            caps={name: caps[name] for name in splits},
            variant=variant,
            pooled=tuple(name for name in splits if name in pooled),
            generated=use.generated,
        )
        for variant, splits in jobs.items()
    ]


def levels(trained: Iterable[TaskInfo], evaluated: Iterable[TaskInfo]) -> dict[str, str]:
    """Generalization level of every evaluated task, by its key, from what is trained on.

    Where nothing is trained on (a suite of evaluation sets), from what OPT-IML is trained on.
    """
    kinds = {info.key: info.kind or info.category for info in trained}
    if not kinds:
        kinds = {known.key: known.category for known in known_tasks.training_set()}
    seen = set(kinds.values())
    return {
        info.key: taxonomy.level(info.key, info.kind or info.category, set(kinds), seen) for info in evaluated
    }


def _evaluation_split(config: MixtureConfig, use: roles.Use) -> str:
    key = use.info.key
    if not use.evaluated or not config.asks(key):
        return ""
    if config.evaluation_set and use.development != (config.evaluation_set == "dev"):
        return ""
    order = (config.evaluation_split, "test", "validation")
    return next((split for split in order if split in use.info.splits), "")
