"""A small valid data folder of every source, with a file of every form that it reads."""

# ruff: noqa: E501  # files stand here as they are
from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from pyarrow import parquet

from iml_jax.bench.sources.base import Source
from iml_jax.bench.sources.corpora.source import Dialogue, PretrainingText
from iml_jax.bench.sources.crossfit.source import CrossFit
from iml_jax.bench.sources.exmix.source import ExMix
from iml_jax.bench.sources.flan.fields import forms
from iml_jax.bench.sources.flan.source import Flan
from iml_jax.bench.sources.promptsource.p3 import P3
from iml_jax.bench.sources.promptsource.source import PromptSource
from iml_jax.bench.sources.reasoning.source import Reasoning
from iml_jax.bench.sources.super_natural_instructions.source import SuperNaturalInstructions
from iml_jax.bench.sources.t5.source import T5
from support.flan_cases import CASES
from support.reasoning_rows import proved, theory
from support.source_bases_skg import skg_items, skg_originals

Files = Mapping[str, Any]  # path -> text, bytes, rows of a table, or JSON
_RTE = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 1, "idx": 0}
_CHOICES = {
    "id": "q1",
    "answerKey": "B",
    "fact1": "f",
    "fact2": "g",
    "combinedfact": "h",
    "question": {
        "stem": "Where is milk?",
        "choices": [{"label": "A", "text": "car"}, {"label": "B", "text": "fridge"}],
    },
}
_TURNS = [
    {"speaker": "USER", "utterance": "Hi", "frames": []},
    {
        "speaker": "SYSTEM",
        "utterance": "Where?",
        "frames": [
            {"service": "Eat_1", "actions": [{"act": "REQUEST", "slot": "city", "values": ["Oslo", "Rome"]}]}
        ],
    },
]


def _super_natural(root: Path) -> tuple[Source, Files]:
    rows = [{"id": f"i{n}", "input": f"in {n}", "output": ["ab"[n % 2]]} for n in range(30)]
    task = {"Categories": ["Question Answering"], "Definition": ["Answer."], "Instances": rows}
    shown = {"Positive Examples": [{"input": "i", "output": "o", "explanation": "e"}]}
    sapt = {"Categories": "QA", "Definition": "Do.", "Instances": [{"input": "q", "output": "a"}] * 3}
    version_1 = {
        "Title": "t",
        "Prompt": "p",
        "Definition": "Do.",
        "Things to Avoid": "-",
        "Emphasis & Caution": "Heed.",
        "Examples": {"Positive Examples": [{"input": "i", "output": "o", "reason": "r"}]},
        "Instances": rows[:4],
    }
    files = {
        "tasks/task9001_new.json": task | shown,
        "tasks/task9002_packed.json.gz": task,
        "tasks/task9003_early.json": {"Categories": ["x"], "Definition": "Do.", "Instances": rows[:3]},
        "tasks/subtask9004_first.json": version_1,
        "tasks/task9005_sapt/train.json": sapt,
        "tasks/task9005_sapt/dev.json": sapt,
        "tasks/task9005_sapt/test.json": sapt,
        "splits/train_tasks.txt": "task9001_new\ntask9003_early\ntask9005_sapt\nsubtask9004_first\n",
        "splits/test_tasks.txt": "task9002_packed\n",
    }
    return SuperNaturalInstructions(str(root / "tasks"), str(root / "splits"), held_out_instances=1), files


def _promptsource(root: Path) -> tuple[Source, Files]:
    metadata = {"original_task": True}
    entries = {
        "a": ("{{text}} ok? ||| {{answer_choices[label]}}", "no ||| yes"),
        "b": ("{% for c in choices %}{{c | upper}} {% endfor %}{{text}} ||| {{ text | length }}", None),
    }
    templates = {
        key: {
            "id": key,
            "name": f"t {key}",
            "jinja": jinja,
            "answer_choices": answers,
            "metadata": dict(metadata, metrics=["Accuracy"]),
        }
        for key, (jinja, answers) in entries.items()
    }
    text = yaml.safe_dump({"dataset": "d", "templates": templates})
    tagged = text.replace("metadata:", "metadata: !TemplateMetadata")
    rows = [{"text": f"x{n}", "label": n % 2, "choices": ["p", "q"]} for n in range(4)]
    folders = {f"templates/{name}/templates.yaml": tagged for name in ("jl", "pq", "cs", "ar", "js/sub")}
    saved = {"_data_files": [{"filename": "data-0.arrow"}], "_split": "train"}
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    files = {
        **folders,
        "datasets.csv": "HF_name,subset,task_by_convention,do_train,do_eval,train_size\njl,,x,BASE,,5\n",
        "data/jl/train.jsonl": rows,
        "data/jl/validation.jsonl.gz": rows,
        "data/pq/train-00000-of-00001.parquet": rows,
        "data/js/sub/test.json": rows,
        "data/cs/train.csv": 'text,label,choices\n"a, b",0,pq\nc,1,r\n',
        "data/cs/test.tsv": "text\tlabel\tchoices\nx\t1\tpq\ny\t0\tr\n",
        "data/ar/data-0.arrow": rows,
        "data/ar/state.json": saved,
        "data/ar/dataset_info.json": {"features": features, "splits": {}},
    }
    table = str(root / "datasets.csv")
    return PromptSource(str(root / "data"), str(root / "templates"), role_table=table), files


def _p3(root: Path) -> tuple[Source, Files]:
    told = {"inputs_pretokenized": "q?", "targets_pretokenized": "yes", "answer_choices": ["no", "yes"]}
    ranked = [told | {"idx": [0, n], "is_correct": n == 0, "weight": 1.0} for n in range(2)]
    files = {
        "super_glue_rte_can_we_infer/train.jsonl": [told, told],
        "super_glue_rte_can_we_infer/validation-00000-of-00001.parquet": [told],
        "super_glue_rte_can_we_infer/info.train.json": {"features": {"answer_choices": {}}},
        "super_glue_rte_can_we_infer_score_eval/validation.jsonl": ranked,
        "ag_news_classify.jsonl.gz": [{"prompt": "p", "completion": " c<|endoftext|>"}] * 2,
        "dream_listed.jsonl": [{"inputs": "i", "targets": ["a", "b"]}],
    }
    return P3(str(root)), files


def _crossfit(root: Path) -> tuple[Source, Files]:
    choice = "Why? (A) one (B) two\ttwo\nWho? (A) x (B) y (C) z\tz\n"
    files = {
        "boolq/boolq_16_13_train.tsv": "question: q [SEP] context: c\tyes\nr\tno\n",
        "boolq/boolq_16_13_dev.tsv": "s\tno\n",
        "boolq/boolq_16_13_test.tsv": "t\tyes\n",
        "ai2_arc/ai2_arc_32_100_train.tsv.gz": choice,
        "kilt_nq_32_13_test.tsv": "Who?\tA\tB\n",
        "glue-sst2_16_21_train.jsonl": [
            {"task": "glue-sst2", "input": "s", "output": "good", "options": ["good", "bad"]}
        ],
        "glue-sst2_16_21_test.jsonl": [{"input": "u", "output": ["bad"], "options": ["good", "bad"]}],
        "part.json": {"train": ["boolq", "glue-sst2"], "dev": ["kilt_nq"], "test": []},
    }
    return CrossFit(str(root), partition=str(root / "part.json")), files


def _flan(root: Path) -> tuple[Source, Files]:
    rows: dict[str, Any] = {}
    patterns: dict[str, list[list[str]]] = {}
    for task in ("rte", "copa", "wsc273", "xsum", "openbookqa", "coqa", "stsb", "winogrande", "fix_punct"):
        row = CASES[task][0]
        form = forms()[task]
        rows[f"{form.datasets[0].partition(':')[0]}/train.jsonl"] = [row] * 3
        fields = " ".join(f"{{{name}}}" for name in sorted(form.fields - {form.target.name, "answer"}))
        target = "answer" if form.label else form.target.name
        patterns[form.patterns] = [[fields, f"{{{target}}}"]]
    return Flan(str(root), form="v1"), {**rows, "templates.json": patterns}


def _flan_python(root: Path) -> tuple[Source, Files]:
    nli = [_RTE | {"premise": f"p{n}"} for n in range(4)]
    pairs = [{"en": "Good.", "de": "Gut."}] * 3
    files = {
        "templates.py": 'PATTERNS = {"rte": [("{premise} {hypothesis} {options_}", "{answer}")],\n'
        '  "wmt16_translate": [("{lang1} {lang2} {sent1}", "{sent2}")]}\n',
        "super_glue/rte/train.jsonl": nli,
        "super_glue/rte/validation.csv": "premise,hypothesis,label,idx\na,b,0,1\n",
        "own_translate/de-en/train.json": pairs,
    }
    return Flan(str(root), form="v1"), files


def _flan_collection(root: Path) -> tuple[Source, Files]:
    def row(task: str, source: str, kind: str) -> dict[str, str]:
        asked = "Is it?\nOPTIONS:\n- no\n- yes"
        about = {"task_source": source, "task_name": task, "template_type": kind}
        return {"inputs": asked, "targets": "yes", **about}

    rows = [row("glue/cola:2.0.0", "Flan2021", "zs_opt"), row("cot_gsm8k", "CoT", "fs_noopt")]
    files = {
        "data/train-00000-of-00001.parquet": rows * 3,
        "other/validation.jsonl": rows,
        "train.jsonl.gz": [{"inputs": "i", "targets": "t", "task": "aeslc_10templates"}] * 3,
    }
    return Flan(str(root), form="v2"), files


def _t5(root: Path) -> tuple[Source, Files]:
    passage = {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9}]}
    queries = [{"query": "@placeholder met Bo", "idx": 0, "answers": [{"text": "Ann", "start": 0, "end": 2}]}]
    questions = [{"question": "Whom?", "answers": [{"text": "Bo", "label": 1, "idx": 0}], "idx": 0}]
    target = {"span1_text": "Ann", "span1_index": 0, "span2_text": "she", "span2_index": 3}
    sgml = '<srcset><doc docid="d"><seg id="1">a</seg>\n<seg id="2">b &amp; c</seg></doc></srcset>\n'
    squad = {"id": "s", "title": "T", "context": "c", "question": "q"}
    files = {
        "glue/mnli/train.jsonl": [_RTE] * 2,
        "glue/stsb/train.csv": "sentence1,sentence2,label,idx\na,b,2.4,1\n",
        "glue/wnli/train.jsonl": [
            {"sentence1": "Ann fed the cat as it cried.", "sentence2": "The cat cried.", "label": 1, "idx": 0}
        ],
        "squad/v1.1/train.jsonl": [squad | {"answers": {"text": ["a"], "answer_start": [0]}}],
        "trivia_qa/rc/train.jsonl": [
            {"question": "q", "answer": {"value": "v", "aliases": ["w"], "normalized_aliases": ["v"]}}
        ],
        "SuperGLUE/ReCoRD/train.jsonl.gz": [{"passage": passage, "qas": queries, "idx": 0}],
        "SuperGLUE/MultiRC/val.jsonl": [{"passage": {"text": "Ann.", "questions": questions}, "idx": 0}],
        "SuperGLUE/WSC/train.jsonl": [
            {"text": "ann left because she could.", "target": target, "label": True}
        ],
        "SuperGLUE/COPA/train.jsonl": [
            {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 0, "idx": 0}
        ],
        "SuperGLUE/AX-b/AX-b.jsonl": [{"sentence1": "a", "sentence2": "b", "label": "entailment", "idx": 0}],
        "rte/rte2_dev.xml": "<?xml version='1.0'?>\n<!DOCTYPE entailment-corpus SYSTEM 'rte.dtd'>\n"
        "<c><pair id='1' entailment='YES'><t>A &amp; B</t><h>C</h></pair></c>",
        "sst/stsa.binary.dev": "1 good\n0 bad\n",
        "dpr/test.c.txt": "Ann hit Bo as he ran.\nhe\nAnn,Bo\nBo\n\nAnn hit Bo as she ran.\nshe\nAnn,Bo\nAnn\n",
        "multi/val.en": "one\ntwo\n",
        "multi/val.de": "eins\nzwei\n",
        "wmt/newstest2014-src.en.sgm": sgml,
        "wmt/newstest2014-ref.de.sgm": sgml,
        "flores/eng_Latn.dev": "one\n",
        "flores/rus_Cyrl.dev": "\u043e\u0434\u0438\u043d\n",
        "more/cnn_dailymail-validation.jsonl": [{"article": "a", "highlights": "h"}],
        "more/xsum_test.csv": "document,summary\nd,s\n",
    }
    return T5(str(root)), files


def _exmix(root: Path) -> tuple[Source, Files]:
    labels = [{"slot": "date", "valueSpan": {"startIndex": 3, "endIndex": 9}}]
    spans = [{"userInput": {"text": "on Monday"}, "context": {"requestedSlots": ["date"]}, "labels": labels}]
    linked = {"id": "1", "input": "x [START_ENT] y", "output": [{"answer": "Oslo"}, {"provenance": []}]}
    fact = {"evidences": [{"masked_sentence": "In [MASK].", "obj_surface": "Oslo"}], "obj_label": "Oslo"}
    toxic = "id,comment_text,toxic,severe_toxic,obscene,threat,insult,identity_hate\n"
    files = {
        "banking77/train.csv": 'text,category\n"Where, please?",arrival\nHi,lost\n',
        "banking77/categories.json": ["arrival", "lost"],
        "clinc150/data_small.json": {"train": [["pay", "bill"]], "val": [["why", "oos"]]},
        "clinc150/domains.json": {"banking": ["bill"]},
        "restaurant8k/test.json": spans,
        "mit_movies/train.txt": "to:O work:B-SL <=> IN_GET\n",
        "mit_movies/engtest.bio": "O\twho\nB-ACTOR\tbrad\nI-ACTOR\tpitt\n\nO\tx\n",
        "top/train.tsv": "To work\tto work\t[IN:GET to [SL:TO work ] ]\n",
        **{f"atis/atis.dict.{name}.csv": text for name, text in _ATIS_NAMES.items()},
        "atis/atis.train.query.csv": "0 3 2 1\n0 2 1\n",
        "atis/atis.train.intent.csv": "1\n0\n",
        "atis/atis.train.slots.csv": "1 1 0 1\n1 1 1\n",
        "sgd/train/dialogues_001.json": [{"dialogue_id": "1", "turns": _TURNS}],
        "sgd/train/schema.json": [{"service_name": "Eat_1", "description": "Places"}],
        "piqa/valid.jsonl": [{"goal": "g", "sol1": "a", "sol2": "b"}] * 2,
        "piqa/valid-labels.lst": "0\n1\n",
        "commonsenseqa/dev_rand_split.jsonl": [_CHOICES],
        "csqa2/CSQA2_dev.json.gz": '{"question": "Wet?", "answer": "yes"}\n',
        "coref/train.c.txt": "Ann hit Bo as he ran.\nhe\nAnn,Bo\nBo\n",
        "gap/gap-test.tsv": "ID\tText\tPronoun\tPronoun-offset\tA\tA-coref\tB\tB-coref\n"
        "1\tAnn met Bo as he ran.\the\t14\tAnn\tFALSE\tBo\tTRUE\n",
        "cl_benchmark/NLI/cb/dev.json": [{"sentence": "s", "label": "yes"}, {"sentence": "t", "label": "no"}],
        "ukp/cloning.tsv": "topic\tsentence\tannotation\tset\ncloning\ts\tNoArgument\ttrain\n",
        "gpt2_output/webtext.valid.jsonl": [{"id": 1, "text": "a"}],
        "wikipedia_toxicity_subtypes/train.csv": f"{toxic}a,You,1,0,0,0,1,0\n",
        "lama_trex/P17/test.jsonl": [fact],
        "kilt/wned-dev-kilt.jsonl": [linked],
        "cogs/train.tsv": "A cat ran .\tcat ( x )\tin_distribution\n",
        "funql/geo_funql_test.tsv": "what ?\tanswer(all)\n",
        "styleptb/TFU/train.tsv": "He ran\tHe will run\n",
        "shakespeare/train.modern.nltktok": "You are .\n",
        "shakespeare/train.original.nltktok": "Thou art .\n",
        "newsquizqa/news_quiz_qa-train.csv": "url,question,answer\nu,q,a\n",
    }
    return ExMix(str(root)), files


_ATIS_NAMES = {"vocab": "BOS\nEOS\nboston\nto\n", "intent": "airfare\nflight\n", "slots": "B-to.city\nO\n"}


def _reasoning(root: Path) -> tuple[Source, Files]:
    said = {"start": 0, "end": 1, "string": "He", "bridge": ""}
    annotation = {
        "explanation_type": "single_sentence",
        "selected_sentence": said,
        "referential_equalities": [{"question_reference": said, "sentence_reference": said}],
        "answer": [{"sentence_reference": said, "paragraph_reference": said}],
    }
    qed = {"example_id": 5, "title_text": "F", "question_text": "who", "paragraph_text": "He made it ."}
    answers = [{"input_text": "white", "span_text": "was white", "span_start": 4, "turn_id": 1}]
    asked = [{"input_text": "What?", "turn_id": 1}]
    story = {"id": "s", "story": "It was white.", "questions": asked, "answers": answers}
    why = {
        "text": {"txt1": "It fell because", "pron": "it", "txt2": "was heavy."},
        "answers": ["the cup", "the table"],
        "correctAnswer": "A.",
        "reasons": [["cups fall", "human", 1.0, "Valid"]],
    }
    proof = theory(Q1=proved("((triple1) -> (rule3 % int1))", int1="The cow chases the dog."))
    files = {
        "cot_data/own_train.tsv": "How\\nmany?\t72\tFirst 48.\\nThen 24.\n",
        "gsm8k/train.jsonl": [{"question": "How many?", "answer": "1+1=<<1+1=2>>2\n#### 2"}] * 2,
        "AQuA/dev.json": [
            {"question": "q", "options": ["A)1", "B)2"], "rationale": "r\nAnswer A", "correct": "A"}
        ],
        "cos-e/train_rand_split.jsonl": [_CHOICES],
        "cos-e/cose_train_v1.11.jsonl": [{"id": "q1", "explanation": {"open-ended": "e", "selected": "s"}}],
        "qasc/train.jsonl": [_CHOICES],
        "strategyqa_train.json": [{"qid": "a", "question": "Is it?", "answer": True, "facts": ["One."]}],
        "creak/dev.json": [{"ex_id": "1", "sentence": "s", "label": "true", "explanation": "e"}],
        "esnli_dev.csv": "gold_label,Sentence1,Sentence2,pairID,Explanation_1,Explanation_2\nneutral,a,b,p,e1,e2\n",
        "coqa-dev-v1.0.json": {"version": "1.0", "data": [story | {"additional_answers": {"0": answers}}]},
        "qed-dev.jsonlines": [qed | {"annotation": annotation}],
        "winowhy.json": [why],
        "comve/dev.csv": "Correct Statement,Incorrect Statement,Right Reason1\na,b,c\n",
        "proofwriter/meta-dev.jsonl": [proof],
        "MATH/train/algebra/1.json": {"problem": "p", "solution": "s \\boxed{\\frac{1}{2}}", "level": "1"},
        "mawps_asdiv/train.csv": "Question,Numbers,Equation,Answer\nnumber0 and number1 ?,4 2,+ number0 number1,6\n",
        "ASDiv.xml": '<ML><P><Problem ID="1"><Body>b</Body><Question>q</Question><Answer>9 (cm)</Answer>'
        "<Formula>7+2=9</Formula></Problem></P></ML>",
        "zero_shot_cot/AddSub/AddSub.json": [{"iIndex": 1, "sQuestion": "q", "lSolutions": [3.0]}],
        "zero_shot_cot/SVAMP.json": [{"ID": "c", "Body": "b", "Question": "q", "Answer": 8.0}],
        "zero_shot_cot/coin_flip.json": {"examples": [{"question": "Heads?", "answer": "no"}]},
        "zero_shot_cot/StrategyQA/task.json": {
            "examples": [{"input": "Is it?", "target_scores": {"Yes": 1, "No": 0}, "target": "Yes. e"}]
        },
    }
    return Reasoning(str(root)), files


def _pretrain(root: Path) -> tuple[Source, Files]:
    files = {
        "book.txt": "\ufeffTITLE\r\n\r\nOne one one.\r\n\r\nTwo two two.\r\n",
        "novels/b.txt.gz": "One.\n\nTwo.\n",
        "train/00.jsonl.gz": [{"text": "a b\n\nc", "meta": {"pile_set_name": "x"}}] * 2,
        "01.json": [{"text": "held"}],
    }
    # Named, so that what is malformed is refused.
    return PretrainingText(str(root), document_characters=30, sets=("book", "novels", root.name, "01")), files


def _dialogue(root: Path) -> tuple[Source, Files]:
    turns = [["0", "Hi"], ["1", "Hello"]]
    light = "text:_task_speech\\n_setting_name Hall\\n_partner_say s0\\n\tlabels:s1\tepisode_done:True\n"
    files = {
        "sgd/train/dialogues_001.json": [{"dialogue_id": "1", "turns": _TURNS}],
        "meld/train_sent_emo.csv": "Sr No.,Utterance,Dialogue_ID,Utterance_ID\n1,Hi,0,0\n2,So,0,1\n3,No,1,0\n",
        "babi/dialog-babi-task1trn.txt": "1 hi\thello\n2 <SILENCE>\twhat?\n\n1 a\tb\n",
        "nps_chat/10-19-20s_3posts.xml": "<Session><Posts><Post class='Greet' user='u'>hi<t/></Post></Posts></Session>",
        "switchboard/discourse": "o A.1 utt1: {F Uh, } hello <noise> . /\nsd B.2 utt1: yes , --\n\nx A.1 utt1: a\n",
        "calls/switchboard/tagged": "A.1: Uh/UH ,/, do/VBP\nB.2: n't/RB\n",
        "light/speech_train.txt": light * 2,
        "light_wild/d.json": [
            {"dialogue": '[{"text": "a", "type": "speech"}]'},
            {"dialogue": "Human: a\\nBot: b"},
        ],
        "mine/train.jsonl": [{"dialogue": turns, "id": 1}, {"turns": [{"text": "x"}, "y"]}],
        "wizard/data.json": [{"dialog": [{"text": "x"}], "free_turker_utterance": "f"}],
        "internet/train.jsonl": [
            {"1": {"dialog_history": [{"action": "Wizard => Apprentice", "text": "t"}]}}
        ],
    }
    # Named, so that what is malformed is refused.
    sets = tuple(dict.fromkeys(name.partition("/")[0] for name in files))
    return Dialogue(str(root), splits=("train", "validation", "test"), sets=sets), files


BASES: Mapping[str, Callable[[Path], tuple[Source, Files]]] = {
    "Super-NaturalInstructions": _super_natural,
    "PromptSource": _promptsource,
    "P3": _p3,
    "CrossFit": _crossfit,
    "FLAN, rows": _flan,
    "FLAN, templates.py": _flan_python,
    "FLAN, collection": _flan_collection,
    "T5": _t5,
    "ExMix": _exmix,
    "UnifiedSKG, items": skg_items,
    "UnifiedSKG": skg_originals,
    "Reasoning": _reasoning,
    "PretrainingText": _pretrain,
    "Dialogue": _dialogue,
}


def build(
    name: str, root: Path, bases: Mapping[str, Callable[[Path], tuple[Source, Files]]] = BASES
) -> tuple[Source, list[Path]]:
    """The source of one of ``bases`` over its files, written below ``root``; and these files."""
    source, files = bases[name](root)
    return source, list(_written(root, files))


def _written(root: Path, files: Files) -> Iterator[Path]:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        elif path.suffix == ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist(content), path)
        elif path.suffix == ".arrow":
            table = pyarrow.Table.from_pylist(content)
            with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
                stream.write_table(table)
        else:
            data = _text(name.removesuffix(".gz"), content).encode()
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        yield path


def _text(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if name.endswith((".jsonl", ".jsonlines")):
        return "".join(f"{json.dumps(row)}\n" for row in content)
    return json.dumps(content)
