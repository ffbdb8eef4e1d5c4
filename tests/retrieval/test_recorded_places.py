"""Places that data files name: URLs are not opened, paths only if they are what they should be."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
from remote_server import variables

from playlist_pretrain.cli import search as module
from playlist_pretrain.errors import AudioError, CollectionError, ModelError
from playlist_pretrain.export.targets import model_info
from playlist_pretrain.models.load import load_model
from playlist_pretrain.models.saved_model import METADATA
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.retrieval.embedding_table import embedding_writer
from playlist_pretrain.retrieval.model import load
from playlist_pretrain.runs import Run
from playlist_pretrain.training.recipes import PretrainRecipe

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def listener(monkeypatch):
    """A server on loopback, also where S3 is: ``port``, and the ``seen`` requests."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            server.seen.append(f"{self.command} {self.path}")
            self.send_error(403)

        do_GET = do_HEAD = do_PUT = do_POST = answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.port = [], server.server_address[1]
    for name, value in variables(server.port).items():
        monkeypatch.setenv(name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def urls(port):
    return [f"http://127.0.0.1:{port}/x", "s3://bucket/x", f"HTTP://127.0.0.1:{port}/x.pb"]


@pytest.fixture
def search(tmp_path, capsys):
    """Callable: search in a table whose metadata are given; (exit code, all that was said)."""

    def run(*words, **about):
        path = tmp_path / "e.parquet"
        with embedding_writer(path, 4, about) as add:
            add(IDS, np.eye(4, dtype=np.float32) + 0.1)
        code = module.main(["--embeddings", str(path), *map(str, words)])
        return code, " ".join(capsys.readouterr())

    return run


@pytest.fixture
def wav(tmp_path, rng):
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.3, 0.3, 20_000), 16000)
    return tmp_path / "a.wav"


@pytest.fixture
def collection(make_collection, tmp_path):
    made = make_collection(tmp_path / "mine", [80] * 4, ids=IDS)
    (made.path / "tracks.csv").write_text("track_id,title\na,Song of the collection\n")
    return made


def test_urls_of_embeddings_are_not_opened(listener, search, wav, tmp_path):
    for url in urls(listener.port):
        about = {"model": url, "model_key": "1" * 32, "collection": url, "collection_key": "1" * 32,
                 "audio": url}  # fmt: skip
        code, text = search("--report", "--page", tmp_path / "map.html", "--overwrite", **about)
        assert code == 0 and f"the embeddings name '{url}' as their collection, a URL" in text
        assert "it is not opened unless --collection names it" in text
        code, text = search("--groups", "artists", "--report", **about)
        assert code == 1 and "it is not opened unless --collection names it" in text
        code, text = search("--audio", wav, **about)
        assert code == 1 and f"the embeddings name '{url}' as their model, a URL" in text
        code, text = search("--audio", wav, **about | {"model": "mean-of-mel"})
        assert code == 1 and "it is not opened unless --collection names it" in text
    assert listener.seen == []


def test_a_url_that_an_option_names_is_opened(listener, search):
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    code, text = search("--report", "--collection", "s3://bucket/x")
    assert code == 1 and "access is refused" in text and listener.seen


def test_a_collection_that_embeddings_name_is_used_if_it_has_their_key(
    search, collection, tmp_path
):
    page = tmp_path / "map.html"
    words, key = ("--report", "--page", page, "--overwrite"), collection.content_key
    place = {"collection": str(collection.path)}
    code, text = search(*words, **place, collection_key=key)
    assert code == 0 and f"collection {collection.path}, which the embeddings name, is used" in text
    assert "Song of the collection" in page.read_text()
    for about, reason in (
        ({"collection_key": "7" * 32}, "has another content"),
        ({}, "a folder without the key of its content: it is not opened unless"),
    ):
        code, text = search(*words, **place, **about)
        assert code == 0 and reason in text and "is used" not in text
        assert "Song of the collection" not in page.read_text()
    code, text = search(*words, "--collection", collection.path)
    assert code == 0 and "Song of the collection" in page.read_text()


def test_a_model_that_embeddings_name_is_used_if_it_has_their_key(
    search, saved_models, wav, tmp_path
):
    path = shutil.copytree(saved_models / "mine" / "saved_model", tmp_path / "m")
    key = load(path).loaded.key
    dim = load(path).dim
    file = tmp_path / "of_it.parquet"
    with embedding_writer(file, dim, {"model": str(path), "model_key": key}) as add:
        add(IDS, np.random.default_rng(0).normal(size=(4, dim)).astype(np.float32))
    code, text = search("--embeddings", file, "--audio", wav)
    assert code == 0 and f"model {path}, which the embeddings name, is used" in text
    code, text = search("--audio", wav, model=str(path), model_key="2" * 32)
    assert code == 1 and "is another (key" in text and "is used" not in text
    code, text = search("--audio", wav, "--trust-model", model=str(path), model_key=key)
    assert code == 1 and "--trust-model: nothing reads it without --model" in text
    code, text = search("--audio", wav, model=str(tmp_path / "gone"), model_key=key)
    assert code == 1 and "no such folder" in text and "the embeddings name it; --model" in text


def test_an_audio_folder_that_embeddings_name_is_said(search, wav, tmp_path):
    words, note = ("--report", "--page", tmp_path / "map.html", "--overwrite"), "is used"
    assert (
        f"audio folder {tmp_path}, which the embeddings name, {note}"
        in search(*words, audio=str(tmp_path))[1]
    )
    assert note not in search(*words, "--audio-folder", tmp_path, audio=str(tmp_path))[1]
    assert note not in search("--track", "a", audio=str(tmp_path))[1]


def test_places_in_other_files(listener, collection, saved_models, tmp_path):
    """``collection.json``, ``recipe.json``, what is saved with models."""
    for url in urls(listener.port):
        file = collection.path / "collection.json"
        before = file.read_text()
        document = json.loads(before)
        document["source"] = {"audio": url, "listing": url, "loader": {"path": url}}
        file.write_text(json.dumps(document))
        Collection.open(collection.path).mel(0)
        for entry in (document["shards"][0], document["index"]):
            kept, entry["file"] = entry["file"], url
            file.write_text(json.dumps(document))
            with pytest.raises(CollectionError, match="is not a plain name"):
                Collection.open(collection.path)
            entry["file"] = kept
        file.write_text(before)

        path = shutil.copytree(saved_models / "tags" / "saved_model", tmp_path / "m")
        metadata = json.loads((path / METADATA).read_text())
        metadata["about"] = {"collection": url, "citation": url, "recipe": {"weights": url}}
        (path / METADATA).write_text(json.dumps(metadata))
        assert model_info(load_model(path)).dataset == url
        shutil.rmtree(path)

        run = Run(tmp_path / "run")
        run.claim(PretrainRecipe(collection=url, pairs="simclr", groups=url), {})
        with pytest.raises(ModelError, match=r"the run .* is not finished"):
            load_model(run.saved_model)
        shutil.rmtree(run.path)
    assert listener.seen == []


def test_playlists_in_place_of_audio_are_not_followed(listener, tmp_path):
    from playlist_pretrain.audio.decode import decode

    url = f"http://127.0.0.1:{listener.port}/a.ts"
    contents = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{url}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{url}'\n",
        "asx": f"[Reference]\nRef1={url}\n",
    }
    for name, content in contents.items():
        for ending in ("mp3", "m4a", "wav", "ogg"):
            path = tmp_path / f"{name}.{ending}"
            path.write_text(content)
            with pytest.raises(AudioError, match="cannot be decoded"):
                decode(path, 16000, None)
    assert listener.seen == []
