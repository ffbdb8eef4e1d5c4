"""What became of a playlist source: the report of a matching."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

LONGEST_SHOWN = 60
DAMAGES_SHOWN = 5


@dataclass(frozen=True)
class Coverage:
    """Counts of one matching.

    Every entry that was read is in exactly one of ``entries_matched``, ``entries_unknown``,
    ``entries_unmapped``, ``entries_repeated`` and ``entries_in_dropped_groups``.

    Attributes
    ----------
    name : str
        Name of the groups.
    groups_read, groups_kept : int
        The others had fewer than two tracks of the collection.
    entries_read : int
        Track ids in all groups.
    entries_matched : int
        Entries of the groups that were kept.
    entries_unknown : int
        The collection has no track of that id.
    entries_repeated : int
        The track came earlier in the same group.
    entries_in_dropped_groups : int
        The only track of its group.
    tracks, tracks_covered : int
        Tracks of the collection; those in at least one kept group.
    mean_length, median_length : float
        Tracks of a kept group.
    wanted : tuple of (str, int)
        Ids most often not found, and how many entries asked for them.
    entries_unmapped : int or None
        The map does not know the id; None when there was no map.
    damaged : tuple of str
        What was wrong with sources that could not be read to their end.
    hints : tuple of str
        Of each of ``wanted`` what it may be, or nothing; see ``did_you_mean``.
    """

    name: str
    groups_read: int
    groups_kept: int
    entries_read: int
    entries_matched: int
    entries_unknown: int
    entries_repeated: int
    entries_in_dropped_groups: int
    tracks: int
    tracks_covered: int
    mean_length: float
    median_length: float
    wanted: tuple[tuple[str, int], ...]
    entries_unmapped: int | None = None
    damaged: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def groups_dropped(self) -> int:
        """Groups with fewer than two tracks of the collection."""
        return self.groups_read - self.groups_kept

    @property
    def groups_per_track(self) -> float:
        """Mean number of groups a covered track is in."""
        return self.entries_matched / self.tracks_covered if self.tracks_covered else 0.0

    def to_dict(self) -> dict:
        """All figures, ready for JSON."""
        derived = {
            "groups_dropped": self.groups_dropped,
            "groups_per_track": self.groups_per_track,
        }
        wanted = [{"track_id": track_id, "entries": count} for track_id, count in self.wanted]
        figures = {**dataclasses.asdict(self), **derived, "wanted": wanted}
        del figures["hints"]  # for people
        return figures

    def text(self) -> str:
        """The figures as an aligned block of lines."""
        rows = [
            ("groups read", self.groups_read, ""),
            ("  kept", self.groups_kept, _share(self.groups_kept, self.groups_read)),
            ("  dropped, fewer than two tracks", self.groups_dropped, ""),
            ("entries read", self.entries_read, ""),
            ("  matched", self.entries_matched, _share(self.entries_matched, self.entries_read)),
            *(
                [("  dropped, unknown track id", self.entries_unknown, "")]
                if self.entries_unmapped is None
                else [
                    ("  dropped, id not in the map", self.entries_unmapped, ""),
                    ("  dropped, its track not here", self.entries_unknown, ""),
                ]
            ),
            ("  dropped, again in its group", self.entries_repeated, ""),
            ("  dropped with their group", self.entries_in_dropped_groups, ""),
            ("tracks of the collection", self.tracks, ""),
            ("  covered", self.tracks_covered, _share(self.tracks_covered, self.tracks)),
            ("tracks a group, mean", self.mean_length, ""),
            ("tracks a group, median", self.median_length, ""),
            ("groups a track, mean", self.groups_per_track, ""),
        ]
        values = [f"{v:,.1f}" if isinstance(v, float) else f"{v:,}" for _, v, _ in rows]
        left, right = max(len(row[0]) for row in rows), max(map(len, values))
        lines = [f"groups {self.name!r}"]
        for (label, _, share), value in zip(rows, values, strict=True):
            lines.append(f"  {label:<{left}}  {value:>{right}}  {share}".rstrip())
        if self.damaged:
            lines.append(f"  sources that could not be read to their end: {len(self.damaged):,}")
            lines += [f"    {text}" for text in self.damaged[:DAMAGES_SHOWN]]
            if len(self.damaged) > DAMAGES_SHOWN:
                lines.append(f"    … and {len(self.damaged) - DAMAGES_SHOWN:,} more in the report")
        if self.wanted:
            lines.append("  most wanted track ids that the collection does not have")
            width = len(f"{self.wanted[0][1]:,}")
            hints = self.hints or ("",) * len(self.wanted)
            lines += [
                f"    {count:>{width},}  {shown(name)}{hint}"
                for (name, count), hint in zip(self.wanted, hints, strict=True)
            ]
        return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def shown(text: str) -> str:
    """``text`` quoted for a terminal: control characters escaped, cut after 60 characters."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…")
