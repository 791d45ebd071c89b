"""Tokens added to OPT's tokenizer: the ids of transformers' AutoTokenizer, or a refusal by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.texts import PIECES, TEXTS

from iml_jax.data import tokenizer as tokenizers
from iml_jax.foundation.errors import UserError

transformers = pytest.importorskip("transformers")

FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
TOKENS = ["<|user|>", "<|bot|>", "\u65e5\u672c", "user", " spaced out ", "two\nlines", "<|user|", "|>"]
WAYS = {
    "as saved": (),
    "without tokenizer.json": ("tokenizer.json",),
    "added_tokens.json": ("tokenizer.json", "added_tokens_decoder"),
}


@pytest.fixture(scope="module")
def trained():
    return tokenizers.train(TEXTS, 400)


def write(folder, trained, tokens, way):
    """A directory as transformers leaves it, with ``tokens`` added, in one of its ways."""
    trained.save(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for token in tokens:
        theirs.add_tokens(token)
    decoder = {str(key): token.__getstate__() for key, token in theirs.added_tokens_decoder.items()}
    theirs.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    if "tokenizer.json" in WAYS[way]:
        (folder / "tokenizer.json").unlink()
        config["added_tokens_decoder"] = decoder
        trained.save(folder)
    if "added_tokens_decoder" in WAYS[way]:
        del config["added_tokens_decoder"]
        config.pop("extra_special_tokens", None)
        added = {token["content"]: int(key) for key, token in decoder.items() if int(key) >= trained.tokens}
        (folder / "added_tokens.json").write_text(json.dumps(added))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@st.composite
def added(draw):
    made = []
    for content in draw(st.lists(st.sampled_from(TOKENS), unique=True, min_size=1, max_size=4)):
        flags = {flag: draw(st.booleans()) for flag in FLAGS}
        made.append(transformers.AddedToken(content, special=draw(st.booleans()), **flags))
    return made


@pytest.mark.parametrize("way", WAYS)
def test_ids_are_those_of_transformers_and_stay_so_in_what_we_save(trained, tmp_path_factory, way):
    pieces = st.sampled_from([*TOKENS, *TOKENS, *(p for p in PIECES if p not in tokenizers.SPECIALS), "\n\n"])
    texts = st.lists(st.lists(st.one_of(pieces, st.text(max_size=3))).map("".join), min_size=1, max_size=10)

    @settings(max_examples=25, deadline=None, database=None)
    @given(added(), texts)
    def same(tokens, samples):
        folder = tmp_path_factory.mktemp("made")
        write(folder, trained, tokens, way)
        ours, theirs = tokenizers.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
        ours.save(folder / "again")
        exported = transformers.AutoTokenizer.from_pretrained(folder / "again")
        again = tokenizers.load(folder / "again")
        assert again.fingerprint == ours.fingerprint != trained.fingerprint
        assert ours.tokens == len(theirs) == len(exported) > trained.tokens
        samples = [text for text in samples if "</s>" not in text and "<pad>" not in text]
        expected = [theirs(text, add_special_tokens=False).input_ids for text in samples]
        assert [ours.encode(text) for text in samples] == expected
        assert ours.encode_all(samples) == expected
        assert [again.encode(text) for text in samples] == expected
        assert [exported(text, add_special_tokens=False).input_ids for text in samples] == expected
        for ids in expected:
            assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)

    same()


def test_each_place_that_states_an_added_token_is_read(trained, tmp_path):
    flags = {"content": "<|x|>", "special": True, "normalized": False}
    number = trained.tokens
    for name, content in [
        ("tokenizer_config.json", {"added_tokens_decoder": {str(number): flags}}),
        ("tokenizer_config.json", {"additional_special_tokens": ["<|x|>"]}),
        ("tokenizer_config.json", {"extra_special_tokens": [{**flags, "__type": "AddedToken"}]}),
        ("tokenizer_config.json", {"sep_token": "<|x|>"}),
        ("special_tokens_map.json", {"additional_special_tokens": ["<|x|>"]}),
        ("special_tokens_map.json", {"mask_token": flags}),
        ("added_tokens.json", {"<|x|>": number}),
    ]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        trained.save(folder)
        known = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps({**known, **content}))
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        ids = theirs("a<|x|> b", add_special_tokens=False).input_ids
        assert number in ids, (name, content)
        assert tokenizers.load(folder).encode("a<|x|> b") == ids


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "added_tokens.json",
            {"<|x|>": 5000},
            r"'<\|x\|>' has id 5000, but transformers gives it",
        ),
        ("added_tokens.json", {"<|x|>": "five"}, "added token 'five' is malformed"),
        ("added_tokens.json", {"<|x|>": None}, "is malformed"),
        ("added_tokens.json", {"<|x|>": 1e400}, "is not a JSON value|beyond float64|malformed"),
        ("added_tokens.json", [], "a JSON object is expected"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"400": 3}}, "is malformed"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "y"}}}, "is malformed"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"400": {"content": "y", "lstrip": 1}}},
            "malformed",
        ),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "is no object"),
        ("tokenizer_config.json", {"extra_special_tokens": [3]}, "special token 3 is no text"),
        ("tokenizer_config.json", {"add_prefix_space": True}, "add_prefix_space is on"),
        ("special_tokens_map.json", {"sep_token": 3}, "special token 3 is no text"),
    ],
)
def test_what_cannot_be_had_exactly_is_refused_by_name(trained, tmp_path, name, content, told):
    trained.save(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        tokenizers.load(tmp_path)


def test_files_that_disagree_are_refused(trained, tmp_path):
    write(tmp_path, trained, ["<|x|>"], "as saved")
    trained.save(tmp_path / "other")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|x|>": trained.tokens + 1}))
    with pytest.raises(UserError, match=r"'<\|x\|>' has id \d+ in one file and \d+ in another"):
        tokenizers.load(tmp_path)
    (tmp_path / "added_tokens.json").unlink()
    smaller = tokenizers.train(TEXTS, 300)
    smaller.save(tmp_path / "smaller")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((tmp_path / "smaller" / name).read_bytes())
    with pytest.raises(UserError, match=r"vocab\.json and merges\.txt disagree with tokenizer\.json"):
        tokenizers.load(tmp_path)


def test_another_tokenizer_than_recorded_is_refused(trained, tmp_path):
    trained.save(tmp_path)
    assert tokenizers.load(tmp_path, trained.fingerprint).fingerprint == trained.fingerprint
    with pytest.raises(UserError, match="not the tokenizer that is recorded"):
        tokenizers.load(tmp_path, "0" * 64)
