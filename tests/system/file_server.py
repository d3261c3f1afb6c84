"""A server on this machine that gives files and misbehaves as told."""
import contextlib
import http.server
import threading
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional


@dataclass
class ServedFile:
    """A file of the server and how it is sent.

    Attributes:
        breaks_after: each response ends after so many bytes of its body, as often as `breaks` says.
        etag: '' for none.
        ignores_ranges: always send the whole file.
        shift: continue so many bytes too late.
        status: an answer without the file.
        to: address of a redirect.
        with_length: False leaves out Content-Length; `is_chunked` sends chunks.
        stall: set it to let a stalled response end.
    """

    content: bytes = b''
    breaks_after: int = 0
    breaks: int = 0
    etag: str = '"1"'
    ignores_ranges: bool = False
    shift: int = 0
    status: int = 200
    to: str = ''
    with_length: bool = True
    is_chunked: bool = False
    encoding: str = ''
    stall: Optional[threading.Event] = None


@dataclass
class FileServer:
    """A running server: its address, its files by path, and the requests that it has got."""

    address: str
    files: Dict[str, ServedFile] = field(default_factory=dict)
    requests: List[dict] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f'{self.address}/{path}'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_CONNECT(self):  # noqa: N802  the name is that of http.server
        self.server.owner.requests.append({'connect': self.path})
        self.send_error(403)

    def do_GET(self):  # noqa: N802
        owner = self.server.owner
        owner.requests.append({'path': self.path, **{key.lower(): value for key, value in self.headers.items()}})
        file = owner.files.get(self.path.lstrip('/'))
        if file is None:
            self.send_error(404)
            return
        if file.to or file.status != 200:
            self.send_response(302 if file.to else file.status)
            if file.to:
                self.send_header('Location', file.to)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self._send(file)

    def _send(self, file: ServedFile) -> None:
        start, wanted = 0, self.headers.get('Range')
        is_same = self.headers.get('If-Range') in (None, file.etag)
        if wanted and is_same and not file.ignores_ranges:
            start = int(wanted[len('bytes='):].rstrip('-'))
            if start >= len(file.content):
                self.send_response(416)
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
            start += file.shift
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(file.content) - 1}/{len(file.content)}')
        else:
            self.send_response(200)
        body = file.content[start:]
        if file.etag:
            self.send_header('ETag', file.etag)
        if file.encoding:
            self.send_header('Content-Encoding', file.encoding)
        if file.is_chunked:
            self.send_header('Transfer-Encoding', 'chunked')
        elif file.with_length:
            self.send_header('Content-Length', str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        sent = body
        if file.breaks:
            file.breaks -= 1
            sent, self.close_connection = body[:file.breaks_after], True
        with contextlib.suppress(ConnectionError):
            if file.is_chunked:
                self.wfile.write(b'%x\r\n%s\r\n' % (len(sent), sent) + b'0\r\n\r\n' * (sent is body))
            else:
                self.wfile.write(sent)
            self.wfile.flush()
        if file.stall is not None:
            file.stall.wait(20)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    owner: FileServer


@contextlib.contextmanager
def running_server() -> Iterator[FileServer]:
    """Run a server on a free port of this machine within the block."""
    with _Server(('127.0.0.1', 0), _Handler) as server:
        server.owner = FileServer(f'http://127.0.0.1:{server.server_address[1]}')
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
        thread.start()
        try:
            yield server.owner
        finally:
            server.shutdown()
            thread.join()
