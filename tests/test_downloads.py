"""Published files: checksums, interrupted downloads, hostile archives, kept arrays."""

import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from tools import refused

from sklearn_colearn.datasets import downloads
from sklearn_colearn.datasets.downloads import File, fetch_files, kept_arrays, members

CONTENT = bytes(range(256)) * 600
HALF = downloads.CHUNK


def checksum(content, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@pytest.fixture
def files(web):
    """Serve one file under its true checksum."""
    web.files["/data.zip"] = CONTENT
    return {"data.zip": File(f"{web.url}/data.zip", checksum(CONTENT, "md5"))}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# fetch_files


def test_file_is_downloaded_once(files, web, tmp_path):
    folder = tmp_path / "new" / "home"
    for _ in range(2):
        paths = fetch_files(files, folder, True)
        assert paths == {"data.zip": folder / "data.zip"}
    assert (folder / "data.zip").read_bytes() == CONTENT
    assert names(folder) == ["data.zip"]
    assert web.requests == 1
    assert fetch_files(files, folder, False) == paths


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_resumes(files, web, tmp_path, ranges):
    web.ranges = ranges
    web.files["/data.zip"], web.lost = CONTENT[: HALF + 99], len(CONTENT) - HALF - 99
    url = files["data.zip"].url
    expected = f"could not download {url} ... Try again ... put ... {tmp_path}"
    refused(fetch_files, files, tmp_path, True, says=expected, error=OSError)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [HALF]
    assert not (tmp_path / "data.zip").exists()

    web.files["/data.zip"], web.lost = CONTENT, 0
    fetch_files(files, tmp_path, True)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert names(tmp_path) == ["data.zip"]
    assert web.starts == ([0, HALF] if ranges else [])


def test_a_part_longer_than_the_file_is_discarded(files, web, tmp_path):
    web.files["/data.zip"], web.lost = CONTENT + bytes(HALF), 1
    refused(fetch_files, files, tmp_path, True, says="Try again", error=OSError)
    web.files["/data.zip"], web.lost = CONTENT, 0
    refused(fetch_files, files, tmp_path, True, says="416", error=OSError)
    fetch_files(files, tmp_path, True)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_wrong_checksum_is_not_kept(files, web, tmp_path):
    web.files["/data.zip"] = wrong = CONTENT[::-1]
    sums = [checksum(content, "md5")[4:] for content in (CONTENT, wrong)]
    refused(
        fetch_files, files, tmp_path, True, says=f"data.zip ... {' ... '.join(sums)}"
    )
    assert names(tmp_path) == []


def test_damaged_file_is_replaced_or_refused(files, web, tmp_path):
    path = tmp_path / "data.zip"
    path.write_bytes(b"damaged")
    expected = (
        f"The md5 of {path} is {checksum(b'damaged', 'md5')[4:]}; expected ... Delete "
        "the file, or pass download_if_missing=True"
    )
    refused(fetch_files, files, tmp_path, False, says=expected)
    assert web.requests == 0
    fetch_files(files, tmp_path, True)
    assert path.read_bytes() == CONTENT


def test_file_not_found(files, web, tmp_path):
    web.files.clear()
    expected = f"404 ... Without a network, put the file into {tmp_path} as data.zip."
    refused(fetch_files, files, tmp_path, True, says=expected, error=OSError)


def test_no_connection(tmp_path):
    # Nothing listens at port 9.
    files = {"data.zip": File("http://127.0.0.1:9/data.zip", checksum(b""))}
    expected = f"could not download http://127.0.0.1:9/data.zip ... {tmp_path}"
    refused(fetch_files, files, tmp_path, True, says=expected, error=OSError)


def test_missing_file_without_download(files, web, tmp_path):
    expected = (
        f"data.zip is not in {tmp_path}, and download_if_missing is False. It is "
        f"published at {web.url}/data.zip."
    )
    message = refused(fetch_files, files, tmp_path, False, says="", error=OSError)
    assert message == expected
    assert web.requests == 0


def test_missing_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    message = refused(fetch_files, {}, tmp_path, True, says="", error=ImportError)
    assert message == (
        "Fetching this data set needs the package pooch. Install it with: "
        'pip install "sklearn-colearn[datasets]"'
    )


# members


def zipped(path, files, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, content)
    return path


def tarred(path, files, **attributes):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(content))
    return path


PACKERS = {"a.zip": zipped, "a.tar.gz": tarred}
packed = pytest.mark.parametrize("name", PACKERS)


@packed
def test_members_that_match(tmp_path, name):
    files = {"top/a.h5": b"1", "top/b.txt": b"2", "top/c.h5": b"", "d.h5": b"4"}
    path = PACKERS[name](tmp_path / name, files)
    assert list(members(path, r"top/(.*)\.h5")) == [("a", b"1"), ("c", b"")]
    assert names(tmp_path) == [name]


def test_folders_and_a_leading_dot_in_a_tar(tmp_path):
    path = tmp_path / "a.tar.gz"
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "a.h5").write_bytes(b"1")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "top", "./top")
    assert list(members(path, r"top/(.*)\.h5")) == [("a", b"1")]


@packed
@pytest.mark.parametrize("member", ["../a.h5", "/a.h5", "top/../../a.h5", "..\\a.h5"])
def test_member_outside_is_refused(tmp_path, name, member):
    path = PACKERS[name](tmp_path / name, {member: b"1"})
    expected = f"{path} is refused: its member {member!r} has an unsafe path."
    assert refused(lambda: list(members(path, "(.*)")), says="") == expected


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("a.tar.gz", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("a.tar.gz", {"type": tarfile.LNKTYPE, "linkname": "b.h5"}),
        ("a.tar.gz", {"type": tarfile.CHRTYPE}),
        ("a.tar.gz", {"type": tarfile.FIFOTYPE}),
        ("a.zip", {"external_attr": 0o120777 << 16}),
    ],
)
def test_link_or_device_is_refused(tmp_path, name, attributes):
    path = PACKERS[name](tmp_path / name, {"a.h5": b""}, **attributes)
    expected = f"{path} is refused: its member 'a.h5' is not a regular file."
    assert refused(lambda: list(members(path, "(.*)")), says="") == expected


@packed
@pytest.mark.parametrize(
    ("limit", "number"),
    [("MOST_MEMBERS", 2), ("LARGEST_MEMBER", 9), ("LARGEST_ARCHIVE", 29)],
)
def test_bomb_is_refused(tmp_path, name, limit, number, monkeypatch):
    path = PACKERS[name](tmp_path / name, {f"{i}.h5": bytes(10) for i in range(3)})
    assert len(list(members(path, "(.*)"))) == 3
    monkeypatch.setattr(downloads, limit, number)
    expected = f"{path} is refused ... .h5' it exceeds ... {number} "
    refused(lambda: list(members(path, "(.*)")), says=expected)


@packed
@pytest.mark.parametrize("damage", ["empty", "rubbish", "truncated", "flipped"])
def test_damaged_archive(tmp_path, name, damage):
    content = np.random.default_rng(0).bytes(5000)
    path = PACKERS[name](tmp_path / name, {"a.h5": content, "b.h5": content[::-1]})
    whole = path.read_bytes()
    middle = bytes([whole[3000] ^ 1])
    changed = {
        "empty": b"",
        "rubbish": b"PK" + bytes(100),
        "truncated": whole[:-200],
        "flipped": whole[:3000] + middle + whole[3001:],
    }
    path.write_bytes(changed[damage])
    expected = f"{path} cannot be read ... Delete it to download it again."
    refused(lambda: list(members(path, "(.*)")), says=expected)


def test_truncated_between_members_of_a_tar(tmp_path):
    path = tarred(tmp_path / "a.tar.gz", {"a.h5": b"1", "b.h5": b"2"})
    first = gzip.decompress(path.read_bytes())[:1024]
    path.write_bytes(gzip.compress(first)[:-8])
    refused(lambda: list(members(path, "(.*)")), says="EOFError")


# kept_arrays


def test_arrays_are_made_once(tmp_path):
    place, made = tmp_path / "new" / "arrays", []

    def make(paths, folder):
        made.append(folder)
        np.save(folder / "a.npy", np.arange(6).reshape(3, 2))
        np.save(folder / "b.npy", np.array(["x", "yz", ""]))

    for source in ({"sum": "1"}, {"sum": "1"}, {"sum": "2"}):
        arrays = kept_arrays(place, source, dict, make)
        assert arrays["a"].tolist() == [[0, 1], [2, 3], [4, 5]]
        assert arrays["b"].tolist() == ["x", "yz", ""]
    assert len(made) == 2  # another source, other arrays
    assert names(place.parent) == ["arrays"]
    lazy = kept_arrays(place, {"sum": "2"}, dict, make, lazy=True)
    assert isinstance(lazy["a"], np.memmap)
    assert len(made) == 2


def make_one(paths, folder):
    np.save(folder / "a.npy", np.arange(100))


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("damage", ["cut", "lost", "more", "no manifest", "rubbish"])
def test_damaged_arrays_are_made_again(tmp_path, damage, lazy):
    place = tmp_path / "arrays"
    kept_arrays(place, {}, dict, make_one)
    if damage == "cut":
        (place / "a.npy").write_bytes((place / "a.npy").read_bytes()[:-8])
    elif damage == "lost":
        (place / "a.npy").unlink()
    elif damage == "more":
        np.save(place / "b.npy", np.arange(3))
    elif damage == "rubbish":
        (place / "manifest.json").write_text("[1")
    else:
        (place / "manifest.json").unlink()
    message = re.escape(f"{place} is damaged; making its arrays again.")
    with pytest.warns(UserWarning, match=f"^{message}$"):
        arrays = kept_arrays(place, {}, dict, make_one, lazy=lazy)
    assert list(arrays) == ["a"]
    assert arrays["a"].tolist() == list(range(100))


def test_a_changed_byte_is_seen_unless_lazy(tmp_path):
    place = tmp_path / "arrays"
    kept_arrays(place, {}, dict, make_one)
    content = bytearray((place / "a.npy").read_bytes())
    content[-1] ^= 1
    (place / "a.npy").write_bytes(content)
    kept_arrays(place, {}, dict, make_one, lazy=True)
    with pytest.warns(UserWarning, match="damaged"):
        arrays = kept_arrays(place, {}, dict, make_one)
    assert arrays["a"][-1] == 99


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_failure_leaves_nothing_behind(tmp_path, failure):
    def make(paths, folder):
        np.save(folder / "a.npy", np.arange(3))
        raise failure

    with pytest.raises(type(failure)):
        kept_arrays(tmp_path / "arrays", {}, dict, make)
    assert names(tmp_path) == []
    # What was there before stays.
    kept_arrays(tmp_path / "arrays", {"sum": "1"}, dict, make_one)
    with pytest.raises(type(failure)):
        kept_arrays(tmp_path / "arrays", {"sum": "2"}, dict, make)
    assert names(tmp_path) == ["arrays"]
    assert kept_arrays(tmp_path / "arrays", {"sum": "1"}, dict, make)["a"].size == 100


def test_nothing_is_unpickled(tmp_path):
    place = tmp_path / "arrays"
    kept_arrays(place, {}, dict, make_one)
    np.save(place / "a.npy", np.array([object()]), allow_pickle=True)
    content = (place / "a.npy").read_bytes()
    about = [len(content), hashlib.sha256(content).hexdigest()]
    manifest = {"source": {}, "files": {"a": about}}
    (place / "manifest.json").write_text(json.dumps(manifest))
    refused(kept_arrays, place, {}, dict, make_one, says="allow_pickle=False")
