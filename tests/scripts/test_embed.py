"""Embeddings as a user asks for them: the numbers, the files, what goes on, what is refused."""

import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import tensorflow as tf
from google.protobuf import text_format
from processes import Stop, end, start
from pyarrow import parquet
from tensorboard.plugins.projector import ProjectorConfig

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.cli import embed
from playlist_pretrain.cli import export as make
from playlist_pretrain.models import load as embedders
from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.track_outputs import track_means
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.build import build_collection
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.report import read_report
from playlist_pretrain.retrieval import embed as embedding
from playlist_pretrain.retrieval.embedding_table import centre_of, centred, read_embeddings
from playlist_pretrain.retrieval.model import load
from playlist_pretrain.retrieval.search import search

FRONT_END, FRAMES = PRESETS["paper"], 64
LENGTHS = [300, 64, 20, 200, 130, 63, 650, 64, 128]
SECONDS = {"a/long": 4.1, "a/short": 0.1, "b, c": 1.5, "c": 0.8, "é": 2.0}


@pytest.fixture(scope="module")
def model(saved_models):
    return saved_models / "mine" / "saved_model"


@pytest.fixture(scope="module")
def collection(tmp_path_factory, make_collection):
    return make_collection(tmp_path_factory.mktemp("c") / "mine", LENGTHS)


@pytest.fixture
def audio(noise_folder):
    return noise_folder(SECONDS)


@pytest.fixture(scope="module")
def embedder(model):
    return embedders.load_embedder(str(model))


@pytest.fixture
def run(model, embedder, capsys, tmp_path, monkeypatch):
    """Callable: the command with this model into ``tmp_path/out/e.parquet``."""
    load = embedders.load_embedder
    monkeypatch.setattr(
        embedders,
        "load_embedder",
        lambda name, trust: embedder if name == str(model) else load(name, trust=trust),
    )

    def command(*words, code=0):
        words = list(map(str, words))
        for name, value in (("--model", model), ("--out", tmp_path / "out" / "e.parquet")):
            words += [] if name in words else [name, str(value)]
        found = embed.main(words)
        out, err = capsys.readouterr()
        assert found == code, err
        return err if code else out

    return command


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def written(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def test_tracks_of_a_collection(run, out, model, collection):
    said = run("--collection", collection.path, "--batch", 8)
    table = read_embeddings(out / "e.parquet")
    assert list(table.track_ids) == list(collection.track_ids)
    expected = track_means(load_backbone(model).model, collection)
    np.testing.assert_allclose(table.vectors, expected, rtol=0, atol=2e-5)
    assert np.ptp(expected, axis=0).max() > 0.01  # tracks differ by more than that
    np.testing.assert_array_equal(np.load(out / "e.npy"), table.vectors)
    (out / "e.npy").unlink()
    assert "is finished" in run("--collection", collection.path, "--batch", 8)
    np.testing.assert_array_equal(np.load(out / "e.npy"), table.vectors)  # made again
    assert sorted(os.listdir(out)) == ["e.npy", "e.parquet"]
    assert table.about["collection_key"] == collection.content_key
    assert (table.about["model"], table.about["left_out"]) == (str(model), 0)
    last = said.splitlines()[-1]
    assert last.endswith(f"--embeddings {out / 'e.parquet'} --track track/0000")
    assert f"{len(LENGTHS)} tracks, 0.3 minutes of audio" in said


@pytest.mark.parametrize("per", ["track", "window"])
def test_centred_ones_are_those_that_search_centres(run, out, collection, per):
    words = ["--collection", collection.path, "--per", per]
    run(*words, "--out", out / "plain.parquet")
    run(*words, "--centre", "--out", out / "centred.parquet")
    plain, found = (read_embeddings(out / f"{name}.parquet") for name in ("plain", "centred"))
    tracks = plain.by_track().vectors
    mean = tracks.mean(axis=0, dtype=np.float64)
    assert np.abs(mean).max() > 0.01
    np.testing.assert_allclose(found.vectors, plain.vectors - mean, atol=1e-6)
    np.testing.assert_array_equal(np.load(out / "centred.npy"), found.vectors)
    np.testing.assert_allclose(centre_of(found), mean, rtol=1e-6)
    assert centre_of(plain) is None and "centre" not in plain.about
    assert centred(found) is found  # never twice
    np.testing.assert_allclose(centred(plain).by_track().vectors, found.by_track().vectors,
                               atol=1e-6)  # fmt: skip
    assert "is finished" in run(*words, "--centre", "--out", out / "centred.parquet")
    assert "centre: True there, None now" in run(*words, "--out", out / "centred.parquet", code=1)


def test_one_track_has_no_mean_to_be_centred_on(run, out, make_collection, tmp_path):
    alone = make_collection(tmp_path / "alone", [64])
    said = run("--collection", alone.path, "--centre", code=1)
    assert "--centre: one track is its own mean" in said and not (out / "e.parquet").exists()


@pytest.mark.slow
def test_half_precision_is_near_and_is_said(run, out, model, collection):
    words = ["--collection", collection.path, "--precision", "mixed_bfloat16"]
    run(*words)
    table = read_embeddings(out / "e.parquet")
    expected = track_means(load_backbone(model).model, collection)
    apart = np.abs(table.vectors - expected).max() / np.abs(expected).max()
    assert 1e-5 < apart < 0.05
    assert table.vectors.dtype == np.float32 and table.about["precision"] == "mixed_bfloat16"
    assert "precision" in run("--collection", collection.path, code=1)
    refused = run("--model", "net.pb", *words, code=1)
    assert "--precision mixed_bfloat16: net.pb computes in float32" in refused


@pytest.mark.slow
def test_windows_say_where_they_start(run, out, model, collection):
    words = ["--per", "window", "--dtype", "float16", "--short", "skip"]
    run("--collection", collection.path, *words)
    table = read_embeddings(out / "e.parquet")
    counts = [length // FRAMES for length in LENGTHS]
    ids = [collection.track_ids[row] for row, count in enumerate(counts) for _ in range(count)]
    assert list(table.track_ids) == ids
    hop = FRAMES * FRONT_END.hop_length / FRONT_END.sample_rate
    starts = [window * hop for count in counts for window in range(count)]
    np.testing.assert_allclose(table.start_seconds, starts)
    stored = np.load(out / "e.npy")
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored.astype(np.float32), table.vectors)
    rows = np.flatnonzero(counts)
    expected = track_means(load_backbone(model).model, collection, rows=rows)
    np.testing.assert_allclose(table.by_track().vectors, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_tracks_of_audio_are_what_the_signature_says(run, out, model, audio, in_process):
    stereo = np.stack([np.sin(np.arange(44100) / 9), np.zeros(44100)], 1)
    soundfile.write(audio / "stereo.flac", stereo, 44100)
    said = run("--audio", audio, "--batch", 4)
    table = read_embeddings(out / "e.parquet")
    assert list(table.track_ids) == sorted([*SECONDS, "stereo"])
    signature = tf.saved_model.load(str(model)).signatures["waveform"]
    for path, vector in zip(table.paths, table.vectors, strict=True):
        waveform = decode(audio / path, excerpt=None).waveform
        expected = signature(waveform=tf.constant(waveform[None]))["embeddings"].numpy()[0]
        np.testing.assert_allclose(vector, expected, rtol=1e-6, atol=1e-5)
    assert np.ptp(table.vectors, axis=0).max() > 0.01
    assert "--track a/long" in said.splitlines()[-1]
    for name in ("é", "a/short"):
        single = audio / f"{name}.wav"
        run("--audio", single, "--overwrite")
        one = read_embeddings(out / "e.parquet")
        assert list(one.track_ids) == [single.stem] and list(one.paths) == [single.name]
        assert one.about["audio"] == str(single.parent)
        np.testing.assert_allclose(
            one.vectors[0], table.vectors[list(table.track_ids).index(name)], atol=1e-5
        )


@pytest.mark.slow
def test_short_tracks_of_audio(run, out, model, audio, in_process):
    run("--audio", audio, "--short", "pad")
    table = read_embeddings(out / "e.parquet")
    mel = FRONT_END.log_mel(decode(audio / "a/short.wav").waveform).numpy()
    window = np.full((1, FRAMES, 96), FRONT_END.silence, np.float32)
    window[0, : len(mel)] = mel
    expected = load_backbone(model).model(window)[0]
    found = table.vectors[list(table.track_ids).index("a/short")]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    said = run("--audio", audio, "--short", "skip", "--overwrite")
    assert "1 track" in said and "left out: see" in said
    assert set(read_embeddings(out / "e.parquet").track_ids) == set(SECONDS) - {"a/short"}
    (note,) = read_report(out / "e_report.tsv")
    assert note.reason == f"{len(mel)} frames, a window needs {FRAMES}"


def test_silent_tracks_are_kept_and_told(run, out, audio, in_process):
    soundfile.write(audio / "c.wav", np.zeros(16000), 16000)
    said = run("--audio", audio)
    table = read_embeddings(out / "e.parquet")
    assert table.ids == sorted(SECONDS) and table.about["silent"] == ["c"]
    assert table.about["left_out"] == 0 and table.about["excerpt"] == "full"
    assert "1 track is silent, or nearly: with an embedding, but no neighbour of others" in said
    (note,) = read_report(out / "e_report.tsv")
    reason = "0.0% of it has sound: no neighbour of other tracks"
    assert (note.track_id, note.status, note.reason) == ("c", "quiet", reason)
    run("--audio", audio, "--centre", "--out", out / "centred.parquet")
    sound = table.vectors[[one != "c" for one in table.ids]]
    mean = sound.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(centre_of(read_embeddings(out / "centred.parquet")), mean, rtol=1e-6)


@pytest.mark.slow
def test_a_track_of_a_collection_finds_itself(run, out, model, audio, tmp_path, in_process, capsys):
    """By the same excerpt; another is told."""
    song = audio / "a" / "long.wav"
    build_collection(audio, tmp_path / "mine", excerpt=1.5, workers=1)
    run("--collection", tmp_path / "mine")
    table = out / "e.parquet"
    assert read_embeddings(table).about["excerpt"] == 1.5
    first = search(table, audio=song, model=str(model)).neighbours()[0]
    assert first["track_id"] == "a/long" and first["similarity"] > 0.9999
    said = capsys.readouterr().out
    assert re.search(
        "file is itself in the embeddings: 'a/long', rank 1, similarity (1.0|0.99)", said
    )
    search(table, audio=song, model=str(model), excerpt="full")
    assert "all of the file is compared with 1.5 s of each track" in capsys.readouterr().out
    memory = load(model).embed(Collection.open(tmp_path / "mine"))
    for embeddings, centre in ((table, True), (memory, False), (memory, True)):
        first = search(embeddings, audio=song, model=str(model), centre=centre).neighbours()[0]
        said = capsys.readouterr().out
        assert first["track_id"] == "a/long" and "1.5 s of the file is taken" in said
        assert "the file is itself in the embeddings: 'a/long', rank 1" in said, said
    run("--audio", audio, "--excerpt", "1.5", "--out", out / "files.parquet")
    files = read_embeddings(out / "files.parquet")
    assert files.about["excerpt"] == 1.5
    np.testing.assert_allclose(files.vectors, read_embeddings(table).vectors, atol=0.01)


def test_files_that_cannot_be_read(run, out, audio, in_process):
    (audio / "b.mp3").touch()
    (audio / "text\n.ogg").write_text("no music here\n" * 1000)
    shutil.copy(audio / "é.wav", audio / os.fsdecode(b"caf\xe9.wav"))
    said = run("--audio", audio)
    assert list(read_embeddings(out / "e.parquet").track_ids) == sorted(SECONDS)
    notes = {note.source: note.reason for note in read_report(out / "e_report.tsv")}
    assert sorted(notes) == ["b.mp3", "caf\\udce9.wav", "text\n.ogg"]
    assert notes["b.mp3"] == "is empty" and "not valid Unicode" in notes["caf\\udce9.wav"]
    assert f"WARNING: 3 tracks are left out: see {out / 'e_report.tsv'}" in said
    for name in ("b.mp3", "text\n.ogg", os.fsdecode(b"caf\xe9.wav")):
        (audio / name).unlink()
    assert "left out" not in run("--audio", audio, "--overwrite")
    assert sorted(os.listdir(out)) == ["e.npy", "e.parquet"]


def test_none_that_can_be_read_is_an_error(run, out, tmp_path, in_process):
    (tmp_path / "broken").mkdir()
    for name in ("a.mp3", os.fsdecode(b"\xe9.wav")):
        (tmp_path / "broken" / name).touch()
    error = run("--audio", tmp_path / "broken", code=1)
    assert "none of 2 audio files could be embedded" in error
    assert os.listdir(out) == ["e_report.tsv"] and len(read_report(out / "e_report.tsv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "per"), [("collection", "window"), ("audio", "track")])
def test_an_interrupted_run_goes_on(
    run, out, collection, audio, in_process, monkeypatch, tmp_path, kind, per
):
    monkeypatch.setattr(embedding, "PART_TRACKS", 2)
    (audio / "broken.mp3").write_bytes(b"no music" * 1000)
    words = [f"--{kind}", collection.path if kind == "collection" else audio, "--per", per]
    words += ["--batch", 4]
    run(*words)
    whole = written(out)
    shutil.rmtree(out)
    savez = np.savez

    def save_once(stream, **arrays):
        if os.listdir(out / ".e.parquet.parts").count("part-00000.npz"):
            raise Stop
        savez(stream, **arrays)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(np, "savez", save_once)
        run(*words)
    assert os.listdir(out) == [".e.parquet.parts"]
    error = run(*words, "--dtype", "float16", code=1)
    assert "was begun with other" in error and "(dtype: float32 there, float16 now)" in error
    part = out / ".e.parquet.parts" / "part-00000.npz"
    left = shutil.copytree(part.parent, tmp_path / "left")
    said = run(*words)
    assert "going on after 2 of " in said
    assert written(out) == whole
    (out / "e.parquet").unlink()
    (out / "e.npy").unlink()
    shutil.copytree(left, part.parent)
    part.write_bytes(part.read_bytes()[:-100])
    said = run(*words)
    assert "part-00000.npz: not a whole part" in said and "makes it anew" in said
    assert "going on" not in said and written(out) == whole
    assert f"{out / 'e.parquet'} is finished" in run(*words) and written(out) == whole


def test_another_request_is_refused_with_what_differs(run, out, collection, audio, in_process):
    run("--audio", audio)
    before = written(out)
    error = run("--audio", audio, "--short", "pad", "--batch", 8, code=1)
    assert "batch: 64 there, 8 now; short: repeat there, pad now" in error
    os.utime(audio / "c.wav", ns=(1, 1))
    assert "files_key" in run("--audio", audio, code=1)
    error = run("--collection", collection.path, code=1)
    assert "collection_key: None there" in error and error.count("\n") == 1
    assert written(out) == before
    run("--collection", collection.path, "--overwrite")
    assert len(read_embeddings(out / "e.parquet")) == len(LENGTHS)


def test_what_is_not_ours_is_not_replaced(run, out, collection):
    out.mkdir()
    foreign = pa.table({"track_id": ["x"], "embedding": [[1.0]]})
    parquet.write_table(foreign, out / "e.parquet")
    assert "is not of embed.py" in run("--collection", collection.path, code=1)
    (out / "e.parquet").write_bytes(b"no parquet")
    error = run("--collection", collection.path, code=1)
    assert "not a whole Parquet file" in error and "--overwrite to replace it" in error
    (out / "e.parquet").unlink()
    (out / "e.npy").write_bytes(b"mine")
    assert f"{out / 'e.npy'}: is there already" in run("--collection", collection.path, code=1)
    assert written(out) == {"e.npy": b"mine"}
    run("--collection", collection.path, "--overwrite")
    table = read_embeddings(out / "e.parquet")
    assert len(table) == len(np.load(out / "e.npy")) == len(LENGTHS)


@pytest.mark.parametrize(("words", "message"), [
    (["--out", "e.npy"], "--out e.npy: its name must be FILE.parquet"),
    (["--out", "s3://bucket/e.parquet"], "s3://bucket/e.parquet"),
    (["--audio", "a", "--collection", "c"], "--audio, --collection: give one"),
    (["--per", "song"], "--per song: one of track, window"),
    (["--dtype", "float64"], "--dtype float64: one of float32, float16"),
    (["--short", "drop"], "--short drop"),
    (["--batch", "0"], "--batch 0: must be at least 1"),
    (["--replicas", "2"], "--replicas is for --strategy mirrored"),
    (["--workers", "2"], "--workers is for --audio"),
    (["--projector", "foreign"], "is there already and of something else"),
    (["--model", "nowhere"], "--model nowhere: no such folder"),
    (["--model", "scratch"], "it is no trained model"),
    (["--audio", "nowhere"], "the audio folder nowhere does not exist"),
])  # fmt: skip
def test_mistakes_are_one_message(run, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "projector_config.pbtxt").write_text("embeddings {}")
    error = run(*words, code=1)
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.parts")) and not list(tmp_path.rglob("*.npy"))


def test_the_demo_is_what_is_embedded_without_anything_named(
    run, collection, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("playlist_pretrain.cli.embed.ready_demo", lambda: collection.path)
    assert run("--quiet") == ""
    assert len(read_embeddings(tmp_path / "out" / "e.parquet")) == len(collection)


def test_projector_files(run, out, tmp_path, make_collection):
    ids = ["plain", "tab\tand\nline\r\u2028", "back\\slash"]
    mine = make_collection(tmp_path / "mine", [130, 64, 64], ids=ids)
    table = 'track_id,tags,split\nplain,rock|pop,train\n"back\\slash","a\tb",train\n'
    (mine.path / "tags.tsv").write_text(table)
    keys = {"tracks": 3, "collection_key": mine.content_key}
    TrackGroups("artists", [0, 2, 3], [0, 1, 0], group_ids=["x", "y"], **keys).save(
        mine.path / "groups-artists.npz"
    )
    folder = tmp_path / "projector"
    words = ["--collection", mine.path, "--projector", folder, "--per", "window"]
    run(*words)
    vectors = np.loadtxt(folder / "vectors.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(vectors, np.load(out / "e.npy"))
    text = (folder / "metadata.tsv").read_text("utf-8")
    assert [line.split("\t") for line in text.removesuffix("\n").split("\n")] == [
        ["track_id", "tags", "artist", "start_seconds"],
        ["plain", "rock|pop", "x|y", "0.00"],
        ["plain", "rock|pop", "x|y", "0.75"],
        [r"tab\tand\nline\r\u2028", "", "x", "0.00"],
        [r"back\\slash", r"a\tb", "", "0.00"],
    ]
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (one,) = config.embeddings
    assert (one.tensor_path, one.metadata_path) == ("vectors.tsv", "metadata.tsv")
    before = written(folder)
    shutil.rmtree(folder)
    assert "is finished" in run(*words) and written(folder) == before


CODE = """
import sys
from playlist_pretrain.cli import embed as command
from playlist_pretrain.retrieval import embed
embed.PART_TRACKS = 4
raise SystemExit(command.main(sys.argv[1:]))
"""


@pytest.mark.long
def test_two_replicas_give_what_one_gives(run, out, model, collection, audio, tmp_path):
    run("--collection", collection.path, "--batch", 6)
    one = read_embeddings(out / "e.parquet")
    words = ["-c", CODE, "--model", model, "--strategy", "mirrored", "--replicas", 2, "--batch", 6]
    for kind, place in (("collection", collection.path), ("audio", audio)):
        end(start([*words, f"--{kind}", place, "--out", tmp_path / kind / "e.parquet"]))
    both = read_embeddings(tmp_path / "collection" / "e.parquet")
    assert list(both.track_ids) == list(one.track_ids)
    np.testing.assert_allclose(both.vectors, one.vectors, atol=1e-5)
    words = [*words[:-1], 7, "--collection", collection.path, "--out", tmp_path / "x.parquet"]
    ((_, error),) = end(start(words), code=1)
    assert "--batch 7: 2 replicas need a multiple of 2" in error
    # Worker processes, and two replicas, give what this process gives.
    run("--audio", audio, "--overwrite", "--batch", 6)
    np.testing.assert_allclose(
        read_embeddings(tmp_path / "audio" / "e.parquet").vectors,
        read_embeddings(out / "e.parquet").vectors, atol=1e-5,
    )  # fmt: skip


@pytest.mark.long
def test_a_package_for_essentia_embeds_too(run, out, collection, tmp_path, make_collection):
    net = vggish(frames=FRAMES, bands=96, width=0.05, seed=3)
    save_backbone(net, PRESETS["musicnn"], tmp_path / "m")
    words = ["--model", tmp_path / "m", "--name", "net", "--out", tmp_path, "--quiet"]
    assert make.main(list(map(str, words))) == 0
    mine = make_collection(tmp_path / "mine", LENGTHS, front_end="musicnn")
    run("--model", tmp_path / "essentia" / "net" / "net.pb", "--collection", mine.path)
    expected = track_means(net, mine)
    np.testing.assert_allclose(read_embeddings(out / "e.parquet").vectors, expected, atol=2e-5)
