"""The file of ``iml generate --output``: one JSON line per prompt, in their order; resumes after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from iml_jax.foundation.errors import Fault, UserError
from iml_jax.foundation.printing import json_line
from iml_jax.storage import journal, sealed
from iml_jax.storage.reading import LINE_LIMIT, open_binary, parse_json
from iml_jax.storage.writing import check_writable

FIELDS = {"prompt": str, "answer": str, "finished": bool, "truncated_tokens": int}
_WRITER, _SELF = "written_by", "iml generate --output"
OTHER = "give another --output"


class AnswerFile:
    """``FILE.jsonl`` and, beside it, ``FILE.settings.json`` with the settings of its answers.

    A context manager; ``resume`` opens the file for the answers that are missing.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened before ``resume``; only that it could be written is checked.

        Raises:
          UserError: the name is not that of a file of answers, or it cannot be written there.
        """
        if path.suffix != ".jsonl":
            raise UserError(f"--output {path}: must end in .jsonl")
        self.path, self.settings_path = path, path.with_suffix(".settings.json")
        for place in (self.path, self.settings_path):
            check_writable(place, OTHER)
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def check(self, settings: Mapping[str, Any]) -> None:
        """Checks, before the model is read, that what is there was made with these settings.

        Args:
          settings: those that are known; JSON-able.

        Raises:
          UserError: the file is of other settings or of another program; names the first that differs.
        """
        has_answers = self.path.exists() and self.path.stat().st_size > 0
        if not self.settings_path.exists():
            if has_answers:
                raise UserError(
                    f"{self.path}: exists without {self.settings_path.name}, which records how its answers "
                    f"were made; {OTHER}"
                )
            return
        known = sealed.read_sealed(self.settings_path, OTHER)
        if known.get(_WRITER) != _SELF:
            raise UserError(f"{self.settings_path}: exists and is not of `iml generate`; {OTHER}")
        for name, value in json.loads(json.dumps(settings)).items() if has_answers else ():
            if known.get(name) != value:
                raise UserError(
                    f"{self.path}: was written with {name} {_short(known.get(name))}, now it is "
                    f"{_short(value)}; give the same settings, or {OTHER}"
                )

    def resume(self, settings: Mapping[str, Any], prompts: Iterable[str], source: str) -> int:
        """Opens the file for the answers that are missing; an incomplete last line is removed.

        Args:
          settings: everything that decides the answers; JSON-able.
          prompts: those that are asked; as many are taken as the file has answers.
          source: where they come from, for messages.

        Returns:
          The number of answers in the file.

        Raises:
          UserError: other settings or prompts made the file, or it is damaged.
          Fault: it cannot be written.
        """
        self.check(settings)
        count, size = self._answered(prompts, source) if self.path.exists() else (0, 0)
        if not count:
            sealed.write_sealed(self.settings_path, {_WRITER: _SELF, **settings})
        self._file = journal.open_at(self.path, size)
        return count

    def _answered(self, prompts: Iterable[str], source: str) -> tuple[int, int]:
        """Whole lines at the beginning, and their bytes; memory for one line."""
        count = size = 0
        waiting = iter(prompts)
        with open_binary(self.path) as stream:
            while line := stream.readline(LINE_LIMIT + 1):
                if not line.endswith(b"\n") and len(line) <= LINE_LIMIT:
                    break  # incomplete: the process was killed
                where = f"{self.path}:{count + 1}"
                record = parse_json(_decode(line.rstrip(b"\r\n"), where), self.path, count + 1)
                if not isinstance(record, dict) or any(
                    type(record.get(name)) is not kind for name, kind in FIELDS.items()
                ):
                    raise UserError(f"{where}: not an answer of `iml generate`; {OTHER}")
                prompt = next(waiting, None)
                if prompt is None:
                    raise UserError(f"{where}: has no prompt in {source}; give the same prompts, or {OTHER}")
                if record["prompt"] != json.loads(json_line({"prompt": prompt}))["prompt"]:
                    raise UserError(
                        f"{where}: answers another prompt than {source} has there; give the same prompts, "
                        f"or {OTHER}"
                    )
                count, size = count + 1, size + len(line)
        return count, size

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes answers to the disk, before it returns.

        Raises:
          Fault: the disk refuses.
        """
        assert self._file is not None  # ``resume`` opened it
        try:
            for record in records:
                self._file.write(json_line(record, self._file) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise Fault(f"{self.path}: cannot be written ({error.strerror or error})") from error


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8; {OTHER}") from error


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
