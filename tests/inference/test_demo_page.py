"""The page of demo.py in a real Chromium (scripts/test_page.sh runs this where one can be installed)."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from script_runs import ROOT

pytest.importorskip('gradio', reason='the page needs Gradio (requirements-demo.txt)')
webdriver = pytest.importorskip('selenium.webdriver', reason='the test of the page needs selenium')
exceptions = pytest.importorskip('selenium.common.exceptions')
CHROMIUM, DRIVER = (shutil.which(name) for name in ('chromium', 'chromedriver'))
if not CHROMIUM or not DRIVER:
    pytest.skip('the test of the page needs Chromium and its driver', allow_module_level=True)
# Seconds until a page or a result has to be there.
PATIENCE = 90


@pytest.fixture(scope='module')
def address(material, tmp_path_factory):
    """The address of a running page; its process has to end in peace and to leave no uploads."""
    folder = tmp_path_factory.mktemp('uploads')
    command = [sys.executable, 'demo.py', '--model_file', str(material / 'pose.onnx'), '--detector',
               str(material / 'detector.onnx'), '--port', '0']
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, 'TMPDIR': str(folder)}) as server:
        line = server.stdout.readline()
        found = re.fullmatch(r'the page is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n', line)
        assert found, line + (server.stdout.read() if server.poll() is not None else '')
        yield found[1]
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=30)
        assert server.returncode == 0 and 'Traceback' not in out, out
    assert not [name for name in os.listdir(folder) if name.startswith('pose_demo_')]


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A real photo: the portrait that matplotlib carries."""
    cbook = pytest.importorskip('matplotlib.cbook')
    path = tmp_path_factory.mktemp('photo') / 'portrait.jpg'
    shutil.copy(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False), path)
    return path


def wait_until(look):
    """Return what `look` returns, once it is true."""
    end = time.monotonic() + PATIENCE
    while True:
        # The page may replace an element while it is looked at.
        with contextlib.suppress(exceptions.StaleElementReferenceException):
            found = look()
            if found:
                return found
        assert time.monotonic() < end
        time.sleep(0.1)


class User:
    """Somebody with a browser of their own on the page."""

    def __init__(self, address: str, folder: Path, *, width: int = 1280):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for word in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server'):
            options.add_argument(word)
        options.add_experimental_option('prefs', {'download.default_directory': str(folder)})
        options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
        self.browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': 1000, 'deviceScaleFactor': 1, 'mobile': width < 600})
        self.browser.get(address)
        self.folder = folder
        self.wait_for('#start')

    def find(self, selector: str) -> list:
        return self.browser.find_elements('css selector', selector)

    def wait_for(self, selector: str):
        """Return the first visible element, once there is one."""
        return wait_until(lambda: next((each for each in self.find(selector) if each.is_displayed()), None))

    def cells(self) -> list:
        texts = [cell.get_attribute('textContent').strip() for cell in self.find('#table [role=gridcell]')]
        return [text for text in texts if text]

    def upload(self, path: Path, to: str = 'picture') -> None:
        if to == 'video':
            self.find('button[role=tab]')[1].click()
        self.wait_for(f'#{to}')
        self.browser.find_element('css selector', f'#{to} input[type=file]').send_keys(str(path))

    def press_start(self) -> None:
        self.find('#start')[0].click()

    def try_out(self, path: Path, to: str = 'picture') -> str:
        """Upload a file, press the button and return what the page says."""
        self.upload(path, to)
        self.wait_for(f'#{to} img, #{to} video')
        self.press_start()
        return self.wait_for('#status .headline, #status .problem').text

    def drawn_size(self) -> list:
        image = self.wait_for('#drawn img')
        return self.browser.execute_script('return [arguments[0].naturalWidth, arguments[0].naturalHeight]', image)

    def asked(self) -> list:
        """The addresses that the browser has asked for."""
        events = [json.loads(entry['message'])['message'] for entry in self.browser.get_log('performance')]
        return [event['params']['request']['url'] for event in events if event['method'] == 'Network.requestWillBeSent']


@pytest.fixture
def new_user(address, tmp_path):
    users = []

    def make(**options) -> User:
        users.append(User(address, tmp_path, **options))
        return users[-1]

    yield make
    for user in users:
        user.browser.quit()


def test_a_photo_gets_its_poses_and_a_file_of_them(new_user, photo):
    user = new_user()
    assert user.try_out(photo) == '2 people'
    height, width = cv2.imread(str(photo)).shape[:2]
    wait_until(lambda: user.drawn_size() == [width, height])
    wait_until(lambda: user.cells()[:4] == ['1', 'yes', '0.900', '0.900'] and '2' in user.cells())
    user.find('#results, #results button')[-1].click()
    downloaded = user.folder / 'results.json'
    wait_until(downloaded.is_file)
    assert [record['file_name'] for record in json.loads(downloaded.read_text())] == ['portrait.jpg'] * 2
    # Neither fonts nor scripts nor counters of other servers.
    others = [url for url in user.asked() if not url.startswith((user.browser.current_url, 'data:', 'blob:', 'chrome'))]
    assert others == []


def test_wrong_files_are_answered_on_the_page(new_user, tmp_path):
    user = new_user()
    (tmp_path / 'notes.txt').write_text('some text\n')
    user.upload(tmp_path / 'notes.txt')
    wait_until(lambda: 'notes.txt' in user.find('body')[0].text)
    (tmp_path / 'text.jpg').write_text('some text\n')
    assert user.try_out(tmp_path / 'text.jpg') == 'text.jpg is not a picture that OpenCV can read'
    user.browser.refresh()
    user.wait_for('#start')
    (tmp_path / 'empty.png').write_bytes(b'')
    assert user.try_out(tmp_path / 'empty.png') == 'the picture empty.png is empty'
    user.browser.refresh()
    user.wait_for('#start')
    user.press_start()
    assert user.wait_for('#status .problem').text == 'choose a picture or a video first'
    assert not [each for each in user.find('#drawn, #table, #results') if each.is_displayed()]


def test_two_users_at_once_get_their_own_pictures(new_user, photo, tmp_path):
    users, sizes = [new_user(), new_user()], [(300, 200), (180, 240)]
    for user, size in zip(users, sizes):
        path = tmp_path / f'{size[0]}.png'
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(photo)), size))
        user.upload(path)
        user.wait_for('#picture img')
    for user in users:
        user.press_start()
    for user, size in zip(users, sizes):
        assert user.wait_for('#status .headline').text == '2 people'
        wait_until(lambda user=user, size=size: user.drawn_size() == list(size))


def test_a_video_plays_and_a_phone_shows_everything(new_user, material):
    """Nothing sticks out at the side of a page of 400 pixels; the result comes before the settings."""
    user = new_user(width=400)
    assert user.try_out(material / 'clip.mp4', 'video') == '2 people at once, 12 frames'
    video = user.wait_for('#played video')
    wait_until(lambda: user.browser.execute_script('return arguments[0].videoWidth', video) == 160)
    places = user.browser.execute_script(
        'return ["#upload", "#results_column", "#settings"].map(each => '
        '{const r = document.querySelector(each).getBoundingClientRect(); return [r.top, r.left, r.right]})')
    assert [top for top, *_ in places] == sorted(top for top, *_ in places)
    assert all(left >= 0 and right <= 400 for _, left, right in places)
    assert user.browser.execute_script('return document.documentElement.scrollWidth') <= 400
