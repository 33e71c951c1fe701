"""The page of a run in a browser: opened from its file, clicked through, on a wide and a narrow screen, and printed.

Needs chromium and chromium-driver; `make browser` runs it, and CI does. Pictures to look at are left in
build/screenshots.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pages import CENTRES, INTERVAL, made
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from pyro_nld.plots.style import STATE_COLOURS
from pyro_nld.report import browser

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


SHORT = 25_431  # the one observation of state 2
VISITS = (3000, 9000, 21_000)  # where state 1 begins, each time for 40 observations


def long_recording():
    """40 000 observations of two levels 0.5 ms apart, with a pause, three visits to state 1 and a shortest one to 2."""
    label = np.zeros(40_000, int)
    for begin in VISITS:
        label[begin : begin + 40] = 1
    label[SHORT] = 2
    times = 0.5 * np.arange(40_000) + 2000.0 * (np.arange(40_000) >= 30_000)
    x = np.stack([120.0 + 8 * label, 3.0 - label], -1) + np.random.default_rng(1).standard_normal((40_000, 2))
    dims = ("sequence", "time")
    found = {"probability": ((*dims, "state"), np.eye(3)[label][None]), "label": (dims, label[None])}
    data = xr.Dataset({"observations": ((*dims, "channel"), x[None]), "times": (dims, times[None], {"units": "ms"})})
    return xr.Dataset(found | {"times": data["times"]}), data.assign_coords(channel=["extension", "force"])


@pytest.fixture(params=SCREENS)
def recording(request, chromium, run):
    """The page with a long recording in its browser of sequences."""
    packed = browser.packed(*long_recording())
    content = f'<script type="application/json" id="sequences">{json.dumps(packed)}</script>'
    text = re.sub(r'<script type="application/json" id="sequences">.*?</script>', content, run.text, flags=re.DOTALL)
    file = run.file.with_name("long.html")
    file.write_text(text, "utf-8")
    width, height = SCREENS[request.param]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": request.param == "narrow"}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.get(file.as_uri())
    chromium.execute_script("document.getElementById('segmentation').scrollIntoView()")
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


def press(driver, name):
    """With the keyboard alone."""
    driver.find_element(By.ID, name).send_keys(Keys.ENTER)


def stretch(driver):
    """From when to when the picture goes."""
    return tuple(float(number) for number in re.findall(r"[\d.]+", text(driver, "extent"))[:2])


def colours(driver, top, height):
    """How many points of a strip of the picture have the colour of each state."""
    read = (
        "const c = document.getElementById('trace'); const r = window.devicePixelRatio;"
        "const strip = [70 * r, arguments[0] * r, c.width - 74 * r, arguments[1] * r];"
        "return Array.from(c.getContext('2d').getImageData(...strip).data)"
    )
    points = np.array(driver.execute_script(read, top, height)).reshape(-1, 4)[:, :3]
    shades = [[int(shade[at : at + 2], 16) for at in (1, 3, 5)] for shade in STATE_COLOURS[:3]]
    return [int((points == shade).all(-1).sum()) for shade in shades]


def test_a_whole_recording_shows_its_shortest_visit(recording):
    """One observation of 40 000, in its colour in the trace and in the lane of its state."""
    assert text(recording, "about") == (
        "Sequence 0, 40000 observations: state 0 for 100 % of it in 6 visits, state 1 for 0 % of it in 3 visits, "
        "state 2 for 0 % of it in 1 visit."
    )
    assert text(recording, "extent") == "Shown: time (ms) 0 to 22000, the whole sequence."
    assert min(colours(recording, 0, 120)) > 0
    assert min(colours(recording, 60 + 60 * 2 + 14 + 98, 24)) > 0
    picture(recording, f"recording-{recording.screen}")


def test_the_next_visit_is_found(recording):
    """The state seen least is asked for first; any other can be. All by keyboard."""
    chosen = Select(recording.find_element(By.ID, "visited"))
    assert chosen.first_selected_option.text == "state 2 (1 visit)"
    assert not recording.find_element(By.ID, "visit-before").is_enabled()
    press(recording, "visit-after")
    assert int(recording.find_element(By.ID, "cursor").get_attribute("value")) == SHORT
    assert text(recording, "said").startswith(f"time {SHORT / 2:g}: state 2 (")
    assert text(recording, "said").endswith("; visit 1 of 1 to state 2, 1 observation")
    begin, end = stretch(recording)
    assert begin < SHORT / 2 < end
    assert end - begin == pytest.approx(75, abs=1)
    assert not recording.find_element(By.ID, "visit-after").is_enabled()
    picture(recording, f"visit-{recording.screen}")
    chosen.select_by_index(1)
    for number, begin in reversed(list(enumerate(VISITS, 1))):
        press(recording, "visit-before")
        assert int(recording.find_element(By.ID, "cursor").get_attribute("value")) == begin
        assert text(recording, "said").endswith(f"; visit {number} of 3 to state 1, 40 observations")
    assert not recording.find_element(By.ID, "visit-before").is_enabled()


def test_one_can_look_closer_and_wider(recording):
    whole = stretch(recording)
    cursor = recording.find_element(By.ID, "cursor")
    recording.execute_script("arguments[0].value = 10000; arguments[0].dispatchEvent(new Event('input'))", cursor)
    for times in (1, 2, 3):
        press(recording, "closer")
        begin, end = stretch(recording)
        assert end - begin == pytest.approx(whole[1] / 2**times, rel=1e-3)
        assert begin <= 5000 < end
    press(recording, "wider")
    assert np.diff(stretch(recording))[0] == pytest.approx(whole[1] / 4, rel=1e-3)
    cursor.send_keys(Keys.END)  # the picture follows
    assert stretch(recording)[1] == whole[1]
    press(recording, "whole")
    assert stretch(recording) == whole
    assert not recording.find_element(By.ID, "wider").is_enabled()
    for _ in range(20):
        if recording.find_element(By.ID, "closer").is_enabled():
            press(recording, "closer")
    assert np.diff(stretch(recording))[0] == pytest.approx(8 * 0.5)


def test_a_drag_looks_closer(recording):
    """From a quarter to a half of the picture, which is what is shown then."""
    canvas = recording.find_element(By.ID, "trace")
    width = recording.execute_script("return arguments[0].clientWidth", canvas)
    places = [round(70 + part * (width - 74) - width / 2) for part in (0.25, 0.5)]
    mouse = webdriver.ActionChains(recording).move_to_element_with_offset(canvas, places[0], 0).click_and_hold()
    mouse.move_by_offset(places[1] - places[0], 0).release().perform()
    assert stretch(recording) == pytest.approx((5500, 11_000), abs=22_000 / (width - 74) * 1.5)
    assert stretch(recording)[0] <= float(recording.find_element(By.ID, "cursor").get_attribute("value")) / 2


def test_a_pause_is_empty(recording):
    """Between 15 and 17 seconds nothing was observed, in the whole recording and close up."""
    width = recording.execute_script("return document.getElementById('trace').clientWidth")
    middle = 70 + (width - 74) * 16_000 / 22_000
    for y in (200, 240, 60 + 60 * 2 + 14 + 98 + 3):
        assert pixel(recording, middle, y) == "#000000"  # nothing was painted, which is black and clear
        assert pixel(recording, middle - (width - 74) * 1500 / 22_000, y) != "#000000"


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
