"""The report of a build: tracks that are left out or special."""

from playlist_pretrain.records.report import Note, report_text

WINDOW = "frames, a window of front end 'paper' has 256: the file is short, or was cut off"


def test_numbers_are_those_of_the_files(tmp_path):
    notes = [
        Note("a", "a.wav", "unreadable", "cut off: 1.0 s of the 9.5 s that its header states"),
        Note("b", "b.ogg", "short", f"87 {WINDOW}"),
        Note("c", "c.wav", "unreadable", "cut off: 2.5 s of the 8.0 s that its header states"),
        Note("d", "d\n.wav", "unreadable", "is empty"),
    ]
    text = report_text(notes, tmp_path)
    assert text.splitlines()[3:] == [
        f"{tmp_path}: 3 files are not in the collection so far (it is not finished)",
        "     2  unreadable, such as a.wav: cut off: 1.0 s of the 9.5 s that its header states",
        "     1  unreadable: d\\n.wav: is empty",
        f"     1  short, kept: b.ogg: 87 {WINDOW}",
    ]
