"""Named sets: where they are looked for, and mirrors that misbehave in every way they know."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from backendmlp.data import catalogue, load_named
from backendmlp.data.dataset import FILES, Dataset
from backendmlp.data.download import RemoteFile
from backendmlp.data.idx import idx_header, write_idx
from backendmlp.errors import InputError

RANDOM = np.random.default_rng(0)
ARRAYS = (
    RANDOM.integers(0, 256, (300, 28, 28), np.uint8),  # more than one piece of a download
    np.arange(300, dtype=np.uint8) % 2,
    RANDOM.integers(0, 256, (4, 28, 28), np.uint8),
    np.arange(4, dtype=np.uint8) % 2,
)
PLAIN = {
    file: idx_header(array.shape) + array.tobytes()
    for file, array in zip(FILES, ARRAYS, strict=True)
}
ENTRY = catalogue.Entry(
    files=tuple(
        RemoteFile(file, len(data), hashlib.sha256(data).hexdigest())
        for file, data in PLAIN.items()
    ),
    mirrors=("http://nowhere.invalid/",),
    class_names=("zero", "one"),
)
BOMB = gzip.compress(bytes(2**24))


class Mirror(BaseHTTPRequestHandler):
    """Answers as the first part of the path asks for."""

    def do_GET(self) -> None:
        _, way, file = self.path.split("/")
        self.server.asked.append(f"{way}/{file}")
        packed = gzip.compress(PLAIN[file.removesuffix(".gz")])
        getattr(self, f"answer_{way}")(packed)

    def answer(self, body: bytes, length: int | None = None, encoding: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self, packed: bytes) -> None:
        self.answer(packed)

    def answer_packed_otherwise(self, packed: bytes) -> None:
        self.answer(gzip.compress(gzip.decompress(packed), 1))

    def answer_encoded(self, packed: bytes) -> None:
        self.answer(packed, encoding="gzip")

    def answer_moved(self, packed: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", self.path.replace("moved", "good"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_missing(self, packed: bytes) -> None:
        self.send_error(404)

    def answer_broken(self, packed: bytes) -> None:
        self.answer(packed[: len(packed) // 2], len(packed))

    def answer_cut(self, packed: bytes) -> None:
        self.answer(packed[:-9])

    def answer_wrong(self, packed: bytes) -> None:
        self.answer(gzip.compress(b"another file"))

    def answer_flipped(self, packed: bytes) -> None:
        plain = gzip.decompress(packed)
        self.answer(gzip.compress(plain[:-1] + bytes([plain[-1] ^ 1])))

    def answer_longer(self, packed: bytes) -> None:
        self.answer(packed + gzip.compress(b"more"))

    def answer_page(self, packed: bytes) -> None:
        self.answer(b"<html>Please pay for the wireless network first</html>")

    def answer_bomb(self, packed: bytes) -> None:
        self.answer(BOMB)

    def answer_encoded_bomb(self, packed: bytes) -> None:
        self.answer(BOMB, encoding="gzip")

    def answer_endless(self, packed: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.is_set():
                self.wfile.write(bytes(2**16))
        except OSError:
            pass  # the client had enough

    def answer_silent(self, packed: bytes) -> None:
        self.server.over.wait(20)

    def answer_stalling(self, packed: bytes) -> None:
        self.answer(packed[:-5], len(packed))
        self.wfile.flush()
        self.server.over.wait(20)

    def answer_dripping(self, packed: bytes) -> None:
        """Never silent for long, and never done."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.drip(packed)

    def answer_dripping_header(self, packed: bytes) -> None:
        self.drip(b"HTTP/1.1 200 OK" + bytes(999))

    def drip(self, data: bytes) -> None:
        try:
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.server.over.wait(0.05):
                    break
        except OSError:
            pass  # the client had enough

    def answer_nonsense(self, packed: bytes) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for its threads, and so for their sockets

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.asked: list[str] = []
        self.over = threading.Event()

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    """A catalogue of one tiny set, and none of the folders of the machine that runs the tests."""
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", ENTRY)
    monkeypatch.setattr(catalogue, "SYSTEM", tmp_path / "system")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BACKENDMLP_DATA", raising=False)
    monkeypatch.delenv("BACKENDMLP_MIRROR", raising=False)


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def load(cache: Path, *mirrors: str) -> Dataset:
    return load_named("tiny", cache=cache, mirrors=mirrors, timeout=0.5, total_timeout=2)


def refused(cache: Path, *mirrors: str) -> str:
    with pytest.raises(InputError) as caught:
        load(cache, *mirrors)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_complete(data: Dataset, cache: Path) -> None:
    assert os.listdir(cache) == ["tiny"]
    assert {path.name: path.read_bytes() for path in (cache / "tiny").iterdir()} == PLAIN
    for array, expected in zip(data.arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert (data.name, data.source) == ("tiny", str(cache / "tiny"))
    assert data.class_names == ("zero", "one")


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file, data in PLAIN.items():
        (folder / file).write_bytes(data)
    return folder


@pytest.mark.parametrize("way", ["good", "packed_otherwise", "encoded", "moved"])
def test_good_mirror_fills_the_cache_once(server, cache, way):
    assert_complete(load(cache, server.url(way)), cache)
    asked = len(server.asked)
    assert_complete(load(cache, server.url(way)), cache)
    assert len(server.asked) == asked
    assert os.stat(cache / "tiny").st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


FAULTS = {
    "missing": "answered 404",
    "broken": "broke off",
    "stalling": "broke off",
    "cut": "answered with damaged gzip",
    "wrong": "answered with a wrong file (its checksum differs)",
    "flipped": "answered with a wrong file (its checksum differs)",
    "longer": "answered with a wrong file (its checksum differs)",
    "page": "answered with a wrong file (its checksum differs)",
    "bomb": "answered with a wrong file (its checksum differs)",
    "encoded_bomb": "answered with a wrong file (too long)",
    "endless": "answered with a wrong file (too long)",
    "silent": "did not answer within 0.5 s",
    "nonsense": "cannot be reached",
}


@pytest.mark.parametrize(("way", "fault"), FAULTS.items(), ids=FAULTS.keys())
def test_bad_mirror_alone_ends_in_a_sentence_and_leaves_nothing(server, cache, way, fault):
    mirror = server.url(way)
    sentence = refused(cache, mirror)
    assert f"{FILES[0]}.gz cannot be downloaded ({mirror} {fault}); " in sentence
    assert "--data DIR or BACKENDMLP_DATA" in sentence
    assert os.listdir(cache) == []


@pytest.mark.parametrize("way", FAULTS)
def test_bad_mirror_leads_to_the_next(server, cache, way):
    assert_complete(load(cache, server.url(way), server.url("good") + "/"), cache)
    # The one that failed is not asked again: four silent ones would take four times as long.
    assert [asked.split("/")[0] for asked in server.asked] == [way] + ["good"] * 4


def test_mirror_that_fails_later_leaves_nothing(server, cache, monkeypatch):
    monkeypatch.setattr(Mirror, "answer_good", failing_at(FILES[3]))
    assert f"{FILES[3]}.gz cannot be downloaded" in refused(cache, server.url("good"))
    assert len(server.asked) == 4
    assert os.listdir(cache) == []


def failing_at(file: str):
    good = Mirror.answer_good

    def answer(self: Mirror, packed: bytes) -> None:
        (self.answer_missing if file in self.path else lambda body: good(self, body))(packed)

    return answer


def test_mirrors_may_complete_each_other(server, cache, monkeypatch):
    monkeypatch.setattr(Mirror, "answer_good", failing_at(FILES[1]))
    load(cache, server.url("good"), server.url("packed_otherwise"))
    assert_complete(load(cache), cache)


def test_each_mirror_is_reported(server, cache):
    closed = f"http://127.0.0.1:{closed_port()}/"
    sentence = refused(cache, server.url("missing"), closed, "ftp://x/", "http://[x/", "")
    assert f"({server.url('missing')} answered 404; {closed}" in sentence
    assert "cannot be reached" in sentence
    assert "ftp://x/" in sentence
    other = f"http://127.0.0.1:{closed_port()}/"
    assert f"({closed}, {other} cannot be reached); check" in refused(cache, closed, other)
    assert "(no mirror is named)" in refused(cache)


def closed_port() -> int:
    with Server() as server:
        return server.server_port


def test_debian_package_is_advised_for_the_set_it_holds(server, cache):
    with pytest.raises(InputError, match="install Debian's dataset-fashion-mnist, or name"):
        load_named("fashion-mnist", cache=cache, mirrors=[server.url("missing")[:-8]])
    with pytest.raises(InputError, match="check the connection, or name"):
        load_named("mnist", cache=cache, mirrors=server.url("missing"))


@pytest.mark.parametrize("way", ["dripping", "dripping_header"])
def test_slow_mirror_is_cut_off(server, cache, way):
    slow, good = server.url(way), server.url("good")
    options = {"cache": cache, "timeout": 5, "total_timeout": 0.3}
    with pytest.raises(InputError, match=f"{slow} took longer than 0.3 s in all; "):
        load_named("tiny", mirrors=[slow, server.url("missing")], **options)
    assert os.listdir(cache) == []
    options["total_timeout"] = 0.5
    assert_complete(load_named("tiny", mirrors=[slow, good], **options), cache)


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_interruption_leaves_nothing(server, cache, monkeypatch, moment):
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr("backendmlp.data.download._Bounded.write", interrupt)
    else:
        monkeypatch.setattr("backendmlp.data.download.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(cache, server.url("good"))
    assert os.listdir(cache) == []


def test_full_disk_is_not_the_fault_of_the_mirror(server, cache, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backendmlp.data.download._Bounded.write", fail)
    sentence = refused(cache, server.url("good"))
    assert sentence.startswith(f"{cache / 'tiny'} cannot be written: no space left on device; ")
    assert os.listdir(cache) == []


def test_cache_that_is_no_folder_is_named(server, cache):
    cache.write_bytes(b"x")
    assert f"{cache / 'tiny'} cannot be written" in refused(cache, server.url("good"))
    assert server.asked == []


def test_faster_process_wins(server, cache, monkeypatch):
    good = Mirror.answer_good

    def answer(self: Mirror, packed: bytes) -> None:
        if FILES[3] in self.path:
            fill(cache / "tiny")
        good(self, packed)

    monkeypatch.setattr(Mirror, "answer_good", answer)
    assert_complete(load(cache, server.url("good")), cache)


def test_folder_in_the_way_is_kept(server, cache):
    (cache / "tiny").mkdir(parents=True)
    (cache / "tiny" / "notes").write_text("mine")
    assert "cannot be written" in refused(cache, server.url("good"))
    assert os.listdir(cache) == ["tiny"]
    assert os.listdir(cache / "tiny") == ["notes"]


def test_progress_is_shown_on_demand(server, cache, capsys):
    load_named("tiny", cache=cache, mirrors=[server.url("good")], progressbar=True)
    assert "100%" in capsys.readouterr().err


def test_nothing_is_printed_otherwise(server, cache, capfd):
    load(cache, server.url("missing"), server.url("good"))
    assert capfd.readouterr() == ("", "")


def test_environment_names_mirrors(server, cache, monkeypatch):
    monkeypatch.setenv("BACKENDMLP_MIRROR", f"{server.url('missing')}  {server.url('good')}")
    assert_complete(load_named("tiny", cache=cache), cache)
    assert server.asked[0].startswith("missing/")


def test_cache_of_the_platform_is_the_default(server, tmp_path):
    data = load_named("tiny", mirrors=[server.url("good")])
    assert "backendmlp" in data.source
    assert load_named("tiny", mirrors=[]).source == data.source


def test_folders_are_searched_in_order(tmp_path, cache, monkeypatch):
    home = tmp_path / "data"
    home.mkdir()
    monkeypatch.setenv("BACKENDMLP_DATA", str(home))
    for folder in (tmp_path / "system" / "tiny", cache / "tiny", tmp_path / "data" / "tiny"):
        fill(folder)
        assert load(cache).source == str(folder)
    fill(tmp_path / "flat")
    monkeypatch.setenv("BACKENDMLP_DATA", str(tmp_path / "flat"))
    assert load(cache).source == str(tmp_path / "flat")


def test_folder_of_other_things_is_passed_over(tmp_path, cache, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes").write_text("mine")
    monkeypatch.setenv("BACKENDMLP_DATA", str(tmp_path / "data"))
    fill(cache / "tiny")
    assert load(cache).source == str(cache / "tiny")


def test_environment_that_names_no_folder_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("BACKENDMLP_DATA", str(tmp_path / "typo"))
    assert "BACKENDMLP_DATA names" in refused(cache)


def test_a_folder_below_is_found_by_any_of_its_names(tmp_path, cache, monkeypatch):
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny-set", ENTRY)
    monkeypatch.setenv("BACKENDMLP_DATA", str(tmp_path / "data"))
    for name in ("tiny-set", "TinySet", "tiny_set", "TINYSET/raw"):
        folder = fill(tmp_path / "data" / name)
        assert load_named("tiny-set", cache=cache, mirrors=[]).source == str(folder)
        shutil.rmtree(tmp_path / "data")


def test_another_set_is_passed_over_with_a_word(tmp_path, server, cache, monkeypatch):
    other = tuple(dataclasses.replace(file, sha256="0" * 64) for file in ENTRY.files)
    monkeypatch.setitem(catalogue.CATALOGUE, "other", dataclasses.replace(ENTRY, files=other))
    home = fill(tmp_path / "data")
    monkeypatch.setenv("BACKENDMLP_DATA", str(home))
    word = f"passed over: {re.escape(str(home))} holds tiny$"
    with pytest.raises(InputError, match=rf"no mirror is named.*; {word}"):
        load_named("other", cache=cache, mirrors=[])
    monkeypatch.setitem(catalogue.CATALOGUE, "other", catalogue.CATALOGUE["tiny"])
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", dataclasses.replace(ENTRY, files=other))
    write_idx(home / FILES[1], ARRAYS[1] ^ 1)
    for options in ({"mirrors": [server.url("good")]}, {"mirrors": []}):
        with pytest.warns(UserWarning, match=r"^other comes from .*other; passed over: .*SHA-256"):
            assert load_named("other", cache=cache, **options).source == str(cache / "other")


@pytest.mark.parametrize("number", range(4))
def test_found_file_of_another_set_is_passed_over(tmp_path, cache, monkeypatch, number):
    folder = fill(tmp_path / "data")
    other = ARRAYS[number].copy()
    other[-1] = 0 if number % 2 else other[-1] ^ 1
    (folder / FILES[number]).unlink()
    write_idx(folder / f"{FILES[number]}.gz", other)
    monkeypatch.setenv("BACKENDMLP_DATA", str(folder))
    name = re.escape(str(folder / f"{FILES[number]}.gz"))
    with pytest.raises(InputError, match=f"passed over: {name} is not the file of tiny"):
        load(cache)
    fill(cache / "tiny")
    with pytest.warns(UserWarning, match=f"passed over: {name} is not the file of tiny"):
        assert load(cache).source == str(cache / "tiny")


def test_found_set_with_other_classes_is_refused_by_its_checksum(cache):
    fill(cache / "tiny")
    write_idx(cache / "tiny" / FILES[1], np.arange(300, dtype=np.uint8) // 2)
    assert "is not the file of tiny" in refused(cache)


def test_found_set_that_lacks_a_file_is_refused(cache):
    (fill(cache / "tiny") / FILES[2]).unlink()
    assert f"lacks {FILES[2]}" in (sentence := refused(cache))
    assert f"move {cache / 'tiny'} elsewhere" in sentence


def test_unknown_names_and_timeouts_are_refused(cache):
    with pytest.raises(InputError, match="'other' is not known; choose one of fashion-mnist-s"):
        load_named("other", cache=cache)
    for timeout in (0, -1, float("nan"), float("inf")):
        for option in ("timeout", "total_timeout"):
            with pytest.raises(InputError, match=f"^{option} "):
                load_named("tiny", cache=cache, **{option: timeout})


def test_catalogue_is_complete():
    for entry in (catalogue.CATALOGUE["mnist"], catalogue.CATALOGUE["fashion-mnist"]):
        assert tuple(file.name for file in entry.files) == FILES
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in entry.files)
        assert len(entry.mirrors) > 1
        assert len(entry.class_names) == 10


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_sets_of_this_machine_are_those_of_the_catalogue(name, cache, monkeypatch):
    folder = Path("/usr/share/datasets")
    if not (folder / name).is_dir():
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(catalogue, "SYSTEM", folder)
    data = load_named(name, cache=cache, mirrors=[])
    assert data.train_images.shape == (60000, 28, 28)


def test_what_was_passed_over_is_told_without_its_own_remedy(tmp_path, cache, monkeypatch):
    folder = fill(tmp_path / "data")
    (folder / FILES[1]).unlink()
    monkeypatch.setenv("BACKENDMLP_DATA", str(folder))
    sentence = refused(cache)
    assert sentence.endswith(f"passed over: {folder} lacks {FILES[1]} (plain or .gz)")
    assert len(sentence.replace(str(tmp_path), "")) < 250
