"""Every command: help in no time and without TensorFlow, one message for what is wrong."""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from playlist_pretrain.__main__ import VERBS, main
from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import RecipeError, TableError
from playlist_pretrain.version import __version__

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))
HEAVY = ("tensorflow", "essentia", "numba", "matplotlib", "keras")


@dataclasses.dataclass(frozen=True)
class Options:
    """Do something.

    In two lines.
    """

    name: str
    """whose"""
    learning_rate: float | None = None
    """how fast"""
    overwrite: bool = False
    """do it again"""


def run(arguments, function=lambda options: None):
    return command_line.run(
        Options, function, prog="do.py", epilog="examples:\n  do.py", argv=arguments
    )


def test_options_arrive_typed():
    seen = []
    assert run(["--name", "x", "--learning-rate", "1e-3", "--overwrite"], seen.append) == 0
    assert seen == [Options("x", 1e-3, True)]
    assert run(["--name", "x"], seen.append) == 0
    assert seen[1] == Options("x")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--name"),
        (["--name", "x", "--learning-rate", "fast"], "fast"),
        (["--name", "x", "--nome", "y"], "--nome"),
        (["--name", "x", "--over"], "--over"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_1(capsys, arguments, word):
    assert run(arguments) == 1
    error = capsys.readouterr().err
    assert word in error
    assert error.startswith("do.py: error: ") and error.count("\n") == 1


def raising(error):
    def function(options):
        raise error

    return function


def test_errors_are_one_line_without_debug_and_do_not_steer_the_terminal(capsys):
    names, shown = "a\nb\x1b[31m\udcff\u202eü", r"a\nb\x1b[31m\udcff\u202eü"
    for error, message in (
        (RecipeError("--batch 0: must be at least 2"), "--batch 0: must be at least 2"),
        (TableError(names), shown),
        (
            OSError(28, "No space left on device", f"/a/{names}"),
            f"No space left on device: /a/{shown}",
        ),
    ):
        assert run(["--name", "x"], raising(error)) == 1
        assert capsys.readouterr().err == f"do.py: error: {message}\n"
    with pytest.raises(OSError):
        run(["--name", "x", "--debug"], raising(error))


def test_interrupt(capsys):
    assert run(["--name", "x"], raising(KeyboardInterrupt())) == 130
    assert "kept" in capsys.readouterr().err


def test_help_shows_every_field_once(capsys):
    with pytest.raises(SystemExit) as leaving:
        run(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for field, words in (("--name", "whose"), ("--learning-rate", "how fast")):
        assert text.count(f"  {field} ") == 1 and words in text
    assert "--nooverwrite" not in text and text.count("In two lines.") == 1


def test_several_values_and_no_default_where_there_are_none(capsys):
    @dataclasses.dataclass(frozen=True)
    class Several:
        """Do things."""

        names: list[str] = dataclasses.field(default_factory=list)
        """whose"""

    seen = []
    assert command_line.run(Several, seen.append, prog="do.py", argv=["--names", "x", "y z"]) == 0
    assert command_line.run(Several, seen.append, prog="do.py", argv=[]) == 0
    assert seen == [Several(["x", "y z"]), Several([])]
    with pytest.raises(SystemExit):
        command_line.run(Several, print, prog="do.py", argv=["--help"])
    assert "[" not in capsys.readouterr().out.partition("--names")[2]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_is_a_verb_with_help_in_no_time_and_no_heavy_import(script):
    assert script.stem in VERBS
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as leaving: code = leaving.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "raise SystemExit(f'imports {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", code, str(script)]
    before = processor_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert processor_seconds() - before < 1
    assert "examples:" in done.stdout and "--debug" in done.stdout


def processor_seconds():
    """Processor time of all processes that have ended, which no other work lengthens."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_console_script_names_its_verbs(capsys):
    assert main(["sing"]) == 1
    error, usage = capsys.readouterr().err.splitlines()
    assert error == "playlist-pretrain: error: no verb 'sing'"
    assert all(verb in usage for verb in VERBS)
    assert main(["fine-tune"]) == 1
    assert "did you mean finetune?" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"playlist-pretrain {__version__}\n"
    assert main(["--help"]) == 0
    assert main([]) == 0
