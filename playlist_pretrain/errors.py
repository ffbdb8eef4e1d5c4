"""One family of errors; every message names the offending file, row or value."""


class PlaylistPretrainError(Exception):
    """Trouble that a user can cause and mend: one message, exit code 1, no traceback."""


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


def first_line(error: BaseException) -> str:
    """First line of an error's text, which for TensorFlow's is the one to read."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
