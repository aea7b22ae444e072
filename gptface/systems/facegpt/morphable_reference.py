"""Which morphable model a trained FaceGPT speaks of: a note beside it. The model's own data are never copied."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gptface.data.paths import expand_paths
from gptface.errors import InputError
from gptface.morphable import MODEL_NAMES, MorphableModel, load_morphable_model

__all__ = ["REFERENCE", "MorphableReference", "open_morphable"]

REFERENCE = "morphable.json"
_KINDS = ("identity", "expression", "albedo")


def open_morphable(source: str) -> MorphableModel:
    """The morphable model of a name or a path, in which ``~`` and ``$VARIABLES`` are expanded.

    Raises:
        InputError: there is none.
    """
    return load_morphable_model(source if source in MODEL_NAMES else expand_paths([source], "morphable")[0])


@dataclass(frozen=True)
class MorphableReference:
    """What must be the same for numbers of a face to mean the same.

    Attributes:
        source: the name or path it was trained with, as the configuration had it.
        name: what the model calls itself.
        vertices: how many it has.
        identity, expression, albedo: names of its shapes.
        digest: of mean, triangles, identity and expression shapes.
    """

    source: str
    name: str
    vertices: int
    identity: tuple[str, ...]
    expression: tuple[str, ...]
    albedo: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, model: MorphableModel, source: str) -> MorphableReference:
        """The note on a model."""
        digest = hashlib.sha256()
        for value in (model.mean, model.triangles, model.identity_basis, model.expression_basis):
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return cls(
            source,
            model.name,
            model.vertex_count,
            model.identity_names,
            model.expression_names,
            model.albedo_names,
            digest.hexdigest()[:32],
        )

    def save(self, folder: Path) -> None:
        """Write it into ``folder``."""
        (folder / REFERENCE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MorphableReference:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = folder / REFERENCE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            source, name, digest = (str(values[key]) for key in ("source", "name", "digest"))
            identity, expression, albedo = (tuple(map(str, values[kind])) for kind in _KINDS)
            return cls(source, name, int(values["vertices"]), identity, expression, albedo, digest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: is no FaceGPT that gptface trained: its {REFERENCE} cannot be read ({error})"
            ) from None

    def check(self, model: MorphableModel) -> MorphableModel:
        """The model itself, if it is the one of this note.

        Raises:
            InputError: another one; the sentence says in what.
        """
        found = MorphableReference.of(model, self.source)
        for name in ("vertices", "identity", "expression", "albedo", "digest"):
            ours, theirs = getattr(self, name), getattr(found, name)
            if ours != theirs:
                what = f"{name}: {len(theirs)} shapes" if isinstance(theirs, tuple) else f"{name}: {theirs}"
                wanted = f"{len(ours)}" if isinstance(ours, tuple) else f"{ours}"
                raise InputError(
                    f"morphable model: {model.name} is another than {self.name}, which this FaceGPT was trained with "
                    f"({what}; needed: {wanted})"
                )
        return model

    def open(self, source: str | None = None) -> MorphableModel:
        """The morphable model, from another place if one is given.

        Raises:
            InputError: it is not there, or another one.
        """
        return self.check(open_morphable(self.source if source is None else source))
