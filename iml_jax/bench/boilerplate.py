"""The text that examples of one task share by construction: instructions, templates, lists of options.

The audit's definition counts it (OPT-IML section 2.3 compares instantiated sequences); beside that it counts
what is left without it, since two tasks with one instruction would overlap in every example.
"""

from __future__ import annotations

import numpy as np

from iml_jax.bench.ngrams import END, LENGTH, UNKNOWN, Ids, hashes

RUN = 5  # words: shorter instructions than an n-gram are wording too
FEWEST = 4  # examples of a template from which what they share can be inferred


def mask(stream: Ids, starts: Ids, groups: Ids) -> Ids:
    """Where n-grams begin that are not of an example's own text: bool [n].

    A word is wording if it stands in a run of ``RUN`` words that at least half of its group's examples have,
    in a group of ``FEWEST`` or more. An n-gram is, if any word of it is; a text of fewer than ``LENGTH``
    words, which is one n-gram, only if all of its words are.

    Args:
      stream: uint32 [n], see ``ngrams.Index``.
      starts: int64 [examples], where each example begins in it.
      groups: int64 [examples], examples of one task and template have the same number; those of a task stand
        together.
    """
    covered = np.zeros(len(stream) + 1, np.int32)  # +1 where a common run begins, -1 behind its end
    for first, last in _blocks(groups):
        begin = starts[first]
        end = starts[last] if last < len(starts) else len(stream)
        places = begin + _common(stream[begin:end], starts[first:last] - begin, groups[first:last])
        np.add.at(covered, places, 1)
        np.add.at(covered, places + RUN, -1)
    word = np.cumsum(covered[:-1]) > 0
    count = len(stream) - LENGTH + 1
    made = np.zeros(len(stream), bool)
    if count <= 0:
        return made
    sums = np.concatenate([[0], np.cumsum(word)])
    filled = np.concatenate([[0], np.cumsum(stream == END)])
    inside = sums[LENGTH:] - sums[:count]
    ends = filled[LENGTH:] - filled[:count]
    made[:count] = np.where(ends > 0, inside + ends == LENGTH, inside > 0)
    return made


def _blocks(groups: Ids) -> list[tuple[int, int]]:
    """Stretches of examples, each of which holds the whole of its groups."""
    if not len(groups):
        return []
    _, numbers = np.unique(groups, return_inverse=True)
    last = np.zeros(numbers.max() + 1, np.int64)
    last[numbers] = np.arange(len(numbers))
    reach = np.maximum.accumulate(last[numbers])
    ends = np.flatnonzero(reach == np.arange(len(numbers))) + 1
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def _common(stream: Ids, starts: Ids, groups: Ids) -> Ids:
    """Where common runs begin: int64 [m]."""
    # A run over the fill of a short text is none.
    places, values = hashes(np.where(stream == END, UNKNOWN, stream), RUN)
    example = np.searchsorted(starts, places, "right") - 1
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.lexsort((example, values, group[example]))
    places, values, example = places[order], values[order], example[order]
    changes = lambda array: np.append(True, array[1:] != array[:-1])[: len(array)]  # noqa: E731
    run = np.cumsum(changes(values) | changes(group[example])) - 1  # number of each (group, hash)
    once = changes(example) | changes(run)
    having = np.bincount(run[once], minlength=run[-1] + 1 if len(run) else 0)
    size = sizes[group[example]]
    return places[(having[run] * 2 >= size) & (size >= FEWEST)]
