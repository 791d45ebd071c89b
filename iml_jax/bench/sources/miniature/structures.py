"""Makers of the miniature's structured instances: tables, triples, queries, slots, pronouns, dialogues."""

from __future__ import annotations

import random

from iml_jax.bench.sources.miniature.lexicon import FRAMES, MAPS, SLOTS
from iml_jax.bench.sources.miniature.makers import Fields, Maker, draw_words, fill, sentence, word_for

_ROWS = 2  # of a table


def _table(rng: random.Random, columns: tuple[str, ...]) -> list[Fields]:
    """Rows with no word in common; column -> word."""
    drawn = {column: rng.sample(SLOTS[column], _ROWS) for column in columns}
    return [{column: drawn[column][row] for column in columns} for row in range(_ROWS)]


def _linear(rows: list[Fields]) -> str:
    """As UnifiedSKG writes a table: in one line, and for tables in lower case."""
    lines = ["col : " + " | ".join(rows[0])]
    lines += [f"row {number} : " + " | ".join(row.values()) for number, row in enumerate(rows, 1)]
    return " ".join(lines).lower()


def table_question(columns: tuple[str, ...], asked: str) -> Maker:
    """A question about one row of a table; the answer is the cell of that row under ``asked``.

    Args:
      columns: slots; the first names the row.
      asked: one of the others.
    """

    def make(rng: random.Random, label: str) -> Fields:
        rows = _table(rng, columns)
        row = rng.choice(rows)
        key = row[columns[0]].lower()
        return {"input": f"which {asked} is it for {key}?", "struct": _linear(rows), "output": row[asked]}

    return make


def table_claim(columns: tuple[str, ...], asked: str) -> Maker:
    """A statement about one row of a table, ``entailed`` or ``refuted`` (then of the other row)."""

    def make(rng: random.Random, label: str) -> Fields:
        rows = _table(rng, columns)
        row = rng.choice(rows)
        claimed = row if label == "entailed" else next(other for other in rows if other is not row)
        text = f"the {asked} for {row[columns[0]]} is {claimed[asked]}.".lower()
        return {"input": text, "struct": _linear(rows), "output": label}

    return make


def slots_of(frame: str, names: tuple[str, ...]) -> Maker:
    """Sentences of a frame; ``spans`` are their words in the slots, as ``SLOT=WORD`` in their order."""
    order = sorted(names, key=lambda name: FRAMES[frame].index(f"{{{name}}}"))

    def make(rng: random.Random, label: str) -> Fields:
        text, words = fill(rng, frame)
        return {
            "input": text,
            "output": "; ".join(f"{name}: {words[name]}" for name in order),
            "spans": " ".join(f"{name}={words[name]}" for name in order),
        }

    return make


def pronoun(rng: random.Random, label: str) -> Fields:
    """Two people at work and a pronoun; ``candidates`` are both, the answer is the one who works there."""
    jobs = rng.sample(SLOTS["job"], 2)
    right = rng.choice(jobs)
    day = rng.choice(SLOTS["day"])
    text = f"On {day} the {jobs[0]} met the {jobs[1]} because he was at the {MAPS['workplace'][right]}."
    return {"input": text, "candidates": ",".join(f"the {job}" for job in jobs), "output": f"the {right}"}


_WH = {
    "human": ("Who {verb} a {size} {thing}?", "Who saw the {colour} {thing} on {day}?"),
    "location": ("Where is the {size} {thing}?", "Where did {person} see the {colour} {thing}?"),
    "numeric": ("How many {things} did {person} see?", "How many {colour} {things} are near the {place}?"),
    "entity": ("What was it that {person} {verb} near the {place}?", "What did {person} see on {day}?"),
    "description": ("Why was {person} {mood} on {day}?", "Why is the {thing} near the {place}?"),
}
WH_LABELS = tuple(_WH)


def asked_for(rng: random.Random, label: str) -> Fields:
    """A question; the label is what kind of answer it asks for."""
    text = rng.choice(_WH[label])
    slots = [name for name in SLOTS if f"{{{name}}}" in text]
    return {"input": sentence(text, draw_words(rng, slots)), "output": label}


def conversation(rng: random.Random, label: str) -> Fields:
    """Two people talk about a thing; the answer says in a sentence what the first of them did."""
    words = draw_words(rng, ("person", "verb", "thing", "place"))
    other = rng.choice([person for person in SLOTS["person"] if person != words["person"]])
    turns = f"{{person}}: I {{verb}} a {{thing}}.\n{other}: Where?\n{{person}}: Near the {{place}}."
    return {
        "input": sentence(turns, words),
        "output": sentence("{person} {verb} a {thing} near the {place}.", words),
    }


def spanish(text: str, slots: tuple[str, ...]) -> Maker:
    """Colours and numbers in English and in Spanish.

    Args:
      text: with ``{0}``, ``{1}`` ... for the slots; its own words must be the same in both languages but
        for "and".
      slots: of each word, ``colour`` or ``number``.
    """

    def make(rng: random.Random, label: str) -> Fields:
        words = [rng.choice(SLOTS[slot]) for slot in slots]
        return {
            "input": text.format(*words),
            "output": text.replace(" and ", " y ").format(*(MAPS["spanish"][word] for word in words)),
        }

    return make


def asked_options(frame: str, slot: str) -> Maker:
    """As ``Asking`` for the word itself; ``question`` asks for it in words."""

    def make(rng: random.Random, label: str) -> Fields:
        word = word_for(rng, slot, "itself", label)
        text = fill(rng, frame, {slot: word})[0]
        return {"input": text, "question": f"Which {slot} is it?", "output": label}

    return make
