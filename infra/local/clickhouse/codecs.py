"""HTTP content encodings, one chunk at a time: request bodies in, response bodies out.

The compressors that clickhouse-connect writes with make one frame per block, so a body may be several frames in a row.
Brotli is left out: its Python decoder cannot tell where one frame ends and the next begins.
"""

import zlib
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped, unused-ignore]
from backports import zstd

from infra.local.clickhouse.errors import Code, raised

_PREFERENCE = ("zstd", "lz4", "gzip", "deflate")


class Decoder(Protocol):
    """Turns encoded chunks into plain ones; ``finish`` raises unless the body ended where a frame ends."""

    def feed(self, chunk: bytes) -> bytes: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102


class Encoder(Protocol):
    """Turns plain chunks into encoded ones; ``finish`` gives what is still held."""

    def feed(self, chunk: bytes) -> bytes: ...  # noqa: D102
    def finish(self) -> bytes: ...  # noqa: D102


class _PlainDecoder:
    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def finish(self) -> None:
        return


class _FramesDecoder:
    """Frames in a row, each by a decompressor of the ``zlib``/``lz4``/``zstd`` shape: ``eof`` and ``unused_data``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._frame: Any = None

    def _new_frame(self) -> Any:
        match self._name:
            case "lz4":
                return lz4.frame.LZ4FrameDecompressor()
            case "zstd":
                return zstd.ZstdDecompressor()
            case "gzip":
                return zlib.decompressobj(wbits=31)
            case _:
                return zlib.decompressobj()

    def feed(self, chunk: bytes) -> bytes:
        plain = []
        try:
            while chunk:
                self._frame = self._frame or self._new_frame()
                plain.append(self._frame.decompress(chunk))
                chunk = b""
                if self._frame.eof:
                    chunk, self._frame = self._frame.unused_data or b"", None
        except (RuntimeError, zlib.error, zstd.ZstdError) as error:
            raise raised(Code.CANNOT_DECOMPRESS, f"Cannot decompress the {self._name} body: {error}.") from error
        return b"".join(plain)

    def finish(self) -> None:
        if self._frame is not None:
            raise raised(Code.CANNOT_DECOMPRESS, f"The {self._name} body ends before its last frame does.")


class _PlainEncoder:
    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def finish(self) -> bytes:
        return b""


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame: Any = lz4.frame.LZ4FrameCompressor()
        self._header = self._frame.begin()

    def feed(self, chunk: bytes) -> bytes:
        header, self._header = self._header, b""
        return bytes(header + self._frame.compress(chunk))

    def finish(self) -> bytes:
        return bytes(self._header + self._frame.flush())


class _ZEncoder:
    """zstd, gzip and deflate compressors, which share the ``compress``/``flush`` shape."""

    def __init__(self, name: str) -> None:
        # Level 1: the wire is a loopback, the two cores are the engine's.
        self._stream: Any = (
            zstd.ZstdCompressor(level=1) if name == "zstd" else zlib.compressobj(1, wbits=31 if name == "gzip" else 15)
        )

    def feed(self, chunk: bytes) -> bytes:
        return bytes(self._stream.compress(chunk))

    def finish(self) -> bytes:
        return bytes(self._stream.flush())


def decoder(content_encoding: str) -> Decoder:
    """The decoder for a request's Content-Encoding. Raises ClickHouseError (89) for one not known."""
    name = content_encoding.strip().lower()
    if name in {"", "identity"}:
        return _PlainDecoder()
    if name not in _PREFERENCE:
        raise raised(Code.UNKNOWN_COMPRESSION_METHOD, f"Unknown compression method: {name}.")
    return _FramesDecoder(name)


def choose_encoding(accept_encoding: str) -> str:
    """The best encoding both sides speak, in ClickHouse's order of preference; "" for none.

    >>> choose_encoding("lz4, zstd;q=0.5, gzip"), choose_encoding("x-unknown")
    ('zstd', '')
    """
    offered = {part.split(";")[0].strip().lower() for part in accept_encoding.split(",")}
    return next((name for name in _PREFERENCE if name in offered), "")


def encoder(name: str) -> Encoder:
    """The encoder for a name that ``choose_encoding`` gave."""
    match name:
        case "":
            return _PlainEncoder()
        case "lz4":
            return _Lz4Encoder()
        case _:
            return _ZEncoder(name)
