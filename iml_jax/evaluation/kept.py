"""What a running evaluation has answered so far, on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import jax

from iml_jax.errors import Fault, UserError
from iml_jax.evaluation.results import Prediction, predictions_of_lines
from iml_jax.parallel.hosts import gather_json
from iml_jax.storage.writing import write_atomically

SUFFIX = ".unfinished"


@dataclasses.dataclass
class TaskAnswers:
    """What became of one task's questions.

    Attributes:
      predictions: in the order of the questions.
      unfinished: answers cut off at ``max_new_tokens``.
      dropped: questions that were not put to the model, by reason.
    """

    predictions: list[Prediction] = dataclasses.field(default_factory=list)
    unfinished: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def folder_of(result_file: Path) -> Path:
    """Where the evaluation that will write ``STEP.json`` keeps its answers until then."""
    return result_file.with_suffix(SUFFIX)


class KeptAnswers:
    """A folder with one file a finished task.

    A file counts only if it was made under the same key: the same weights, questions and settings.
    """

    def __init__(self, folder: Path | None, say: Callable[[str], None] = lambda text: None) -> None:
        """``folder`` None keeps nothing; ``say`` gets a line on what was found."""
        self._folder, self._say = folder, say

    def read(self, keys: dict[str, str]) -> dict[str, TaskAnswers]:
        """The answers of every task that is there whole; the same on every process, all of which must call.

        Args:
          keys: task name -> the key that its answers must have.
        """
        found: dict[str, TaskAnswers] = {}
        if self._folder is not None and self._folder.is_dir():
            for name, key in keys.items():
                answers = self._read(name, key)
                if answers is not None:
                    found[name] = answers
        # Hosts whose disks differ must still put the same questions to the model together.
        everywhere = set.intersection(*map(set, gather_json(sorted(found))))
        if everywhere:
            self._say(f"{len(everywhere)} of {len(keys)} tasks were answered before; going on with the rest")
        return {name: answers for name, answers in found.items() if name in everywhere}

    def write(self, name: str, key: str, answers: TaskAnswers) -> None:
        """Keeps a finished task; whole or not at all; the first process only.

        Raises:
          Fault: the disk refuses.
        """
        if self._folder is None or jax.process_index():
            return
        head = {
            "task": name,
            "key": key,
            "predictions": len(answers.predictions),
            "unfinished": answers.unfinished,
            "dropped": dict(answers.dropped),
        }
        lines = [json.dumps(head), *(json.dumps(dataclasses.asdict(one)) for one in answers.predictions)]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fault(f"{self._folder}: cannot be made ({error.strerror})") from error
        write_atomically(self._file(name), "\n".join(lines) + "\n")

    def clear(self) -> None:
        """Removes the folder: call it when the results are saved."""
        if self._folder is not None and not jax.process_index():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        readable = re.sub(r"[^\w.-]+", "_", name)[:100]
        return self._folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.jsonl"

    def _read(self, name: str, key: str) -> TaskAnswers | None:
        """None where the file is missing, made under another key, or damaged (then it is answered anew)."""
        path = self._file(name)
        try:
            with path.open(encoding="utf-8") as file:
                head = json.loads(file.readline())
                if head["key"] != key:
                    return None
                predictions = predictions_of_lines(path, file, first=2)
            if len(predictions) != head["predictions"]:
                raise ValueError(f"{len(predictions)} answers of {head['predictions']}")
            dropped = collections.Counter({str(why): int(count) for why, count in head["dropped"].items()})
            return TaskAnswers(list(predictions), int(head["unfinished"]), dropped)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            self._say(f"{path}: not used, {name} is answered anew ({error})")
            return None


def key_of(parts: Iterable[object]) -> str:
    """SHA-256 (hex) of JSON-able facts that decide a task's answers."""
    text = json.dumps(list(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
