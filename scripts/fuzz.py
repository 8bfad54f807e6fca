"""Feed hostile files to a reader, guided by coverage, and see that it only ever says so.

    python scripts/fuzz.py idx --runs 1000000

A reader may succeed or raise an InputError of one short printable line.  Any other exception, more
than TIME_LIMIT seconds or more than MEMORY_LIMIT MiB for one file is a crash; the file is kept.
Needs atheris (``pip install atheris``); ``tests/test_corpus.py`` replays the corpus without it.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import shlex
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MESSAGE_LIMIT = 2000  # characters
TIME_LIMIT = 5  # seconds of the processor's time; reading takes a thousandth of one
MEMORY_LIMIT = 64  # MiB beyond what was in use before
LENGTH_LIMIT = 16384  # bytes of an input: deflated, at most 17 MB
PICTURE_SHAPE = (4, 6)

Reader = Callable[[Path], object]
Mutator = Callable[[bytes, random.Random], bytes]
mutate_bytes: Callable[[bytes], bytes]  # libFuzzer's own, once atheris is there


def readers() -> dict[str, list[tuple[str, Reader]]]:
    """For each target, the names under which a file is tried and what reads it."""
    # Imported here, so that atheris can watch what is imported.
    import PIL.PngImagePlugin  # noqa: F401
    import safetensors.numpy  # noqa: F401

    from backendmlp import MLP
    from backendmlp.data import idx, npz, pictures
    from backendmlp.runs import checkpoint, modelfile, record

    names = ("input", "input.gz")
    return {
        "idx": [(n, lambda path, d=d: idx.read_idx(path, d)) for n in names for d in (1, 3)],
        "npz": [("input", npz.load_file), ("input", npz.load_inputs)],
        "model": [("input", modelfile.load_model), ("input", MLP.load)],
        "checkpoint": [("input", checkpoint.load)],
        "receipt": [("input", record.read)],
        "picture": [("input", lambda path: pictures.read_pictures([path], PICTURE_SHAPE))],
    }


def refusal(reader: Reader, path: Path) -> str | None:
    """Why ``reader`` refuses ``path``, in an acceptable form; None if it does not."""
    from backendmlp.errors import InputError

    try:
        reader(path)
    except InputError as error:
        message = str(error)
        if not message.isprintable() or not 0 < len(message) < MESSAGE_LIMIT:
            raise AssertionError(f"unfit to be shown: {message!r}") from error
        return message
    return None


def mutate_json(text: bytes, rng: random.Random) -> bytes:
    """Change bytes or, so that what results is still JSON, an entry."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return mutate_bytes(text)
    places = list(_places(value))
    if not places or rng.random() < 0.2:
        return mutate_bytes(text)
    container, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del container[key]
        case 1:
            container[key] = rng.choice(places)[0]  # perhaps one that holds it: refused below
        case 2 if isinstance(container, dict):
            container[rng.choice(ODDITIES[str])] = container.pop(key)
        case 3:
            other, name = rng.choice(places)
            container[key] = other.get(name) if isinstance(other, dict) else other[name:]
        case _:
            container[key] = rng.choice(ODDITIES[rng.choice(list(ODDITIES))])
    try:
        changed = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return mutate_bytes(text)
    if rng.random() < 0.05:  # a key twice, which no dict can hold
        changed = changed.replace(b"{", b'{"format": 1, ', 1)
    return changed


def _places(value: Any) -> Any:
    """Every (container, key) in ``value``."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, (dict, list)):
            for key in container if isinstance(container, dict) else range(len(container)):
                yield container, key
                waiting.append(container[key])


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ODDITIES: dict[type, list[Any]] = {
    int: [0, 1, -1, 2, 3, 2**31, 2**63, 2**64, 10**400, 10**4000],
    float: [0.0, -0.0, 0.5, 5e-324, 1e308, float("inf"), float("nan")],
    str: [
        *("", "a", "0" * 64, "x" * 3000, "\0\x1b[2J\n", "\ud800", "bitwise", "float32", "F16"),
        *("adam", "squared_error", "tanh", "balanced", "adaptive", "validation_loss"),
    ],
    bool: [None, True, False],
    list: [[], [1], [2, 3], [0, 2**40, 2**40], [1] * 65, [0.5, 2], ["a", "b"], [["epoch", 1]]],
    dict: [{}, {"": {}}, {"format": 1}, {"epoch": 1}, {"dtype": "F32"}],
    object: [_nested(depth) for depth in (3, 100, 900, 960)],
}


def mutate_tensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header, our metadata in it or the values, mostly with the right length."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8 or rng.random() < 0.1:
        return mutate_bytes(data)
    header, body = data[8 : 8 + length], data[8 + length :]
    match rng.randrange(5):
        case 0:
            body = mutate_bytes(body)
        case 1:
            header = mutate_json(header, rng)
        case 2:
            header, body = _mutate_layout(header, body, rng)
        case _:
            header = _mutate_metadata(header, rng)
    return len(header).to_bytes(8, "little") + header + body


def _mutate_metadata(header: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(header)
        ((key, text),) = value["__metadata__"].items()
        inner = mutate_json(text.encode(errors="surrogatepass"), rng)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return mutate_json(header, rng)
    value["__metadata__"] = {key: inner.decode(errors="replace")}
    return json.dumps(value).encode()


def _mutate_layout(header: bytes, body: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    """Change, add or drop a tensor, and let the rest of the file agree with that."""
    try:
        value = json.loads(header)
        names = [name for name in value if name != "__metadata__"]
        parts = {name: body[slice(*value[name]["data_offsets"])] for name in names}
        name = rng.choice([*names, "more"])
        shape = rng.choice(SHAPES)
        dtype, size = rng.choice((("F32", 4), ("F64", 8), ("F16", 2), ("I64", 8)))
        size *= math.prod(shape)
        if size > LENGTH_LIMIT or rng.random() < 0.1:
            del value[name], parts[name]
        else:
            value[name] = {"dtype": dtype, "shape": shape}
            parts[name] = (body + bytes(size))[:size]
        at = 0
        for name, part in parts.items():
            value[name]["data_offsets"] = [at, at := at + len(part)]
        return json.dumps(value).encode(), b"".join(parts.values())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return header, mutate_bytes(body)


SHAPES = [
    *([], [0], [1], [2], [3], [2, 3], [3, 2], [4, 2], [3, 3], [6, 3], [3, 0]),
    [0, 2**40, 2**40],
    [2**63, 0],
    [1] * 64,
    [1] * 65,
]


def mutate_idx(data: bytes, rng: random.Random) -> bytes:
    """Change the file or what is gzipped in it, and sometimes gzip it or undo that."""
    plain = _inflated(data, 31)
    if plain is None:
        return _deflated(data, 31) if rng.random() < 0.05 else mutate_bytes(data)
    if rng.random() < 0.3:
        return mutate_bytes(data)
    if rng.random() < 0.05:
        return plain
    cut = rng.randrange(len(plain) + 1) if rng.random() < 0.2 else 0
    members = [plain[:cut], plain[cut:]] if cut else [mutate_bytes(plain)]
    return b"".join(_deflated(member, 31) for member in members)


def mutate_npz(data: bytes, rng: random.Random) -> bytes:
    """Change an array, its header, an entry of the archive or its list, and pack it all again."""
    members = _members(data)
    if not members or rng.random() < 0.1:
        return mutate_bytes(data)
    at = rng.randrange(len(members))
    name, body, how = members[at]
    match rng.randrange(8):
        case 0:
            del members[at]
        case 1:
            other = rng.choice(members)[0]
            members.insert(at, (rng.choice((name, other, "a", f"{name}\0", "é")), body, how))
        case 2:
            how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
            members[at] = name, body, how
        case 3 | 4 | 5:
            members[at] = name, _mutate_npy(body, rng), how
        case _:
            members[at] = name, mutate_bytes(body), how
    packed = _zipped(members)
    if rng.random() < 0.3:  # the list at the end says where everything is, and how large
        start = max(packed.find(b"PK\1\2"), 0)
        packed = packed[:start] + mutate_bytes(packed[start:])
    return packed


def _mutate_npy(body: bytes, rng: random.Random) -> bytes:
    """Change what an array's header says, or its version; often the data then fit it."""
    length = int.from_bytes(body[8:10], "little")
    text, values = body[10 : 10 + length], body[10 + length :]
    kind = rng.choice(("|u1", "|i1", "<i2", ">i4", "<u8", "=i8", "|b1", "<f8", "|O", "<U3", "|V8"))
    shape = tuple(rng.choice(SHAPES))
    match rng.randrange(5):
        case 0:
            text = mutate_bytes(text)
        case 1:
            order = rng.choice((True, False))
            text = repr({"descr": kind, "fortran_order": order, "shape": shape}).encode()
            size = math.prod(shape) * int(f"0{kind[2:]}")
            values = (values + bytes(size))[:size] if size < LENGTH_LIMIT else values
        case 2:
            text = text.replace(b"|u1", kind.encode())
            values = b"".join(bytes([v]).ljust(int(f"0{kind[2:]}") or 1, b"\0") for v in values)
        case 3:
            text = text.replace(b"False", b"True")
        case _:
            return body[:6] + bytes((rng.choice((1, 2, 3, 4)), 0)) + mutate_bytes(body[8:])
    return body[:8] + (len(text) & 0xFFFF).to_bytes(2, "little") + text + values


def _members(data: bytes) -> list[tuple[str, bytes, int]]:
    """Name, content and compression of each file in an archive that can be read."""
    found = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist()[:10]:
                with archive.open(entry) as stream:
                    body = stream.read(LENGTH_LIMIT)
                found.append((entry.filename, body, entry.compress_type))
    except Exception:  # whatever it is: the reader under test has to do better
        return []
    return found


def _zipped(members: list[tuple[str, bytes, int]]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, body, how in members:
            archive.writestr(zipfile.ZipInfo(name), body, how)
    return stream.getvalue()


CHUNKS = b"IHDR PLTE tRNS IDAT IEND gAMA cHRM sRGB iCCP tEXt zTXt iTXt pHYs eXIf acTL fcTL fdAT"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate_picture(data: bytes, rng: random.Random) -> bytes:
    """Change, add, repeat, move or drop a chunk, mostly with the right checksums."""
    chunks = list(_chunks(data))
    if not chunks or rng.random() < 0.1:
        return mutate_bytes(data)
    at = rng.randrange(len(chunks))
    kind, body = chunks[at]
    match rng.randrange(8):
        case 0:
            del chunks[at]
        case 1:
            chunks.insert(rng.randrange(len(chunks)), chunks[at])
        case 2:
            added = rng.choice(CHUNKS.split())
            chunks.insert(at, (added, mutate_bytes(rng.choice((body, rng.randbytes(26))))))
        case 3 | 4 if kind == b"IDAT" and (plain := _inflated(body, 15)):
            chunks[at] = kind, _deflated(mutate_bytes(plain), 15)
        case 5 | 6 if kind == b"IHDR" and len(body) == 13:
            colour = bytes((rng.choice((1, 2, 4, 8, 16)), rng.choice((0, 2, 3, 4, 6))))
            chunks[at] = kind, body[:8] + colour + body[10:12] + bytes([rng.randrange(2)])
        case _:
            chunks[at] = kind, mutate_bytes(body)
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _chunks(data: bytes) -> Any:
    at = len(SIGNATURE)
    while data.startswith(SIGNATURE) and len(data) >= at + 12:
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : min(at + 8 + length, len(data) - 4)]
        at += 12 + length


def _inflated(data: bytes, wbits: int) -> bytes | None:
    try:
        return zlib.decompressobj(wbits).decompress(data, LENGTH_LIMIT) or None
    except zlib.error:
        return None


def _deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


MUTATORS: dict[str, Mutator] = {
    "idx": mutate_idx,
    "npz": mutate_npz,
    "model": mutate_tensors,
    "checkpoint": mutate_tensors,
    "receipt": mutate_json,
    "picture": mutate_picture,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=MUTATORS)
    parser.add_argument("--runs", type=int, default=-1, help="how many files (without end)")
    parser.add_argument("--seconds", type=int, default=0, help="how long at most (without end)")
    parser.add_argument("--corpus", type=Path, help="seeds (tests/corpus/TARGET)")
    parser.add_argument("--found", type=Path, help="folder for new inputs and crashes (temporary)")
    parser.add_argument("--merge", action="store_true", help="add to the seeds what was found")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (a new one)")
    # When merging, libFuzzer calls the program again and gives it options of its own.
    parser.add_argument("--inner", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        sys.exit("fuzz.py needs atheris: pip install atheris")
    options.corpus = options.corpus or ROOT / "tests" / "corpus" / options.target
    options.found = options.found or Path(tempfile.mkdtemp(prefix=f"found-{options.target}-"))
    options.found.mkdir(parents=True, exist_ok=True)
    print(f"new inputs and crashes: {options.found}", flush=True)

    memory = Path("/dev/shm")  # a disk would set the pace
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        # libFuzzer ends its process without a word to Python, so that somebody has to clean up.
        child = os.fork()
        if child == 0:
            fuzz(options, Path(folder))
        status = os.waitpid(child, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status))


def fuzz(options: argparse.Namespace, folder: Path) -> None:
    """Hand over to libFuzzer, which does not return."""
    import resource  # not on Windows

    import atheris

    global mutate_bytes
    mutate_bytes = lambda data: atheris.Mutate(data, LENGTH_LIMIT)  # noqa: E731
    sys.path.insert(0, str(ROOT))
    watched = ["backendmlp", "PIL", "safetensors", "gzip", "_compression", "json", "zipfile"]
    with atheris.instrument_imports(include=watched):
        attempts = readers()[options.target]

    file = os.open(folder / "input", os.O_RDWR | os.O_CREAT)
    os.link(folder / "input", folder / "input.gz")
    tried = [(reader, folder / name) for name, reader in attempts]

    def try_one(data: bytes) -> None:
        os.ftruncate(file, 0)
        os.pwrite(file, data, 0)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for reader, path in tried:
            refusal(reader, path)
        after = resource.getrusage(resource.RUSAGE_SELF)
        grown = after.ru_maxrss - before.ru_maxrss
        assert grown <= MEMORY_LIMIT * 1024, f"took {grown:,} KiB"
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert seconds <= TIME_LIMIT, f"took {seconds} s"

    def mutate(data: bytes, length: int, seed: int) -> bytes:
        mutated = MUTATORS[options.target](data, random.Random(seed))
        return mutated if len(mutated) <= length else mutate_bytes(data)[:length]

    folders = (options.corpus, options.found) if options.merge else (options.found, options.corpus)
    again = [sys.executable, __file__, options.target, f"--found={options.found}", "--inner"]
    arguments = options.inner or [
        *map(str, folders),
        f"-set_cover_merge={int(options.merge)}",
        f"-artifact_prefix={options.found}{os.sep}",
        f"-runs={options.runs}",
        f"-max_total_time={options.seconds}",
        f"-max_len={LENGTH_LIMIT}",
        f"-timeout={12 * TIME_LIMIT}",  # by the clock: the machine may have been suspended
        f"-rss_limit_mb={256 + MEMORY_LIMIT}",
        f"-seed={options.seed}",
        "-print_final_stats=1",
    ]
    atheris.Setup([shlex.join(again), *arguments], try_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
