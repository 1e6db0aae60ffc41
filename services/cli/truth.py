"""Truth of field frames from an annotation file, for ``e2x ingest --annotations``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from curation.formats.names import name_key
from curation.kernel.errors import AnnotationsInvalid
from services.errors import InvalidRequest, NotFound
from services.intake.sidecars import Sidecar

if TYPE_CHECKING:
    from curation.formats import ImportedImage, Problem


@dataclass(frozen=True, slots=True)
class Truth:
    """What an annotation file says about its images.

    Attributes:
        by_path: images by their resolved path.
        by_name: the same by file name (see ``name_key``), for frames that lie elsewhere.
        problems: entries that were left out, but for those of an image.
        notes: what else a person should know of the file.
    """

    by_path: dict[Path, ImportedImage]
    by_name: dict[str, list[ImportedImage]]
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[str, ...] = ()

    def of(self, frame: Path) -> Sidecar:
        """The objects of a frame.

        Raises:
            InvalidRequest: the file says nothing about it, has several images of this name, or
                has an object of it that cannot be used: the rest is not the whole truth.
        """
        from services.intake.import_truth import objects_of

        item = self.by_path.get(frame.resolve())
        if item is None:
            same = self.by_name.get(name_key(frame.name), [])
            if len(same) != 1:
                raise InvalidRequest(
                    f"{frame.name}: the annotations name it {len(same)} times; they must name "
                    "each frame, one without objects too"
                )
            item = same[0]
        if item.unlabelled:
            raise InvalidRequest(
                f"{frame.name}: the annotations say nothing about it; if nothing is on it, give it "
                "an empty label file, or say --empty"
            )
        if item.refused:
            first = item.refused[0]
            raise InvalidRequest(f"{frame.name}: {first.where}: {first.message}")
        size = (item.width_px or None, item.height_px or None)  # 0 where the format does not say
        return Sidecar(
            objects=objects_of(item), group=item.group, width_px=size[0], height_px=size[1]
        )


def read_truth(source: Path, min_side_px: float) -> Truth:
    """Read a COCO file, or a COCO, VOC or YOLO folder.

    Args:
        source: the file or folder.
        min_side_px: boxes with a shorter side become ignore regions.

    Raises:
        NotFound: it does not exist.
        InvalidRequest: it is a plain folder of images.
        AnnotationsInvalid: it is not what it claims to be, or wrong as a whole.
    """
    from curation import formats
    from curation.formats.one_truth import one_truth

    if not source.exists():
        raise NotFound(f"{source} does not exist")
    imported = formats.load(source, min_side_px=min_side_px)
    if not imported.labelled:
        raise InvalidRequest(f"{source} has no annotations")
    if imported.doubt:
        raise AnnotationsInvalid(f"{source}: {imported.doubt}; mend the file and try again")
    truth = one_truth(imported.items)
    items = [item for _, item in truth.items]
    by_name: dict[str, list[ImportedImage]] = defaultdict(list)
    for item in items:
        by_name[name_key(item.path.name)].append(item)
    by_path = {item.path.resolve(): item for item in items}
    told = {one for item in imported.items for one in item.refused}  # with their frames
    problems = tuple(one for one in imported.problems if one not in told)
    contradicting = tuple(problem for _, problem in sorted(truth.problems.items()))
    return Truth(by_path, dict(by_name), (*problems, *contradicting), imported.notes)
