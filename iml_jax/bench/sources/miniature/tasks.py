"""The tasks of the miniature in three formats: Super-NaturalInstructions, PromptSource and reasoning.

Those of the five others are in ``row_tasks``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from iml_jax.bench.sources.miniature.lexicon import SLOTS, YOUNG
from iml_jax.bench.sources.miniature.makers import (
    Asking,
    Spec,
    analogy,
    composed,
    entailed,
    labels_of,
    listing,
    rewriting,
    same_kind,
    telling,
)
from iml_jax.bench.sources.miniature.row_tasks import (
    CROSSFIT,
    EXMIX,
    FLAN_RENDERED,
    FLAN_TEMPLATED,
    T5_TASKS,
    UNIFIEDSKG,
)


def _slot_task(row: str) -> Spec:
    name, category, role, frame, slot, mapping, instruction = (cell.strip() for cell in row.split("|"))
    make = Asking(frame, slot, mapping)
    return Spec(name, category, (instruction,), labels_of(slot, mapping), make, role == "held")


_SLOT_TASKS = """
thing_kind_report|Text Categorization|train|report|thing|kind|What kind of thing is in the report?
thing_kind_work|Text Categorization|train|work|thing|kind|Name the kind of thing at work.
things_kind_count|Text Categorization|train|count|things|kind|What kind of things were counted?
thing_kind_note|Text Categorization|held|note|thing|kind|What kind of thing is in the note?
place_area_report|Section Classification|train|report|place|area|What area is the place in?
place_area_diary|Section Classification|train|diary|place|area|Name the area of the diary.
place_area_note|Section Classification|held|note|place|area|What area is the note in?
mood_diary|Sentiment Analysis|train|diary|mood|feeling|Which feeling is in the diary?
mood_work|Sentiment Analysis|train|work|mood|feeling|Name the feeling at work.
mood_crew|Sentiment Analysis|held|crew|mood|feeling|Which feeling is in the crew?
person_report|Named Entity Recognition|train|report|person|itself|Which person is in the report?
person_count|Named Entity Recognition|train|count|person|itself|Name the person who counted.
country_work|Named Entity Recognition|train|work|country|itself|Which country is at work?
person_trip|Named Entity Recognition|held|trip|person|itself|Which person made the trip?
place_report|Information Extraction|train|report|place|itself|Which place is in the report?
colour_count|Information Extraction|train|count|colour|itself|Which colour was counted?
thing_note|Information Extraction|train|note|thing|itself|Which thing is in the note?
place_diary|Information Extraction|train|diary|place|itself|Name the place of the diary.
place_note|Information Extraction|held|note|place|itself|Which place is in the note?
opposite_report|Word Semantics|train|report|size|opposite|Give the opposite of the size.
opposite_note|Word Semantics|train|note|size|opposite|Say the opposite of the size in the note.
digit_count|Number Conversion|train|count|number|digit|Write the number as a digit.
digit_zoo|Number Conversion|train|zoo|number|digit|Write the zoo number as a digit.
digit_crew|Number Conversion|held|crew|number|digit|Write the crew number as a digit.
next_number_count|Mathematics|train|count|number|next|Give the next number.
next_number_zoo|Mathematics|held|zoo|number|next|Give the next number of the zoo.
colour_spanish_count|Translation|train|count|colour|spanish|Say the colour in Spanish.
number_spanish_zoo|Translation|train|zoo|number|spanish|Say the number in Spanish.
colour_spanish_trip|Translation|held|trip|colour|spanish|Say the colour of the trip in Spanish.
capital_work|Entity Relation Classification|train|work|country|capital|Name the capital of the country.
language_work|Entity Relation Classification|train|work|country|language|Name the language of the country.
capital_trip|Entity Relation Classification|held|trip|country|capital|Name the capital of the trip.
season_diary|Temporal Reasoning|train|diary|month|season|Which season is it in the diary?
next_day_count|Temporal Reasoning|train|count|day|next|Name the next day.
season_trip|Temporal Reasoning|held|trip|month|season|Which season is it on the trip?
present_report|Linguistic Probing|train|report|verb|present|Give the verb in the present.
plural_report|Linguistic Probing|train|report|thing|plural|Give the plural of the thing.
workplace_work|Fill in The Blank|train|work|job|workplace|Where does this worker go?
workplace_crew|Fill in The Blank|held|crew|job|workplace|Where does the crew worker go?
store_report|Commonsense Classification|train|report|thing|store|Where is this thing kept?
store_note|Commonsense Classification|train|note|thing|store|Say where the thing in the note is kept.
store_trip|Commonsense Classification|held|trip|thing|store|Where is the thing of the trip kept?
young_zoo|Entity Generation|train|zoo|animal|young|Name the young of the animal.
"""

SUPER_NATURAL: tuple[Spec, ...] = (
    *(_slot_task(row) for row in _SLOT_TASKS.strip().splitlines()),
    Spec("first_thing", "Program Execution", ("Give the first thing.",), SLOTS["thing"], listing(0)),
    Spec("last_thing", "Program Execution", ("Give the last thing.",), SLOTS["thing"], listing(2)),
    Spec("middle_thing", "Program Execution", ("Give the middle thing.",), SLOTS["thing"], listing(1), True),
    Spec(
        "title_report", "Title Generation", ("Write a title.",), ("",), rewriting("report", "{thing} {place}")
    ),
    Spec(
        "title_note",
        "Title Generation",
        ("Write a title of the note.",),
        ("",),
        rewriting("note", "{thing} {place}"),
        True,
    ),
    Spec(
        "keywords_count",
        "Keyword Tagging",
        ("List the keywords.",),
        ("",),
        rewriting("count", "{number} {things}"),
    ),
    Spec(
        "analogy_opposite",
        "Word Analogy",
        ("Finish the pair.",),
        labels_of("size", "opposite"),
        analogy("size", "opposite"),
        True,
    ),
    Spec(
        "analogy_young",
        "Word Analogy",
        ("Finish the pair.",),
        tuple(YOUNG.values()),
        analogy("animal", "young"),
        True,
    ),
    Spec(
        "analogy_capital",
        "Word Analogy",
        ("Finish the pair.",),
        labels_of("country", "capital"),
        analogy("country", "capital"),
        True,
    ),
    Spec(
        "claim_report",
        "Textual Entailment",
        ("Is the claim true? Say yes or no.",),
        ("yes", "no"),
        entailed,
        True,
    ),
    *(
        Spec(
            f"speaker_{name}",
            "Speaker Identification",
            ("Which person said it?",),
            SLOTS["person"],
            telling(text, "person", "itself"),
            True,
        )
        for name, text in (
            ("first", '{person} said: "The {size} {thing} is near the {place}."'),
            ("last", '"The {thing} is {colour}," said {person} on {day}.'),
        )
    ),
)


def _prompted(name: str, category: str, frame: str, slot: str, mapping: str, *texts: str) -> Spec:
    choices = 4 if category == "Question Answering" else 0
    make = Asking(frame, slot, mapping)
    return Spec(name, category, texts, labels_of(slot, mapping), make, choices=choices)


PROMPTSOURCE: tuple[Spec, ...] = (
    _prompted(
        "mini_things",
        "Text Categorization",
        "trip",
        "thing",
        "kind",
        "{{text}}\nThe kind of thing is:",
        "What kind of thing is here?\n{{text}}",
    ),
    _prompted(
        "mini_moods/diary",
        "Sentiment Analysis",
        "diary",
        "mood",
        "feeling",
        "{{text}}\nThe feeling is:",
        "What is the feeling here?\n{{text}}",
    ),
    dataclasses.replace(
        _prompted(
            "mini_moods/party",
            "Sentiment Analysis",
            "party",
            "mood",
            "feeling",
            "{{text}}\nThe feeling at the party is:",
            "What is the feeling at the party here?\n{{text}}",
        ),
        evaluation=True,
    ),
    _prompted(
        "mini_where",
        "Question Answering",
        "report",
        "place",
        "itself",
        "{{text}}\nQuestion: which place is it near?",
        "Question: which place?\n{{text}}",
    ),
    _prompted(
        "mini_who",
        "Question Answering",
        "diary",
        "person",
        "itself",
        "{{text}}\nQuestion: which person is it?",
        "Question: which person?\n{{text}}",
    ),
    dataclasses.replace(
        _prompted(
            "mini_colours",
            "Question Answering",
            "trip",
            "colour",
            "itself",
            "{{text}}\nQuestion: which colour is it?",
        ),
        evaluation=True,
    ),
    _prompted(
        "mini_seasons",
        "Temporal Reasoning",
        "party",
        "month",
        "season",
        "{{text}}\nThe season is:",
        "What season is it?\n{{text}}",
    ),
    _prompted(
        "mini_intents/report",
        "Intent Identification",
        "report",
        "verb",
        "intent",
        "{{text}}\nThe intent is:",
        "What is the intent?\n{{text}}",
    ),
    dataclasses.replace(
        _prompted(
            "mini_intents/count",
            "Intent Identification",
            "count",
            "verb",
            "intent",
            "{{text}}\nThe intent of the count is:",
        ),
        evaluation=True,
    ),
    _prompted(
        "mini_jobs",
        "Fill in The Blank",
        "letter",
        "job",
        "workplace",
        "{{text}}\nThis worker goes to the:",
        "Where does the worker go?\n{{text}}",
    ),
    Spec(
        "mini_summary",
        "Summarization",
        ("{{text}}\nIn short:", "Say it in short.\n{{text}}"),
        ("",),
        rewriting("report", "{person} {verb} a {thing}."),
        closed=False,
    ),
    Spec(
        "mini_data",
        "Data to Text",
        ("{{text}}\nAs data:", "Write the data.\n{{text}}"),
        ("",),
        rewriting("note", "{thing}, {place}, {day}"),
        closed=False,
    ),
    Spec(
        "mini_match",
        "Text Matching",
        ("{{text}}\nIs it the same kind? yes or no?", "Is it the same kind? {{text}}"),
        ("yes", "no"),
        same_kind,
    ),
    Spec(
        "mini_cause/store",
        "Cause Effect Classification",
        ("{{text}}\nSo the place was the:",),
        labels_of("thing", "store"),
        telling("On {day} {person} put away a {thing}.", "thing", "store"),
        True,
    ),
    Spec(
        "mini_cause/work",
        "Cause Effect Classification",
        ("{{text}}\nSo the place was the:",),
        labels_of("job", "workplace"),
        telling("On {day} {person} went to see a {job}.", "job", "workplace"),
        True,
    ),
)


def _steps(name: str, question: str, answer: str, rationale: str, evaluation: bool = False) -> Spec:
    make = composed(question, answer, rationale=rationale)
    return Spec(name, "Reasoning", (), ("",), make, evaluation, closed=False)


REASONING: tuple[Spec, ...] = (
    _steps(
        "mini_store",
        "{person} has a {size} {thing}. Where is it kept?",
        "{thing_store}",
        "{thing} means {thing_kind}.",
    ),
    _steps(
        "mini_speak",
        "{person} took a {thing} to {country}. Which language is it?",
        "{country_language}",
        "{country} means {country_capital}.",
    ),
    _steps(
        "mini_season",
        "{person} felt {mood} in {month}. Which season is it?",
        "{month_season}",
        "{month} means {month_season}.",
    ),
    _steps(
        "mini_after",
        "On {day} {person} saw a {thing}. Which day is next?",
        "{day_next}",
        "{day} then {day_next}.",
    ),
    _steps(
        "mini_more",
        "{person} has {number} {colour} {things} and gets one. Which number is it?",
        "{number_next}",
        "{number} then {number_next}.",
    ),
    _steps(
        "mini_feeling",
        "{person} was {mood} at the {place}. Which feeling is it?",
        "{mood_feeling}",
        "{mood} means {mood_feeling}.",
        True,
    ),
)


# Benchmark -> its tasks. FLAN has two forms of files.
BENCHMARKS: dict[str, tuple[Spec, ...]] = {
    "super_natural_instructions": SUPER_NATURAL,
    "promptsource": PROMPTSOURCE,
    "crossfit": CROSSFIT,
    "flan": (*FLAN_TEMPLATED, *FLAN_RENDERED),
    "exmix": EXMIX,
    "t5": T5_TASKS,
    "unifiedskg": UNIFIEDSKG,
    "reasoning": REASONING,
}


def all_specs() -> Iterator[tuple[str, Spec]]:
    """(benchmark, task) of the whole miniature."""
    for benchmark, specs in BENCHMARKS.items():
        for spec in specs:
            yield benchmark, spec
