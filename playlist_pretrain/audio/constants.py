"""What every front end is: constants that travel as JSON and are checked when they arrive."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

from playlist_pretrain.errors import FrontEndError

FORMAT = 1


class Constants:
    """Base of the frozen dataclasses of front ends.

    Class attributes ``_choices`` (field → values allowed) and ``_not_compared`` (fields that say
    how a mel is called and cut, not what its values are) belong to each.
    """

    name: str
    framing: str
    frame_length: int
    hop_length: int
    _choices: typing.ClassVar[dict[str, tuple[str, ...]]] = {}
    _not_compared: typing.ClassVar[tuple[str, ...]] = ()

    @classmethod
    @functools.cache
    def field_types(cls) -> dict[str, type]:
        """Type of every field."""
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def _check_fields(self) -> None:
        for field, kind in self.field_types().items():
            value = getattr(self, field)
            allowed = (int, float) if kind is float else kind
            if isinstance(value, bool) or not isinstance(value, allowed):
                self._refuse(field, f"must be of type {kind.__name__}")
            choices = self._choices.get(field)
            if choices and value not in choices:
                self._refuse(field, f"must be one of {', '.join(choices)}")

    def _refuse(self, field: str, why: str) -> typing.NoReturn:
        value = getattr(self, field)
        raise FrontEndError(f"front end {self.name!r}: {field} = {value!r}: it {why}")

    @classmethod
    def _from_fields(cls, values: dict[str, Any]) -> typing.Self:
        """Make one of exactly the fields there are, those with a default included."""
        known = cls.field_types().keys()
        for what, names in (("unknown", values.keys() - known), ("missing", known - values.keys())):
            if names:
                listed = ", ".join(map(str, sorted(names, key=str)))
                raise FrontEndError(f"front end {values.get('name')!r}: {what} fields: {listed}")
        return cls(**values)

    def frames(self, samples: int) -> int:
        """Number of frames of ``samples`` samples of audio; 0 for 0."""
        if samples <= 0:
            return 0
        if self.framing == "centred":
            return 1 + -(-samples // self.hop_length)
        return max(0, 1 + (samples - self.frame_length) // self.hop_length)

    def same_as(self, other: Constants) -> bool:
        """Whether the mels of both are the same, whatever the two are called."""
        return not self._differing(other)

    def _differing(self, other: Constants) -> list[str]:
        if type(self) is not type(other):
            return ["the mels of one were imported, those of the other are computed here"]
        return [
            f"{field} {getattr(self, field)!r} against {getattr(other, field)!r}"
            for field in self.field_types()
            if field not in self._not_compared and getattr(self, field) != getattr(other, field)
        ]

    def check_same(self, other: Constants, what_self: str, what_other: str) -> None:
        """Refuse two things whose mels differ.

        Parameters
        ----------
        other : FrontEnd or ImportedFrontEnd
        what_self, what_other : str
            What the two front ends belong to, for the message.

        Raises
        ------
        FrontEndError
            Names both and every constant that differs, but for ``window_frames``, and ``name``
            where the constants say everything; or that one was imported and the other was not.
        """
        if differing := self._differing(other):
            raise FrontEndError(
                f"{what_self} (front end {self.name!r}) and {what_other} (front end "
                f"{other.name!r}) do not fit: {'; '.join(differing)}"
            )
