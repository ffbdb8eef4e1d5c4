"""What a build says of the tracks that are left out or special."""

from playlist_pretrain.records.report import Note, counted, report_text

WINDOW = "frames, a window of front end 'paper' has 256: the file is short, or was cut off"


def notes(*lines):
    return [Note(source.partition(".")[0], source, *rest) for source, *rest in lines]


def test_numbers_are_those_of_the_files(tmp_path):
    text = report_text(
        notes(
            ("a.wav", "unreadable", "cut off: 1.0 s of the 9.5 s that its header states"),
            ("b.ogg", "short", f"87 {WINDOW}"),
            ("c.wav", "unreadable", "cut off: 2.5 s of the 8.0 s that its header states"),
            ("d.wav", "unreadable", "is empty"),
        ),
        tmp_path,
    )
    assert text.splitlines()[3:] == [
        f"{tmp_path}: 3 files are not in the collection so far (it is not finished)",
        "     2  unreadable, such as a.wav: cut off: 1.0 s of the 9.5 s that its header states",
        "     1  unreadable: d.wav: is empty",
        f"     1  short, kept: b.ogg: 87 {WINDOW}",
    ]


def test_one_file_is_one_file(tmp_path):
    (tmp_path / "collection.json").touch()
    text = report_text(notes(("a\n.wav", "unreadable", "is empty")), tmp_path)
    assert text.splitlines()[:2] == [
        "a\\n.wav: is empty",
        f"{tmp_path}: 1 file is not in the collection",
    ]
    assert [counted(n, "file") for n in (0, 1, 1000)] == ["0 files", "1 file", "1,000 files"]
