"""The guides on collections and playlists: what they tell a user to type works."""

import pytest
from remote_server import upload, variables

from playlist_pretrain.records.collection import Collection

GUIDES = "docs/guides"


@pytest.mark.long
def test_make_tfrecords(home_at, follow, s3_port, monkeypatch):
    home, there = home_at("bare"), variables(s3_port)
    for name, value in there.items():
        monkeypatch.setenv(name, value)

    def copied(step):
        if step.text.startswith("aws s3 cp"):
            *_, local, url = step.text.split()
            upload(home / local, url)

    follow(f"{GUIDES}/make_tfrecords.md", home, there, copied)
    assert len(Collection.open(home / "tfrecords" / "mine")) == 12


@pytest.mark.long
def test_import_mels(home_at, follow):
    home = home_at("bare")
    assert len(follow(f"{GUIDES}/import_mels.md", home)) == 3
    assert (home / "runs" / "melon-playlist_co-vggish" / "saved_model").is_dir()


@pytest.mark.long
def test_check_collection(home_at, follow):
    home = home_at("groups")
    assert len(follow(f"{GUIDES}/check_collection.md", home)) == 3
    assert (home / "tfrecords" / "mine" / "figures" / "collection.png").exists()


@pytest.mark.long
def test_match_playlists(home_at, follow):
    home = home_at("collection")
    follow(f"{GUIDES}/match_playlists.md", home)
    found = {path.name.partition("-")[0] for path in (home / "tfrecords" / "mine").glob("*-*")}
    assert {"groups", "tco", "w2v", "figures"} <= found
