"""Downloads from a server on this machine that breaks off, redirects, lies and stalls."""
import hashlib
import os
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from file_server import ServedFile, running_server
from script_runs import ROOT

from src.system import downloads
from src.system.downloads import DownloadError, check_address, download
from src.system.errors import PoseError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
# No pause between the attempts of a test.
fetch = partial(download, pauses=(0, 0, 0, 0), tell=lambda _: None)


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            monkeypatch.delenv(name)
    with running_server() as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'cache' / 'w.ckpt')


def left(path: str) -> list:
    return sorted(os.listdir(os.path.dirname(path)))


def ranges(server) -> list:
    return [request.get('range') for request in server.requests]


@pytest.mark.parametrize('sha256', ['', DIGEST[:8], DIGEST])
def test_a_file_arrives_whole_and_alone(sha256, server, path):
    server.files['w'] = ServedFile(CONTENT)
    fetch([server.url('w')], path, sha256=sha256)
    assert Path(path).read_bytes() == CONTENT and left(path) == ['w.ckpt']
    fetch(['https://example.invalid/w'], path)
    assert len(server.requests) == 1


@pytest.mark.parametrize('is_chunked', [False, True])
def test_a_broken_transfer_is_continued(is_chunked, server, path):
    server.files['w'] = ServedFile(CONTENT, breaks=2, breaks_after=300_000, is_chunked=is_chunked)
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == CONTENT and left(path) == ['w.ckpt']
    # Of an unfinished chunk only what was read before is kept.
    starts = (262144, 524288) if is_chunked else (300000, 600000)
    assert ranges(server) == [None, *(f'bytes={start}-' for start in starts)]
    assert [request.get('if-range') for request in server.requests] == [None, '"1"', '"1"']


def test_what_broke_too_often_is_continued_by_the_next_call(server, path):
    server.files['w'] = ServedFile(CONTENT, breaks=5, breaks_after=1000)
    with pytest.raises(DownloadError, match=r'127\.0\.0\.1:\d+: it ends after 5,000 of 1,024,000 bytes \(5 attempts\)'):
        fetch([server.url('w')], path)
    assert not os.path.exists(path) and left(path) == ['.w.ckpt.part', '.w.ckpt.part.json']
    fetch([server.url('w')], path)
    assert ranges(server)[-1] == 'bytes=5000-' and Path(path).read_bytes() == CONTENT


def test_attempts_that_bring_much_are_not_counted(server, path, monkeypatch):
    monkeypatch.setattr(downloads, 'PROGRESS', 100_000)
    server.files['w'] = ServedFile(CONTENT, breaks=9, breaks_after=100_000)
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == CONTENT and len(server.requests) == 10


@pytest.mark.parametrize('change', [
    {'ignores_ranges': True}, {'etag': '"2"'}, {'etag': ''}, {'shift': 7}], ids=str)
def test_a_file_that_cannot_be_continued_begins_anew(change, server, path):
    """Whatever is sent, the parts of two files are never joined."""
    server.files['w'] = ServedFile(b'old' * 100_000, breaks=5, breaks_after=1000, etag=change.get('etag') and '"1"')
    with pytest.raises(DownloadError):
        fetch([server.url('w')], path)
    server.files['w'] = ServedFile(CONTENT, **change)
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == CONTENT and left(path) == ['w.ckpt']


def test_a_part_of_other_content_is_noticed_by_the_hash(server, path):
    """The server has no version mark, so the beginning is taken on trust until the end."""
    server.files['w'] = ServedFile(b'old' * 100_000, breaks=5, breaks_after=1000, etag='')
    with pytest.raises(DownloadError):
        fetch([server.url('w')], path, sha256=DIGEST[:8])
    server.requests.clear()
    server.files['w'] = ServedFile(CONTENT, etag='')
    fetch([server.url('w')], path, sha256=DIGEST[:8])
    assert ranges(server) == ['bytes=5000-', None] and Path(path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_begins_anew(server, path):
    server.files['w'] = ServedFile(CONTENT, breaks=5, breaks_after=1000)
    with pytest.raises(DownloadError):
        fetch([server.url('w')], path)
    server.files['w'] = ServedFile(b'short')
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == b'short'


WRONG = {
    'other content': (ServedFile(CONTENT[1:]), DIGEST[:8], rf'its SHA-256 begins with \w+ instead of {DIGEST[:8]}'),
    'a login page': (ServedFile(b'\n<!DOCTYPE html><p>log in'), '', 'it is a web page, not the file'),
    'a pointer': (ServedFile(b'version https://git-lfs.github.com/spec/v1'), '', 'it is a Git LFS pointer'),
    'nothing': (ServedFile(b''), '', 'it is empty'),
    'not found': (ServedFile(status=404), '', 'the server answers 404'),
    'overloaded': (ServedFile(status=503), '', r'the server answers 503 .* \(5 attempts\)'),
    'no content': (ServedFile(status=204), '', 'the server answers 204'),
    'an unknown length': (ServedFile(CONTENT, with_length=False), '', 'does not say how long it is'),
    'compressed': (ServedFile(CONTENT, encoding='gzip'), '', r'the server sends it encoded \(gzip\)'),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_content_never_gets_the_name(name, server, path):
    file, sha256, message = WRONG[name]
    server.files['w'] = file
    with pytest.raises(DownloadError, match=message):
        fetch([server.url('w')], path, sha256=sha256)
    assert left(path) == []


def test_more_than_the_limit_is_refused(server, path, monkeypatch):
    monkeypatch.setattr(downloads, 'MAX_BYTES', 1000)
    server.files.update(told=ServedFile(CONTENT), untold=ServedFile(CONTENT, is_chunked=True))
    with pytest.raises(DownloadError, match=r'it has 1,024,000 bytes, more than the 1,000 .*has more than the 1,000'):
        fetch([server.url('told'), server.url('untold')], path)
    assert not os.path.exists(path)


# Redirects and addresses

def test_a_redirect_is_followed_and_names_nothing(server, path):
    server.files.update(w=ServedFile(to='/elsewhere/../../evil.sh'))
    server.files['evil.sh'] = ServedFile(CONTENT)
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == CONTENT and left(path) == ['w.ckpt']


@pytest.mark.parametrize('to, message', [
    ('http://example.com/w', 'should begin with https://'),
    ('file:///etc/passwd', 'the server answers 302 .*not allowed'),
    ('ftp://127.0.0.1/w', 'should begin with https://'), ('http://[::1/w', 'is no address'),
    ('/w', 'the server answers 302 .*infinite loop')])
def test_a_redirect_to_a_place_that_is_not_safe_is_refused(to, message, server, path):
    server.files['w'] = ServedFile(to=to)
    with pytest.raises(DownloadError, match=message):
        fetch([server.url('w')], path)


def test_https_is_never_left():
    request = urllib.request.Request('https://example.com/w')
    with pytest.raises(DownloadError, match=r'redirected from https to http://127\.0\.0\.1/w'):
        downloads._SafeRedirects().redirect_request(request, None, 302, '', {}, 'http://127.0.0.1/w')


@pytest.mark.parametrize('url', ['http://example.com/w', 'http://127.0.0.1.example.com/w', 'http://10.0.0.1/w', 'w',
                                 'file:///etc/passwd', 'https:///w', 'https://me:secret@example.com/w'])
def test_other_addresses_are_refused(url, tmp_path):
    with pytest.raises(DownloadError) as refusal:
        download([url], str(tmp_path / 'w'))
    assert 'secret' not in str(refusal.value) and os.listdir(tmp_path) == []


@pytest.mark.parametrize('url', ['https://example.com/w', 'http://localhost:8000/w', 'http://127.8.0.1/w',
                                 'http://[::1]:80/w'])
def test_these_addresses_are_taken(url):
    check_address(url)


def test_the_next_address_is_tried(server, path):
    server.files['b/w'] = ServedFile(CONTENT)
    fetch([server.url('a/w'), server.url('b/w')], path, sha256=DIGEST[:8])
    assert [request['path'] for request in server.requests] == ['/a/w', '/b/w']
    assert Path(path).read_bytes() == CONTENT


def test_a_verified_file_is_continued_from_another_address(server, path):
    server.files.update({'a/w': ServedFile(CONTENT, breaks=5, breaks_after=1000),
                         'b/w': ServedFile(CONTENT, etag='"other"')})
    fetch([server.url('a/w'), server.url('b/w')], path, sha256=DIGEST[:8])
    assert ranges(server)[-1] == 'bytes=5000-' and Path(path).read_bytes() == CONTENT


def test_a_server_that_is_not_there_is_said_at_once(path):
    with running_server() as gone:
        url = gone.url('w')
    with pytest.raises(DownloadError, match=r'127\.0\.0\.1:\d+: ConnectionRefusedError'):
        download([url], path, pauses=(60,), tell=lambda _: None)


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(server, path, monkeypatch):
    monkeypatch.setenv('https_proxy', server.address)
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    with pytest.raises(DownloadError, match='403'):
        fetch(['https://weights.example/w'], path)
    assert server.requests[0] == {'connect': 'weights.example:443'}
    server.files['w'] = ServedFile(CONTENT)
    fetch([server.url('w')], path)
    assert Path(path).read_bytes() == CONTENT


def test_a_server_that_says_nothing_more_is_left(server, path):
    stall = threading.Event()
    server.files['w'] = ServedFile(CONTENT, breaks=9, breaks_after=1000, stall=stall)
    with pytest.raises(DownloadError, match=r'timed out \(2 attempts\)'):
        download([server.url('w')], path, timeout=0.1, pauses=(0,), tell=lambda _: None)
    stall.set()


# The disk, and others who download

def test_without_room_nothing_is_written(server, path, monkeypatch):
    server.files['w'] = ServedFile(CONTENT)
    monkeypatch.setattr(downloads.shutil, 'disk_usage', lambda folder: type('', (), {'free': 64_500_000}))
    with pytest.raises(PoseError, match=r'no room for the download: 65 MB are needed in .*cache, 64 MB are free'):
        fetch([server.url('w')], path)
    assert left(path) == []


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full, which has no room')
def test_a_disk_that_fills_up_is_named(server, path):
    server.files['w'] = ServedFile(CONTENT)
    os.makedirs(os.path.dirname(path))
    os.symlink('/dev/full', os.path.join(os.path.dirname(path), '.w.ckpt.part'))
    with pytest.raises(PoseError, match=r'cannot write .*\.w\.ckpt\.part: No space left on device'):
        fetch([server.url('w')], path)
    assert not os.path.exists(path)


def test_two_threads_share_one_transfer(server, path):
    server.files['w'] = ServedFile(CONTENT, stall=threading.Event())
    told = []
    threads = [threading.Thread(target=fetch, args=([server.url('w')], path), kwargs={'tell': told.append})
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    server.files['w'].stall.set()
    assert Path(path).read_bytes() == CONTENT and len(server.requests) == 1
    assert left(path) == ['w.ckpt'] and sum(line.startswith('downloading ') for line in told) == 1


def test_another_process_is_waited_for(server, path):
    """It dies, and what it has got is continued."""
    stall = threading.Event()
    server.files['w'] = ServedFile(CONTENT, breaks=1, breaks_after=5000, stall=stall)
    code = f'from src.system.downloads import download; download([{server.url("w")!r}], {path!r})'
    with subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.DEVNULL) as other:
        while not (os.path.isfile(f'{os.path.dirname(path)}/.w.ckpt.part.json')):
            assert other.poll() is None
        told = []
        thread = threading.Thread(target=fetch, args=([server.url('w')], path), kwargs={'tell': told.append})
        thread.start()
        while not told:
            assert thread.is_alive()
        other.kill()
    thread.join(20)
    stall.set()
    assert told[0] == f'another process writes {path}; waiting for it' and Path(path).read_bytes() == CONTENT
