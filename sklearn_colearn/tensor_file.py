"""Files of named tensors and text, in the safetensors format; reading runs no code.

Eight bytes say how long the header is; the header is JSON, which says for each tensor
its type, its shape and where in the rest of the file it is; the rest is the numbers.
`docs/deploy.md` of this project and https://github.com/huggingface/safetensors describe
it. The format is so plain that it is read and written here, where every size can be
checked against the file's before memory is taken.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

__all__ = ["read_tensors", "write_tensors"]

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}

#: Longest header that is read: names and shapes of many thousand tensors.
LONGEST_HEADER = 2**24


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: str
) -> None:
    """Write tensors and a text; the file is there as a whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Where to; what is there is replaced.
    tensors : mapping of str to Tensor
        On any device.
    metadata : str
        Kept as it is.
    """
    # The largest numbers first, so that each is at a multiple of its size.
    ordered = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header: dict[str, Any] = {"__metadata__": {"model": metadata}}
    parts, start = [], 0
    for name in ordered:
        tensor = tensors[name].detach().cpu().contiguous()
        # Through bytes, as numpy has no bfloat16.
        part = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + len(part)],
        }
        start += len(part)
        parts.append(part)
    data = b"".join(parts)
    header["__metadata__"]["sha256"] = _digest(header, data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise ValueError(
            f"The model's names and parameters take {len(text)} bytes; at most "
            f"{LONGEST_HEADER} can be written."
        )
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """Read what :func:`write_tensors` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    tensors : dict of str to Tensor
        On the CPU.
    metadata : str
        The text.

    Raises
    ------
    ValueError
        If the file is none of this kind, is cut short or was changed.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        _refuse(path, "it is no regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            _refuse(path, "its first bytes give no length of a header within the file")
        if length > LONGEST_HEADER:
            _refuse(path, f"its header of {length} bytes is too long")
        header = _read_header(path, file.read(length))
        n_bytes = _check_table(path, header)
        if size - 8 - length != n_bytes:
            _refuse(
                path,
                f"it holds {size - 8 - length} bytes of numbers where its header says "
                f"{n_bytes}",
            )
        data = file.read(n_bytes)
    metadata = header["__metadata__"]
    if metadata.pop("sha256", None) != _digest(header, data):
        _refuse(path, "its checksum does not fit: it was damaged or changed")
    del header["__metadata__"]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        # A copy of its own: a view would keep, and pickle, the whole of the file.
        tensor = torch.empty(entry["shape"], dtype=_TYPES[entry["dtype"]])
        if end > begin:
            raw = np.frombuffer(data, np.uint8, end - begin, begin).copy()
            tensor.view(-1).view(torch.uint8).copy_(torch.from_numpy(raw))
        tensors[name] = tensor
    return tensors, metadata["model"]


def _digest(header: Mapping[str, Any], data: bytes) -> str:
    table = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(table + data).hexdigest()


def _read_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        _refuse(path, "its header is no JSON")
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("model"), str):
        _refuse(path, "its header describes no model")
    assert isinstance(header, dict)
    return header


def _check_table(path: Path, header: Mapping[str, Any]) -> int:
    """Check types, shapes and places; return how many bytes the tensors take."""
    places = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        fields = entry if isinstance(entry, dict) else {}
        dtype = _TYPES.get(str(fields.get("dtype")))
        shape, place = fields.get("shape", ()), fields.get("data_offsets", ())
        if dtype is None or not _sizes(shape) or not _sizes(place) or len(place) != 2:
            _refuse(path, f"the type, shape or place of its tensor {name!r} is wrong")
        strides = math.prod(max(n, 1) for n in shape)  # which torch counts even if 0
        n_bytes = math.prod(shape) * dtype.itemsize
        if strides >= 2**48 or place[1] - place[0] != n_bytes:
            _refuse(path, f"the size of its tensor {name!r} does not fit its shape")
        places.append(tuple(place))
    end = 0
    for place in sorted(places):
        if place[0] != end:
            _refuse(path, "its tensors overlap or leave gaps")
        end = place[1]
    return end


def _sizes(value: Any) -> bool:
    """Whether a value of the header is a list of a few sizes."""
    return (
        isinstance(value, list)
        and len(value) <= 16
        and all(type(size) is int and 0 <= size < 2**48 for size in value)
    )


def _refuse(path: Path, why: str) -> NoReturn:
    raise ValueError(
        f"{str(path)!r} is no model that save_model wrote, or is damaged: {why}. "
        "(Files of joblib and pickle are read by joblib.load, which runs code.)"
    )
