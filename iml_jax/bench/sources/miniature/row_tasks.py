"""The tasks of the miniature in CrossFit, FLAN, ExMix, T5 and UnifiedSKG.

Where a format takes further tasks, they have names of their own, ``mini_...``; where its reader knows its
tasks by name, they carry a known name and its rows' columns, with generated content.
"""

from __future__ import annotations

from iml_jax.bench.sources.miniature.makers import Asking, Spec, composed, labels_of, rewriting, telling
from iml_jax.bench.sources.miniature.structures import (
    WH_LABELS,
    asked_for,
    asked_options,
    conversation,
    pronoun,
    slots_of,
    spanish,
    table_claim,
    table_question,
)

_FREE = ("",)


def _asks(rows: str) -> tuple[Spec, ...]:
    """Tasks that ask for a word's map: ``name|category|role|frame|slot|map|text;text``."""
    made = []
    for row in rows.strip().splitlines():
        name, category, role, frame, slot, mapping, texts = (cell.strip() for cell in row.split("|"))
        make, labels = Asking(frame, slot, mapping), labels_of(slot, mapping)
        made.append(Spec(name, category, tuple(texts.split(";")), labels, make, role == "held"))
    return tuple(made)


CROSSFIT: tuple[Spec, ...] = (
    *_asks(
        """
        mini_kinds|Text Categorization|train|shop|things|kind|Which kind of things is in the shop?
        mini_offices|Fill in The Blank|train|talk|job|workplace|Where does the worker of the talk go?
        mini_opposites|Word Semantics|train|shelf|size|opposite|Give the opposite of the size on the shelf.
        mini_capitals|Entity Relation Classification|train|letter|country|capital|Give the capital.
        mini_tenses|Linguistic Probing|train|shop|verb|present|Say the verb of the shop in the present.
        mini_days|Temporal Reasoning|train|shop|day|next|Which day is next?
        mini_digits|Number Conversion|held|party|number|digit|Write the party number as a digit.
        mini_colours|Translation|held|shelf|colour|spanish|Say the colour on the shelf in Spanish.
        """
    ),
    Spec(
        "mini_headlines",
        "Title Generation",
        ("Write a title of the shelf.",),
        _FREE,
        rewriting("shelf", "{thing} {colour}"),
        closed=False,
    ),
)

# FLAN's own tasks, and a set of sentence pairs: patterns over rows.
FLAN_TEMPLATED: tuple[Spec, ...] = (
    Spec(
        "cosmos_qa",
        "Question Answering",
        ("{context}\n{question}\n{options_}", "{question}\n{context}\n{options_}", "{context} {question}"),
        labels_of("country", "itself"),
        asked_options("letter", "country"),
        choices=4,
    ),
    Spec(
        "sst2",
        "Sentiment Analysis",
        ("{sentence}\nIs the feeling positive or negative?", "Negative or positive feeling?\n{sentence}"),
        labels_of("mood", "polarity"),
        Asking("diary", "mood", "polarity"),
    ),
    Spec(
        "trec",
        "Text Categorization",
        ("{text}\nWhich kind of answer is it?\n{options_}", "Name the kind of answer.\n{text}"),
        WH_LABELS,
        asked_for,
    ),
    Spec(
        "common_gen",
        "Data to Text",
        ("{concepts}\nWrite it as a sentence.", "Write a sentence.\n{concepts}"),
        _FREE,
        composed("{person}, {verb}, {thing}, {country}", "{person} {verb} a {thing} in {country}."),
        closed=False,
    ),
    Spec(
        "math_dataset",
        "Mathematics",
        ("{question}", "Question: {question}"),
        labels_of("number", "next"),
        telling("{person} has {number} {things}. Which number is next?", "number", "next"),
        closed=False,
    ),
    Spec(
        "samsum",
        "Summarization",
        ("{dialogue}\nIn short:", "Say it in short.\n{dialogue}"),
        _FREE,
        conversation,
        closed=False,
    ),
    Spec(
        "mini_translate_esen",
        "Translation",
        ("{sent1}\nSay it in {lang2}.", "Say in {lang2}: {sent1}"),
        _FREE,
        spanish("{0}, {1} and {2}", ("number", "number", "colour")),
        closed=False,
    ),
)

# FLAN's collection: prompts. The first text stands behind the sentence, the second before it.
FLAN_RENDERED: tuple[Spec, ...] = _asks(
    """
    mini_intents|Intent Identification|train|party|verb|intent|Which intent is it?;Name the intent.
    mini_languages|Entity Relation Classification|train|letter|country|language|Which language?;The language?
    mini_plurals|Linguistic Probing|train|shelf|thing|plural|Give the plural of the thing.;Say the plural.
    mini_writers|Named Entity Recognition|train|letter|person|itself|Which person wrote?;Name the person.
    mini_months|Temporal Reasoning|held|letter|month|season|Which season is it?
    """
)

EXMIX: tuple[Spec, ...] = (
    *_asks(
        """
        cl_benchmark/mini_areas|Section Classification|train|crew|place|area|
        cl_benchmark/mini_talks|Sentiment Analysis|train|talk|mood|feeling|
        clinc150|Intent Identification|train|shop|verb|intent|
        """
    ),
    Spec(
        "cogs",
        "Semantic Parsing",
        (),
        _FREE,
        rewriting("report", "{verb_present} ( {person} , {thing} )"),
        closed=False,
    ),
    Spec(
        "dstc8_spans/mini_trips",
        "Slot Filling",
        (),
        _FREE,
        slots_of("trip", ("month", "thing", "country")),
        closed=False,
    ),
    Spec(
        "styleptb",
        "Style Transfer",
        (),
        _FREE,
        rewriting("note", "The {size_opposite} {thing} is in the {place} on {day}."),
        closed=False,
    ),
    Spec(
        "lama_trex/mini_capital",
        "Knowledge Base Completion",
        (),
        labels_of("country", "capital"),
        telling("{person} said on {day}: the capital of {country} is [MASK].", "country", "capital"),
        True,
        closed=False,
    ),
    Spec(
        "lama_trex/mini_young",
        "Knowledge Base Completion",
        (),
        labels_of("animal", "young"),
        telling("{person} said on {day}: the young of the {animal} is the [MASK].", "animal", "young"),
        True,
        closed=False,
    ),
)

T5_TASKS: tuple[Spec, ...] = (
    Spec(
        "glue_sst2_v002",
        "Sentiment Analysis",
        (),
        labels_of("mood", "polarity"),
        Asking("work", "mood", "polarity"),
    ),
    Spec(
        "cnn_dailymail_v002",
        "Summarization",
        (),
        _FREE,
        composed(
            "On {day} {person} {verb} a {size} {thing}. The {thing} was {colour}.",
            "{person} {verb} a {colour} {thing}.",
        ),
        closed=False,
    ),
    Spec("dpr_v001_simple", "Coreference Resolution", (), _FREE, pronoun),
    Spec(
        "mini_books_enes",
        "Translation",
        (),
        _FREE,
        spanish("{0} and {1}, {2}", ("colour", "colour", "number")),
        closed=False,
    ),
)

UNIFIEDSKG: tuple[Spec, ...] = (
    Spec(
        "wikitq",
        "Table Question Answering",
        (),
        _FREE,
        table_question(("person", "place"), "place"),
        closed=False,
    ),
    Spec(
        "tab_fact",
        "Fact Verification",
        (),
        ("entailed", "refuted"),
        table_claim(("person", "colour"), "colour"),
    ),
    Spec(
        "totto",
        "Data to Text",
        (),
        _FREE,
        composed(
            "",
            "{person} has a {thing} near the {place}.",
            struct="<page_title> {place} </page_title> "
            "<table> <cell> {thing} <col_header> {person} </col_header> </cell> </table>",
        ),
        closed=False,
    ),
    Spec(
        "spider",
        "Text to Code",
        (),
        _FREE,
        composed(
            "How many {things} are {colour}?",
            "select count(*) from {things} where colour = '{colour}'",
            struct="| shop | {things} : number , colour , size",
        ),
        closed=False,
    ),
    Spec(
        "sql2text",
        "Code to Text",
        (),
        _FREE,
        composed(
            "select colour from {things} where name = '{person}'",
            "Which colour is the {things_singular} of {person}?",
            struct="",
        ),
        closed=False,
    ),
    Spec(
        "mtop",
        "Semantic Parsing",
        (),
        _FREE,
        composed(
            "remind {person} of the {thing} on {day}",
            "[IN:REMIND [SL:PERSON {person} ] [SL:TODO {thing} ] [SL:DATE {day} ] ]",
            struct="IN:REMIND, IN:WEATHER",
        ),
        closed=False,
    ),
    Spec(
        "dart",
        "Data to Text",
        (),
        _FREE,
        composed(
            "",
            "{person} {verb} a {thing} near the {place}.",
            struct="{person} : {verb} : {thing} | {thing} : near : {place}",
        ),
        True,
        closed=False,
    ),
)
