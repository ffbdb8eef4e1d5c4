"""Commands of the pages that no test can run: why, and what is checked of them instead."""

import configparser
import re
from collections.abc import Callable
from dataclasses import dataclass

from pages import ROOT, check_options
from running import dry_run


def installs(command):
    """Files and extras that an installation names are there."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    (extras,) = re.findall(r"\[([\w,-]+)\]", command) or [""]
    for extra in filter(None, extras.split(",")):
        assert extra in settings["options.extras_require"], command
    for lock in re.findall(r"-r (\S+)", command):
        assert "--require-hashes --no-deps" in command and (ROOT / lock).is_file()
    if " -e " in command:
        assert "--no-deps" in command


def is_in_a_dockerfile(command):
    """The line stands in the Dockerfile that it is about, or in what ``export.py`` writes."""
    shown = "".join((ROOT / name).read_text("utf-8") for name in ("Dockerfile", "Dockerfile.gpu"))
    shown = re.sub(r" \\\n#\s*", " ", shown)
    if command.startswith("cd exports/serving"):  # test_guides.py compares it with the card
        return
    assert command in shown


def is_a_target(command):
    assert dry_run(command.split()[1]), command


def is_a_file(command):
    path = re.search(r"\S+\.py", command)[0]
    assert path.startswith("exports/") or (ROOT / path).is_file(), path


@dataclass(frozen=True)
class Excuse:
    """Commands that match are not run, for a reason, but checked."""

    pattern: str
    reason: str
    check: Callable[[str], object] = lambda command: None

    def fits(self, command):
        return re.search(self.pattern, command) is not None


NOT_RUN = (
    Excuse(r"^docker |&& docker ", "needs Docker", is_in_a_dockerfile),
    Excuse(r"pip install ", "fetches packages; test_packaging.py installs the wheel", installs),
    Excuse(r"^pip wheel ", "fetches what builds; test_packaging.py builds the wheel"),
    Excuse(r"^python3 -m venv ", "the environment that its next line fills"),
    Excuse(r"^\.venv-gpu/bin/python ", "asks for a GPU, in the environment of the lines before"),
    Excuse(r"^make (test|docs|lint|bench|test-fast|test-long|setup|locks|demo (STACK|PYTHON)=.*)\b",
               "this is make test; test_site.py builds the pages", is_a_target),
    Excuse(r"^aws s3 ls ", "another program, of another project"),
    Excuse(r"^pip check$", "fails, as its page says"),
    Excuse(r"--task (jamendo-|mtat)", "needs a public dataset, whose official counts are checked; "
           "tests/tasks has files of its layout", check_options),
    Excuse(r" discogs-effnet-\S+\.pb ", "needs a published model of Essentia; "
           "test_essentia_package.py has files of its layout", check_options),
    Excuse(r"--runner=FlinkRunner", "needs a cluster", check_options),
    Excuse(r"^tensorboard ", "a server, which runs until it is stopped"),
    Excuse(r"^python benchmarks/", "takes minutes; test_benchmarks.py runs them small",
               is_a_file),
    Excuse(r"^python exports/serving/\S+_client\.py", "asks a model server; test_serving.py "
               "has one of the documented protocol", is_a_file),
)  # fmt: skip


def reason_not_to_run(step):
    """Why a step is not run, '' where it is."""
    if step.python:
        return ""
    for excuse in NOT_RUN:
        if excuse.fits(step.text):
            excuse.check(step.text)
            return excuse.reason
    if step.form:
        check_options(step.text)
        return "shows a form; its options were compared with --help"
    return ""
