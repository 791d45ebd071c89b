"""The leakage audit against a restatement with sets of tuples."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_source import FakeSource, simple_rows, write_rows
from support.fixtures_prepared import SyntheticTask, make_prepared  # noqa: F401

from iml_jax import cli
from iml_jax.bench import boilerplate, cache_folders, leakage, leakage_decisions, mixtures, ngrams, overlap
from iml_jax.bench.leakage import LeakageConfig
from iml_jax.bench.ngrams import Index, StreamBuilder, Words
from iml_jax.data import tokenizer as bpe
from iml_jax.foundation.errors import UserError
from iml_jax.storage import lease

VOCABULARY = ["the", "a", "Straße", "КОТ", "naïve", "数据", "x1", "42", "Of", "is", "ÉTÉ", "dog"]
DELIMITERS = [" ", ", ", "\n", " -- ", "_", "'", "...", "\u2028"]


INVISIBLE = {0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0}
INVISIBLE |= {*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)}
INVISIBLE |= {*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4)}
INVISIBLE |= {*range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)}


def expected_words(text):
    """Character by character, no regular expression."""
    words, word = [], ""
    seen = "".join(char for char in unicodedata.normalize("NFKC", text) if ord(char) not in INVISIBLE)
    for char in [*unicodedata.normalize("NFKC", seen.casefold()), " "]:
        if char.isalnum() or (word and unicodedata.category(char).startswith("M")):
            word += char
        elif word:
            words.append(word)
            word = ""
    return words


def expected_ngrams(text):
    words = expected_words(text)
    if len(words) < 8:
        return set()
    if len(words) < 13:
        return {tuple(words)}
    return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}


def expected_hits(train, evaluation):
    """{number of an evaluation text: (record, word) of its first witness}."""
    hits = {}
    for number, text in enumerate(evaluation):
        wanted = expected_ngrams(text)
        for record, other in enumerate(train):
            words = expected_words(other)
            grams = (
                [tuple(words)] if 8 <= len(words) < 13 else zip(*(words[i:] for i in range(13)), strict=False)
            )
            first = next((place for place, gram in enumerate(grams) if gram in wanted), None)
            if first is not None:
                hits[number] = (record, first)
                break
    return hits


def common_runs(texts):
    """Runs of five words that at least half of four or more texts have."""
    counts = collections.Counter()
    for words in map(expected_words, texts):
        if len(words) >= 8:
            counts.update({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return {run for run, count in counts.items() if count * 2 >= len(texts) >= 4}


def content_ngrams(text, runs):
    """The n-grams of a text that are not wording."""
    words = expected_words(text)
    covered = {i + k for i in range(len(words) - 4) if tuple(words[i : i + 5]) in runs for k in range(5)}
    if len(words) < 13:
        return expected_ngrams(text) if len(covered) < len(words) else set()
    starts = [i for i in range(len(words) - 12) if not covered & set(range(i, i + 13))]
    return {tuple(words[i : i + 13]) for i in starts}


def expected_content(train, groups):
    """How many texts of an evaluation task, a list for each template, share more than wording."""
    known = set().union(*map(expected_ngrams, train))
    return sum(
        bool(content_ngrams(text, runs) & known)
        for texts in groups
        for runs in [common_runs(texts)]
        for text in texts
    )


def random_text(rng, low=0, high=40, kinds=12):
    words = rng.choice(VOCABULARY[:kinds], rng.integers(low, high))
    return "".join(word + str(rng.choice(DELIMITERS)) for word in words)


def corpora(rng, train=60, evaluation=40, kinds=12):
    train = [random_text(rng, kinds=kinds) for _ in range(train)]
    evaluation = [random_text(rng, kinds=kinds) for _ in range(evaluation)]
    for _ in range(12):  # planted, in other letters and across other delimiters
        words = expected_words(str(rng.choice(train)))
        start = int(rng.integers(0, max(1, len(words) - 12)))
        span = str(rng.choice(DELIMITERS)).join(words[start : start + int(rng.integers(11, 16))])
        at = int(rng.integers(len(evaluation)))
        evaluation[at] = random_text(rng, 0, 5) + span.title() + " " + random_text(rng, 0, 5)
    train[3] = evaluation[5] = "One two three four five six seven eight nine?"  # short, equal
    evaluation[6] = "one two three four five six seven eight"  # short, only contained
    train[4], evaluation[7] = "a b c d e f g", "a b c d e f g"  # too short
    train[8] = "dog " * 14 + "cat"
    evaluation[9] = "dog " * 30
    return train, evaluation


def build(evaluation, **part):
    builder = StreamBuilder(Words())
    for text in evaluation:
        builder.add(text)
    return Index(builder.words, *builder.finish(), **part)


def as_dict(hits):
    return {int(e): (int(r), int(w)) for e, r, w in zip(hits.example, hits.record, hits.word, strict=True)}


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, database=None)
def test_words_equal_a_restatement(text):
    # \w has what is alphanumeric, and "_"; the regular expressions agree with str.isalnum and the categories
    assert ngrams.words_of(text) == expected_words(text)


@pytest.mark.parametrize("kinds", [2, 3, 12])
@pytest.mark.parametrize("width", [64, 8, 1])
def test_hits_equal_brute_force_whatever_collides(monkeypatch, kinds, width):
    real = ngrams.hashes
    if width < 64:
        mask = np.uint64((1 << width) - 1)
        monkeypatch.setattr(ngrams, "hashes", lambda s: (real(s)[0], real(s)[1] & mask))
    rng = np.random.default_rng()
    for _ in range(3):
        train, evaluation = corpora(rng, kinds=kinds)
        expected = expected_hits(train, evaluation)
        assert expected and len(expected) < len(evaluation)
        for batch in (512, 7):
            monkeypatch.setattr(overlap, "_BATCH", batch)
            hits = overlap.scan(build(evaluation), enumerate(train))
            assert as_dict(hits) == expected


@pytest.mark.parametrize("width", [64, 8])
def test_wording_equals_a_restatement(monkeypatch, width):
    real = ngrams.hashes
    if width < 64:  # collisions of few-word runs may only add wording, never lose any
        mask = np.uint64((1 << width) - 1)
        monkeypatch.setattr(boilerplate, "hashes", lambda s, n: (real(s, n)[0], real(s, n)[1] & mask))
    rng = np.random.default_rng()
    heads = ["Answer the question, please: what is true?", "of the dog is 42, of the dog is 42", ""]
    tasks = []
    for sizes in ((12, 9, 0), (3, 4, 8), (0, 0, 5)):  # texts of each template; of three none is wording
        templates = [0] * sizes[0] + [1] * sizes[1] + [2] * sizes[2]
        rng.shuffle(templates)
        tasks.append([(which, heads[which] + " " + random_text(rng)) for which in templates])
    tasks[2][0] = tasks[2][1] = tasks[2][2] = (2, "one two three four five six seven eight nine")
    tasks[0].append((0, heads[0] + " dog x1"))  # short, and more than wording
    tasks[0].append((0, heads[0] + " " + heads[0]))  # nothing but wording
    evaluation = [text for task in tasks for _, text in task]
    groups = np.array([3 * number + which for number, task in enumerate(tasks) for which, _ in task])
    index = build(evaluation)
    found = boilerplate.mask(index.stream, index.starts, groups)
    bounds = [*index.starts.tolist(), len(index.stream)]
    listed = index.words.listed()
    for number, text in enumerate(evaluation):
        alike = [other for other, group in zip(evaluation, groups, strict=True) if group == groups[number]]
        places = [p for p in index.places.tolist() if bounds[number] <= p < bounds[number + 1]]
        grams = {
            tuple(listed[word - 2] for word in index.stream[place : place + 13].tolist() if word > 1)
            for place in places
            if not found[place]
        }
        expected = content_ngrams(text, common_runs(alike))
        assert grams == expected if width == 64 else grams <= expected
    assert found[index.places].any() and not found[index.places].all()


def test_wording_of_a_task_is_no_content(make_prepared):  # noqa: F811
    rng = np.random.default_rng()
    head = "In this task you are given a question and you have to write its answer in one word. "
    fresh = [" ".join(f"w{number}" for number in rng.integers(10**9, size=20)) for _ in range(16)]
    rows = text_rows([head + text for text in fresh])
    level = {"level": "fully_supervised", "evaluation_split": "test"}
    test = [*rows[:7], *text_rows([head + fresh[12]])]
    directory = make_prepared(
        [SyntheticTask("b:a:zero_shot", {"train": rows[8:], "test": test}, rate=1, **level)]
    )
    bpe.train(fresh, 300).save(directory / "tokenizer")
    (pair,) = run(directory).pairs
    assert (pair.overlapping, pair.content, pair.examples) == (8, 1, 8)
    assert pair.samples[0].span in " ".join(expected_words(fresh[12]))


def test_parts_shards_and_pieces_merge_to_the_same(monkeypatch):
    rng = np.random.default_rng()
    train, evaluation = corpora(rng, kinds=3)
    whole = overlap.scan(build(evaluation), enumerate(train))
    monkeypatch.setattr(ngrams, "_EXPANDED", 50)
    indexes = [build(evaluation, part=part, parts=3) for part in range(3)]
    assert all(len(index.keys) for index in indexes)
    cut = [
        overlap.scan(index, ((n, text) for n, text in enumerate(train) if n % 4 == shard))
        for index in indexes
        for shard in range(4)
    ]
    merged = overlap.Hits.merge([*cut[::-1], overlap.Hits.none()])
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(merged, field.name), getattr(whole, field.name))


def text_rows(texts):
    rows = []
    for number, text in enumerate(texts):
        cut = len(text) // 2 if " " not in text else text.index(" ")
        rows.append(
            {
                "prompt_text": [text[:cut].encode()],
                "target_text": [text[cut:].encode()],
                "example_id": [f"id-{number}".encode()],
            }
        )
    return rows


def id_rows(tokenizer, texts):
    """As what is trained on is stored: ids only."""
    rows = []
    for number, text in enumerate(texts):
        source, _, target = text.partition(" ")
        ids = {
            "prompt_ids": tokenizer.encode(source),
            "target_ids": [*tokenizer.encode(" " + target.rstrip()), 2],
        }
        rows.append({**ids, "example_id": [f"id-{number}".encode()]})
    return rows


@pytest.fixture
def prepared(make_prepared):  # noqa: F811
    """(directory, {key: texts} trained on, {key: texts} evaluated)."""
    rng = np.random.default_rng()
    first, second = corpora(rng, 60, 40), corpora(rng, 50, 30)
    boilerplate = "This is what every prompt of this task begins with, so that all of its examples overlap. "
    shared = [boilerplate + text for text in second[1]]
    trained = {"b:one": first[0], "b:two": second[0], "b:same": [boilerplate + random_text(rng)] * 3}
    evaluated = {"b:dev": first[1], "b:same": shared}
    tokenizer = bpe.train([text for texts in trained.values() for text in texts], 400)

    def task(key, splits, **more):
        return SyntheticTask(f"{key}:zero_shot", splits, shards=2, **more)

    shard_order = lambda texts: texts[0::2] + texts[1::2]  # noqa: E731  # the fixture deals rows out in turn
    level = {"level": "fully_supervised", "evaluation_split": "test"}
    directory = make_prepared(
        [
            task("b:one", {"train": id_rows(tokenizer, trained["b:one"])}, rate=1),
            task("b:two", {"train": id_rows(tokenizer, trained["b:two"])}, rate=1),
            task(
                "b:same",
                {"train": id_rows(tokenizer, trained["b:same"]), "test": text_rows(evaluated["b:same"])},
                rate=1,
                **level,
            ),
            task("b:dev", {"test": text_rows(evaluated["b:dev"])}, trained=False, **level),
            # A few-shot variant, whose demonstrations would overlap with anything.
            SyntheticTask("b:dev:five_shot", {"test": text_rows(trained["b:one"])}, trained=False, **level),
        ]
    )
    tokenizer.save(directory / "tokenizer")
    order = lambda tasks: {key: shard_order(texts) for key, texts in tasks.items()}  # noqa: E731
    return directory, order(trained), order(evaluated)


def run(directory, options=(), **fields):
    return leakage.audit(LeakageConfig(str(directory), **fields), options, lambda line: None)


def test_audit_equals_brute_force(prepared, capsys):
    directory, trained, evaluated = prepared
    report = run(directory, threshold=0.0)
    expected = {
        (train, other): len(expected_hits(texts, evaluated[other]))
        for train, texts in trained.items()
        for other in evaluated
    }
    found = {(pair.train, pair.evaluation): pair.overlapping for pair in report.pairs}
    assert found == {pair: count for pair, count in expected.items() if count}
    assert found["b:same", "b:same"] == len(evaluated["b:same"])
    assert (report.train_tasks, report.evaluation_tasks) == (3, 2)
    assert report.evaluation_examples == sum(map(len, evaluated.values()))
    ids = {key: dict(zip(numbered(len(t)), t, strict=True)) for key, t in {**trained}.items()}
    other_ids = {key: dict(zip(numbered(len(t)), t, strict=True)) for key, t in evaluated.items()}
    for pair in report.pairs:
        assert 1 <= len(pair.samples) <= 3
        for sample in pair.samples:
            span = tuple(sample.span.split(" "))
            assert span in expected_ngrams(ids[pair.train][sample.train_example])
            assert span in expected_ngrams(other_ids[pair.evaluation][sample.evaluation_example])
        texts = evaluated[pair.evaluation]
        assert pair.content == expected_content(trained[pair.train], [texts])
        if pair.content:  # samples of content come first
            first = other_ids[pair.evaluation][pair.samples[0].evaluation_example]
            span = tuple(pair.samples[0].span.split(" "))
            assert span in content_ngrams(first, common_runs(texts))
    shares = [(pair.content_share, pair.share) for pair in report.pairs]
    assert shares == sorted(shares, reverse=True)
    same = next(pair for pair in report.pairs if pair.train == pair.evaluation)
    assert same.content < same.overlapping == same.examples
    assert {p.source for p in report.pairs if p.train == p.evaluation} == {"same task"}
    half = run(directory, threshold=0.5)
    assert {(p.train, p.evaluation) for p in half.pairs} == {
        (p.train, p.evaluation) for p in report.pairs if p.share > 0.5
    }
    assert half.overlapping_pairs == len(report.pairs)


def numbered(count):
    names = [f"id-{number}" for number in range(count)]
    return names[0::2] + names[1::2]


def test_beam_form_and_parts_equal_the_plain_form(prepared):
    directory, _, _ = prepared
    plain = run(directory, threshold=0.0)
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    assert run(directory, (runner, "--direct_running_mode=in_memory"), threshold=0.0) == plain
    assert run(directory, threshold=0.0, ngrams=500) == plain
    assert not list(directory.glob(".leakage-*"))


def test_beam_form_tells_of_a_damaged_shard(prepared):
    directory, _, _ = prepared
    file = next(directory.glob("cache/b_one*/train*00001-of*"))
    content = file.read_bytes()
    file.write_bytes(bytes(len(content)))  # same size: only reading finds it
    for options in ((), ("--runner=DirectRunner",)):
        with pytest.raises(UserError, match=r"train.array_record-00001.*run `iml prepare` again"):
            run(directory, options)
    assert not list(directory.glob(".leakage-*"))


def test_reports_are_not_written_beside_another_process(prepared):
    directory, _, _ = prepared
    in_use = pytest.raises(UserError, match=r"is in use: host .*, pid \d+, since")
    with lease.hold(directory / cache_folders.LEASE, "the prepared directory"), in_use:
        run(directory)
    assert not any((directory / name).exists() for name in leakage.REPORTS)


def test_command_writes_and_tells(prepared, tmp_path, capsys):
    directory, _, _ = prepared
    decisions = tmp_path / "decisions.tsv"
    decisions.write_text("train task\tevaluation task\tside\treason\nb:same\tb:same\tkeep\ta prompt\n")
    words = [f"--gin.Leakage.prepared_dir='{directory}'", f"--gin.Leakage.drop='{decisions}'"]
    assert cli.main(["leakage", *words]) == 0
    shown = capsys.readouterr().out
    text = (directory / "leakage.txt").read_text()
    assert shown.endswith(text)
    line = next(line for line in text.splitlines() if "b:same\tb:same" in line)
    assert line.split("\t")[1] == "100.00%" and line.endswith("\tkeep\tsame task")
    record = json.loads((directory / "leakage.json").read_text())
    states = {(p["train"], p["evaluation"]): p["decision"] for p in record["pairs"]}
    assert states.pop(("b:same", "b:same")) == "keep" and set(states.values()) == {"undecided"}
    assert f"{len(states)} of these undecided" in text
    assert all(pair["share"] == pair["overlapping"] / pair["examples"] for pair in record["pairs"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fake:a\tfake:c", ":1: 2 columns; write train task, evaluation task, side, reason"),
        ("\nfake:aa\tfake:c\ttrain\tx", r":2: no task 'fake:aa'; the nearest is 'fake:a'"),
        ("fake:a\tfake:c\tboth\tx", ":1: the side 'both' is none of train, evaluation, keep"),
        ("fake:a\tfake:c\tkeep\tx\nfake:a\tfake:c\ttrain\ty", ":2: this pair is decided in line 1"),
        (b"fake:a\tfake:c\tkeep\t\xff", ":1: "),
        (None, "cannot be read"),
    ],
)
def test_malformed_decisions(tmp_path, line, message):
    file = tmp_path / "d.tsv"
    if line is not None:
        file.write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(UserError, match=re.escape(str(file)) + r".*" + re.escape(message).lstrip("\\")):
        leakage_decisions.read(file, {"fake:a", "fake:c"})


def test_decisions_change_the_mixture(tmp_path):
    for task in "abc":
        for split in ("train", "test"):
            write_rows(tmp_path, task, split, simple_rows(3))
    file = tmp_path / "decisions.tsv"
    file.write_text(
        "\ufefftrain task\tevaluation task\tside\treason\r\n# by hand\r\nfake:a\tfake:b\ttrain\tquestions\r\n"
        "fake:b\tfake:c\tevaluation\tsame\r\nfake:b\tfake:a\tkeep\tWikipedia\r\n"
    )
    config = mixtures.MixtureConfig("m", (FakeSource(str(tmp_path)),))
    uses = {
        task.info.task: (task.trained, task.evaluation_split)
        for task in mixtures.plan(dataclasses.replace(config, leakage_decisions=str(file)))
    }
    assert uses == {"a": (False, "test"), "b": (True, "test"), "c": (True, "")}
    assert all(task.trained and task.evaluation_split for task in mixtures.plan(config))
    file.write_text("fake:nope\tfake:b\ttrain\n")
    with pytest.raises(UserError, match=r"decisions.tsv:1: no task 'fake:nope'"):
        mixtures.plan(dataclasses.replace(config, leakage_decisions=str(file)))


def test_what_cannot_be_audited(make_prepared, tmp_path):  # noqa: F811
    only = make_prepared([SyntheticTask("b:a:zero_shot", {"train": text_rows(["a b"])}, rate=1)])
    with pytest.raises(UserError, match="no task is evaluated"):
        run(only)
    with pytest.raises(UserError, match="no such manifest"):
        run(tmp_path / "gone")
    for fields in ({"threshold": 1.0}, {"threshold": -0.1}, {"ngrams": 0}):
        with pytest.raises(UserError, match=r"Leakage\.\w+ must be"):
            LeakageConfig("x", **fields)
    level = {"level": "fully_supervised", "evaluation_split": "test"}
    bare = make_prepared(
        [SyntheticTask("b:a:zero_shot", {"train": [{"x": [1]}], "test": text_rows(["a b"])}, rate=1, **level)]
    )
    bpe.train(["a"], 300).save(bare / "tokenizer")
    with pytest.raises(UserError, match=r"record 0: no text in it"):
        run(bare)


# A sentence as a reader sees it, and another spelling that looks the same (or differs in case only).
SPELLINGS = {
    "decomposed": ("Été, élève naïf", unicodedata.normalize("NFD", "Été, élève naïf")),
    "hangul": ("한국어 문장", unicodedata.normalize("NFD", "한국어 문장")),
    "hindi": ("\u095bरूरी बात", "\u091c\u093cरूरी बात"),
    "soft_hyphen": ("international cooperation", "inter\u00adnation\u00adal co\u00adoperation"),
    "joiners": ("می خواهم क्ष", "می\u200b خوا\u200dهم क्\u200cष"),
    "byte_order_mark": ("one two", "\ufeffone t\ufeffwo"),
    "word_joiner": ("one two", "o\u2060ne tw\u2060o"),
    "variation": ("葛飾 1 a", "葛\U000e0100飾 1\ufe0f a\ufe0e"),
    "direction": ("abc אבג", "\u202aabc\u202c \u2067אבג\u2069\u200e"),
    "joined_accent": ("café", "cafe\u034f\u0301"),
    "full_width": ("GPT 3 abc", "ＧＰＴ　３ ａｂｃ"),
    "ligature": ("first office", "ﬁrst oﬃce"),
    "sharp_s": ("Straße", "STRASSE"),
    "sigma": ("ΟΔΟΣ", "οδος"),
    "order_of_marks": ("a\u0323\u0307", "a\u0307\u0323"),
}


@pytest.mark.parametrize(("text", "other"), SPELLINGS.values(), ids=list(SPELLINGS))
def test_spellings_that_look_the_same_have_the_same_words(text, other):
    assert text != other
    assert ngrams.words_of(other) == ngrams.words_of(text) == expected_words(text)
    assert len(ngrams.words_of(text)) == len(text.split())


MARKED = ["हिन्दी", "தமிழ்", "ภาษาไทยที่นี่", "مُحَمَّد", "שָׁלוֹם", "မြန်မာ", "ខ្មែរ", "བོད", "e\u0301x\u0302"]


@pytest.mark.parametrize("word", MARKED)
def test_marks_belong_to_words(word):
    assert ngrams.words_of(f" {word}, {word}") == [unicodedata.normalize("NFKC", word).casefold()] * 2


@given(st.text(max_size=40), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
@settings(max_examples=200, deadline=None, database=None)
def test_words_do_not_depend_on_the_form(text, form):
    assert ngrams.words_of(unicodedata.normalize(form, text)) == ngrams.words_of(text)


def test_marks_without_a_letter_are_no_words():
    assert ngrams.words_of("\u0301 ♥\u0308 ´ a") == ["a"]


def test_decomposed_evaluation_overlaps_with_composed_training():
    text = "Cet été, l\u2019élève naïf a préféré réviser sa leçon plutôt que fêter Noël à la forêt"
    for one in ("NFC", "NFD"):
        for other in ("NFC", "NFD"):
            index = build([unicodedata.normalize(other, text)])
            assert as_dict(overlap.scan(index, [(0, unicodedata.normalize(one, text))])) == {0: (0, 0)}


def test_decisions_stay_valid_once_applied(prepared, tmp_path, capsys):
    directory, _, _ = prepared
    decisions = tmp_path / "decisions.tsv"
    decisions.write_text("b:gone\tb:same\ttrain\tapplied\nb:same\tb:same\tkeep\ta prompt\n")
    words = [f"--gin.Leakage.prepared_dir='{directory}'", f"--gin.Leakage.drop='{decisions}'"]
    assert cli.main(["leakage", *words]) == 0
    shown = capsys.readouterr().out
    told = f"leakage: {decisions}:1: no task 'b:gone'; the nearest is 'b:one'; the line is ignored\n"
    assert told in shown
    assert "b:same\tb:same\tkeep" in shown
    assert json.loads((directory / "leakage.json").read_text())["words"] == ngrams.VERSION
    # What no version of the directory can have made right is still refused.
    decisions.write_text("b:gone\tb:same\tboth\n")
    assert cli.main(["leakage", *words]) == 2
