"""The words of the miniature: what its sentences are made of, and what is true of each word."""

from __future__ import annotations

KINDS = {
    "animal": "cat dog horse cow lion rabbit",
    "fruit": "apple pear plum lemon",
    "tool": "hammer spade drill rake",
    "vehicle": "car tram boat truck",
    "clothing": "shirt hat coat glove",
    "furniture": "chair table sofa desk",
}
PLACES = {
    "water": "lake river",
    "nature": "forest hill",
    "town": "market station",
    "house": "kitchen garage",
}
MOODS = {
    "joy": "happy glad",
    "anger": "angry furious",
    "fear": "afraid scared",
    "sadness": "sad gloomy",
}
OPPOSITES = "big small hot cold old new fast slow"
COLOURS = {
    "red": "rojo",
    "blue": "azul",
    "green": "verde",
    "black": "negro",
    "white": "blanco",
    "pink": "rosa",
}
NUMBERS = {
    "two": "dos",
    "three": "tres",
    "four": "cuatro",
    "five": "cinco",
    "six": "seis",
    "seven": "siete",
}
COUNTRIES = {
    "France": ("Paris", "French"),
    "Spain": ("Madrid", "Spanish"),
    "Italy": ("Rome", "Italian"),
    "Japan": ("Tokyo", "Japanese"),
    "Egypt": ("Cairo", "Arabic"),
    "Norway": ("Oslo", "Norwegian"),
}
JOBS = {
    "doctor": "hospital",
    "teacher": "school",
    "farmer": "farm",
    "baker": "bakery",
    "pilot": "airport",
    "judge": "court",
}
VERBS = {  # past: (present, intent)
    "bought": ("buy", "trade"),
    "sold": ("sell", "trade"),
    "found": ("find", "search"),
    "lost": ("lose", "search"),
    "drew": ("draw", "art"),
    "painted": ("paint", "art"),
}
YOUNG = {
    "cat": "kitten",
    "dog": "puppy",
    "horse": "foal",
    "cow": "calf",
    "lion": "cub",
    "rabbit": "bunny",
}
SEASONS = {
    "winter": "December January February",
    "spring": "March April May",
    "summer": "June July August",
    "autumn": "September October November",
}
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())  # noqa: SIM905
PEOPLE = tuple("Mia Tom Ana Ben Eva Sam Lily Max".split())  # noqa: SIM905
STORES = {
    "animal": "barn",
    "fruit": "basket",
    "tool": "shed",
    "vehicle": "road",
    "clothing": "closet",
    "furniture": "room",
}


def _inverse(groups: dict[str, str]) -> dict[str, str]:
    """Member -> group."""
    return {member: group for group, members in groups.items() for member in members.split()}


KIND_OF = _inverse(KINDS)
_MOOD_OF = _inverse(MOODS)
_CYCLE = tuple(NUMBERS)
_PAIRS = OPPOSITES.split()

# What a slot of a sentence may be filled with.
SLOTS: dict[str, tuple[str, ...]] = {
    "thing": tuple(KIND_OF),
    "things": tuple(thing + "s" for thing in KIND_OF),
    "animal": tuple(YOUNG),
    "place": tuple(_inverse(PLACES)),
    "mood": tuple(_inverse(MOODS)),
    "size": tuple(_PAIRS),
    "colour": tuple(COLOURS),
    "number": _CYCLE,
    "country": tuple(COUNTRIES),
    "job": tuple(JOBS),
    "verb": tuple(VERBS),
    "month": tuple(_inverse(SEASONS)),
    "day": DAYS,
    "person": PEOPLE,
}

# What a task may ask about a slot: map -> word of the slot -> answer.
MAPS: dict[str, dict[str, str]] = {
    "itself": {word: word for words in SLOTS.values() for word in words},
    "kind": KIND_OF | {thing + "s": kind for thing, kind in KIND_OF.items()},
    "store": {thing: STORES[kind] for thing, kind in KIND_OF.items()},
    "plural": {thing: thing + "s" for thing in KIND_OF},
    "singular": {thing + "s": thing for thing in KIND_OF},
    "young": YOUNG,
    "area": _inverse(PLACES),
    "feeling": _MOOD_OF,
    "polarity": {mood: "positive" if feeling == "joy" else "negative" for mood, feeling in _MOOD_OF.items()},
    "opposite": {word: _PAIRS[index ^ 1] for index, word in enumerate(_PAIRS)},
    "spanish": COLOURS | NUMBERS,
    "digit": {word: str(value) for value, word in enumerate(NUMBERS, 2)},
    "next": {word: _CYCLE[(index + 1) % len(_CYCLE)] for index, word in enumerate(_CYCLE)}
    | {day: DAYS[(index + 1) % 7] for index, day in enumerate(DAYS)},
    "capital": {country: capital for country, (capital, _) in COUNTRIES.items()},
    "language": {country: language for country, (_, language) in COUNTRIES.items()},
    "workplace": JOBS,
    "present": {past: present for past, (present, _) in VERBS.items()},
    "intent": {past: intent for past, (_, intent) in VERBS.items()},
    "season": _inverse(SEASONS),
}

# Sentences; every word of a slot occurs in that slot only.
FRAMES: dict[str, str] = {
    "report": "{person} {verb} a {size} {thing} near the {place}.",
    "count": "On {day} {person} {verb} {number} {colour} {things}.",
    "diary": "{person} felt {mood} in {month} at the {place}.",
    "work": "The {job} from {country} was {mood} about the {thing}.",
    "trip": "In {month} {person} took a {colour} {thing} to {country}.",
    "note": "The {size} {thing} is in the {place} on {day}.",
    "zoo": "{person} saw {number} {colour} {things} and one {animal}.",
    "crew": "{number} {mood} people met the {job} at the {place}.",
    "letter": "{person} from {country} wrote to the {job} in {month}.",
    "shop": "The {job} {verb} {number} {things} on {day}.",
    "shelf": "The {size} {thing} on the shelf is {colour}.",
    "party": "{number} {mood} guests {verb} a {thing} in {month}.",
    "talk": "The {mood} {job} spoke to {person} on {day}.",
}
