"""What makes the instances of the miniature's tasks: each follows from its text by a fixed rule.

Most tasks ask about one slot of a sentence, through a map of the lexicon that several tasks of several
formats share, so that a very small model learns each fact often.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.miniature.lexicon import FRAMES, KIND_OF, MAPS, PEOPLE, SLOTS
from iml_jax.foundation.errors import UserError

Fields = dict[str, str]
Maker = Callable[[random.Random, str], Fields]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What decides the files of the miniature; attributes as ``Miniature`` has them."""

    seed: int
    instances: int
    held_out: int
    evaluation: int


@dataclasses.dataclass(frozen=True)
class Spec:
    """One task.

    Attributes:
      name: public name.
      category: its one category.
      text: what its format says besides the rows: an instruction, templates, prompt patterns; may be empty.
      labels: the answers to draw instances for, in turn, so that they are balanced; ("",) is free.
      make: (generator, label) -> fields; always ``input`` and ``output``; reasoning also ``rationale``, tasks
        over structured knowledge ``struct``, others what their format's writer names.
      evaluation: it is never trained on.
      closed: the labels are its answer choices.
      choices: how many of the labels each row gives as its own answer choices; 0: all, in every row.
    """

    name: str
    category: str
    text: tuple[str, ...]
    labels: tuple[str, ...]
    make: Maker
    evaluation: bool = False
    closed: bool = True
    choices: int = 0


def generate(spec: Spec, seed: int, count: int) -> list[Fields]:
    """``count`` instances with distinct inputs, labels in turn; any prefix is balanced.

    Raises:
      UserError: the task's words cannot make that many.
    """
    rng = random.Random(stable_hash(seed, spec.name))
    made: dict[tuple[str, str], Fields] = {}
    labels: list[str] = []
    repeats = 0
    while len(made) < count:
        if not labels:
            labels = rng.sample(spec.labels, len(spec.labels))
        fields = spec.make(rng, labels[-1])
        shown = fields["input"], fields.get("struct", "")
        if shown not in made:
            made[shown] = fields
            labels.pop()
            repeats = 0
        elif (repeats := repeats + 1) > 1000:  # in a row
            raise UserError(f"Miniature: {spec.name} cannot make {count} distinct instances; ask for fewer")
    return list(made.values())


def rows_of(spec: Spec, sizes: Sizes, more: int = 0) -> tuple[list[Fields], list[Fields]]:
    """Rows to evaluate and rows to train on; none of the latter for a task that is never trained on.

    Args:
      spec: the task.
      sizes: how many.
      more: training rows besides ``sizes.instances``, for formats that set some aside.

    Raises:
      UserError: as ``generate``.
    """
    cut = sizes.evaluation if spec.evaluation else sizes.held_out
    made = generate(spec, sizes.seed, cut if spec.evaluation else cut + sizes.instances + more)
    return made[:cut], made[cut:]


def choices_of(spec: Spec, row: Fields, seed: int) -> list[str]:
    """The answer choices of one row: the right one, at any place, among others of its task."""
    rng = random.Random(stable_hash(seed, spec.name, row["input"], "choices"))
    others = rng.sample([label for label in spec.labels if label != row["output"]], spec.choices - 1)
    others.insert(rng.randrange(spec.choices), row["output"])
    return others


def sentence(text: str, words: Fields) -> str:
    """The text with the words in its slots, and "an" where it belongs."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text.format_map(words))


def draw_words(rng: random.Random, slots: Sequence[str], fixed: Fields | None = None) -> Fields:
    """A word for each slot and, as ``SLOT_MAP``, what every map of the lexicon gives for it."""
    words = {slot: rng.choice(SLOTS[slot]) for slot in slots} | (fixed or {})
    mapped = {
        f"{slot}_{name}": mapping[word]
        for slot, word in words.items()
        for name, mapping in MAPS.items()
        if word in mapping
    }
    return words | mapped


def fill(rng: random.Random, frame: str, fixed: Fields | None = None) -> tuple[str, Fields]:
    """A sentence of a frame, and the words as ``draw_words``; ``fixed`` words are taken as they are."""
    words = draw_words(rng, re.findall(r"{(\w+)}", FRAMES[frame]), fixed)
    return sentence(FRAMES[frame], words), words


def labels_of(slot: str, mapping: str) -> tuple[str, ...]:
    """Every answer that ``mapping`` gives for the words of ``slot``, in the lexicon's order."""
    return tuple(dict.fromkeys(MAPS[mapping][word] for word in SLOTS[slot]))


def word_for(rng: random.Random, slot: str, mapping: str, label: str) -> str:
    """A word of ``slot`` for which ``mapping`` gives ``label``."""
    return rng.choice([word for word in SLOTS[slot] if MAPS[mapping][word] == label])


@dataclasses.dataclass(frozen=True)
class Asking:
    """Sentences of a frame; the answer is ``mapping`` of the word in ``slot``."""

    frame: str
    slot: str
    mapping: str

    def __call__(self, rng: random.Random, label: str) -> Fields:
        """As ``Maker``."""
        word = word_for(rng, self.slot, self.mapping, label)
        return {"input": fill(rng, self.frame, {self.slot: word})[0], "output": label}


def rewriting(frame: str, target: str) -> Maker:
    """Sentences of a frame; the answer is ``target`` filled with the same words (and their maps)."""

    def make(rng: random.Random, label: str) -> Fields:
        text, words = fill(rng, frame)
        return {"input": text, "output": sentence(target, words)}

    return make


def listing(position: int) -> Maker:
    """Three things; the answer is the one at ``position``."""

    def make(rng: random.Random, label: str) -> Fields:
        things = rng.sample(SLOTS["thing"], 3)
        things[position] = label
        return {"input": " ".join(things), "output": label}

    return make


def same_kind(rng: random.Random, label: str) -> Fields:
    """Two things; are they of one kind?"""
    first = rng.choice(SLOTS["thing"])
    others = [word for word in SLOTS["thing"] if word != first]
    second = rng.choice([word for word in others if (KIND_OF[word] == KIND_OF[first]) == (label == "yes")])
    person, other = rng.sample(PEOPLE, 2)
    return {"input": f"{person} has a {first}. {other} has a {second}.", "output": label}


def entailed(rng: random.Random, label: str) -> Fields:
    """A premise and a claim about the kind of its thing."""
    text, words = fill(rng, "report")
    kind = KIND_OF[words["thing"]]
    if label == "no":
        kind = rng.choice([other for other in dict.fromkeys(KIND_OF.values()) if other != kind])
    return {"input": f"{text} Claim: {words['person']} {words['verb']} a {kind}.", "output": label}


def analogy(slot: str, mapping: str) -> Maker:
    """``a is to b as c is to``: the answer is ``mapping`` of c."""

    def make(rng: random.Random, label: str) -> Fields:
        relation = MAPS[mapping]
        last = word_for(rng, slot, mapping, label)
        first = rng.choice([word for word in SLOTS[slot] if word != last])
        person = rng.choice(PEOPLE)
        return {"input": f"{person} said {first} is to {relation[first]} as {last} is to", "output": label}

    return make


def telling(text: str, slot: str, mapping: str) -> Maker:
    """A text of its own with a word of each slot in it; the answer is ``mapping`` of the one in ``slot``."""

    def make(rng: random.Random, label: str) -> Fields:
        word = word_for(rng, slot, mapping, label)
        words = draw_words(rng, re.findall(r"{(\w+)}", text), {slot: word})
        return {"input": sentence(text, words), "output": label}

    return make


def composed(text: str, answer: str, **more: str) -> Maker:
    """Texts of their own, made of the same words: ``{slot}`` and ``{slot_map}``.

    Args:
      text: of ``input``.
      answer: of ``output``.
      more: of further fields, such as ``rationale`` and ``struct``.
    """
    texts = {"input": text, "output": answer} | more
    slots = sorted(
        {name.partition("_")[0] for each in texts.values() for name in re.findall(r"{(\w+)}", each)}
    )

    def make(rng: random.Random, label: str) -> Fields:
        words = draw_words(rng, slots)
        return {field: sentence(each, words) for field, each in texts.items()}

    return make
