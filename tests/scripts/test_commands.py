"""The commands that the program prints are those that its user can type."""

import shlex
import sys
from pathlib import Path

import pytest

from playlist_pretrain import messages as commands
from playlist_pretrain.cli import command_line
from playlist_pretrain.cli.finetune import FinetuneCommand

PACKAGE = Path(commands.__file__).parent


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ("scripts/check_collection.py", "python scripts/pretrain.py"),
        ("/home/u/venv/bin/playlist-pretrain", "playlist-pretrain pretrain"),
        (str(PACKAGE / "__main__.py"), "python -m playlist_pretrain pretrain"),
        (str(PACKAGE / "demo" / "__main__.py"), "python scripts/pretrain.py"),
        ("-c", "python scripts/pretrain.py"),
    ],
)
def test_a_command_has_the_form_in_which_the_program_was_started(monkeypatch, started, expected):
    monkeypatch.setattr(sys, "argv", [started, "--help"])
    assert commands.command("pretrain") == expected
    words = ["--out", "my runs/x", "--collection", "a'b"]
    assert (
        commands.command("pretrain", *words)
        == f"""{expected} --out 'my runs/x' --collection 'a'"'"'b'"""
    )
    text = "try:\n  python scripts/pretrain.py --x\n  python scripts.py"
    assert commands.as_started(text) == f"try:\n  {expected} --x\n  python scripts.py"
    name = "pretrain.py" if expected.startswith("python scripts") else expected
    assert commands.program("pretrain.py") == name
    assert commands.program("python -m playlist_pretrain.demo").endswith(".demo")


@pytest.mark.parametrize(
    "options",
    [
        FinetuneCommand(),
        FinetuneCommand(model=("runs/a b", "runs/c"), freeze=True, l2=1e-7, tags="-x.csv"),
        FinetuneCommand(weights="it's", model=("audioset",), seed=3, cycle_epochs=2.5),
    ],
)
def test_the_words_of_a_command_give_it_again(options):
    words = commands.command("finetune", *commands.words_of(options))
    given = []
    argv = shlex.split(words)[2:]
    assert command_line.run(FinetuneCommand, given.append, prog="finetune.py", argv=argv) == 0
    assert given == [options]
    assert "--freeze" not in commands.words_of(options, "freeze")


@pytest.mark.parametrize(
    ("started", "words", "expected"),
    [
        ("scripts/pretrain.py", [], "python scripts/pretrain.py --pairs 'a b'"),
        ("/v/bin/playlist-pretrain", ["pretrain"], "playlist-pretrain pretrain --pairs 'a b'"),
        (
            str(PACKAGE / "__main__.py"), ["pretrain"],
            "python -m playlist_pretrain pretrain --pairs 'a b'",
        ),
        ("elsewhere/pretrain.py", [], None),
        ("-c", [], None),
    ],
)  # fmt: skip
def test_the_command_that_was_given(monkeypatch, started, words, expected):
    monkeypatch.chdir(PACKAGE.parent)
    monkeypatch.setattr(sys, "argv", [started, *words, "--pairs", "a b", "--overwrite"])
    assert commands.as_given() == expected


def test_without_a_checkout_no_script_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "SCRIPTS", tmp_path / "scripts")
    for started in ("-c", str(PACKAGE / "demo" / "__main__.py")):
        monkeypatch.setattr(sys, "argv", [started])
        assert commands.command("export") == "playlist-pretrain export"
        assert commands.program("export.py") == "playlist-pretrain export"
