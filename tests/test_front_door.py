"""The names of ``import playlist_pretrain``: light to import, and used as in a notebook."""

import subprocess
import sys

import numpy as np
import pytest
from processes import end, start

import playlist_pretrain as pp
from playlist_pretrain.cli import embed as embed_command
from playlist_pretrain.errors import (
    AudioError,
    FrontEndError,
    ModelError,
    RecipeError,
    TrackError,
)

FRAMES = 64
LENGTHS = [300, 64, 20, 200]
SECONDS = {"a/long": 2.1, "a/short": 0.1, "é": 1.0}
CLASSES = ("rock", "pop", "jazz")


@pytest.fixture(scope="module")
def model(saved_models):
    return pp.load(saved_models / "mine" / "saved_model")


@pytest.fixture(scope="module")
def collection(tmp_path_factory, make_collection):
    return make_collection(tmp_path_factory.mktemp("c") / "mine", LENGTHS)


@pytest.fixture
def audio(noise_folder):
    return noise_folder(SECONDS)


def test_the_import_is_light_and_every_name_is_there():
    code = (
        "import sys, time; began = time.perf_counter(); import playlist_pretrain as pp\n"
        "heavy = {'numpy', 'tensorflow', 'essentia', 'numba', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(pp.__all__) <= set(dir(pp))\n"
        "pp.log_mel, pp.load, pp.load_audio, pp.Collection, pp.nearest\n"
        "from playlist_pretrain.records import build, windows\n"
        "assert not {'tensorflow', 'essentia', 'numba'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in pp.__all__:
        assert getattr(pp, name) is not None
        assert name == "__version__" or getattr(pp, name).__doc__
    assert 10 <= len(pp.__all__) - 1 <= 20
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pp.nothing  # noqa: B018


@pytest.mark.slow
def test_a_script_of_a_few_lines_begins_once(saved_models, audio, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import playlist_pretrain as pp\n"
        f"model = pp.load({str(saved_models / 'mine' / 'saved_model')!r})\n"
        f"print(model.embed({str(audio)!r}, workers=2).ids)\n"
    )
    for words, source in ([script], None), (["-"], script):
        process = start(words, stdin=source and source.open())
        ((said, _),) = end(process)
        assert said == f"{sorted(SECONDS)}\n"


@pytest.mark.slow
def test_essentia_beside_a_tensorflow_that_came_first(saved_models, audio, tmp_path):
    """Decoding and the check of a package run Essentia, whose TensorFlow ends such a process."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import numpy as np, soundfile, tensorflow as tf\n"
        "import playlist_pretrain as pp\n"
        "from playlist_pretrain.export.targets import export\n"
        "model, file, out = sys.argv[1:]\n"
        "wave = pp.load_audio(file)\n"
        "np.testing.assert_array_equal(wave, soundfile.read(file, dtype='float32')[0])\n"
        "package = export(model, 'essentia', 'net', out=out)\n"
        "print(all(one.passes for one in package.compared), 'essentia' in sys.modules)\n"
        "tf.keras.layers.Dense(1)(tf.ones((1, 1)))\n"
    )
    words = [script, saved_models / "mine" / "saved_model", audio / "a" / "long.wav", tmp_path]
    ((said, _),) = end(start(words))
    assert said == "True False\n"


@pytest.mark.slow
@pytest.mark.parametrize("per", ["track", "window"])
@pytest.mark.parametrize("kind", ["audio", "collection"])
def test_embeddings_are_those_that_the_command_writes(
    model, saved_models, collection, audio, tmp_path, in_process, kind, per
):
    out = tmp_path / "out" / "e.parquet"
    where = audio if kind == "audio" else collection.path
    words = ["--model", saved_models / "mine" / "saved_model", "--per", per, "--out", out]
    assert embed_command.main([*map(str, [*words, f"--{kind}", where]), "--quiet"]) == 0
    written = pp.read_embeddings(out)
    made = model.embed(audio if kind == "audio" else collection, per=per)
    assert made.ids == written.ids and made.skipped == []
    assert np.asarray(made).dtype == np.float32 and np.asarray(made).shape == (len(made), 128)
    np.testing.assert_array_equal(made, np.load(out.with_suffix(".npy")))
    tracks = model.embed(audio if kind == "audio" else collection)
    np.testing.assert_array_equal(made.by_track(), tracks)
    if per == "track":
        assert made.starts is None
    else:
        np.testing.assert_array_equal(made.starts, written.start_seconds)


@pytest.mark.slow
def test_files_a_list_and_waveforms_give_the_same_numbers(model, audio, in_process):
    whole = model.embed(str(audio))
    files = [audio / f"{track_id}.wav" for track_id in SECONDS]
    listed = model.embed(files)
    assert listed.ids == [str(path.with_suffix("")) for path in files]
    np.testing.assert_array_equal(listed, whole)
    waves = [pp.load_audio(path) for path in files]
    for wave, path, vector in zip(waves, files, np.asarray(whole), strict=True):
        assert wave.dtype == np.float32
        one = np.asarray(model.embed(wave))
        np.testing.assert_allclose(one[0], vector, atol=1e-6)
        assert model.embed(path).ids == [path.stem]
    together = model.embed(np.stack([waves[2], waves[0][:16000]]))
    assert together.ids == ["waveform 0", "waveform 1"]
    np.testing.assert_allclose(np.asarray(together)[0], np.asarray(whole)[2], atol=1e-6)
    mel = pp.log_mel(waves[0])
    expected = model.loaded.model(mel[: len(mel) // FRAMES * FRAMES].reshape(-1, FRAMES, 96))
    windows = model.embed(files[0], per="window")
    np.testing.assert_allclose(windows, expected, atol=1e-5)
    hop = FRAMES * 188 / 16000
    np.testing.assert_allclose(windows.starts, np.arange(len(windows)) * hop)


@pytest.mark.slow
def test_files_that_cannot_be_read_are_raised_or_skipped(model, audio, in_process):
    broken = audio / "a" / "broken.mp3"
    broken.touch()
    with pytest.raises(AudioError, match=r"a/broken\.mp3: is empty"):
        model.embed(audio)
    found = model.embed(audio, on_error="skip")
    assert found.ids == sorted(SECONDS) and found.skipped == [("a/broken.mp3", "is empty")]
    assert "3 tracks" in repr(found) and "1 skipped" in repr(found)
    found = model.embed([broken, audio / "none.wav"], on_error="skip")
    assert np.asarray(found).shape == (0, 128) and len(found.skipped) == 2
    short = model.embed(audio / "a" / "short.wav", short="skip")
    assert len(short) == 0 and "a window needs 64" in short.skipped[0][1]


@pytest.mark.slow
def test_what_does_not_fit_is_refused(model, audio, collection, tmp_path, make_collection):
    with pytest.raises(AudioError, match="does not exist"):
        model.embed(tmp_path / "nothing")
    with pytest.raises(TrackError, match="stands for two tracks"):
        model.embed([audio / "é.wav", audio / "é.mp3"])
    with pytest.raises(AudioError, match=r"an array int64 \[3\]: a waveform is finite floats"):
        model.embed(np.arange(3))
    with pytest.raises(RecipeError, match="per 'song': one of 'track', 'window'"):
        model.embed(audio, per="song")
    with pytest.raises(FrontEndError, match="do not fit"):
        model.embed(make_collection(tmp_path / "other", [300], front_end="musicnn"))
    with pytest.raises(ModelError, match="mine: no tagger"):
        model.tag(audio)
    with pytest.raises(ModelError, match="no such folder"):
        pp.load(tmp_path / "nothing")


@pytest.mark.slow
def test_a_tagger_tags_and_embeds(model, saved_models, audio, collection, in_process):
    loaded = pp.load(saved_models / "tags" / "saved_model")
    np.testing.assert_allclose(loaded.embed(audio), model.embed(audio), atol=1e-6)
    tags = loaded.tag(audio)
    assert tags.ids == sorted(SECONDS) and np.asarray(tags).shape == (3, 3)
    best = tags["é"]
    assert sorted(best) == sorted(CLASSES)
    assert list(best.values()) == sorted(best.values(), reverse=True) and best == tags[2]
    assert tags.scores[2, CLASSES.index("jazz")] == np.float32(best["jazz"])
    assert "3 tracks, 3 classes" in repr(tags) and f"é: {next(iter(best))} " in repr(tags)
    assert len(loaded.tag(collection)) == len(LENGTHS)
    assert "tagger of 3 classes 'tags'" in repr(loaded)
    assert "model 'mine': front end 'paper', windows of 64 frames (0.8 s)" in repr(model)
