"""Readers of public dialogue files: each streams the turns of one dialogue after the other."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from iml_jax.bench.sources.formats.bounds import Block
from iml_jax.bench.sources.formats.records import Record, csv_records, json_records
from iml_jax.bench.sources.formats.xml_records import xml_records
from iml_jax.foundation.errors import UserError
from iml_jax.storage.reading import parse_json, read_bounded_lines

REPEATED = "the same dialogue from the other side"
_SILENCE = ("<SILENCE>", "__SILENCE__")  # a turn of nobody, in bAbI and ParlAI
_PERSONA = re.compile(r"(?i)(your|partner's) persona:")
_NUMBERED = re.compile(r"(\d+) (.*)", re.DOTALL)
# What each message of LIGHT's speech files begins with: who says something, or what else is known.
_LIGHT = re.compile(r"_(?P<who>partner|self)_say (?P<said>.*)|_[a-z]+_[a-z]+ .*|_task_\w+")


@dataclasses.dataclass(frozen=True, slots=True)
class Talk:
    """One dialogue.

    Attributes:
      identity: unique in its file.
      turns: what is said, in order, without the names of the speakers.
      unusable: why it is left out, a short fixed reason; empty where it is not.
    """

    identity: str
    turns: list[str]
    unusable: str = ""

    @property
    def text(self) -> str:
        """Its turns, each on one line, joined by one newline (OPT-IML section 3.2)."""
        return "\n".join(text for turn in self.turns if (text := " ".join(turn.split())))


Dialogues = Iterator[Talk]


def sgd(path: Path) -> Dialogues:
    """Schema-guided dialogues: a list of ``dialogue_id`` and ``turns`` of ``speaker`` and ``utterance``."""
    for row in json_records(path):
        yield Talk(row.text("dialogue_id"), [turn.text("utterance") for turn in row.records("turns")])


def meld(path: Path) -> Dialogues:
    """MELD's CSV: rows with the same ``Dialogue_ID`` follow each other; ``Utterance`` is a turn."""
    block = Block(path)
    for identity, rows in itertools.groupby(csv_records(path), key=lambda row: row.text("Dialogue_ID")):
        turns = _turns(((row.number, row.text("Utterance")) for row in rows), block)
        if block.ends():
            yield Talk(identity, turns)


def _turns(said: Iterable[tuple[int, str]], block: Block) -> list[str]:
    """The texts of (line, text); no more of them than ``block`` takes is held."""
    turns: list[str] = []
    for number, text in said:
        if block.takes(number, text):
            turns.append(text)
        else:
            turns.clear()
    return turns


def numbered(path: Path) -> Dialogues:
    """ParlAI's older text form, of bAbI dialogues and ConvAI2: ``N TEXT <tab> REPLY [<tab> ... candidates]``.

    The number starts again at 1 with each dialogue. Lines without a tab are no turns: knowledge-base facts
    (bAbI) or personas (ConvAI2). A line that is too long counts as one of the dialogue before it.
    """
    turns: list[str] = []
    start = previous = 0
    block = Block(path)
    for number, line in read_bounded_lines(path):
        if line is None:
            block.takes(number, line)
            continue
        if not line.strip():
            continue
        if not (match := _NUMBERED.fullmatch(line)):
            raise UserError(f"{path}:{number}: does not begin with a number and a space; fix the line")
        count = int(match[1][:9])
        if count <= previous:
            if block.ends() and turns:
                yield Talk(str(start), turns)
            turns, start = [], number
        start, previous = start or number, count
        said, tab, rest = match[2].partition("\t")
        if not block.takes(number, line):
            turns = []
        elif tab:
            turns += _audible(text.strip() for text in (said, rest.partition("\t")[0]))
    if block.ends() and turns:
        yield Talk(str(start), turns)


def nps_chat(path: Path) -> Dialogues:
    """An NPS chat session: each ``<Post>`` is a turn, but for the class System (who joins, who leaves)."""
    posts, block = xml_records(path, "Post"), Block(path)
    said = ((post.number, post.text("")) for post in posts if post.text("class", "") != "System")
    turns = _turns(said, block)
    if block.ends():
        yield Talk("1", turns)


def parlai_text(path: Path) -> Dialogues:
    r"""ParlAI's text form: ``text:...<tab>labels:...[<tab>episode_done:True]``, one exchange a line.

    ``\n`` in a field is a line break: the last line of ``text`` is what is said, those before it are turns as
    well unless they are personas. LIGHT marks what each line is (``_partner_say``); its ``_self_say`` repeats
    the label before it. LIGHT's files hold each dialogue from both sides: the second telling, which is
    contained in the first, is left out.
    """
    turns: list[str] = []
    before: list[str] = []
    start, light = 0, False
    block = Block(path)
    for number, line in read_bounded_lines(path):
        if line is not None and not line.strip():
            continue
        within = block.takes(number, line)
        if line is None:
            continue
        fields = dict(field.partition(":")[::2] for field in line.rstrip().split("\t"))
        if "text" not in fields:
            raise UserError(f"{path}:{number}: no field 'text:'; is it in ParlAI's text form?")
        start = start or number
        light = light or fields["text"].startswith("_")
        label = fields.get("labels", fields.get("eval_labels", "")).split("|")[0]
        if within:
            turns += _audible([*_said(_unescaped(fields["text"])), _unescaped(label).strip()])
        else:
            turns.clear()
        if fields.get("episode_done", "").strip() == "True":
            if block.ends():
                repeated = light and turns == before[: len(turns)]
                yield Talk(str(start), turns, REPEATED if repeated else "")
            turns, before, start = [], turns, 0
    if block.ends() and turns:
        yield Talk(str(start), turns)


def _audible(turns: Iterable[str]) -> list[str]:
    return [turn for turn in turns if turn and turn not in _SILENCE]


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t").replace("__PIPE__", "|")


def _said(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if match := _LIGHT.fullmatch(line.strip()):
            if match["who"] == "partner":
                yield match["said"]
        elif not _PERSONA.match(line):
            yield line.strip()


def generic(path: Path) -> Dialogues:
    """JSON lines or a JSON list of dialogues: those of BlenderBot 3, ParlAI's own, and others.

    ``dialogue``, ``dialog``, ``turns`` or ``utterances`` is the list of turns. A turn is a text, [speaker,
    text], or an object with its text under ``text``, ``utterance`` or, in KVRET, ``data.utterance``; ParlAI's
    lists of such pairs are taken apart. What was said before in Blended Skill Talk
    (``free_turker_utterance``, ``guided_turker_utterance``) comes first. In Wizard of the Internet, where
    each line is {id: {``dialog_history``}}, turns are what wizard and apprentice say to each other, not to
    the search engine.
    LIGHT WILD's are read from their text.
    """
    for row in json_records(path):
        yield from _of(row)


def _of(row: Record) -> Dialogues:
    identity = next(
        (str(row.values[key]) for key in ("dialogue_id", "id", "conv_id") if row.values.get(key) is not None),
        str(row.number),
    )
    if isinstance(row.values.get("header"), list) and isinstance(row.values.get("rows"), list):
        names = row.texts("header")
        for index, cells in enumerate(row.items("rows"), start=1):
            if not isinstance(cells, list) or len(cells) != len(names):
                raise row.error(f"rows[{index - 1}] has not one cell for each of 'header'")
            yield from _of(
                Record(f"{row.place}: rows[{index - 1}]", index, dict(zip(names, cells, strict=True)))
            )
        return
    inner = next(iter(row.values.values()), None)
    if len(row.values) == 1 and isinstance(inner, dict) and isinstance(inner.get("dialog_history"), list):
        history = Record(row.place, row.number, inner).records("dialog_history")
        yield Talk(next(iter(row.values)), [turn.text("text", "") for turn in history if _spoken(turn)])
        return
    key = next((key for key in ("dialogue", "dialog", "turns", "utterances") if key in row.values), None)
    if key is None:
        raise row.error("no list of turns; there must be 'dialogue', 'dialog', 'turns' or 'utterances'")
    value = row.values[key]
    if isinstance(value, str):
        yield Talk(identity, _audible(_light_wild(value, row)))
        return
    opening = [row.text(f"{who}_turker_utterance", "") for who in ("free", "guided")]
    turns = [text for turn in row.items(key) for text in _turn(turn, row)]
    yield Talk(identity, _audible((*opening, *turns)))


def _spoken(turn: Record) -> bool:
    return turn.text("action", "") in ("Apprentice => Wizard", "Wizard => Apprentice")


def _turn(turn: Any, row: Record) -> Iterator[str]:
    match turn:
        case str():
            yield turn.strip()
        case {"text": str(text)} | {"utterance": str(text)}:
            yield text.strip()
        case {"data": {"utterance": str(text)}}:  # KVRET
            yield text.strip()
        case [int() | str(), str(text)]:
            yield text.strip()
        case [*pair] if pair and all(isinstance(each, dict) for each in pair):
            for each in pair:
                yield from _turn(each, row)
        case _:
            raise row.error("a turn must be a text, [speaker, text], or an object with 'text' or 'utterance'")


def _light_wild(text: str, row: Record) -> Iterator[str]:
    """LIGHT WILD's two forms: ``Human: ...\\nBot: ...`` with written-out ``\\n``, or a JSON list of turns."""
    if text.lstrip().startswith("["):
        turns = parse_json(text.replace("\\\\", "\\"), Path(row.place), halves=True)
        for turn in turns if isinstance(turns, list) else ():
            if not isinstance(turn, dict) or not isinstance(turn.get("text", ""), str):
                raise row.error("a turn of 'dialogue' must be an object with 'text'")
            if turn.get("type") == "speech":
                yield turn.get("text", "").strip()
        return
    for line in re.split(r"\\n|\n", text):
        who, colon, said = line.partition(": ")
        if colon and who in ("Human", "Bot"):
            yield said.strip()


def any_text(path: Path) -> Dialogues:
    """A ``.txt`` file in one of ParlAI's forms; its first line says which."""
    lines = (line.lstrip() for _, line in read_bounded_lines(path) if line is not None)
    first = next(filter(None, lines), "")
    if first.startswith("{"):
        yield from generic(path)
    elif first.startswith("text:"):
        yield from parlai_text(path)
    else:
        yield from numbered(path)
