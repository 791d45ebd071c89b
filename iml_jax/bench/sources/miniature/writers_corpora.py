"""Writes the miniature's pre-training texts and dialogues: facts of the lexicon in plain sentences."""

from __future__ import annotations

import random

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.miniature.lexicon import FRAMES
from iml_jax.bench.sources.miniature.makers import Sizes, draw_words, fill, sentence
from iml_jax.bench.sources.miniature.writers_prompts import encoded, json_bytes

# A slot, what is said of its word, and the same as question and answer.
_FACTS = tuple(
    tuple(line.split("|"))
    for line in """
thing|The {thing} is a kind of {thing_kind}.|What kind is the {thing}?|It is a kind of {thing_kind}.
thing|The {thing} is kept in the {thing_store}.|Where is the {thing} kept?|In the {thing_store}.
animal|The young of the {animal} is the {animal_young}.|What is the young {animal}?|The {animal_young}.
country|The capital of {country} is {country_capital}.|Which capital has {country}?|{country_capital}.
country|People in {country} speak {country_language}.|What do people in {country} speak?|{country_language}.
job|The {job} goes to the {job_workplace}.|Where does the {job} go?|To the {job_workplace}.
month|In {month} it is {month_season}.|Which season is it in {month}?|It is {month_season}.
size|The opposite of {size} is {size_opposite}.|What is the opposite of {size}?|It is {size_opposite}.
colour|In Spanish {colour} is {colour_spanish}.|What is {colour} in Spanish?|It is {colour_spanish}.
mood|Who is {mood} knows {mood_feeling}.|I am {mood}.|Then you know {mood_feeling}.
day|After {day} comes {day_next}.|What comes after {day}?|It is {day_next}.
place|The {place} belongs to the {place_area}.|What does the {place} belong to?|To the {place_area}.
""".strip().splitlines()
)


def pretraining(sizes: Sizes) -> dict[str, bytes]:
    """Facts as the Pile has its texts, a JSON object a line, and stories as plain text, a paragraph each."""
    rng = random.Random(stable_hash(sizes.seed, "pretrain"))
    facts = []
    for _ in range(sizes.instances):
        slot, fact, _, _ = rng.choice(_FACTS)
        text = sentence(fact, draw_words(rng, (slot,)))
        facts.append({"text": text, "meta": {"pile_set_name": "miniature"}})
    stories = (fill(rng, frame)[0] for frame in rng.choices(sorted(FRAMES), k=sizes.instances))
    return {
        "mini_facts/train.jsonl": encoded(facts, "jsonl"),
        "mini_stories.txt": "\n\n".join(stories).encode() + b"\n",
    }


def dialogue(sizes: Sizes) -> dict[str, bytes]:
    """Questions and answers, as JSON lines and as schema-guided dialogues."""
    rng = random.Random(stable_hash(sizes.seed, "dialogue"))
    talks = [_turns(rng) for _ in range(2 * sizes.instances)]
    guided = [
        {
            "dialogue_id": f"1_{number:05d}",
            "services": [],
            "turns": [
                {"speaker": "SYSTEM" if index % 2 else "USER", "utterance": turn, "frames": []}
                for index, turn in enumerate(turns)
            ],
        }
        for number, turns in enumerate(talks[sizes.instances :])
    ]
    return {
        "mini_chat/train.jsonl": encoded(
            [{"dialogue": turns} for turns in talks[: sizes.instances]], "jsonl"
        ),
        "mini_guide/train/dialogues_001.json": json_bytes(guided),
    }


def _turns(rng: random.Random) -> list[str]:
    slot, _, question, answer = rng.choice(_FACTS)
    words = draw_words(rng, (slot,))
    return [sentence(question, words), sentence(answer, words)]
