"""Partial results of a running evaluation on disk, from which a killed one resumes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from iml_jax.evaluation.engine.answering import Answered, Piece
from iml_jax.evaluation.results import PREDICTIONS_CHECKSUM, predictions_of_lines
from iml_jax.foundation.errors import Fault, UserError
from iml_jax.parallel.hosts import gather_json
from iml_jax.storage import local, reading, sealed
from iml_jax.storage.writing import delete, write_atomically

SUFFIX = ".unfinished"
_OURS = re.compile(r"-[0-9a-f]{12}\.jsonl(\.[0-9]+\.tmp)?$")  # of any format
FORMAT = 2  # 1 was a file for each finished task


@dataclasses.dataclass(frozen=True)
class TaskQuestions:
    """One task's questions: how many, and the key of their partial results (``answer_key``)."""

    key: str
    count: int


def folder_of(result_file: Path) -> Path:
    """The folder of the partial results of the evaluation that will write ``STEP.json``."""
    return result_file.with_suffix(SUFFIX)


class PartialResults:
    """A folder with one file (a segment) for each answered chunk.

    A segment names its questions (``Piece``) with the key of each task: the weights, questions and settings
    that it was answered with. It is written atomically and carries a checksum; what is damaged, or of another
    key, is not used.
    """

    def __init__(self, folder: Path | None, log: Callable[[str], None] = lambda text: None) -> None:
        """With ``folder`` None nothing is saved; ``log`` receives a line on what was found."""
        self._folder, self._log = folder, log

    def read(
        self, asked: Mapping[str, TaskQuestions], chunks: Sequence[Sequence[Piece]]
    ) -> tuple[dict[str, list[Answered | None]], set[int]]:
        """Reads the answers that were saved; every process must call.

        Args:
          asked: the questions, by task.
          chunks: the chunks in which they will be answered.

        Returns:
          Each task's answers by the number of the question, None where there is none; and the chunks of
          which all answers were found, the same on every process.
        """
        answers: dict[str, list[Answered | None]] = {name: [None] * one.count for name, one in asked.items()}
        unused: collections.Counter[str] = collections.Counter()
        for path in self._segments():
            for piece, found in self._read(path, asked, unused):
                answers[piece.task][piece.start : piece.stop] = found
        for reason, count in sorted(unused.items()):
            self._log(f"{self._folder}: {count} file(s) of {reason} are not used")
        own = [
            number
            for number, chunk in enumerate(chunks)
            if all(None not in answers[one.task][one.start : one.stop] for one in chunk)
        ]
        # Hosts whose disks differ must still ask the model the same questions together.
        done = set.intersection(*map(set, gather_json(own)))
        if done:
            total = sum(one.count for one in asked.values())
            count = sum(piece.stop - piece.start for number in done for piece in chunks[number])
            self._log(f"{count:,} of {total:,} prompts were answered before; resuming with the rest")
        return answers, done

    def write(
        self,
        number: int,
        pieces: Sequence[Piece],
        asked: Mapping[str, TaskQuestions],
        answers: Sequence[Answered],
    ) -> None:
        """Saves the answers of a chunk atomically; the first process only.

        Args:
          number: of the chunk, for the file's name.
          pieces, answers: its questions, and the outcome of each in their order.
          asked: has each task's key.

        Raises:
          Fault: the disk refuses.
        """
        if self._folder is None or jax.process_index():
            return
        head = {
            "format": FORMAT,
            "pieces": [[one.task, asked[one.task].key, one.start, one.stop] for one in pieces],
            "dropped": {str(n): one.dropped for n, one in enumerate(answers) if one.prediction is None},
            "unfinished": [n for n, one in enumerate(answers) if one.unfinished],
        }
        lines = [json.dumps(dataclasses.asdict(one.prediction)) for one in answers if one.prediction]
        digest = hashlib.sha256("".join(line + "\n" for line in lines).encode())
        sealed_head = sealed.seal({**head, PREDICTIONS_CHECKSUM: digest.hexdigest()})
        text = "\n".join([json.dumps(sealed_head), *lines]) + "\n"
        name = hashlib.sha256(json.dumps(head["pieces"]).encode()).hexdigest()[:12]
        write_atomically(self._folder / f"answers-{number:06}-{name}.jsonl", text)

    def clear(self) -> None:
        """Removes the folder: call it once the results are saved. It stays if it holds foreign files."""
        if self._folder is None or jax.process_index():
            return
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if _OURS.search(path.name):
                    delete(path)
            local.remove_empty_directory(self._folder)

    def _segments(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == ".jsonl")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._log(f"{self._folder}: not used, it cannot be read ({error.strerror or error})")
            return []

    def _read(
        self, path: Path, asked: Mapping[str, TaskQuestions], unused: collections.Counter[str]
    ) -> list[tuple[Piece, list[Answered]]]:
        """The pieces of a segment that answer what is asked; none of a damaged one, which is reported."""
        try:
            lines = reading.read_lines(path)
            head = reading.parse_json(next(lines, (1, ""))[1], path)
            if not isinstance(head, dict):
                raise ValueError("its first line is not that of partial results")
            if head.get("format") != FORMAT:
                unused["another format"] += 1
                return []
            pieces = [(Piece(str(task), int(i), int(j)), key) for task, key, i, j in head["pieces"]]
            wanted = [_is_asked(piece, key, asked) for piece, key in pieces]
            if not any(wanted):
                unused["other weights, questions or settings"] += 1
                return []
            parts = iter(_read_answers(path, head, lines, sum(p.stop - p.start for p, _ in pieces)))
            split = [(piece, list(itertools.islice(parts, piece.stop - piece.start))) for piece, _ in pieces]
            return [one for one, is_wanted in zip(split, wanted, strict=True) if is_wanted]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError, Fault) as error:
            self._log(f"{path}: damaged and not used, its prompts are answered again ({error})")
            return []


def _is_asked(piece: Piece, key: object, asked: Mapping[str, TaskQuestions]) -> bool:
    known = asked.get(piece.task)
    return known is not None and known.key == key and 0 <= piece.start < piece.stop <= known.count


def _read_answers(
    path: Path, head: dict[str, Any], lines: Iterator[tuple[int, str]], count: int
) -> list[Answered]:
    """The answers of a segment, checked against its checksum.

    Raises:
      ValueError, KeyError, TypeError, UserError: it is damaged.
    """
    if head.pop(sealed.CHECKSUM) != sealed.fingerprint_of(head):
        raise ValueError("its checksum is wrong")
    digest = hashlib.sha256()

    def hashed() -> Iterator[str]:
        for _, line in lines:
            digest.update(line.encode() + b"\n")
            yield line

    predictions = predictions_of_lines(path, hashed(), first=2)
    if digest.hexdigest() != head[PREDICTIONS_CHECKSUM]:
        raise ValueError("its checksum is wrong")
    dropped, unfinished = head["dropped"], set(head["unfinished"])
    if len(predictions) + len(dropped) != count:
        raise ValueError(f"{len(predictions)} answers and {len(dropped)} dropped questions of {count}")
    rest = iter(predictions)
    return [
        Answered(None, dropped=dropped[str(n)])
        if str(n) in dropped
        else Answered(next(rest), unfinished=n in unfinished)
        for n in range(count)
    ]
