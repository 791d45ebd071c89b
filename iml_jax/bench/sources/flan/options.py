"""The options that a rendered prompt lists, in the wordings of FLAN's collections."""

from __future__ import annotations

import re

# A line of a list: its mark (a bullet, or a letter or number of the item's own), and the option.
_ITEM = re.compile(
    r"\s*(?P<mark>[-+*]|\[[+*\w]{1,2}\]\.?|\(?[A-Za-z0-9]{1,2}\)\.?|[A-Za-z0-9]{1,2}\.)\s+(?P<text>.*\S)\s*"
)
_ONE_MARK = re.compile(r"[-+*]|\[[+*]\]")
# What the line before a list says that is one of options.
_HEAD = re.compile(
    r"\b(options?|opt|choices?|choose|select|pick|possible (answers|replies)|possibilities)\b", re.I
)
_ENDS = ";,."


def parse_options(prompt: str, target: str) -> tuple[str, ...]:
    """The options of the last list of options in a prompt, one of which is ``target``; else nothing.

    ``OPTIONS:`` and lines ``- yes``; FLAN v2 words the heading in other ways too, and marks the lines with
    letters, numbers or other bullets. Where they have letters or numbers, these may be what is answered.

    Args:
      prompt: a rendered prompt, whose last list of options is its own and not a demonstration's.
      target: the right answer.
    """
    lines = prompt.split("\n")
    wanted = target.strip()
    end = len(lines)
    while end:
        start = end
        while start and _ITEM.fullmatch(lines[start - 1]):
            start -= 1
        if end - start > 1 and start and _HEAD.search(lines[start - 1]):
            return _matching([match for line in lines[start:end] if (match := _ITEM.fullmatch(line))], wanted)
        end = start if start < end else end - 1
    return ()


def _matching(items: list[re.Match[str]], wanted: str) -> tuple[str, ...]:
    """What of the items the target is one of: their texts, these without a closing mark, or their marks."""
    texts = [item["text"].strip() for item in items]
    marks = [item["mark"] for item in items]
    found = [texts]
    if len({text[-1] for text in texts}) == 1 and texts[0][-1] in _ENDS:
        found.append([text[:-1].strip() for text in texts])
    if not any(map(_ONE_MARK.fullmatch, marks)):
        found.append(marks)
    for options in found:
        if wanted in options and len(set(options)) > 1:
            return tuple(dict.fromkeys(options))
    return ()
