"""What a mixture uses each task for: as its own benchmark says, or as OPT-IML or OPT-IML-Max do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from iml_jax.bench import known_tasks
from iml_jax.bench.sources.base import Source, TaskInfo
from iml_jax.foundation.errors import UserError

PUBLISHED, OPT_IML, OPT_IML_MAX = ROLES = ("published", "opt_iml", "opt_iml_max")
# They are no tasks: their whole text is target, and no benchmark lists them.
CORPORA = ("pretrain", "dialogue")


@dataclasses.dataclass(frozen=True)
class Use:
    """A task and what it is for.

    Attributes:
      source: reads it.
      info: as its source lists it for this use.
      trained, evaluated: what it may be used for.
      development: it is evaluated to choose among models, on few prompts.
      generated: its answers are generated, though its source names options.
    """

    source: Source
    info: TaskInfo
    trained: bool
    evaluated: bool
    development: bool = False
    generated: bool = False


def assign(roles: str, listed: Iterable[tuple[Source, TaskInfo]]) -> list[Use]:
    """The use of every task listed, in the same order.

    ``published``: the role that the source gives. ``opt_iml``: trained on are the tasks of OPT-IML's
    training set, evaluated those of its validation and test sets (OPT-IML sections 2.2 and 2.3).
    ``opt_iml_max``: trained on is every task of OPT-IML Bench (section 6.1), evaluated as before, where a
    task has rows set apart. In both, a task that OPT-IML Bench does not have is used for nothing, corpora
    are trained on, and an evaluated task has the paper's metric: where that is not accuracy, options are
    not scored (Super-NaturalInstructions is evaluated by generation throughout).

    Raises:
      UserError: none of a source's tasks is one of OPT-IML Bench.
    """
    listed = list(listed)
    if roles == PUBLISHED:
        return [
            Use(source, info, trained=info.role == "train", evaluated=info.role != "excluded")
            for source, info in listed
        ]
    _check_known(roles, listed)
    return [_assigned(roles, source, info) for source, info in listed]


def _assigned(roles: str, source: Source, info: TaskInfo) -> Use:
    if info.benchmark in CORPORA:
        return Use(source, info, trained=info.role == "train", evaluated=False)
    known = known_tasks.lookup(info.benchmark, info.task)
    if known is None or known.same_as:
        trained = evaluated = development = False
    else:
        trained = known.trained_by_max if roles == OPT_IML_MAX else known.trained
        development = known.role == known_tasks.DEV
        evaluated = development or known.role == known_tasks.TEST
    made = source.assigned(info, trained=trained, evaluated=evaluated)
    # A source may refuse: a task without templates, or one that holds the questions of an evaluation set.
    trained, evaluated = trained and made.role == "train", evaluated and made.role != "excluded"
    generated = bool(evaluated and known and known.metric and known.metric != "accuracy")
    if generated and known:
        made = dataclasses.replace(made, metric=source.rouge if known.metric == "rouge_l" else known.metric)
    return Use(source, made, trained, evaluated, development, generated)


def _check_known(roles: str, listed: Sequence[tuple[Source, TaskInfo]]) -> None:
    by_benchmark: dict[str, list[TaskInfo]] = {}
    for _, info in listed:
        by_benchmark.setdefault(info.benchmark, []).append(info)
    for benchmark, infos in by_benchmark.items():
        if benchmark in CORPORA or any(known_tasks.lookup(benchmark, info.task) for info in infos):
            continue
        raise UserError(
            f"Mixture.roles = {roles}: OPT-IML Bench has none of the {len(infos)} tasks of {benchmark} "
            f"(the first is {infos[0].task!r}); check its folder, or use the roles 'published'"
        )
