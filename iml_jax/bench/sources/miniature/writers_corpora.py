"""Writes the miniature's pre-training texts and dialogues: facts of the lexicon in plain sentences."""

from __future__ import annotations

import random
from pathlib import Path

from iml_jax.bench.hashing import stable_hash
from iml_jax.bench.sources.miniature.lexicon import FRAMES
from iml_jax.bench.sources.miniature.makers import Sizes, draw_words, fill, sentence
from iml_jax.bench.sources.miniature.writers_prompts import encoded, json_bytes
from iml_jax.storage import tables

# A slot, what is said of its word, and the same as question and answer.
_FACTS = Path(__file__).with_name("facts.tsv")


def pretraining(sizes: Sizes) -> dict[str, bytes]:
    """Facts as the Pile has its texts, a JSON object a line, and stories as plain text, a paragraph each."""
    rng = random.Random(stable_hash(sizes.seed, "pretrain"))
    facts = []
    for _ in range(sizes.instances):
        fact = rng.choice(tables.rows(_FACTS))
        text = sentence(fact["fact"], draw_words(rng, (fact["slot"],)))
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
    fact = rng.choice(tables.rows(_FACTS))
    words = draw_words(rng, (fact["slot"],))
    return [sentence(fact["question"], words), sentence(fact["answer"], words)]
