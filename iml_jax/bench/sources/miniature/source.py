"""The embedded default: a small OPT-IML Bench, written from a seed in the public file formats.

It holds all eight meta-datasets, pre-training text and dialogue. It is generated, so nothing of others is in
the repository, and it is read by the same sources as the real thing. There are categories that are never
trained on, in no format, tasks held out of categories that are trained on, and held-out instances of every
task that is trained on.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from iml_jax.bench.example import Example
from iml_jax.bench.sources.base import Source, TaskInfo
from iml_jax.bench.sources.corpora.source import Dialogue, PretrainingText
from iml_jax.bench.sources.crossfit.source import CrossFit
from iml_jax.bench.sources.exmix.source import ExMix
from iml_jax.bench.sources.flan.source import Flan
from iml_jax.bench.sources.miniature import writers_corpora as corpora
from iml_jax.bench.sources.miniature import writers_prompts as prompts
from iml_jax.bench.sources.miniature import writers_rows as rows
from iml_jax.bench.sources.miniature.makers import Sizes
from iml_jax.bench.sources.miniature.tasks import FLAN_COLLECTION, specs
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions
from iml_jax.bench.sources.t5.source import T5
from iml_jax.bench.sources.unifiedskg.source import UnifiedSKG
from iml_jax.config.paths import SourcePath
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.foundation.seeds import check_seed
from iml_jax.storage import lease, local
from iml_jax.storage.reading import read_json
from iml_jax.storage.writing import write_atomically

MARKER = "miniature.json"
_DOCUMENT = 64  # characters of a pre-training text: a sentence or two, as short as the tasks' prompts


@dataclasses.dataclass(frozen=True)
class Miniature(Source):
    """The miniature bench: writes its files where they are not yet, and reads them through their sources.

    A mixture takes it as one source; ``sources.expand`` turns it into its parts, whose tasks carry the names
    of their own benchmarks.
    """

    directory: SourcePath = dataclasses.field(
        metadata={
            "help": "the folder to write the files to; may exist only if it is empty or holds a miniature."
        }
    )
    seed: int = dataclasses.field(default=0, metadata={"help": "another seed makes other instances."})
    instances: int = dataclasses.field(default=120, metadata={"help": "training instances of a task."})
    held_out: int = dataclasses.field(
        default=12, metadata={"help": "evaluation instances of a task that is trained on."}
    )
    evaluation: int = dataclasses.field(
        default=24, metadata={"help": "evaluation instances of a task that is not."}
    )

    name = "miniature"

    def __post_init__(self) -> None:
        for field in ("instances", "held_out", "evaluation"):
            if getattr(self, field) < 1:
                raise UserError(f"Miniature.{field} = {getattr(self, field)}: must be at least 1")
        check_seed("Miniature.seed", self.seed)

    def settings(self) -> dict[str, object]:
        """What decides the files, and through them the examples."""
        return {
            "seed": self.seed,
            "instances": self.instances,
            "held_out": self.held_out,
            "evaluation": self.evaluation,
        }

    def parts(self) -> tuple[Source, ...]:
        """The sources that read the files, one a folder; these are written first.

        Raises:
          UserError: the folder holds something else, or a count is too large for the task's words.
          Fault: writing failed.
        """
        if not self.directory:
            raise UserError("Miniature.directory is empty; bind it to a folder to write to")
        write_miniature(Path(self.directory), self)
        return self._readers()

    def _readers(self) -> tuple[Source, ...]:
        folder = Path(self.directory)
        super_natural = folder / SuperNaturalInstructions.name
        promptsource = folder / PromptSource.name
        crossfit = folder / CrossFit.name
        return (
            SuperNaturalInstructions(
                data_dir=str(super_natural / "tasks"),
                split_dir=str(super_natural / "splits" / "default"),
                held_out_instances=self.held_out,
                evaluation_instances=self.evaluation,
            ),
            PromptSource(
                data_dir=str(promptsource / "data"),
                template_dir=str(promptsource / "templates"),
                role_table=str(promptsource / "datasets.csv"),
                seed=self.seed,
            ),
            CrossFit(
                data_dir=str(crossfit / "data"),
                partition=str(crossfit / "partition.json"),
                instructions=str(crossfit / "instructions.tsv"),
            ),
            Flan(data_dir=str(folder / Flan.name), form="v1"),
            Flan(data_dir=str(folder / FLAN_COLLECTION), form="v2"),
            ExMix(data_dir=str(folder / ExMix.name)),
            T5(data_dir=str(folder / T5.name), prompts="sentence"),
            UnifiedSKG(
                data_dir=str(folder / UnifiedSKG.name),
                evaluation_tasks=_evaluated(UnifiedSKG.name),
            ),
            Reasoning(
                data_dir=str(folder / Reasoning.name),
                held_out_rows=self.held_out,
                evaluation_tasks=_evaluated(Reasoning.name),
            ),
            PretrainingText(data_dir=str(folder / PretrainingText.name), document_characters=_DOCUMENT),
            Dialogue(data_dir=str(folder / Dialogue.name)),
        )

    @functools.cached_property
    def _owners(self) -> dict[str, Source]:
        """Key of a task -> the part that reads it."""
        return {task.key: part for part in self._readers() for task in part.tasks()}

    def tasks(self) -> Sequence[TaskInfo]:
        """The tasks of all parts, each with its own benchmark's name."""
        return tuple(task for part in self.parts() for task in part.tasks())

    def read_split(self, task: TaskInfo, split: str, skipped: collections.Counter[str]) -> Iterator[Example]:
        """As ``Source.read_split``, from the part that ``task`` belongs to."""
        yield from self._owners[task.key].examples(task, split, skipped)


def _evaluated(benchmark: str) -> tuple[str, ...]:
    """The tasks of a benchmark that are never trained on."""
    return tuple(spec.name for spec in specs()[benchmark] if spec.evaluation)


def write_miniature(directory: Path, settings: Miniature) -> None:
    """Writes the files of the miniature, atomically; keeps a folder that already holds just these.

    Raises:
      UserError: ``directory`` holds something that is no miniature.
      Fault: writing failed.
    """
    files = _files(settings)
    if _same(directory, files):
        return
    _check_ours(directory, files)
    with lease.hold(directory.with_name(f".{directory.name}.lease"), f"the miniature {directory}") as held:
        if _same(directory, files):  # written meanwhile
            return
        _check_ours(directory, files)
        try:
            with local.replacing_directory(directory, held, nonempty=True) as made:
                for name, content in files.items():
                    write_atomically(made / name, content)
        except OSError as error:
            raise Fault(f"{directory}: writing the miniature failed: {error}") from error


def _check_ours(directory: Path, files: Mapping[str, bytes]) -> None:
    """Refuses a directory with a file that no miniature wrote: all of it would be replaced.

    Raises:
      UserError: there is one; names it.
    """
    if not directory.exists():
        return
    listed = set(files)
    try:
        if directory.is_dir() and (directory / MARKER).is_file():
            record = read_json(directory / MARKER)
            listed.update(record.get("files", ()) if "settings" in record else ())
        entries = directory.rglob("*") if directory.is_dir() else [directory]
        others = (path for path in entries if not path.is_dir() or path.is_symlink())
        other = next((path for path in others if str(path.relative_to(directory)) not in listed), None)
        if other is None and (directory / MARKER).is_file() == any(directory.iterdir()):
            return
    except (OSError, TypeError, AttributeError) as error:
        raise UserError(f"{directory}: {error}; bind Miniature.directory to a new folder") from error
    raise UserError(
        f"{directory}: holds something else ({other or 'files without ' + MARKER}); nothing was touched; "
        "bind Miniature.directory to a new folder"
    )


def _same(directory: Path, files: dict[str, bytes]) -> bool:
    try:
        return all((directory / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _files(settings: Miniature) -> dict[str, bytes]:
    """Relative path -> content; byte-identical for equal settings."""
    sizes = Sizes(settings.seed, settings.instances, settings.held_out, settings.evaluation)
    writers = {
        SuperNaturalInstructions.name: prompts.super_natural,
        PromptSource.name: prompts.promptsource,
        CrossFit.name: rows.crossfit,
        Flan.name: rows.flan_templated,
        FLAN_COLLECTION: rows.flan_rendered,
        ExMix.name: rows.exmix,
        T5.name: rows.t5,
        UnifiedSKG.name: rows.unifiedskg,
        Reasoning.name: prompts.reasoning,
    }
    folders = {name: write(specs()[name], sizes) for name, write in writers.items()} | {
        PretrainingText.name: corpora.pretraining(sizes),
        Dialogue.name: corpora.dialogue(sizes),
    }
    files = {
        f"{folder}/{name}": content for folder, made in folders.items() for name, content in made.items()
    }
    names = [MARKER, *sorted(files)]
    return {MARKER: prompts.json_bytes({"settings": settings.settings(), "files": names})} | files
