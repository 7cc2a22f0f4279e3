"""Files that are written atomically: downloads and tensors."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from sklearn.datasets import get_data_home
from torch import Tensor

__all__ = [
    "TIMEOUT",
    "data_folder",
    "published",
    "read_tensors",
    "replacing",
    "write_tensors",
]

#: Maximum length of a header in bytes, enough for many thousand tensors.
LONGEST_HEADER = 2**24
#: Seconds without a response after which a download fails.
TIMEOUT = 60
#: Types that all supported versions of safetensors write.
DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces `path` unless the block fails."""
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def data_folder(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder to read published files from and to store them in."""
    if data_home is None:
        data_home = Path(get_data_home()) / "sklearn_colearn"
    return Path(data_home).expanduser()


def published(
    path: Path,
    url: str,
    sha256: str,
    download_if_missing: bool = True,
    or_else: str | None = None,
) -> bytes:
    """Read a published file from `path` or download it, and check its hash.

    `or_else` names an alternative file in the same folder for messages.
    """
    if path.exists():
        content = path.read_bytes()
        damage = _damage(path, content, sha256)
        if not damage:
            return content
        if not download_if_missing:
            raise ValueError(
                f"{damage}. Delete it, or pass download_if_missing=True to replace it."
            )
        warnings.warn(f"{damage}. Downloading it again.", UserWarning, stacklevel=3)
    elif not download_if_missing:
        names = [name for name in (or_else, path.name) if name is not None]
        raise OSError(
            f"{' or '.join(names)} is not in {path.parent}. Put it there, or pass "
            "download_if_missing=True."
        )
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        other = "" if or_else is None else f", or {or_else} converted from it,"
        raise OSError(
            f"could not download {url} ({error}). Without a network, save that file "
            f"as {path.name}{other} in {path.parent}."
        ) from error
    if damage := _damage(url, content, sha256):
        raise ValueError(f"{damage}. The download was discarded.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return content


def _damage(source: object, content: bytes, sha256: str) -> str:
    found = hashlib.sha256(content).hexdigest()
    return "" if found == sha256 else f"{source} has SHA-256 {found}, not {sha256}"


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], text: str
) -> None:
    """Write named tensors and a text as a safetensors file, with a checksum."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES or tensor.layout != torch.strided:
            raise TypeError(
                f"Cannot save the tensor {name!r} ({tensor.dtype}, {tensor.layout}); "
                "use dense tensors of real numbers or booleans."
            )
    # safetensors refuses tensors that share memory.
    copies = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    checksum = _checksum(*_parse(save(copies, {"model": text})))
    content = save(copies, {"model": text, "sha256": checksum})
    if int.from_bytes(content[:8], "little") > LONGEST_HEADER:
        raise ValueError(
            f"The names and parameters of the model exceed {LONGEST_HEADER} bytes; "
            "use fewer or shorter ones."
        )
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """Read a file of `write_tensors`; raise `ValueError` for any other file."""
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would block
        _refuse(path, "it is not a regular file")
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if length > min(LONGEST_HEADER, os.fstat(file.fileno()).st_size - 8):
            _refuse(path, "it does not start with the length of a header")
        header = file.read(length)
        try:
            entries = json.loads(header)
            text = entries["__metadata__"]["model"]
        except (LookupError, RecursionError, TypeError, ValueError):
            _refuse(path, "its header describes no model")
        numbers = file.read()  # after the checks, as other files may be huge
    try:
        checksum = entries["__metadata__"].pop("sha256", None)
        fits = checksum == _checksum(entries, numbers)
        loaded = load(prefix + header + numbers)
        tensors = {name: tensor.clone() for name, tensor in loaded.items()}  # aligned
    except (SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        _refuse(path, f"safetensors cannot read it ({error})")
    if not fits:
        _refuse(path, "its checksum does not match")
    return tensors, text


def _parse(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _checksum(entries: Mapping[str, Any], numbers: bytes) -> str:
    table = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(table + numbers).hexdigest()


def _refuse(path: Path, why: str) -> NoReturn:
    raise ValueError(
        f"{str(path)!r} is not a file of save_model, or was damaged or changed: {why}. "
        "Load joblib and pickle files with joblib.load, which runs code from the file."
    )
