"""The report in a headless Chromium: pictures load, filters and sorting work, nothing of a stranger runs.

Needs chromium, its driver and the package selenium; is skipped where one of them is missing.
"""
import json
import shutil

import pytest
from report_data import faulty_results
from test_comparison import run as compare
from test_report import GT, make_hostile, painted, run  # noqa: F401  painted is a fixture

webdriver = pytest.importorskip('selenium.webdriver', reason='the package selenium is not here')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
DRIVER = shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason='chromium and chromedriver are not here')


@pytest.fixture(scope='module')
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # --no-sandbox, since tests often run as root in a container.
    for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope='module')
def page(painted, browser):  # noqa: F811
    run(painted, '--images', str(painted))
    return painted / 'report.html'


def show(browser, path, width=1280, scheme='light', media=''):
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
        'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': width < 600})
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {
        'media': media, 'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})
    browser.get(path.as_uri())


def ask(browser, script):
    return browser.execute_script(f'return {script}')


SHOWN = "Array.from(document.querySelectorAll('.case')).filter((each) => !each.hidden)"


def choose(browser, name, value):
    browser.execute_script('const form = document.forms[0]; form.elements[arguments[0]].value = arguments[1];'
                           "form.elements[arguments[0]].dispatchEvent(new Event('input', {bubbles: true}));",
                           name, value)


def test_pictures_load_and_no_script_fails(browser, page):
    show(browser, page)
    assert ask(browser, 'document.images.length') > 30
    assert ask(browser, 'Array.from(document.images).every((each) => each.complete && each.naturalWidth > 20)')
    assert browser.get_log('browser') == []


def test_filters_of_the_gallery(browser, page):
    show(browser, page)
    everybody = ask(browser, f'{SHOWN}.length')
    assert ask(browser, "document.querySelector('output').value") == f'{everybody} of {everybody} cases'
    choose(browser, 'kind', 'swap')
    swaps = ask(browser, f'{SHOWN}.length')
    assert 0 < swaps < everybody and ask(browser, f"{SHOWN}.every((each) => each.dataset.kind === 'swap')")
    advice = "Array.from(document.querySelectorAll('p.advice')).filter((each) => !each.hidden)"
    assert ask(browser, f"{advice}.map((each) => each.textContent.includes('another person'))") == [True]
    keypoint = ask(browser, f"{SHOWN}[0].dataset.keypoints.split(' ')[0]")
    choose(browser, 'keypoint', keypoint)
    assert 0 < ask(browser, f'{SHOWN}.length') <= swaps
    assert ask(browser, f"{SHOWN}.every((each) => each.dataset.keypoints.split(' ').includes('{keypoint}'))")
    choose(browser, 'file', 'no such picture')
    assert ask(browser, f'{SHOWN}.length') == 0 and not ask(browser, "document.querySelector('.empty').hidden")
    for name in ('kind', 'keypoint', 'file'):
        choose(browser, name, '')
    assert ask(browser, f'{SHOWN}.length') == everybody
    choose(browser, 'order', 'score')
    scores = ask(browser, f'{SHOWN}.map((each) => Number(each.dataset.score))')
    assert scores == sorted(scores, reverse=True)
    choose(browser, 'order', 'oks')
    values = ask(browser, f'{SHOWN}.map((each) => Number(each.dataset.oks))')
    assert values == sorted(values)
    choose(browser, 'order', '')
    ranks = ask(browser, f"{SHOWN}.filter((each) => each.dataset.kind === 'miss').map((each) => each.dataset.rank)")
    assert ranks == [str(number + 1) for number in range(len(ranks))]


def test_tables_are_sorted_by_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys
    show(browser, page)
    names = "Array.from(document.querySelectorAll('#table-errors tbody tr')).map((row) => row.cells[4].textContent)"
    before = ask(browser, names)
    button = browser.find_elements('css selector', '#table-errors th button')[4]
    browser.execute_script('arguments[0].focus()', button)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    falling = ask(browser, names)
    assert sorted(falling) == sorted(before) and falling == sorted(before, key=float, reverse=True)
    assert button.find_element('xpath', '..').get_attribute('aria-sort') == 'descending'
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert ask(browser, names) == sorted(before, key=float)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert ask(browser, "document.activeElement.closest('#table-errors') !== null")


def test_every_control_has_a_name_and_can_be_reached(browser, page):
    show(browser, page)
    assert ask(browser, "Array.from(document.querySelectorAll('select, input')).every((each) => each.labels.length)")
    assert ask(browser, "Array.from(document.images).every((each) => each.alt)")
    assert ask(browser, "Array.from(document.querySelectorAll('nav a')).every((each) => "
                        "document.querySelector(each.getAttribute('href')))")


@pytest.mark.parametrize('width', [1280, 400])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_wide_and_narrow_light_and_dark(browser, page, width, scheme):
    show(browser, page, width, scheme)
    assert ask(browser, 'document.documentElement.scrollWidth') <= width
    red, *_ = ask(browser, "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert red > 200 if scheme == 'light' else red < 60
    assert browser.get_log('browser') == []


@pytest.mark.parametrize('width', [1280, 400])
def test_a_comparison_wide_and_narrow(browser, painted, width):  # noqa: F811
    (painted / 'other_seed.json').write_text(json.dumps(faulty_results(json.loads((painted / GT).read_text()), 1)))
    compare(painted, 'results.json', 'other_seed.json', '--images', str(painted))
    show(browser, painted / 'comparison.html', width)
    assert ask(browser, 'document.documentElement.scrollWidth') <= width
    assert ask(browser, 'Array.from(document.images).every((each) => each.complete && each.naturalWidth > 20)')
    assert ask(browser, "Array.from(document.querySelectorAll('nav a')).every((each) => "
                        "document.querySelector(each.getAttribute('href')))")
    choose(browser, 'kind', 'worse')
    assert ask(browser, f"{SHOWN}.length > 0 && {SHOWN}.every((each) => each.dataset.kind === 'worse')")
    assert browser.get_log('browser') == []


def test_print_leaves_out_what_paper_cannot_do(browser, page):
    show(browser, page, scheme='dark', media='print')
    hidden = "getComputedStyle(document.querySelector('{}')).display === 'none'"
    assert ask(browser, hidden.format('nav')) and ask(browser, hidden.format('.controls'))
    assert ask(browser, 'getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert ask(browser, "Array.from(document.querySelectorAll('details')).every((each) => each.open)")


def test_names_cannot_run_script(browser, painted, tmp_path):  # noqa: F811
    make_hostile(painted, tmp_path)
    show(browser, tmp_path / 'report.html')
    assert ask(browser, 'window.hacked === undefined && document.scripts.length === 1')
    assert ask(browser, f"{SHOWN}[0].dataset.name.includes('window.hacked')")
    choose(browser, 'file', 'onerror')
    assert ask(browser, f'{SHOWN}.length') > 0 and browser.get_log('browser') == []


def test_script_that_is_not_the_pages_own_is_forbidden(browser, page, tmp_path):
    """Even if markup were to slip through."""
    path = tmp_path / 'changed.html'
    path.write_text(page.read_text().replace('</body>', '<script>window.hacked = 1</script>'
                                             '<img src="x" onerror="window.hacked = 1"></body>'))
    show(browser, path)
    assert ask(browser, 'window.hacked === undefined')
    assert any('Content Security Policy' in each['message'] for each in browser.get_log('browser'))
