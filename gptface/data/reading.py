"""What the reading of a data set came to: what was read, skipped, noted and ignored, by reason, for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gptface.data.decoding import FirstSamples
from gptface.data.known_regions import REGION_NOTES, REGION_SKIPS, KnownRegions
from gptface.data.metadata import without_surrogates
from gptface.data.parts import IGNORED, Tally
from gptface.data.sample import Samples
from gptface.data.shards import SAMPLE_NOTES, SKIP_REASONS, FaceShards

__all__ = ["Reading", "meaning"]


def meaning(reason: str) -> str:
    """What the name of a reason stands for, in brackets; nothing for a name that is not this library's."""
    said = {**SKIP_REASONS, **SAMPLE_NOTES, **REGION_SKIPS, **REGION_NOTES, **IGNORED}.get(reason)
    return "" if said is None else f" ({said})"


@dataclass
class Reading:
    """Counts of one source.

    Attributes:
        samples: how many the source has, or is asked for.
        place: where they lie.
        used: how many could be used; ``None`` where they are read as they are needed.
        skipped: samples left out, by reason.
        notes: lesser faults of samples in use, by reason.
        ignored: what lies in the source and is no part of a sample.
        regions: samples in use by what their region map was made of.
        remarks: further sentences about the source.
    """

    samples: int
    place: str
    used: int | None
    skipped: Mapping[str, int]
    notes: Mapping[str, int]
    ignored: Tally
    regions: Mapping[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        dataset: Samples,
        used: int | None = None,
        skipped: Mapping[str, int] | None = None,
        notes: Mapping[str, int] | None = None,
        regions: Mapping[str, int] | None = None,
    ) -> Reading:
        """The reading of a data set, as far as it has come."""
        whole = dataset.whole if isinstance(dataset, FirstSamples) else dataset
        remarks: list[str] = []
        if isinstance(whole, KnownRegions):
            remarks, whole = whole.remarks, whole.whole
        place, ignored = "made by rule", Tally()
        if isinstance(whole, FaceShards):
            kinds = [_several(whole.shards, "shard"), _several(whole.folders, "folder of images", "folders of images")]
            place, ignored = "in " + " and ".join(kind for kind in kinds if kind), whole.ignored
            if len(whole) > len(dataset):
                place = f"(of {len(whole)} {place})"
        return cls(len(dataset), place, used, skipped or {}, notes or {}, ignored, regions or {}, remarks)

    def lines(self, name: str, how: str) -> list[str]:
        """One line that says what was read, and one each for what was skipped, noted and ignored.

        Args:
            name: what the lines begin with.
            how: where the faces are now.
        """
        counted = {"skipped": self.skipped, "noted": self.notes, "ignored": self.ignored.counts}
        nothing = [word for word, counts in counted.items() if not sum(counts.values())]
        if self.used is None:
            nothing = [word for word in nothing if word == "ignored"]
        what = f"{self.samples} samples" if self.used is None else f"{self.used} faces of {self.samples} samples"
        clear = f"; nothing {_listed(nothing)}" if nothing else ""
        result = [f"{name}: {what} {self.place}, {how}{clear}"]
        result += [f"{name}: {remark}" for remark in self.remarks]
        if set(self.regions) - {"label maps"}:
            origins = ", ".join(f"{number} from {origin}" for origin, number in Counter(self.regions).most_common())
            result.append(f"{name}: region maps: {origins}")
        for word, counts in counted.items():
            for reason, number in Counter(counts).most_common():
                example = self.ignored.examples.get(reason, "") if word == "ignored" else ""
                such = f", such as {without_surrogates(example)}" if example else ""
                result.append(f"{name}: {word} {number} {reason}{meaning(reason)}{such}")
        return result


def _several(count: int, one: str, more: str | None = None) -> str:
    return "" if not count else f"{count} {one if count == 1 else more or one + 's'}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
