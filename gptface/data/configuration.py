"""The ``data`` section of every system's configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from gptface.configuration import Count, Section, Share
from gptface.errors import InputError

__all__ = ["DataSection"]


class DataSection(Section):
    """Where faces and captions come from, the same for all stages."""

    source: Literal["procedural", "shards", "tokens"] = "procedural"
    """``procedural``: rendered by gptface.data.procedural. ``shards``: tar shards or directories of images (below).
    ``tokens``: token shards of ``gptface data encode``, for stages that need codes and captions and no pictures;
    ``cache`` then means nothing."""
    train: list[str] = []
    """Shards: paths, globs or directories, which stand for all shards and images in them, in any depth; ``~`` and
    ``$VARIABLES`` are expanded. Tokens: the same of token shards (of a directory, those that lie in itself)."""
    validation: list[str] = []
    """Shards or token shards held out for validation; empty: no validation."""
    landmarks: list[str] = []
    """Shards: .npz files (paths, globs) with facial landmarks of the pictures of ``train``: ``key``, the samples'
    names, and ``points`` (n, N, 2 or 3), N = 5, 68 or 468, in pixels of the stored pictures. Samples without a region
    map have theirs drawn from them; those without landmarks are then left out, unless ``template`` is named. (Landmarks
    in a sample's json are used without being named here.)"""
    validation_landmarks: list[str] = []
    """The same for the pictures of ``validation``."""
    template: Literal["tight", "portrait"] | None = None
    """Shards of aligned faces: where the regions are in pictures of which neither a region map nor landmarks are known.
    ``tight``: the face fills the picture from ear to ear; ``portrait``: head and hair are in it."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Procedural: seed of the faces. Training and validation use different index ranges of it."""
    count: Count = 8192
    """Procedural: number of training faces (a flipped copy is not counted)."""
    validation_count: Annotated[int, Field(ge=0)] = 512
    """Procedural: number of held-out faces. Otherwise: at most this many of ``validation``."""
    correlation: Share = 1.0
    """Procedural: how much the captions say of the image (0: nothing, 1: all they say is true)."""
    caption_detail: Share = 0.0
    """Procedural: share of captions that state all that their length allows instead of three to six facts."""
    unusual: Share = 0.0
    """Procedural: share of faces of which one or two attributes are set at random, such as a bald woman or a man with
    lipstick: what edits are asked for. Three in ten of them come out as they were."""
    captions_per_face: Annotated[int, Field(ge=1, le=64)] = 1
    """Procedural, with ``cache``: so many captions a face, taken in turn from epoch to epoch."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Side in pixels to which every image is brought."""
    flip: bool = True
    """Mirror images at random."""
    text_length: Annotated[int, Field(ge=1, le=512)] = 24
    """Longest caption in word pieces; longer ones are cut."""
    cache: bool = True
    """Decode or render every image once into a memory-mapped file, for sets that fit on the disk."""
    cache_directory: str | None = None
    """Where that file lies, so that stages can share it; default: ``cache`` inside the output folder."""
    workers: Annotated[int, Field(ge=0, le=128)] = 0
    """Loader processes a rank when ``cache`` is off. 0: in the training process."""

    @model_validator(mode="after")
    def _source_and_paths(self) -> Self:
        if self.source != "procedural" and not self.train:
            raise InputError(f"train: must name at least one shard, glob or directory when source is '{self.source}'")
        if self.source == "procedural" and (self.train or self.validation):
            raise InputError("source: must be 'shards' or 'tokens' when train or validation name files")
        for name in ("landmarks", "validation_landmarks", "template"):
            if self.source != "shards" and getattr(self, name):
                theirs = "procedural faces have region maps" if self.source == "procedural" else "tokens have regions"
                raise InputError(f"{name}: {theirs} of their own; allowed: with source: shards alone")
        if self.source == "tokens" and self.workers:
            raise InputError(f"workers: {self.workers}; must be 0 with source: tokens, which need no decoding")
        if self.validation_landmarks and not self.validation:
            raise InputError("validation_landmarks: there is no validation that they could be the landmarks of")
        if self.captions_per_face > 1 and (self.source != "procedural" or not self.cache):
            raise InputError("captions_per_face: more than 1 needs procedural faces and cache: true")
        return self
