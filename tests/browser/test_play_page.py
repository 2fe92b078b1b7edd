"""The page of `gpucnn play` in a real browser: drawing, pointing, files, the keyboard, two tabs, narrow and dark, from disk."""

import json
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn.backend import choose_device
from gpucnn.data import read_image
from gpucnn.play.export import export
from gpucnn.play.page import page_files
from gpucnn.play.ready_run import NAME, ready_run
from gpucnn.play.sample_images import sample_images
from gpucnn.play.server import PageServer
from gpucnn.runs.folder import RunFolder

READY = Path(gpucnn.__file__).parent / "play" / NAME
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with ready_run() as run:
        trained = run.load(choose_device("cpu").device)
        return page_files(trained, sample_images(run, trained)[0])


@pytest.fixture(scope="module")
def address(files: dict[str, bytes]) -> Iterator[str]:
    with PageServer(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.address
        server.shutdown()


def opened(page: Any, address: str) -> Any:
    """The page once it has given its first answer."""
    page.goto(address)
    page.wait_for_selector("#bars .share")
    return page


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """With the mouse, from point to point of the pad."""
    pad = page.locator("#pad").bounding_box()
    places = [(pad["x"] + x * pad["width"], pad["y"] + y * pad["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def answers(page: Any, name: str) -> None:
    """Wait until this is the answer."""
    page.wait_for_function("name => document.querySelector('#answer b')?.textContent === name", arg=name)


def point_at(page: Any, canvas: Any, x: float, y: float) -> str:
    """Point at a place of a map, from 0 to 1; what is then explained."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    before = page.inner_text("#working")
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.wait_for_function("before => document.getElementById('working').innerText !== before", arg=before)
    return str(page.inner_text("#working"))


def test_a_seven_is_drawn_and_read(page: Any, address: str) -> None:
    opened(page, address)
    assert page.locator("#samples button").count() == 10
    page.click("#clear")
    page.wait_for_function("() => document.getElementById('answer').textContent === 'Nothing drawn yet'")
    maps = page.locator(".layer canvas").first.evaluate("canvas => canvas.toDataURL()")
    draw(page, SEVEN)
    answers(page, "7")
    assert page.locator("#bars .best .name").inner_text() == "7"
    assert page.locator(".layer canvas").first.evaluate("canvas => canvas.toDataURL()") != maps
    heat = page.evaluate(
        "Array.from(document.getElementById('cam-canvas').getContext('2d').getImageData(0, 0, 192, 192).data)"
    )
    red, _, blue, _ = np.array(heat, int).reshape(-1, 4).T
    assert np.count_nonzero(red > blue + 60) > 500  # it glows somewhere

    page.click("#undo")
    page.wait_for_function("() => document.getElementById('answer').textContent === 'Nothing drawn yet'")
    page.click("#samples button:nth-child(4)")
    answers(page, "3")


def test_a_drawing_becomes_an_image_as_the_digits_were_made(page: Any, address: str) -> None:
    """The size and place of a drawing do not matter; a line's dots are counted in blocks of 4x4."""
    opened(page, address)
    found = page.evaluate("""() => [[0.1, 0.2], [0.5, 0.4]].map(([from, to]) => Array.from(rawOfStrokes(
        [{points: [{x: 0.5, y: from}, {x: 0.5, y: to}]}], {native_size: 8, full_scale: 16}, {fill: 1, pen: 0.25, by_mass: false})))""")
    first, second = (np.array(raw).reshape(8, 8) for raw in found)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(
        first[1:7], np.repeat([[0, 0, 0, 16, 16, 0, 0, 0]], 6, axis=0)
    )  # 8 dots wide: two pixels
    assert (first[0] == first[7]).all()
    assert 0 < first[0, 3] < 16  # a round end

    digit = page.evaluate("""() => Array.from(rawOfStrokes([{points: [{x: 0.2, y: 0.2}, {x: 0.7, y: 0.2}, {x: 0.2, y: 0.9}]}],
        {native_size: 28, full_scale: 255}, {fill: 20 / 28, pen: 0.13, by_mass: true}))""")
    ink = np.array(digit).reshape(28, 28)
    assert 19 <= np.ptp(np.flatnonzero(ink.any(axis=1))) + 1 <= 21  # MNIST's box of 20x20
    for axis in (0, 1):  # around the centre of mass
        assert ink.sum(axis=axis) @ (np.arange(28) + 0.5) / ink.sum() == pytest.approx(14, abs=0.3)


CIRCLE = [(0.5 + 0.3 * np.cos(angle), 0.5 + 0.45 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 25)]
LOOP = [(x, 0.45 + 0.5 * y) for x, y in CIRCLE]
DRAWN = {
    0: [CIRCLE],
    1: [[(0.3, 0.25), (0.55, 0), (0.55, 1)]],
    2: [[(0.15, 0.3), (0.25, 0.05), (0.55, 0), (0.8, 0.1), (0.8, 0.35), (0.15, 1), (0.9, 1)]],
    3: [
        [
            (0.15, 0.05),
            (0.6, 0),
            (0.8, 0.2),
            (0.7, 0.42),
            (0.4, 0.48),
            (0.75, 0.55),
            (0.85, 0.78),
            (0.6, 1),
            (0.15, 0.95),
        ]
    ],
    4: [[(0.5, 0), (0.1, 0.6), (0.9, 0.6)], [(0.68, 0.3), (0.68, 1)]],
    5: [[(0.85, 0), (0.25, 0), (0.2, 0.45), (0.6, 0.4), (0.85, 0.6), (0.8, 0.88), (0.5, 1), (0.15, 0.93)]],
    6: [[(0.7, 0), (0.4, 0.2), (0.22, 0.5)], LOOP],
    7: [[(0.1, 0.02), (0.85, 0.02), (0.4, 1)], [(0.3, 0.5), (0.8, 0.5)]],
    8: [[(x, 0.5 * y) for x, y in CIRCLE], LOOP],
    9: [[(x, 0.55 * y) for x, y in CIRCLE], [(0.8, 0.3), (0.75, 1)]],
}


def test_drawn_digits_are_read(page: Any, address: str) -> None:
    """Each, at the first try; one may be missed."""
    opened(page, address)
    strokes = [[[{"x": x, "y": y} for x, y in line] for line in DRAWN[digit]] for digit in range(10)]
    read = page.evaluate(
        """async digits => {
            const answers = [];
            for (const lines of digits) {
                const drawn = rawOfStrokes(lines.map(points => ({points})), entry.model.preprocess, entry.drawn);
                const {logits} = await runner.ask("run", {input: inputOf(drawn, entry.model.preprocess), wanted: [], cam: null});
                answers.push(logits.indexOf(Math.max(...logits)));
            }
            return answers;
        }""",
        strokes,
    )
    assert sum(answer == digit for digit, answer in enumerate(read)) >= 9, read


def test_the_chapter_s_numbers_are_found_by_pointing(page: Any, address: str) -> None:
    opened(page, address)
    page.get_by_role("button", name="Sharpening, by hand").click()
    output = page.locator(".layer canvas").first
    assert "0 + (-2) + 0 + (-6) + 35 + (-8) + 0 + (-12) + 0 = 7" in point_at(page, output, 0.1, 0.1)
    assert "0 + (-8) + 0 + (-12) + 65 + (-14) + 0 + (-18) + 0 = 13" in point_at(page, output, 0.5, 0.5)
    marked = page.locator("#shown-map .window").bounding_box()
    image = page.locator("#shown-map canvas").bounding_box()
    assert marked["x"] - image["x"] == pytest.approx(image["width"] / 5, abs=1.5)
    assert marked["width"] == pytest.approx(3 * image["width"] / 5, abs=1.5)

    page.get_by_label("row 1, column 1", exact=True).first.fill("6")  # the filter's middle
    page.wait_for_function("() => document.getElementById('working').innerText.includes('78')")
    assert "0 + (-8) + 0 + (-12) + 78 + (-14) + 0 + (-18) + 0 = 26" in page.inner_text("#working")

    page.get_by_role("button", name="Max pooling, by hand").click()
    assert "max(1, 3, 5, 7) = 7" in point_at(page, page.locator(".layer canvas").first, 0.2, 0.2)
    assert page.locator("#working .marked").inner_text() == "7"


def test_a_pixel_of_a_map_is_explained_by_the_map_before(page: Any, address: str) -> None:
    opened(page, address)
    layers = page.locator(".layer")
    text = point_at(page, layers.nth(2).locator("canvas").nth(1), 0.55, 0.55)
    assert text.startswith("conv2, map 1, row 5, column 5")
    assert "of 6 before" in text.replace("\n", " ")
    trained = gpucnn.load(READY, device="cpu")
    raw = np.reshape(page.evaluate("Array.from(raw)"), (1, 1, 8, 8)).astype(np.uint8)
    model: Any = trained.model
    value = model.conv2(model.pool1(model.conv1(trained.preprocess(raw)))).numpy()[0, 1, 5, 5]
    assert float(text.rstrip().rpartition("= ")[2].split()[0]) == pytest.approx(value, abs=0.006)
    assert layers.nth(1).locator(".window:visible").count() == 6
    assert "max(" in point_at(page, layers.nth(1).locator("canvas").first, 0.5, 0.5)

    before = layers.first.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.check("#winners")
    page.wait_for_function(
        "before => document.querySelector('.layer canvas').toDataURL() !== before", arg=before
    )  # a quarter of the pixels is left
    dim = page.evaluate(
        "runner.ask('run', {input: inputOf(raw, entry.model.preprocess), wanted: [layers[0].wanted], cam: null})"
    )
    kept = np.array(dim["maps"][0]["kept"]).reshape(6, 14, 2, 14, 2)
    assert (kept.sum(axis=(2, 4)) == 1).all()  # one winner in each 2x2


NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def test_what_is_shown_of_a_sum_adds_up_or_is_said_to_be_rounded(page: Any, address: str) -> None:
    opened(page, address)
    rounded = 0
    for x in (0.1, 0.5, 0.9):
        for y in (0.2, 0.6):
            point_at(page, page.locator(".layer canvas").first, x, y)
            for one in page.locator("#working p.sum").all():
                left, _, right = one.inner_text().partition(" = ")
                if "ReLU" in left or left.startswith("tanh"):
                    continue
                terms = [float(term) for term in NUMBER.findall(re.sub(r"map \d+", "map", left))]
                total = float(right.split()[0])
                digits = len(right.split()[0].partition(".")[2])
                assert (f"{sum(terms):.{digits}f}" != f"{total:.{digits}f}") == right.endswith("(rounded)"), (
                    one.inner_text()
                )
                rounded += right.endswith("(rounded)")
                assert not any(terms) or max(map(abs, terms)) >= 1 or digits >= 3, one.inner_text()
    assert rounded

    lines = page.evaluate("""() => [[0.012, 0.0131, -0.0152], [0.333333, 0.333333, 0.333334], [2, -3, 8]].map(terms =>
        added(terms, terms.reduce((all, one) => all + one, 0)).textContent)""")
    assert lines == ["0.0120 + 0.0131 + (-0.0152) = 0.0099", "0.33 + 0.33 + 0.33 = 1 (rounded)", "2 + (-3) + 8 = 7"]


def test_the_output_s_numbers_go_by_their_classes(page: Any, address: str) -> None:
    opened(page, address)
    text = point_at(page, page.locator(".layer canvas").last, 0.97, 0.5)
    assert text.splitlines()[0].endswith(", class 9")
    assert page.locator(".layer figcaption").first.inner_text() == "0"


def test_the_example_s_editors_keep_the_last_good_number(page: Any, address: str) -> None:
    opened(page, address)
    page.get_by_role("button", name="Sharpening, by hand").click()
    cell = page.get_by_label("row 1, column 1", exact=True).first
    refused = page.locator("#editors .refused").first
    for wrong in ("1e400", "", "1000", "-"):
        cell.focus()
        cell.press("Control+A")
        cell.press("Backspace")
        page.keyboard.type(wrong)
        kept = "100" if wrong == "1000" else "5"  # what had been typed before the last nought
        if wrong == "1e400":
            kept = "1"
        assert refused.inner_text() == f"Numbers from -999 to 999 are taken: row 1, column 1 stays {kept}."
        cell.blur()
        assert cell.input_value() == kept
        cell.fill("5")
        assert refused.inner_text() == ""
    page.wait_for_selector(".layer canvas")
    assert "= 7" in point_at(page, page.locator(".layer canvas").first, 0.1, 0.1)


def test_of_samples_the_newest_is_shown(page: Any, address: str) -> None:
    """However slowly the network computes."""
    opened(page, address)
    page.evaluate("""() => {
        window.asked = [];
        const ask = runner.ask.bind(runner);
        runner.ask = async (job, details) => {
            const number = window.asked.push(job);
            const found = await ask(job, details);
            await new Promise(resolve => setTimeout(resolve, number === 1 ? 400 : 50)); // the first comes late
            return found;
        };
    }""")
    page.evaluate("""async () => {
        for (const digit of [0, 1, 2, 3, 5, 4]) {
            document.querySelectorAll("#samples button")[digit].click();
            await new Promise(resolve => setTimeout(resolve, 40));
        }
    }""")
    answers(page, "4")
    assert page.evaluate("asked") == ["run", "run"]
    assert page.inner_text("#how-shown").startswith("A test image")


def test_a_pixel_is_pointed_at_before_the_network_has_computed(page: Any, address: str) -> None:
    opened(page, address)
    page.evaluate("""() => {
        const ask = runner.ask.bind(runner);
        runner.ask = async (job, details) => {
            const found = await ask(job, details);
            await new Promise(resolve => setTimeout(resolve, job === "run" ? 300 : 0));
            return found;
        };
        update();
    }""")
    page.wait_for_timeout(50)  # it is at work
    page.get_by_role("button", name="Sharpening, by hand").click()
    page.evaluate("showPoint({node: 0, channel: 0, y: 0, x: 0}, false)")
    page.wait_for_function("() => document.getElementById('working').innerText.includes('= 7')")
    assert not page.locator("#trouble").is_visible()


def test_the_keyboard_alone_draws_and_gets_an_answer(page: Any, address: str) -> None:
    opened(page, address)
    page.keyboard.press("Tab")  # the link to the maps
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == "pad":
            break
        page.keyboard.press("Tab")
    for key in ("Delete", *["ArrowLeft"] * 4, *["ArrowUp"] * 6, "Space", *["ArrowRight"] * 8):
        page.keyboard.press(key)
    for _ in range(6):
        for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
            page.keyboard.press(key)
    page.keyboard.press("Space")
    answers(page, "7")
    page.wait_for_function("() => document.getElementById('spoken').textContent.startsWith('7, ')")

    page.locator(".layer canvas").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => document.getElementById('working').innerText.startsWith('conv1, map 0, row 1, column 1')"
    )
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "() => document.getElementById('working').innerText.startsWith('conv1, map 1, row 1, column 1')"
    )


def drop(page: Any, name: str, content: str) -> None:
    """Drop a file on the page; `content` is JavaScript that makes a list of parts."""
    page.evaluate(f"""async name => {{
        const files = new DataTransfer();
        files.items.add(new File({content}, name));
        document.body.dispatchEvent(new DragEvent("drop", {{dataTransfer: files, bubbles: true, cancelable: true}}));
    }}""", name)  # fmt: skip


def test_a_dropped_image_gets_the_answer_of_predict(page: Any, address: str, tmp_path: Path) -> None:
    trained = gpucnn.load(READY, device="cpu")
    rng = np.random.default_rng(0)
    blocks = np.pad(rng.integers(0, 200, (4, 3), np.uint8), 1)
    digit = Image.fromarray(np.kron(blocks, np.ones((6, 6), np.uint8)))
    file = tmp_path / "a \"quoted\" 'name' <b>.png"
    digit.save(file)
    opened(page, address)
    assert re.match("A test image of 8.8 pixels, as it is in the data set; ", page.inner_text("#how-shown"))
    drop(page, file.name, f"[new Uint8Array({list(file.read_bytes())})]")
    page.wait_for_function("() => picture.name.startsWith('a ')")
    assert page.inner_text("#notice") == f"{file.name}, as gpucnn predict sees it."
    page.wait_for_function(
        "() => document.getElementById('how-shown').textContent.startsWith('The file is brought to 8')"
    )
    expected = trained.preprocess(read_image(file, trained.preprocess))
    found = page.evaluate("Array.from(inputOf(raw, entry.model.preprocess))")
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-6)
    (name, probability), *_ = trained.predict(file)
    answers(page, name)
    assert float(page.inner_text("#answer").split()[1]) == pytest.approx(100 * probability, abs=0.6)

    page.evaluate(
        """async content => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(content)], "pasted.png"));
            dispatchEvent(new ClipboardEvent("paste", {clipboardData: files}));
        }""",
        list(file.read_bytes()),
    )
    page.wait_for_function("() => picture.name === 'pasted.png'")

    Image.fromarray(255 - np.asarray(digit)).convert("RGB").save(tmp_path / "ink.png")  # paper is white
    page.set_input_files("#file", tmp_path / "ink.png")
    page.wait_for_function("() => picture.name === 'ink.png'")
    assert page.inner_text("#notice") == "ink.png is dark on light, and digits is light on dark: turned round."
    np.testing.assert_allclose(
        page.evaluate("Array.from(raw)"), read_image(file, trained.preprocess).ravel(), atol=1
    )  # as gpucnn predict --invert


CASES = [
    (gpucnn.data.Preprocess(1, 8, 32, 16, "resize"), (5, 9)),
    (gpucnn.data.Preprocess(1, 28, 32, 255, "pad", (0.13,), (0.3,)), (31, 40)),
    (gpucnn.data.Preprocess(3, 32, 32, 255, "pad", (0.5, 0.4, 0.3), (0.2, 0.2, 0.3)), (50, 31)),
    (gpucnn.data.Preprocess(3, 24, 24, 255, "crop"), (33, 70)),
    (gpucnn.data.Preprocess(3, 20, 31, 255, "resize"), (20, 7)),
]


def test_images_are_prepared_as_gpucnn_does_it(page: Any) -> None:
    page.goto("about:blank")
    page.add_script_tag(path=Path(gpucnn.__file__).parent / "play" / "image_input.js")
    rng = np.random.default_rng(1)
    for how, (width, height) in CASES:
        for is_opaque in (True, False):
            pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
            pixels[..., 3] |= 255 * is_opaque
            image = {"width": width, "height": height, "data": pixels.ravel().tolist()}
            fields = {name: getattr(how, name) for name in how.__slots__}
            for background in ("auto",) if is_opaque else ("auto", "white"):
                raw, found = page.evaluate(
                    "([image, how, background]) => { const raw = rawOf(image, how, background);"
                    " return [Array.from(raw), Array.from(inputOf(raw, how))]; }",
                    [image, fields, background],
                )
                given = Image.fromarray(pixels) if not is_opaque else Image.fromarray(pixels).convert("RGB")
                expected = read_image(given, how, background)
                difference = np.abs(np.reshape(raw, expected.shape).astype(int) - expected)
                assert difference.max() <= 1  # by Pillow before version 13, which resizes in the other order
                assert np.count_nonzero(difference) <= difference.size // 20
                own = how(np.reshape(raw, expected.shape).astype(np.uint8))
                np.testing.assert_allclose(np.reshape(found, own.shape), own, atol=1e-6)


PNG_HEADER = "89504e470d0a1a0a0000000d49484452"
REFUSED = [
    ("huge.png", "[new Uint8Array(1e8)]", "huge.png: 100 MB are more than the 20 MB taken here; save it smaller"),
    ("broken.png", f"[Uint8Array.fromHex?.('{PNG_HEADER}') ?? new Uint8Array('{PNG_HEADER}'.match(/../g).map(two => parseInt(two, 16)))]", "broken.png: begins as PNG does, but is damaged or cut off"),
    ("wide.png", f"[new Uint8Array('{PNG_HEADER}00004e2000004e200806000000'.match(/../g).map(two => parseInt(two, 16)))]", "wide.png: 20,000 x 20,000 pixels are more than the 50,000,000 taken here; make it smaller"),
    ("text.png", "['<script>alert(1)</script>']", "text.png: not an image that a browser reads; give PNG, JPEG, WebP, GIF, BMP or AVIF"),
    ("<img src=x onerror=alert(1)>", "['']", "<img src=x onerror=alert(1)>: the file is empty"),
]  # fmt: skip


def test_what_is_no_image_is_refused_in_words(page: Any, address: str) -> None:
    opened(page, address)
    before = page.inner_text("#answer")
    for name, content, words in REFUSED:
        drop(page, name, content)
        page.wait_for_function("words => document.getElementById('notice').textContent === words", arg=words)
    assert page.inner_text("#answer") == before


def test_a_pixel_is_pointed_at_before_a_new_filter_has_computed(page: Any, address: str) -> None:
    opened(page, address)
    page.get_by_role("button", name="Sharpening, by hand").click()
    page.wait_for_function("() => answered === loaded")
    page.evaluate("""() => {
        const ask = runner.ask.bind(runner);
        window.asked = [];
        runner.ask = async (job, details) => {
            asked.push(job);
            const found = await ask(job, details);
            await new Promise(resolve => setTimeout(resolve, job === "run" ? 300 : 0));
            return found;
        };
        update();
        requestAnimationFrame(() => { // it is at work
            const middle = document.querySelectorAll(".editor input")[4];
            middle.value = "6";
            middle.dispatchEvent(new Event("input"));
            showPoint({node: 0, channel: 0, y: 0, x: 0}, false);
        });
    }""")
    page.wait_for_function(
        "() => document.getElementById('working').innerText.includes('= 14')"
    )  # it was 7, and the image has a 7 there
    assert page.evaluate("asked") == ["run", "load", "run", "explain"]
    assert page.locator("#trouble").is_hidden()


def test_an_error_is_told_until_the_network_runs_again(page: Any, address: str) -> None:
    opened(page, address)
    page.evaluate("""() => {
        runner.ask = () => new Promise((_, reject) => { window.fail = (text) => reject(new Error(text)); });
    }""")
    for text in ("too large", "what follows from it"):
        page.evaluate("update()")
        page.wait_for_selector("#busy", state="visible")
        page.evaluate("text => fail(text)", text)
        page.wait_for_selector("#busy", state="hidden")
    assert page.inner_text("#trouble") == "The network cannot be run here: too large"
    page.evaluate("() => { delete runner.ask; update(); }")
    page.wait_for_selector("#trouble", state="hidden")

    outcomes = page.evaluate("""async () => {
        const run = ["run", {input: Float32Array.from(MODELS[1].image), wanted: [], cam: null}];
        const outcomes = [];
        for (const [job, details] of [["load", MODELS[1]], run, ["load", {model: {}}], run]) {
            outcomes.push(await runner.ask(job, details).then(() => "done", () => "refused"));
        }
        return outcomes;
    }""")
    assert outcomes == ["done", "done", "refused", "refused"]  # in no case by the network before


def test_a_worker_that_does_not_start_is_not_waited_for(browser: Any) -> None:
    page = browser.new_page()  # whose console tells of it
    page.add_script_tag(path=READY.with_name("runner.js"))
    errors = page.evaluate("""async () => {
        const broken = new Runner("throw new Error('too old')"), errors = [];
        for (const _ of "12") await broken.ask("load", {}).catch(({message}) => errors.push(message));
        return errors;
    }""")
    page.close()
    assert errors == ["Uncaught Error: too old"] * 2


def test_what_was_given_last_is_shown(page: Any, address: str, tmp_path: Path) -> None:
    """However long a file before it takes to read."""
    file = tmp_path / "small.png"
    Image.new("L", (9, 9)).save(file)
    content = f"[new Uint8Array({list(file.read_bytes())})]"
    opened(page, address)
    page.evaluate("""() => {
        const read = createImageBitmap, ask = reader.ask.bind(reader), wait = () => new Promise((resolve) => { window.goOn = resolve; });
        window.createImageBitmap = async (file, options) => {
            if (file.name.startsWith("slow")) await wait();
            window.isLarge = file.name.startsWith("large");
            return read(file.name.includes("damaged") ? null : file, options);
        };
        reader.ask = async (...what) => {
            if (window.isLarge) await wait();
            return ask(...what);
        };
    }""")
    last: dict[str, Callable[[], None]] = {
        "quick.png": lambda: drop(page, "quick.png", content),
        "test image": lambda: page.click("#samples button:nth-child(1)"),
        "": lambda: draw(page, SEVEN),
    }
    for name, give in last.items():
        for slow in ("slow.png", "slow and damaged.png", "large.png"):
            drop(page, slow, content)
            page.wait_for_function("() => window.goOn")
            give()
            page.wait_for_function(
                "name => (picture?.name ?? '').startsWith(name) && $('notice').textContent !== 'Reading the image …'",
                arg=name,
            )
            before = page.inner_text("#notice")
            page.evaluate("() => { goOn(); window.goOn = null; }")
            page.wait_for_timeout(100)
            assert page.evaluate("picture?.name ?? ''").startswith(name)
            assert page.inner_text("#notice") == before
            assert slow not in before


EXIF = Image.Exif()
EXIF[0x010E] = "an orange strip " * 20
SAVED: list[tuple[str, dict[str, Any], bytes]] = [
    ("PNG", {}, b""),
    ("JPEG", {"exif": EXIF}, b""),
    ("GIF", {"comment": b"orange " * 99}, b"\x21\xfe"),
    ("BMP", {}, b""),
    ("WEBP", {}, b"VP8 "),
    ("WEBP", {"lossless": True}, b"VP8L"),
    ("WEBP", {"exif": EXIF}, b"VP8X"),
    ("AVIF", {"speed": 10}, b"ispe"),
    ("AVIF", {"speed": 10, "exif": EXIF}, b"ispe"),
]


def test_sizes_are_known_before_anything_is_decoded(page: Any) -> None:
    page.add_script_tag(path=READY.with_name("image_file.js"))
    sizes_of = """content => {
        const bytes = new Uint8Array(content), kind = kindOf(bytes), found = new Set();
        for (let length = bytes.length; length >= 16; length--) { // of the whole file, and cut off anywhere
            found.add(JSON.stringify(sizeOf(kind, new DataView(bytes.buffer, 0, length))));
        }
        return Array.from(found, (text) => JSON.parse(text));
    }"""
    Image.init()
    for width, height in ((300, 7), (2, 260)):
        contents = [(b"", struct.pack("<2sIHHIIHHHH", b"BM", 26, 0, 0, 26, 12, width, height, 1, 24))]  # a BMP of OS/2
        for form, options, mark in SAVED:
            if form in Image.SAVE:
                file = BytesIO()
                Image.new("RGB", (width, height), "orange").save(file, form, **options)
                contents.append((mark, file.getvalue()))
        for mark, content in contents:
            assert mark in content
            size = {"width": width, "height": height}
            found = page.evaluate(sizes_of, list(content))
            assert found in ([size], [size, None]), content[:30]

    page.evaluate("() => { window.createImageBitmap = () => { throw new Error('decoded'); }; }")
    lossless = struct.pack("<4sI8sIBI", b"RIFF", 22, b"WEBPVP8L", 10, 0x2F, 11_999 | 11_999 << 14) + bytes(5)
    boxes = (("ispe", struct.pack(">III", 0, 12_000, 12_000)), ("ipco", b""), ("iprp", b""), ("meta", bytes(4)))
    inside = b""
    for name, head in boxes:
        inside = struct.pack(">I4s", 8 + len(head + inside), name.encode()) + head + inside
    avif = struct.pack(">I4s4sI", 16, b"ftyp", b"avif", 0) + inside
    file = BytesIO()
    Image.new("L", (3, 3)).save(file, "GIF", comment=b"wide " * 99)
    gif = file.getvalue().replace(
        struct.pack("<5H", 0x2C00, 0, 0, 3, 3)[1:], struct.pack("<5H", 0x2C00, 0, 0, 12_000, 12_000)[1:]
    )
    for name, content in (("bomb.webp", lossless), ("bomb.avif", avif), ("bomb.gif", gif)):
        words = page.evaluate(
            "([name, content]) => bitmapOf(new File([new Uint8Array(content)], name)).catch(({message}) => message)",
            [name, list(content)],
        )
        assert words == f"{name}: 12,000 x 12,000 pixels are more than the 50,000,000 taken here; make it smaller"


def test_the_page_does_not_stand_still_for_an_image(page: Any, address: str) -> None:
    """It is brought to its size elsewhere, and the network answers meanwhile."""
    opened(page, address)
    page.evaluate("""() => {
        rawOf = () => { throw new Error("on the page"); };
        const ask = reader.ask.bind(reader);
        reader.ask = async (...what) => {
            await new Promise((resolve) => { window.goOn = resolve; });
            return ask(...what);
        };
    }""")
    file = BytesIO()
    Image.new("L", (60, 40)).save(file, "PNG")
    drop(page, "image.png", f"[new Uint8Array({list(file.getvalue())})]")
    page.wait_for_function("() => window.goOn")
    page.select_option("#cam-class", "3")
    page.wait_for_selector("#cam-canvas[aria-label='Grad-CAM for 3']")
    page.evaluate("goOn()")
    page.wait_for_function("() => picture.name === 'image.png'")


def test_samples_of_one_name_are_told_apart(page: Any, address: str) -> None:
    opened(page, address)
    page.evaluate("""() => {
        for (const sample of MODELS[0].samples) sample.name = "1.png";
        showModel(MODELS[0]);
    }""")
    pressed = "Array.from(document.querySelectorAll('#samples button'), (one) => one.ariaPressed === 'true')"
    assert page.evaluate(pressed) == [place == 7 for place in range(10)]
    page.click("#samples button:nth-child(4)")
    assert page.evaluate(pressed) == [place == 3 for place in range(10)]
    draw(page, SEVEN)
    assert not any(page.evaluate(pressed))


def test_two_tabs_each_with_its_own_drawing(page: Any, address: str) -> None:
    other = page.context.new_page()
    opened(page, address)
    opened(other, address)
    page.click("#samples button:nth-child(1)")
    other.click("#samples button:nth-child(5)")
    answers(page, "0")
    answers(other, "4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window(page: Any, address: str, scheme: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened(page, address)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    assert not page.locator("#explanation").is_visible()
    assert page.inner_text("#map-hint").startswith("Point at a pixel of a map")
    point_at(page, page.locator(".layer canvas").first, 0.5, 0.5)
    assert page.locator("#explanation").is_visible()
    page.click("#close")
    page.get_by_role("button", name="Sharpening, by hand").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_an_exported_page_opens_from_disk_and_shows_names_as_texts(page: Any, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(READY, tmp_path / '<i>run & "co"</i>'))
    config = json.loads(run.config_file.read_text())
    evil = ["<script>alert(1)</script>", 'a "quoted" class', "</script><b>", "it's", *map(str, range(4, 10))]
    run.config_file.write_text(json.dumps({**config, "class_names": evil}))
    face = export(page_files(run.load(choose_device("cpu").device)), tmp_path / "page")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    opened(page, face.as_uri())
    assert page.locator("#bars .name").all_inner_texts() == evil
    assert page.locator("#models button").first.inner_text() == run.path.name
    assert "No test images to choose from" in page.inner_text("#notice")
    draw(page, SEVEN)
    answers(page, "7")
