"""Spider, SParC, CoSQL and SQL2Text from their own JSON files (UnifiedSKG ``tasks/spider.py`` and so on)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from iml_jax.bench.sources.unifiedskg import linearise
from iml_jax.bench.sources.unifiedskg.databases import Databases
from iml_jax.bench.sources.unifiedskg.files import records, required
from iml_jax.bench.sources.unifiedskg.items import Item, Outcome, Request, distinct
from iml_jax.foundation.errors import UserError

NO_SCHEMA = "no schema of its database"


def spider(request: Request) -> Iterator[Outcome]:
    """Questions over a database, one query each.

    The schema is that of tables.json, in its spelling of the database's own names; it has values where the
    database itself is there. (UnifiedSKG dumps the schema from the database.)
    """
    databases = _databases(request)
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        question, query, database = (required(row, key, str, place) for key in ("question", "query", "db_id"))
        yield str(number), _parsed(databases, database, [question], query)


def sparc(request: Request) -> Iterator[Outcome]:
    """Interactions: the question of their goal alone, then every turn after the turns before it."""
    return _interactions(request, several=False)


def cosql(request: Request) -> Iterator[Outcome]:
    """As SParC; a turn may hold several utterances, between ``|``."""
    return _interactions(request, several=True)


def _interactions(request: Request, *, several: bool) -> Iterator[Outcome]:
    databases = _databases(request)
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        database = required(row, "database_id", str, place)
        if "final" in row:
            final = required(row, "final", dict, place)
            utterance, query = _turn(final, f"{place}, final")
            yield f"{number}:final", _parsed(databases, database, [utterance], query)
        said: list[str] = []
        for turn, content in enumerate(required(row, "interaction", list, place)):
            utterance, query = _turn(content, f"{place}, turn {turn}")
            said.extend(utterance.split("|") if several else [utterance])
            yield f"{number}:{turn}", _parsed(databases, database, said, query)


def _turn(content: Any, place: str) -> tuple[str, str]:
    if not isinstance(content, dict):
        raise UserError(f"{place} is a {type(content).__name__}; expected an object with utterance and query")
    return required(content, "utterance", str, place), required(content, "query", str, place)


def sql2text(request: Request) -> Iterator[Outcome]:
    """Spider's pairs the other way round; the query as it is written, no schema."""
    for number, row in records(request.path):
        place = f"{request.path}: record {number}"
        question, query = (required(row, key, str, place) for key in ("question", "query"))
        yield str(number), Item(query, "", distinct(question.strip()))


def _databases(request: Request) -> Databases:
    databases = Databases(request.files, values=request.database_values)
    if not databases:
        raise UserError(
            f"{request.path}: needs tables.json or database/ID/ID.sqlite in the folder of its task"
        )
    return databases


def _parsed(databases: Databases, database: str, utterances: Sequence[str], query: str) -> Item | str:
    utterances = [utterance.strip() for utterance in utterances]
    if databases.schema(database) is None:
        return NO_SCHEMA
    described = databases.described(database, linearise.EARLIER.join(utterances))
    return Item(
        linearise.conversation(utterances),
        linearise.schema(database, described),
        distinct(linearise.sql(query)),
    )
