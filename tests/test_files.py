"""Writing whole files, proving folders, reading within bounds; on a real file system."""

import errno
import os
import stat

import pytest

from backendmlp.errors import InputError
from backendmlp.files import open_regular, read_bounded, shown, writable_folder, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="needs FIFOs, devices and symbolic links")


@pytest.fixture
def loop(tmp_path):
    """A symbolic link to itself."""
    path = tmp_path / "loop"
    path.symlink_to("loop")
    return path


class TestWriteAtomically:
    def test_writes_and_replaces(self, tmp_path):
        path = tmp_path / "model"
        write_atomically(path, b"first")
        write_atomically(str(path), b"")
        assert path.read_bytes() == b""
        assert os.listdir(tmp_path) == ["model"]

    @posix
    def test_permissions_follow_the_umask(self, tmp_path):
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / "model", b"x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640

    @posix
    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        link = tmp_path / "link"
        link.symlink_to("real/model")
        for data in (b"new", b"newer"):
            write_atomically(link, data)
            assert link.is_symlink()
            assert (tmp_path / "real" / "model").read_bytes() == data

    def test_a_long_name(self, tmp_path):
        path = tmp_path / ("n" * 255)  # nothing may be added to it
        write_atomically(path, b"x")
        assert path.read_bytes() == b"x"

    @pytest.mark.parametrize("failing", ["fsync", "replace"])
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space"), MemoryError()]
    )
    def test_failure_leaves_everything_as_it_was(self, tmp_path, monkeypatch, failing, error):
        def fail(*_):
            raise error

        path = tmp_path / "model"
        path.write_bytes(b"old")
        monkeypatch.setattr(os, failing, fail)
        expected = InputError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["model"]

    @posix
    def test_devices_are_not_replaced(self):
        for device in ("/dev/full", "/dev/null"):
            with pytest.raises(InputError, match="not a regular file"):
                write_atomically(device, b"x")
            assert stat.S_ISCHR(os.stat(device).st_mode)

    @posix
    def test_refusals(self, tmp_path, loop):
        (tmp_path / "file").touch()
        os.mkfifo(tmp_path / "fifo")
        before = sorted(os.listdir(tmp_path))
        for path, reason in [
            (tmp_path, "it is a folder"),
            ("", "it is a folder"),
            (tmp_path / "absent" / "model", "no such file or folder"),
            (tmp_path / "file" / "model", "a part of the path is a file"),
            (loop, "round in a circle"),
            (loop / "model", "round in a circle"),
            (tmp_path / "fifo", "not a regular file"),
            (tmp_path / ("n" * 300), "too long"),
            ("nul\0byte", "cannot be a path"),
            ("/proc/model", "cannot write /proc/model"),
            ("/sys/model", "cannot write /sys/model"),
        ]:
            with pytest.raises(InputError, match=reason) as caught:
                write_atomically(path, b"x")
            assert shown(path) in str(caught.value)
        assert sorted(os.listdir(tmp_path)) == before


class TestWritableFolder:
    def test_creates_with_parents_and_leaves_it_empty(self, tmp_path):
        folder = writable_folder(str(tmp_path / "a" / "b"))
        assert folder == tmp_path / "a" / "b"
        assert os.listdir(folder) == []
        assert writable_folder(folder) == folder

    @posix
    def test_through_a_link(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path)
        assert writable_folder(tmp_path / "link") == tmp_path / "link"

    @posix
    def test_refusals(self, tmp_path, loop):
        (tmp_path / "file").touch()
        (tmp_path / "dangling").symlink_to("nowhere")
        for path, reason in [
            (tmp_path / "file", "is a file, not a folder"),
            (tmp_path / "file" / "below", "is a file, not a folder"),
            (tmp_path / "dangling", "no such file or folder"),
            (loop, "round in a circle"),
            (loop / "below", "round in a circle"),
            ("nul\0byte", "cannot be a path"),
            ("/proc", "cannot write to folder /proc"),
            ("/proc/below", "cannot write to folder /proc/below"),
            ("/sys", "cannot write to folder /sys"),
        ]:
            with pytest.raises(InputError, match=reason):
                writable_folder(path)

    def test_full_disk(self, tmp_path, monkeypatch):
        def fail(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(InputError, match="no space is left"):
            writable_folder(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_an_error_without_a_sentence_of_its_own(self, tmp_path, monkeypatch):
        def fail(_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(InputError, match="input/output error"):
            writable_folder(tmp_path)


class TestOpenRegular:
    def test_failure_within_names_the_file(self, tmp_path):
        (tmp_path / "file").write_bytes(b"x")
        with (
            pytest.raises(InputError, match=r"cannot read .*file: input/output error"),
            open_regular(tmp_path / "file"),
        ):
            raise OSError(errno.EIO, "Input/output error")

    def test_what_the_reader_raises_itself_passes(self, tmp_path):
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(ValueError, match="mine"), open_regular(tmp_path / "file"):
            raise ValueError("mine")

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
    def test_refusals_leave_nothing_open(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        before = os.listdir("/proc/self/fd")
        for path in (tmp_path, tmp_path / "fifo", "/dev/null"):
            with pytest.raises(InputError), open_regular(path):
                pass
        assert os.listdir("/proc/self/fd") == before


class TestReadBounded:
    @pytest.mark.parametrize("size", [0, 1, 100])
    def test_reads_up_to_the_limit(self, tmp_path, size):
        (tmp_path / "file").write_bytes(b"x" * size)
        assert read_bounded(tmp_path / "file", 100) == b"x" * size

    def test_refuses_one_byte_more(self, tmp_path):
        (tmp_path / "file").write_bytes(b"x" * 101)
        with pytest.raises(InputError, match="101 bytes, more than the 100"):
            read_bounded(tmp_path / "file", 100)

    @posix
    def test_a_huge_file_is_not_read(self, tmp_path):
        (tmp_path / "sparse").touch()
        os.truncate(tmp_path / "sparse", 1 << 40)
        with pytest.raises(InputError, match="1,099,511,627,776 bytes"):
            read_bounded(tmp_path / "sparse", 1 << 30)

    @posix
    def test_refusals(self, tmp_path, loop):
        (tmp_path / "file").touch()
        os.mkfifo(tmp_path / "fifo")
        for path, reason in [
            (tmp_path, "it is a folder"),
            (tmp_path / "absent", "no such file"),
            (tmp_path / "file" / "below", "a part of the path is a file"),
            (tmp_path / "fifo", "not a regular file"),
            ("/dev/zero", "not a regular file"),
            (loop, "round in a circle"),
            ("nul\0byte", "cannot be a path"),
            ("/proc/self/status", "size changed"),  # says that it is empty, and is not
        ]:
            with pytest.raises(InputError, match=reason) as caught:
                read_bounded(path, 100)
            assert shown(path) in str(caught.value)
