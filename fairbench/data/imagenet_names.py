"""ImageNet's 1,000 classes by name: of torchvision's weights, where the folders are its 1,000 wnids.

Labels are the places of the wnids in character order, as `class_to_idx` of torchvision's ImageFolder, and as the
outputs of published networks. Torchvision has the names and not the wnids, so a hash says whether the folders are
these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: SHA-256 of the 1,000 sorted wnids, one a line: of robustbench's imagenet_class_to_id_map.json, and equally of timm's
#: imagenet_synsets.txt.
WNIDS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"


def imagenet_names(folders: Sequence[str]) -> tuple[str, ...] | None:
    """Return 1,000 different names in order of label ("tench", ...); None where the folders are others.

    Args:
        folders: names of class folders in order of label.
    """
    if len(folders) != 1000 or hashlib.sha256("\n".join(folders).encode()).hexdigest() != WNIDS_SHA256:
        return None
    # Takes a second, and only who has ImageNet needs it.
    from torchvision.models import get_weight

    return tuple(get_weight("ResNet50_Weights.IMAGENET1K_V1").meta["categories"])
