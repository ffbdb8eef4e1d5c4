"""Listening histories: sessions, times, and the many places of a track's id."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import Request
from playlist_pretrain.playlists.readers.history import HistoryReader

READER = HistoryReader()
HEADER = "user_id,timestamp,track_id\n"


def read(path, **request):
    return list(READER.read(READER.sources(path), Request("sessions", **request)))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_sessions_end_where_a_pause_is_longer_than_the_gap(tmp_path):
    rows = ["u,0,a", "u,1800,b", "u,3601,c", "v,3601,d", "u,3600,e"]
    path = write(tmp_path / "h.csv", HEADER + "\n".join(rows))
    assert read(path) == [
        ("u/1970-01-01T00:00:00Z", ["a", "b", "e", "c"]),
        ("v/1970-01-01T01:00:01Z", ["d"]),
    ]
    assert [len(tracks) for _, tracks in read(path, gap=29.99)] == [1, 1, 2, 1]
    assert [len(tracks) for _, tracks in read(path, gap=0)] == [1, 1, 1, 1, 1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 9000), st.sampled_from("abc"))),
    st.integers(1, 60),
)
def test_sessions_are_those_of_a_loop(tmp_path_factory, listens, gap):
    if not listens:
        return
    path = tmp_path_factory.mktemp("h") / "h.csv"
    write(path, HEADER + "".join(f"{user},{time},{track}\n" for user, time, track in listens))
    expected = []
    for user in dict.fromkeys(user for user, _, _ in listens):
        last = None
        for _, time, track in sorted(
            (listen for listen in listens if listen[0] == user), key=lambda listen: listen[1]
        ):
            if last is None or time - last > gap * 60:
                expected.append([])
            expected[-1].append(track)
            last = time
    assert [tracks for _, tracks in read(path, gap=gap)] == expected


@pytest.mark.parametrize(
    ("time", "began"),
    [
        ("1500000000", "2017-07-14T02:40:00Z"),
        ("1500000000.9", "2017-07-14T02:40:00Z"),
        ("1500000000123", "2017-07-14T02:40:00Z"),
        ("2017-07-14T02:40:00", "2017-07-14T02:40:00Z"),
        ("2017-07-14 02:40:00Z", "2017-07-14T02:40:00Z"),
        ("2017-07-14T04:40:00+02:00", "2017-07-14T02:40:00Z"),
    ],
)
def test_times(tmp_path, time, began):
    path = write(tmp_path / "h.tsv", HEADER.replace(",", "\t") + f"u\t{time}\ta\n")
    assert read(path) == [(f"u/{began}", ["a"])]


@pytest.mark.parametrize("time", ["-1", "nan", "inf", "yesterday", "1e300", "2017-13-01", "9" * 99])
def test_what_is_not_a_time(tmp_path, time):
    path = write(tmp_path / "h.csv", HEADER + f"u,0,a\nu,{time},b\n")
    with pytest.raises(TableError, match=r"h\.csv: line 3: column 'timestamp': .* is not a time"):
        read(path)
    damage = []
    assert [tracks for _, tracks in read(path, damaged=damage.append)] == [["a"]]
    assert len(damage) == 1


def test_columns_have_any_name(tmp_path):
    path = write(tmp_path / "h.csv", "who;when;what\nu;0;a\n")
    columns = {"user": "who", "time": "when", "track": "what"}
    assert read(path, columns=columns) == [("u/1970-01-01T00:00:00Z", ["a"])]
    with pytest.raises(TableError, match="--columns user=…,time=…,track=…"):
        read(path, columns={"group": "x"})
    with pytest.raises(TableError, match="no column 'user_id'"):
        read(path)


def listen(user="u", time=0, track=None, **metadata):
    info = {"recording_mbid": track} if track else {}
    return {"user_name": user, "timestamp": time,
            "track_metadata": {"additional_info": info, **metadata}}  # fmt: skip


def test_listens_of_a_user_lie_in_any_number_of_files(tmp_path):
    for name, track, time in (("1.listens", "a", 60), ("2.listens", "b", 0), ("3.jsonl", "c", 90)):
        write(tmp_path / name, json.dumps(listen(track=track, time=time)) + "\n\n")
    assert read(tmp_path) == [("u/1970-01-01T00:00:00Z", ["b", "a", "c"])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (listen(track="info", mbid_mapping={"recording_mbid": "map"}), "map"),
        (listen(track="info", mbid_mapping=None), "info"),
        ({**listen(track_name="t"), "recording_msid": "msid"}, "msid"),
        (listen(additional_info={"recording_msid": "msid"}), "msid"),
        (listen(artist_name="A", track_name="T"), "A – T"),
        ({"user_id": 7, "listened_at": "1970-01-01T00:00:00Z",
          "track_metadata": {"track_name": "T"}}, "T"),
    ],
)  # fmt: skip
def test_the_places_of_a_track_id(tmp_path, line, expected):
    path = write(tmp_path / "x.jsonl", json.dumps(line))
    assert [tracks for _, tracks in read(path)] == [[expected]]
