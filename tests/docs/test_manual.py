"""Files and commands that the pages on design and reproducibility name are there."""

import re
import shlex
from pathlib import Path

import pytest

from playlist_pretrain.__main__ import VERBS, main
from playlist_pretrain.cli import command_line

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "playlist_pretrain"
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
REPRODUCIBILITY = (ROOT / "docs" / "reproducibility.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", REPRODUCIBILITY, re.M | re.S)
    for line in block.splitlines()
]


def test_modules_and_benchmarks_that_are_named_are_there():
    for name in re.findall(r"`((?:benchmarks|playlist_pretrain)/[\w/]+\.py)`", DESIGN):
        assert (ROOT / name).is_file(), name
    kept = DESIGN.partition("Kept in one module each")[2].partition("\n\n")[0]
    for name in re.findall(r"`([\w/]+)`", kept):
        assert (PACKAGE / f"{name}.py").is_file(), name


def test_each_pairing_backbone_and_kind_of_task_of_the_paper_has_a_command():
    text = "\n".join(COMMANDS)
    for word in (
        "simclr", "artist_co", "playlist_co", "playlist_tco", "playlist_w2v", "resnet50",
        "jamendo-genre", "jamendo-instrument", "jamendo-mood", "mtat", "tags", "audioset",
        "scratch", "clean-dim-sim.csv",
    ):  # fmt: skip
        assert re.search(rf"(^|\s){re.escape(word)}(\s|$)", text, re.M), word


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_whose_options_go_together(command, monkeypatch):
    """As far as options can be judged without what they name."""
    python, script, *words = shlex.split(command)
    verb = Path(script).stem
    assert python == "python" and (ROOT / script).is_file() and verb in VERBS
    parsed = []

    def parse(options, function, *, prog, epilog="", argv=None):
        parsed.append(command_line._parser(options, prog, epilog).parse_args(argv).options)
        return 0

    monkeypatch.setattr(command_line, "run", parse)
    assert main([verb, *words]) == 0
    (options,) = parsed
    if verb in ("pretrain", "finetune"):
        options.resolve(demo=False, window_frames=256)
