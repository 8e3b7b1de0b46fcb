"""Live sources at test time: a file that grows, an HTTP server, an RTSP server."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

from tests.video.clips import Recipe, write_coded

RATE, SECONDS = 8, 10
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)


def recorded(folder: Path, suffix: str = ".ts", seconds: int = SECONDS) -> Path:
    """A recording of some seconds with numbered frames, as recorders write it without an end."""
    options = FRAGMENTED if suffix == ".mp4" else ()
    path = folder / f"recorded{suffix}"
    write_coded(
        path,
        Recipe(suffix, frames=RATE * seconds, rate=RATE, gop=RATE, container_options=options),
    )
    return path


def up_to(path: Path, seconds: float) -> int:
    """Bytes of a recording before the first packet from these seconds on."""
    with av.open(str(path)) as container:
        begin = None
        for packet in container.demux(video=0):
            if packet.pts is None or packet.time_base is None:
                continue
            begin = packet.pts if begin is None else min(begin, packet.pts)
            if (packet.pts - begin) * packet.time_base >= seconds:
                return int(packet.pos or 0)
    raise ValueError("it is shorter")


@contextmanager
def growing(recording: Path, path: Path, pieces: int = 20, pause_s: float = 0.02) -> Iterator[None]:
    """Write a copy of a recording piece by piece, in a thread, while the block runs."""
    content = recording.read_bytes()
    size = -(-len(content) // pieces)
    path.touch()

    def write() -> None:
        for begin in range(0, len(content), size):
            with path.open("ab") as file:
                file.write(content[begin : begin + size])
            time.sleep(pause_s)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()


class Served:
    """An HTTP server with one answer.

    Args:
        send: called with a function that sends bytes.

    Attributes:
        url: its address.
        requests: paths that were asked for.
    """

    def __init__(
        self,
        send: Callable[[Callable[[bytes], object]], None],
        headers: Sequence[tuple[str, str]] = (),
        status: int = 200,
    ) -> None:
        self.requests: list[str] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.requests.append(self.path)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # nobody reads any more
                    send(self.wfile.write)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/live"

    def __enter__(self) -> Served:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def rtsp(content: bytes, stall: threading.Event | None = None) -> Iterator[str]:
    """An RTSP server (RFC 2326) that sends MPEG-TS in RTP (RFC 2250) over its one connection.

    Args:
        stall: the connection stays open until this is set; None closes it behind the content.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                _converse(connection, lines, content)
                if stall is not None:
                    stall.wait(30)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"rtsp://user:secret@127.0.0.1:{listening.getsockname()[1]}/cam"
    finally:
        if stall is not None:
            stall.set()
        listening.close()
        thread.join(10)


_DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 33\r\na=rtpmap:33 MP2T/90000\r\na=control:track\r\n"
)


def _converse(connection: socket.socket, lines: object, content: bytes) -> None:
    for line in iter(lines.readline, b""):  # type: ignore[attr-defined]
        method = line.split(b" ", 1)[0]
        headers = {}
        while header := lines.readline().strip():  # type: ignore[attr-defined]
            name, _, value = header.partition(b":")
            headers[name.lower()] = value.strip().decode()
        reply = f"RTSP/1.0 200 OK\r\nCSeq: {headers[b'cseq']}\r\nSession: 1\r\n"
        if method == b"DESCRIBE":
            reply += f"Content-Type: application/sdp\r\nContent-Length: {len(_DESCRIPTION)}\r\n"
        if method == b"SETUP":
            reply += f"Transport: {headers[b'transport']}\r\n"
        if method == b"OPTIONS":
            reply += "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        body = _DESCRIPTION if method == b"DESCRIBE" else ""
        connection.sendall(f"{reply}\r\n{body}".encode())
        if method == b"PLAY":
            break
    size = 7 * 188
    for number, begin in enumerate(range(0, len(content), size)):
        head = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 90, 1)
        packet = head + content[begin : begin + size]
        connection.sendall(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
