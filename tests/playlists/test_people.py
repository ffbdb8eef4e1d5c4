"""Playlists and histories as people have them, matched to a collection: what is found of each."""

import json
import unicodedata
import zipfile

import pytest

from playlist_pretrain.playlists.match import match_playlists

RAIN, LIVE = "Nina Lamb/First Light/02 - Rain", "Nina Lamb/First Light/01 - Up & Away (live)"
CAFE = ["Oskar Wood/Café/01 Été", "Oskar Wood/Café/02 Øre", "Oskar Wood/Café/03 50% off"]
IDS = [LIVE, RAIN, *CAFE, "#1 Hits/01 a", "#1 Hits/02 b", "#Start", "What?"]
UUIDS = [f"{digit * 8}-1111-4111-8111-{digit * 12}" for digit in "123"]
SPOTIFY = [f"spotify:track:{letter * 22}" for letter in "abc"]


def xspf(*locations):
    tracks = "".join(f"<track><location>{one}</location></track>" for one in locations)
    return f'<playlist xmlns="http://xspf.org/ns/0/"><trackList>{tracks}</trackList></playlist>'


def listens(**change):
    return [
        {"listened_at": 1_740_800_000 + 200 * number, "track_metadata": {
            "track_name": "x", "mbid_mapping": {"recording_mbid": uuid}}} | change
        for number, uuid in enumerate(UUIDS)
    ]  # fmt: skip


def m3u(*ids):
    return "#EXTM3U\n" + "".join(f"{one}.wav\n" for one in ids)


PERCENT = (
    "Oskar%20Wood/Caf%C3%A9/01%20%C3%89t%C3%A9.wav",
    "Oskar%20Wood/Caf%C3%A9/03%2050%25%20off.wav",
)
EXPORT = {
    "user.json": '{"user_id": 7, "username": "someone"}',
    "listens/2025/3.jsonl": "\n".join(map(json.dumps, listens())),
    "feedback.jsonl": json.dumps({"recording_mbid": UUIDS[0], "score": 1}),
    "pinned_recording.jsonl": json.dumps({"recording_mbid": UUIDS[0], "created": 1}),
}
HEADER = '"Track URI","Track Name","Album Name"\n'
EXPORTIFY = {
    "morning.csv": f'{HEADER}"{SPOTIFY[0]}","Rain","Al"\n"{SPOTIFY[1]}","Up","Al"\n',
    "evening.csv": f'{HEADER}"{SPOTIFY[0]}","Rain","Al"\n"","Gone","Al"\n'
                   f'"spotify:local:X","L","Al"\n"{SPOTIFY[2]}","What","Al"\n',
}  # fmt: skip
PLAYED = [
    {"ts": f"2024-01-01T00:{4 * number:02}:00Z", "ms_played": 200_000, "spotify_track_uri": track}
    for number, track in enumerate(SPOTIFY)
]
MIXED = {"a.m3u8": m3u("What?", "./#Start"), "b.xspf": xspf("What?.wav", f"{RAIN}.wav"),
         "c.m3u": m3u("What?", RAIN)}  # fmt: skip
SESSION = "someone/2025-03-01T03:33:20Z"
CASES = {
    "percent-encoded XSPF": (
        {"a.xspf": xspf(*PERCENT, "%23Start.wav", "What%3F.wav")}, {"a": 4}, 4, 0),
    "raw signs in file: addresses": (
        {"a.m3u": "file:///m/What?.wav\nfile:///m/#Start.wav\n"}, {"a": 2}, 2, 0),
    "decomposed names": (
        {"a.m3u8": unicodedata.normalize("NFD", m3u(*CAFE, RAIN))}, {"a": 4}, 4, 0),
    "another letter case": ({"a.m3u8": m3u(RAIN.lower(), LIVE.upper(), "WHAT?")}, {"a": 3}, 3, 0),
    "both kinds of slashes": (
        {"a.m3u8": "Nina Lamb\\First Light/02 - Rain.wav\nOskar Wood/Café\\02 Øre.wav"},
        {"a": 2}, 2, 0),
    "paths of Windows": (
        {"a.m3u8": "".join(f"D:\\Music\\{one}.wav\n".replace("/", "\\") for one in CAFE)},
        {"a": 3}, 3, 0),
    "a share": (
        {"a.m3u8": "".join(f"\\\\nas\\music\\{one}.wav\n".replace("/", "\\") for one in CAFE)},
        {"a": 3}, 3, 0),
    "an export of ListenBrainz": (EXPORT, {SESSION: 2}, 3, 0),
    "the older export": (
        {"someone_lb-2023-10-31.json": json.dumps(listens())}, {SESSION: 2}, 3, 0),
    "Spotify's history": (
        {"me/Streaming_History_Audio_2024.json": json.dumps(PLAYED)},
        {"me/2023-12-31T23:56:40Z": 3}, 3, 0),
    "Exportify": (EXPORTIFY, {"evening": 2, "morning": 2}, 5, 1),
    "several formats": (MIXED, {"a": 2, "b": 2, "c": 2}, 6, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def mine(make_collection, tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("collection") / "mine", [10] * len(IDS), ids=IDS)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("case", CASES)
def test_what_people_have_is_found(case, packed, mine, tmp_path):
    files, groups, entries, left_out = CASES[case]
    path = tmp_path / "lists"
    if packed:
        path = tmp_path / "lists.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text, encoding="utf-8")
    ids = dict(zip([*UUIDS[:2], *SPOTIFY], [RAIN, LIVE, RAIN, LIVE, "What?"], strict=True))
    table = "foreign_id,track_id\n" + "".join(f"{one},{track}\n" for one, track in ids.items())
    (tmp_path / "map.csv").write_text(table, encoding="utf-8")
    by_path = not any(name.endswith(("csv", "json", "jsonl")) for name in files)
    map_ = None if by_path else tmp_path / "map.csv"
    found = match_playlists(path, mine, name="t", map=map_, overwrite=True)
    lengths = dict(zip(found.groups.group_ids, found.groups.lengths.tolist(), strict=True))
    assert lengths == groups
    assert found.coverage.entries_read == entries
    assert sum(count for _, count, _ in found.coverage.rows_left_out) == left_out


@pytest.mark.parametrize("folder", ["", "listens"])
def test_only_files_that_are_not_looked_at_are_left_alone(folder, mine, tmp_path):
    for name, text in EXPORT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    table = "".join(f"{one},{track}\n" for one, track in zip(UUIDS, IDS, strict=False))
    (tmp_path / "map.csv").write_text("foreign_id,track_id\n" + table, encoding="utf-8")
    source = tmp_path / folder
    found = match_playlists(
        source, mine, name="t", map=tmp_path / "map.csv", format="history", overwrite=True
    )
    assert list(found.groups.group_ids) == [SESSION]
    others = ((".csv", 1), (".jsonl", 2)) if not folder else ()
    assert [(one.split()[0], count) for one, count in found.coverage.other_files] == list(others)
