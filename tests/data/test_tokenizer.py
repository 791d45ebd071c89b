"""The BPE's ids are transformers' own OPT ids on any text, and no text forges a special id."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.texts import PIECES, TEXTS

from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import UserError

transformers = pytest.importorskip("transformers")

text = st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))).map("".join))


@pytest.fixture(scope="module")
def trained():
    return tokenizers.train(TEXTS, 400)


def reference(folder):
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(loaded).__name__.startswith("GPT2Tokenizer")
    return loaded


def check_parity(ours, theirs, count):
    @settings(max_examples=count, deadline=None, database=None)
    @given(text)
    def parity(sample):
        ids = ours.encode(sample)
        assert ids == theirs(sample, add_special_tokens=False, split_special_tokens=True).input_ids
        assert not set(ids) & {0, 1, 2, 3}
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False) == sample
        if not any(special in sample for special in ("</s>", "<pad>")):
            assert ids == theirs(sample, add_special_tokens=False).input_ids
            assert [2, *ids] == theirs(sample).input_ids  # exactly one `</s>` in front by default

    parity()


def test_trained_parity(trained, tmp_path):
    trained.save(tmp_path)
    check_parity(trained, reference(tmp_path), 300)


def test_real_parity(shared, tmp_path):
    real = tokenizers.load(shared / "data/tokenizer/opt")
    assert (real.tokens, real.rows) == (50265, 50272)
    real.save(tmp_path)
    assert json.loads((tmp_path / "vocab.json").read_text()) == json.loads(
        (shared / "data/tokenizer/opt/vocab.json").read_text()
    )
    check_parity(real, reference(tmp_path), 300)
    # [SEEN by transformers] the published ids of a common sentence
    assert real.encode("Hello world") == [31414, 232]


def test_literal_specials_differ_from_transformers_default_on_purpose(trained, tmp_path):
    trained.save(tmp_path)
    assert 2 in reference(tmp_path)("a</s>b", add_special_tokens=False).input_ids
    assert 2 not in trained.encode("a</s>b")
    assert trained.decode(trained.encode("a</s>b")) == "a</s>b"


_PIECES = [
    "\n",
    "\n\n",
    " ",
    "\t",
    "\r\n",
    "\x1c",
    "\x85",
    "\u2028",
    "a b",
    "'s",
    "1",
    "!",
    "é",
    "\u00a0",
    "cat",
    "\ud800",
]


@given(st.lists(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join), max_size=8))
def test_all_at_once_is_one_by_one(texts):
    tokenizer = tokenizers.train(["the cat sat\n\non the mat!\n\n\na b"] * 9, 300)
    assert tokenizer.encode_all(texts) == [tokenizer.encode(text) for text in texts]
    shared = [f"the cat sat\n\n{text}" for text in texts]
    assert tokenizer.encode_all(shared) == [tokenizer.encode(text) for text in shared]


def test_training_is_deterministic_and_sized(trained):
    assert tokenizers.train(iter(TEXTS), 400).fingerprint == trained.fingerprint
    shuffled = random.sample(TEXTS, len(TEXTS))
    assert tokenizers.train(shuffled, 400).fingerprint == trained.fingerprint
    assert tokenizers.train(TEXTS, 300).tokens == 300
    assert tokenizers.train(["x"], 5000).tokens == 260
    assert trained.rows % 8 == 0
    assert trained.rows - trained.tokens < 8


def test_round_trip_and_tokenizer_json(trained, tmp_path):
    trained.save(tmp_path / "a")
    assert tokenizers.load(tmp_path / "a").fingerprint == trained.fingerprint
    reference(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert not (tmp_path / "b/vocab.json").exists()
    assert tokenizers.load(tmp_path / "b").fingerprint == trained.fingerprint


def test_lone_surrogates_and_specials_in_decode(trained):
    assert trained.encode("a\ud800b") == trained.encode("a\ufffdb")
    assert trained.decode([2, *trained.encode("the cat"), 2, 1, 1]) == "the cat"
    assert trained.decode([0, 1, 2, 3, *trained.encode("the cat"), 0, 3]) == "the cat"
    with pytest.raises(ValueError, match="outside"):
        trained.decode([trained.tokens])


def break_vocabulary(folder, change):
    vocabulary = json.loads((folder / "vocab.json").read_text())
    change(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "vocab.json").unlink(), "neither vocab.json"),
        (lambda f: (f / "merges.txt").unlink(), "merges.txt: cannot be read"),
        (lambda f: (f / "vocab.json").write_text('{"a": 1,\n"b" 2}'), "vocab.json:2: malformed JSON"),
        (lambda f: (f / "vocab.json").write_text("[]"), "JSON object"),
        (lambda f: (f / "merges.txt").write_text("#version: 0.2\nt h\nonly\n"), "merges.txt:3"),
        (lambda f: (f / "merges.txt").write_text("t zzz\n"), "merge 1"),
        (lambda f: break_vocabulary(f, lambda v: v.update({"</s>": 5})), "OPT's vocabulary gives it 2"),
        (lambda f: break_vocabulary(f, lambda v: v.update({"new": 17})), "share one id"),
        (lambda f: break_vocabulary(f, lambda v: v.update({"new": 1.5})), "whole number"),
        (lambda f: break_vocabulary(f, lambda v: v.pop("Ġ")), "byte symbols"),
    ],
)
def test_bad_directories(trained, tmp_path, change, told):
    trained.save(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        tokenizers.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [False, True])
def test_merges_that_are_cut_short(trained, tmp_path, whole):
    """Between two lines the rest is well formed, and every text would be encoded to other ids."""
    trained.save(tmp_path)
    merges = tmp_path / "merges.txt"
    lines = merges.read_text(encoding="utf-8").splitlines(keepends=True)
    if whole:
        from_parts = transformers.AutoTokenizer.from_pretrained(tmp_path)
        from_parts.save_pretrained(tmp_path)
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).unlink(missing_ok=True)
        path = tmp_path / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        tokenizers.load(tmp_path)
        content["model"]["merges"] = content["model"]["merges"][:-2]
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        merges.write_text("".join(lines[:-2]), encoding="utf-8")
    last = "".join(lines[-2].split())
    with pytest.raises(UserError, match="no merge makes 2 of its tokens, the first '") as refused:
        tokenizers.load(tmp_path)
    assert repr(last) in str(refused.value)


def test_bad_tokenizer_json(trained, tmp_path):
    trained.save(tmp_path / "a")
    reference(tmp_path / "a").save_pretrained(tmp_path / "b")
    file = tmp_path / "b/tokenizer.json"
    whole = json.loads(file.read_text())
    for change, told in (
        ({"model": {"type": "Unigram", "vocab": {}}}, "byte-level BPE"),
        ({"model": {}}, "model.vocab"),
        ({"normalizer": {"type": "NFC"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "add_prefix_space"),
    ):
        file.write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=told):
            tokenizers.load(tmp_path / "b")


def test_config_wants_exactly_one():
    tokenizers.VocabularyConfig(directory="x")
    tokenizers.VocabularyConfig(size=1000)
    for bad in ({}, {"directory": "x", "size": 300}, {"size": 259}):
        with pytest.raises(UserError, match=r"Vocabulary\."):
            tokenizers.VocabularyConfig(**bad)
