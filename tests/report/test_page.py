"""The page of a run in a browser: opened from its file, clicked through, on a wide and a narrow screen, and printed.

Needs chromium and chromium-driver; `make browser` runs it, and CI does. Pictures to look at are left in
build/screenshots.
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from pages import CENTRES, INTERVAL, made
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from pyro_nld.plots.style import STATE_COLOURS

pytestmark = pytest.mark.browser

SCREENS = {"wide": (1280, 900), "narrow": (390, 844)}
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
PATIENCE = 120  # seconds: WebGL is drawn by a processor here
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader", "--force-prefers-reduced-motion")  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A browser that no window shows."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in found.values():
        pytest.fail("these tests open a browser: install it, for example apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(found["chromedriver"]))
    driver.command_executor.client_config.timeout = 2 * PATIENCE
    driver.set_script_timeout(PATIENCE)
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A page, and the file it is in."""
    folder = tmp_path_factory.mktemp("page")
    found = made(CENTRES, folder)
    found.file = folder / "report.html"
    found.file.write_text(found.text, "utf-8")
    return found


@pytest.fixture(params=SCREENS)
def screen(request, chromium, run):
    """The page on a screen of one size, its landscape drawn."""
    width, height = SCREENS[request.param]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": request.param == "narrow"}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.get(run.file.as_uri())
    chromium.execute_script("document.getElementById('turnable').scrollIntoView()")
    place = chromium.find_element(By.ID, "turnable")
    waiting(chromium).until(lambda _: place.get_attribute("data-ready") or place.get_attribute("data-failed"))
    assert place.get_attribute("data-failed") is None
    chromium.screen = request.param
    return chromium


def waiting(driver):
    return WebDriverWait(driver, PATIENCE, poll_frequency=0.2)


def picture(driver, name):
    """The whole page, as far down as it goes."""
    size = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def text(driver, name):
    return driver.find_element(By.ID, name).text


def pixel(driver, x, y):
    """The colour of the picture of a sequence at a point, in its own units."""
    read = (
        "const c = document.getElementById('trace'); const r = window.devicePixelRatio;"
        "return Array.from(c.getContext('2d').getImageData(arguments[0] * r, arguments[1] * r, 1, 1).data).slice(0, 3)"
    )
    return "#" + "".join(f"{part:02X}" for part in driver.execute_script(read, x, y))


def test_the_page_is_at_home_on_the_screen(screen):
    """Nothing sticks out sideways, nothing is fetched, nothing complains."""
    picture(screen, screen.screen)
    assert screen.execute_script("return document.documentElement.scrollWidth") <= SCREENS[screen.screen][0]
    assert screen.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in screen.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_landscape_turns(screen):
    camera = "return document.querySelector('.plot')._fullLayout.scene.camera.eye"
    before = screen.execute_script(camera)
    screen.find_element(By.CSS_SELECTOR, "[data-turn='0.5']").click()
    waiting(screen).until(lambda driver: driver.execute_script(camera) != before)
    after = screen.execute_script(camera)
    assert after["z"] == pytest.approx(before["z"])
    assert after["x"] ** 2 + after["y"] ** 2 == pytest.approx(before["x"] ** 2 + before["y"] ** 2)
    screen.find_element(By.CSS_SELECTOR, "[data-view='start']").click()
    waiting(screen).until(lambda driver: driver.execute_script(camera)["x"] == pytest.approx(before["x"]))


def test_sequences_are_leafed_through(screen, run):
    """Each says how long it is and how often each state was visited; the ends of the book are ends."""
    before, after, choice = (screen.find_element(By.ID, name) for name in ("before", "after", "choice"))
    assert len(Select(choice).options) == 6
    assert (before.is_enabled(), after.is_enabled()) == (False, True)
    for row in range(6):
        label = run.segments["label"].values[row][run.segments["times"].notnull().values[row]]
        said = text(screen, "about")
        assert said.startswith(f"Sequence {row}, {len(label)} observations:")
        for state in range(3):
            share = int(100 * (label == state).mean() + 0.5)
            visits = int(((label == state) & ([True, *(label[1:] != label[:-1])])).sum())
            assert f"state {state} for {share} % of it in {visits} visit" in said
        if row < 5:
            after.click()
    assert not after.is_enabled()
    Select(choice).select_by_index(2)
    assert text(screen, "about").startswith("Sequence 2, 50 observations")
    assert screen.find_element(By.ID, "trace").get_attribute("aria-label").endswith(text(screen, "about"))


def test_the_keyboard_is_enough(screen, run):
    """Arrows in the list choose a sequence, arrows on the slider move through time."""
    choice = screen.find_element(By.ID, "choice")
    choice.send_keys(Keys.ARROW_DOWN)
    assert text(screen, "about").startswith("Sequence 1,")
    cursor = screen.find_element(By.ID, "cursor")
    for _ in range(13):
        cursor.send_keys(Keys.ARROW_RIGHT)
    label = int(run.segments["label"].values[1, 13])
    said = "undecided" if label < 0 else f"state {label}"
    assert text(screen, "said").startswith(f"time {13 * INTERVAL:g}: {said} (")
    assert cursor.get_attribute("aria-valuetext") == text(screen, "said")
    focus = "return document.activeElement.closest('section') && document.activeElement.closest('section').id"
    screen.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        screen.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(screen.execute_script(focus))
    assert reached >= {"states", "landscape", "segmentation", "kinetics", "checks", "again"}


def test_the_bar_of_states_has_their_colours(screen, run):
    """In the middle of every third observation of the first sequence, away from the numbers on the bar."""
    width = screen.execute_script("return document.getElementById('trace').clientWidth")
    label = run.segments["label"].values[0]
    bar = 60 + 60 * 2 + 14 + 98 + 3
    for k in range(1, 60, 3):
        shade = STATE_COLOURS[label[k]] if label[k] >= 0 else "#DDDDDD"
        assert pixel(screen, 70 + (k + 0.5) / 60 * (width - 74), bar) == shade


def test_pointing_into_the_picture_moves_the_cursor(screen):
    canvas = screen.find_element(By.ID, "trace")
    webdriver.ActionChains(screen).move_to_element(canvas).click().perform()
    middle = (screen.execute_script("return arguments[0].clientWidth", canvas) / 2 - 70) / (
        screen.execute_script("return arguments[0].clientWidth", canvas) - 74
    )
    found = int(screen.find_element(By.ID, "cursor").get_attribute("value"))
    assert found == pytest.approx(60 * middle, abs=1.01)


def test_the_page_prints(screen):
    """The contours take the place of the landscape to turn; buttons stay away."""
    screen.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = {name: screen.find_element(By.CSS_SELECTOR, name).is_displayed() for name in (".plot", "nav", "#trace")}
        assert shown == {".plot": False, "nav": False, "#trace": True}
        assert screen.find_element(By.CSS_SELECTOR, "figure.middle img").is_displayed()
    finally:
        screen.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    paper = {"printBackground": True, "preferCSSPageSize": True, "paperWidth": 8.27, "paperHeight": 11.69}
    sheet = base64.b64decode(screen.execute_cdp_cmd("Page.printToPDF", paper)["data"])
    (PICTURES / "print.pdf").write_bytes(sheet)
    assert sheet.startswith(b"%PDF")
    assert 3 <= sheet.count(b"/Type /Page\n") <= 8


def test_without_webgl_the_contours_stay(chromium, run):
    """An old machine: the page is whole without the landscape to turn."""
    script = {"source": "delete window.DecompressionStream;"}
    mark = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        chromium.get(run.file.as_uri())
        chromium.execute_script("document.getElementById('turnable').scrollIntoView()")
        place = chromium.find_element(By.ID, "turnable")
        waiting(chromium).until(lambda _: place.get_attribute("data-failed"))
        assert not chromium.find_element(By.CSS_SELECTOR, ".plot").is_displayed()
        assert chromium.find_element(By.CSS_SELECTOR, "figure.middle img").is_displayed()
        assert text(chromium, "about").startswith("Sequence 0")
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", mark)
