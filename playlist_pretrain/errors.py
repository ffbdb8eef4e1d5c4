"""One family of errors; every message names the offending file, row or value."""

import importlib.util
import re

LONGEST_QUOTE, LONGEST_LINE = 200, 2000
"""Signs of a quotation, and of a line, that a message shows."""
_QUOTATION = re.compile(rf"""(?<![^\s([{{=:,])(['"])(?:(?!\1)[^\n]){{{LONGEST_QUOTE},}}\1(?!\w)""")
_EXTRAS = {
    "apache_beam": ("Apache Beam", "beam"),
    "bokeh": ("Bokeh", "page"),
    "essentia": ("Essentia", "train"),
    "faiss": ("FAISS", "faiss"),
    "fsspec": ("fsspec", "remote"),
    "gcsfs": ("gcsfs", "remote,gs"),
    "gensim": ("gensim", "train"),
    "jinja2": ("Jinja2", "page"),
    "jsonschema": ("jsonschema", "train"),
    "keras_cv": ("keras-cv", "train"),
    "markupsafe": ("MarkupSafe", "page"),
    "matplotlib": ("Matplotlib", "page"),
    "numba": ("Numba", "train"),
    "official": ("tf-models-official", "train"),
    "s3fs": ("s3fs", "remote"),
    "sklearn": ("scikit-learn", "page"),
    "soundfile": ("soundfile", "train"),
    "tensorflow": ("TensorFlow", "train"),
    "tensorflow_serving": ("tensorflow-serving-api", "train"),
    "tf_keras": ("tf-keras", "train"),
    "upath": ("universal_pathlib", "remote"),
}
"""Module that a base installation lacks → name of its package, extra that brings it."""


class PlaylistPretrainError(Exception):
    """Trouble that a user can cause and mend: one message, exit code 1, no traceback.

    The message can be read on a screen, whatever it quotes of a file.
    """

    def __str__(self) -> str:
        return printable(shortened(super().__str__()), keep="\n")


def printable(text: str, keep: str = "") -> str:
    """``text`` for a screen: what could steer a terminal or is no whole character is escaped.

    Signs in ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode()
        for sign in text
    )


def shortened(text: str, quotations: bool = True) -> str:
    """``text`` without the middles of its long lines and, before that, of long ``quotations``."""
    if quotations:
        text = _QUOTATION.sub(lambda found: _ends(found[0], LONGEST_QUOTE), text)
    return "\n".join(_ends(line, LONGEST_LINE) for line in text.split("\n"))


def _ends(text: str, longest: int) -> str:
    last = longest // 3
    return text if len(text) <= longest else f"{text[: longest - last - 3]} … {text[-last:]}"


def first_line(error: BaseException) -> str:
    """First line of an error's text, which for TensorFlow's is the one to read."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def needs(what: str, module: str, error: BaseException | None = None) -> str:
    """Return the sentence that ``what`` needs ``module``, with the command that installs it.

    ``error`` of importing it is told where it says more than that the module is not there.
    """
    name, extra = _EXTRAS[module]
    missing = error is None or isinstance(error, ModuleNotFoundError)
    why = "" if missing else f", which cannot be imported ({first_line(error)})"
    return f"{what} needs {name}{why}: pip install 'playlist_pretrain[{extra}]'"


def require(*modules: str) -> None:
    """Raise PlaylistPretrainError if one of the ``modules`` is not installed; imports nothing."""
    for module in modules:
        try:
            there = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            there = False
        if not there:
            raise PlaylistPretrainError(needs("this", module))


def missing_extra(error: ImportError) -> str | None:
    """Sentence of :func:`needs` for an import that failed; None where no extra mends it."""
    module = (error.name or "").partition(".")[0]
    mended = isinstance(error, ModuleNotFoundError) and module in _EXTRAS
    return needs("this", module) if mended else None


class AudioError(PlaylistPretrainError):
    """An audio file or folder that cannot be used."""


class FrontEndError(PlaylistPretrainError):
    """An unknown front end, or two front ends that disagree."""


class CollectionError(PlaylistPretrainError):
    """A collection that is missing, damaged, foreign or of another format."""


class TrackError(PlaylistPretrainError):
    """A track (or its id) that cannot be used as asked."""


class OneLineError(PlaylistPretrainError):
    """An error whose message is one line, whatever the ids and names of files that it quotes."""

    def __str__(self) -> str:
        return printable(super().__str__())


class TableError(OneLineError):
    """A playlist, track or tag table that cannot be read."""


class TaskError(OneLineError):
    """A tagged dataset that is not what its protocol says, or does not fit a collection."""


class GroupsError(PlaylistPretrainError):
    """Groups that are missing, empty, or made for another collection."""


class RecipeError(PlaylistPretrainError):
    """A setting, or a combination of settings, that cannot work."""


class RunError(PlaylistPretrainError):
    """A run folder that cannot be used, or a training run that had to stop."""


class ModelError(PlaylistPretrainError):
    """A saved model that cannot be loaded, or does not fit the data."""


class MelError(PlaylistPretrainError):
    """Mels made elsewhere that cannot be imported."""


class EmbeddingsError(PlaylistPretrainError):
    """Embeddings that have no neighbours, or of which something impossible is asked."""


class ScoresError(PlaylistPretrainError):
    """Per-track scores of a tagger that cannot be measured, or whose file cannot be used."""


class PlanError(PlaylistPretrainError):
    """A plan of experiments that cannot be carried out, with file, table and key."""
