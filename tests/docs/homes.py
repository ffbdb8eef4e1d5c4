"""Folders as a user would have them, at the stages at which a page finds them."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import mutagen
import numpy as np
import soundfile
from mutagen.id3 import TALB, TPE1
from pages import ROOT
from running import run

from playlist_pretrain.files import write_json

MODEL = "runs/mine-playlist_co-vggish"


def bare(home):
    """Music, playlists and tables, the scripts of the checkout, and nothing made of them."""
    generator = np.random.default_rng(0)
    for folder, tracks in (("music", range(10)), ("new", range(10, 12))):
        (home / folder).mkdir(parents=True)
        for track in tracks:
            tone = np.sin(2 * np.pi * (200 + 50 * track) * np.arange(5 * 16000) / 16000)
            wave = 0.3 * tone + generator.normal(scale=0.01, size=tone.shape)
            soundfile.write(home / folder / f"t{track}.wav", wave, 16000)
            _tag(home / folder / f"t{track}.wav", track)
    soundfile.write(home / "song.mp3", wave, 16000)
    (home / "new.mp3").symlink_to("song.mp3")
    for name in ("previews", "clips"):
        (home / name).symlink_to("music")
    for name in ("scripts", "experiments", "notebooks", "benchmarks"):
        (home / name).symlink_to(ROOT / name)
    for name in ("venv", ".venv"):
        (home / name).symlink_to(sys.prefix)
    (home / "tfrecords").mkdir()
    _tables(home)
    _playlists(home)
    _mels(home)


def _tag(path, track):
    """The artists of ``tracks.csv``, and an album."""
    file = mutagen.File(path)
    file.add_tags()
    file.tags.add(TPE1(encoding=3, text=[f"artist {track % 3}", f"artist {track % 2}"]))
    file.tags.add(TALB(encoding=3, text=[f"album {track // 5}"]))
    file.save()


def _tables(home):
    _table(home / "playlists.csv", "group_id,track_id", (f"g{t % 2},t{t}" for t in range(10)))
    _table(home / "artists.csv", "track_id,artist", (f"t{t},a{t // 5}" for t in range(10)))
    rows = (f"artist {t % 3}|artist {t % 2},t{t},t{t}.wav" for t in range(10))
    _table(home / "tracks.csv", "artist,track_id,path", rows)
    splits = ["train"] * 4 + ["validation"] * 3 + ["test"] * 3
    rows = (f"t{t},{split},{'odd' if t % 2 else 'even'}" for t, split in enumerate(splits))
    _table(home / "tags.csv", "track_id,split,tags", rows)
    header = (
        "anchor_id,anchor_start_seconds,song1_id,song1_start_seconds,song2_id,song2_start_seconds,"
        "song1_vote"
    )
    _table(home / "clean-dim-sim.csv", header, ["t0,0,t1,1.5,t2,2,1", "t3,1,t4,0,t3,2,0"])
    _table(home / "triplets.csv", "anchor,positive,negative", ["t0,t2,t1", "t5,t7,t6"])


def _table(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")


def _playlists(home):
    """Those of other people: a zip, a map of its ids, listens, and a playlist file."""
    uris = [f"spotify:track:{track}" for track in range(10)]
    playlists = [
        {
            "pid": pid,
            "tracks": [{"track_uri": uri, "artist_uri": "a", "album_uri": "b"} for uri in part],
        }
        for pid, part in enumerate((uris[:5], uris[3:]))
    ]
    with zipfile.ZipFile(home / "mpd.zip", "w") as archive:
        archive.writestr("data/mpd.slice.0-999.json", json.dumps({"playlists": playlists}))
    rows = (f"{uri},t{track}" for track, uri in enumerate(uris))
    _table(home / "spotify.csv", "foreign_id,track_id", rows)
    listens = [
        {"user_name": "u", "timestamp": 1_600_000_000 + 60 * track,
         "track_metadata": {"additional_info": {"recording_mbid": f"t{track}"}}}
        for track in range(10)
    ]  # fmt: skip
    (home / "listens.jsonl").write_text("".join(json.dumps(line) + "\n" for line in listens))
    (home / "party.m3u8").write_text("futu/02.ogg\nzena/05.ogg\n")
    (home / "few.m3u8").write_text("music/t0.wav\nmusic/t4.wav\n")


def _mels(home):
    """Melon's and MTG-Jamendo's layouts, and arrays of one's own with their description."""
    generator = np.random.default_rng(0)
    folder = home / "melon"
    for place, bands, step in ((folder / "0", 48, 1), (home / "jamendo_melspecs" / "41", 96, 100)):
        place.mkdir(parents=True)
        for song in range(12):
            mel = generator.uniform(-90, 0, (bands, 300)).astype(np.float32)
            np.save(place / f"{int(place.name) + step * song}.npy", mel)
    (home / "arrays").symlink_to("melon/0")
    about = {
        "name": "mine", "sample_rate": 16000, "frame_length": 512, "hop_length": 256, "bands": 48,
        "window_frames": 64, "unit": "db", "orientation": "bands×frames",
    }  # fmt: skip
    write_json(home / "mels.json", about)
    playlists = [
        {"id": k, "plylst_title": "", "tags": [], "songs": list(range(k, k + 8))} for k in range(4)
    ]
    write_json(folder / "train.json", playlists)


def with_collection(home):
    """The music as a collection, tfrecords/mine."""
    run("python scripts/make_tfrecords.py --audio music --out tfrecords/mine", home)


def with_groups(home):
    """Its playlists and artists matched."""
    match = "python scripts/match_playlists.py --collection tfrecords/mine --playlists "
    run(match + "playlists.csv", home)
    run(match + "artists.csv --columns group=artist,track=track_id --name artists", home)


def with_model(home):
    """A run on them, another that is called the demo's, and embeddings of made-up songs."""
    from playlist_pretrain.models.load import load_embedder
    from playlist_pretrain.retrieval.embedding_table import embedding_writer

    run("python scripts/pretrain.py --collection tfrecords/mine --preset fast", home)
    other = "runs/demo-playlist_co-vggish"
    shutil.copytree(home / MODEL, home / other)
    (home / "runs" / "mine").symlink_to(Path(MODEL).name)
    (home / MODEL / "run-1").symlink_to(".")
    model = load_embedder(str(home / other / "saved_model"))
    ids = [f"{artist}/{song:02}" for artist in ("futu", "zena") for song in range(1, 21)]
    about = {"model": f"{other}/saved_model", "model_key": model.key}
    ids += ["a song", "another song"]
    with embedding_writer(home / "embeddings" / "demo.parquet", model.dim, about) as add:
        add(ids, np.random.default_rng(0).normal(size=(len(ids), model.dim)))
    (home / "embeddings" / "mine.parquet").symlink_to("demo.parquet")
    rows = (f"{one},{one.partition('/')[0]},{one[:6]}" for one in ids)
    _table(home / "songs.csv", "track_id,artist,album", rows)


STAGES = {"bare": bare, "collection": with_collection, "groups": with_groups, "model": with_model}
"""What is done, one after the other, until a stage is reached."""
