"""Statements of the clauses of a contract."""

from __future__ import annotations

from collections.abc import Callable, Collection

from playlist_pretrain.errors import PlaylistPretrainError


class ContractError(AssertionError):
    """An implementation breaks a clause of its contract; the message is the clause."""


def require(holds: object, clause: str) -> None:
    """Raise ContractError with ``clause`` as its message unless it holds."""
    if not holds:
        raise ContractError(clause)


def require_name(name: object) -> None:
    """A name that users can type behind an option: text without blanks or commas."""
    typed = isinstance(name, str) and name and "," not in name and len(name.split()) == 1
    typed = typed and name == name.strip()  # type: ignore[attr-defined]
    require(typed, f"name: text without blanks or commas, not {name!r}")


def require_line(text: object, what: str) -> None:
    """One line of text that a screen can show."""
    require(isinstance(text, str) and text.strip(), f"{what}: text, not {text!r}")
    require(str(text).isprintable(), f"{what}: one line without control characters, not {text!r}")


def require_options(options: object, known: Collection[str]) -> None:
    """A frozenset of options that there are."""
    require(isinstance(options, frozenset), f"options: a frozenset, not {options!r}")
    unknown = set(options) - set(known)  # type: ignore[call-overload]
    require(not unknown, f"options: of {', '.join(known)}; not {', '.join(sorted(unknown))}")


def refusal(
    call: Callable[[], object], error: type[PlaylistPretrainError], named: str, case: str
) -> None:
    """``call`` raises ``error`` with one line that has ``named``, or breaks the clause ``case``."""
    try:
        call()
    except error as raised:
        message = str(raised)
        require(
            message.isprintable() and named in message,
            f"{case}: the message is one line with {named!r} in it, not {message!r}",
        )
    except Exception as raised:
        raise ContractError(
            f"{case}: raises {error.__name__}, not {type(raised).__name__}: {raised}"
        ) from raised
    else:
        raise ContractError(f"{case}: raises {error.__name__}, but nothing was raised")
