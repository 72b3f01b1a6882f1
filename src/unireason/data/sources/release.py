"""A data set imported from a release, as its own source: its embedded pictures and masks, and its volumes where they lie.

Pictures come back at the size of the model frame, the only one that is kept. Volumes of which a release holds the slices come back as
these slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.core.errors import FormatError, ImageReadError
from unireason.core.types import Case, Geometry, Kind, Source
from unireason.data.dataset import Dataset
from unireason.data.frames import from_png
from unireason.data.item import Item, Layer, Loaded, check_masks, inside
from unireason.data.parquet import Embedded

_GREY = (127.5, 255.0)
"""Level and width of the window that passes grey levels on."""


class ReleaseSource:
    """The pictures of an imported release.

    Args:
        dataset: What it was imported into.
        volumes: Folder of the volumes that lie outside; None if it is not known.
    """

    def __init__(self, dataset: Dataset, volumes: Path | None) -> None:
        self._dataset, self._volumes = dataset, volumes
        self._embedded = Embedded(dataset.files("images"))
        self.name, self.root = dataset.layout, dataset.folder
        self.title, self.licence = (str(dataset.manifest.get(key, "")) for key in ("title", "licence"))

    def items(self) -> Iterator[Item]:
        """One item a case, in the order of the data set."""
        for case in self._dataset.cases():
            scene = case.scene
            told = {"sha256": case.sha256}
            yield Item(case.item, scene.patient, scene.kind, case.image, (), (), scene.modality, extra=told)

    def load(self, item: Item) -> Loaded:
        """Read one case."""
        if item.kind == "volume" and item.image:
            if self._volumes is None:
                raise ImageReadError(f"the volume '{item.image}' lies in no known folder", "the folder of the volumes", "name it")
            return Loaded(item, imaging.read(inside(self._volumes, item.image)), ())
        found = self._embedded.columns(item.id, "png", "masks", "mask_names")
        source = Source(item.image or item.id, "png", item.extra["sha256"])
        case = case_of([from_png(data) for data in found["png"]], item.kind, source)
        masks, names = found["masks"][0], found["mask_names"][0]
        if len(masks) != len(names):
            raise FormatError(f"{item.id} has {len(masks)} masks and {len(names)} names", "one each", "import the release again")
        layers = tuple(Layer((from_png(data) > 0).astype(np.uint8), {1: name}) for data, name in zip(masks, names, strict=True))
        for layer in layers:
            check_masks(case, layer.labels, f"of {item.id}")
        return Loaded(item, case, layers)


def case_of(pictures: Sequence[NDArray[np.uint8]], kind: Kind, source: Source) -> Case:
    """A case of grey levels as they are shown: windows pass them on."""
    if not pictures or len({p.shape for p in pictures}) > 1 or (kind == "image" and len(pictures) > 1):
        raise ImageReadError(f"{len(pictures)} pictures of the sizes {sorted({p.shape for p in pictures})}", f"one {kind}")
    pixels = pictures[0] if kind == "image" else np.stack(pictures)
    shape = pixels.shape[:2] if kind == "image" else pixels.shape[:3]
    axes = len(shape)
    geometry = Geometry(shape, shape[::-1], tuple(range(axes)), (False,) * axes)
    return Case(pixels, kind, geometry, "", source, window=_GREY if kind == "volume" else None)
