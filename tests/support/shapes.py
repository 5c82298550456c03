"""Writes `catalogue/shapes.json` and `regions.json` from botocore's models: `python -m tests.support.shapes`.

Only the operations that the resource types name are taken, with all shapes that their outputs reach.
"""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.utils import xform_name  # type: ignore[attr-defined]  # botocore.xform_name, re-exported

from coreo_shared.catalogue import read_resource_documents

MAX_ENUM = 80  # longer ones (instance types, regions) grow with every release of the SDK and say little
_SCALARS = {
    "string": "string", "character": "string", "integer": "integer", "long": "integer", "float": "number",
    "double": "number", "boolean": "boolean", "timestamp": "timestamp", "blob": "blob",
}  # fmt: skip
