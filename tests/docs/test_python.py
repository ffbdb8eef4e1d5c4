"""Examples of Python, each in an environment of this package alone, with ``train`` and ``page``.

Those of the page of the front door run one after the other, and name every name. Calls within the
text of a page and examples in docstrings run on their own; output is compared where it is shown.
"""

import ast
import json
import re
from importlib.util import find_spec

import pytest
from homes import MODEL
from pages import BESIDE, FENCE, PAGES, ROOT, SPAN, steps, text_of
from running import run_in

import playlist_pretrain as pp

PAGE = "docs/python.md"
CHECKS = """
whole = np.asarray(everything)
np.testing.assert_array_equal(np.asarray(embeddings), whole[:2])
np.testing.assert_allclose(np.asarray(same)[0], whole[0], atol=1e-5)
assert everything.skipped == [] and len(windows) == len(windows.starts)
assert own.ids == list(collection.track_ids)
assert sorted(tags["t0"]) == ["even", "odd"]
assert np.isfinite(history.history["loss"]).all()
"""
EXAMPLES = """
import doctest, importlib, json, shutil, sys
import numpy as np
import playlist_pretrain as pp
import tensorflow as tf
import keras
from playlist_pretrain.models.layers import projector

class Checker(doctest.OutputChecker):
    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)

path, texts = json.loads(sys.argv[1])
net = pp.backbone("vggish", frames=256, bands=96, width=0.05)
contrastive = pp.ContrastiveModel(net, projector(128))
contrastive.compile("adam", loss=pp.NTXent())
tagger = tf.keras.Sequential([net, tf.keras.layers.Dense(2)])
tagger.compile("adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
collection = pp.Collection.open("tfrecords/demo")
names = {
    "np": np, "pp": pp, "tf": tf, "keras": keras, "path": path, "collection": collection,
    "embeddings": pp.read_embeddings("embeddings/demo.parquet"), "mel": collection.mel(0),
    "waveform": pp.load_audio("music/t0.wav"), "rows": [3, 7], "labels": [0, 1],
    "paths": ["music/t0.wav", "music/t1.wav"],
}
models = {"pairs.dataset": contrastive, "audio.audio_windows": tagger}
runner = doctest.DocTestRunner(Checker(), verbose=False)
for where, text in texts:
    shutil.rmtree("exports", ignore_errors=True)
    about = vars(importlib.import_module(where)) if where.startswith("playlist_pretrain") else {}
    given = {**about, **names, "model": models.get(where.partition(".")[2], path)}
    runner.run(doctest.DocTestParser().get_doctest(text, given, where, where, 0))
done = runner.summarize()
raise SystemExit(done.failed > 0 or done.attempted < len(texts))
"""
CALL = re.compile(r"((pp|tf|keras|np|playlist_pretrain(?:\.[a-z_]+)+)\.[\w.]+)\(.*\)")
CARD = find_spec("tensorflow_io") is not None
NOT_HERE = "TFSMLayer" if CARD else "register_file_systems"
"""The former is of Keras 3, the latter needs tensorflow-io: one of the two in each stack."""


def examples():
    """Page or module, and text, of the calls in pages and of the examples in docstrings."""
    for page in PAGES + BESIDE:
        for span in SPAN.finditer(FENCE.sub("", text_of(page))):
            text = " ".join(span[1].split()).replace('"…"', "path")
            if call := CALL.fullmatch(text):
                first = f">>> import {call[2]}\n" if "." in call[2] else ""
                yield page, f"{first}>>> found = {text}\n"
    for file in sorted((ROOT / "playlist_pretrain").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef
            text = isinstance(node, kinds) and ast.get_docstring(node)
            if text and ">>> " in text:
                yield module, text + "\n"


def test_every_name_has_an_example_and_a_line_in_the_table():
    code = "".join(step.text for step in steps(PAGE))
    table = text_of(PAGE).partition("| name | |")[2].partition("\n\n")[0]
    for name in set(pp.__all__) - {"__version__"}:
        assert f"`{name}`" in table, name
        assert f"pp.{name}" in code or f"pp.{name}" in text_of(PAGE), name


@pytest.mark.long
def test_the_examples_run(home_at, only):
    code = "\n".join(step.text for step in steps(PAGE) if step.python) + CHECKS
    run_in(
        only("playlist_pretrain[page,train]"), [(["python", "-c", code], None)], home_at("model")
    )


@pytest.mark.long
def test_calls_in_the_text_and_examples_in_docstrings(home_at, demo, only):
    home = home_at("model", demo)
    for link, target in (("a.mp3", "song.mp3"), ("b.flac", "song.mp3"), ("tfrecords/own", "mine"),
                         ("mine.parquet", "embeddings/demo.parquet")):  # fmt: skip
        (home / link).symlink_to(target)
    given = [one for one in examples() if NOT_HERE not in one[1]]
    assert len(given) > 20
    words = ["python", "-c", EXAMPLES, json.dumps([f"{MODEL}/saved_model", given])]
    extras = "card,page,train" if CARD else "page,train"
    run_in(only(f"playlist_pretrain[{extras}]"), [(words, None)], home)
