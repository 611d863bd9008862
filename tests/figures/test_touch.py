"""The figures to play with show bnlib's numbers: at first, and after every touch, in a real browser.

The browser's tests need playwright and a chromium, and are skipped without them.
"""

import itertools
import re
import shutil
from html import unescape
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from bnlib import reference
from bnlib.figures import touch
from bnlib.layers import BatchNorm1d

# What each figure is made of: a little invented data, so that any number on it can be told from any other.

rng = np.random.default_rng(0)
LIMIT = 1.02
MEAN, VAR = rng.normal(1, 0.5, size=60), rng.uniform(0.2, 2, size=60)
BATCHES = np.column_stack([MEAN, VAR])
STEPS = np.arange(0, 61, 10)
POPULATION = np.column_stack([np.linspace(0, 1, 7), np.linspace(0.5, 1.5, 7)])
EDGES = np.linspace(-2, 2, 6)
HISTOGRAMS = {name: rng.dirichlet(np.ones(5), size=(4, 3)).round(3) for name in ("plain", "with BN")}
ACCURACY = {name: rng.uniform(size=4).round(4) for name in HISTOGRAMS}
LOOKS = (0, 100, 1000, 20000)


def small_network(rows=5, channels=3):
    """Inputs of a norm, their labels, the norm with all its numbers set, and the layer after the sigmoid."""
    torch.manual_seed(0)
    norm, output = BatchNorm1d(channels, eps=0.5).double(), nn.Linear(channels, 10).double()
    with torch.no_grad():
        for v in (norm.weight, norm.bias, norm.running_mean):
            v.normal_(1, 2)
        norm.running_var.uniform_(0.5, 2)
        output.weight.normal_(0, 3)
    return 3 + 2 * torch.randn(rows, channels).double(), [4, 9, 4, 7, 1], norm, output


def chosen(settings):
    return [i for i in range(1, 5) if settings[f"n{i}"]]


def momenta(settings):
    return touch.MOMENTA[settings["momentum"]]


MAKE = {
    "gamma_beta": lambda s: touch.gamma_beta(LIMIT, **s),
    "neighbors": lambda s: touch.neighbors(*small_network(), chosen=chosen(s)),
    "circle": lambda s: touch.circle(s["angle"], [s["g1"], s["g2"], s["g3"]]),
    "momentum": lambda s: touch.momentum(BATCHES, STEPS, POPULATION, momenta(s)),
    "training": lambda s: touch.training(LOOKS, EDGES, HISTOGRAMS, ACCURACY, **s),
}


def grid(**values):
    return [dict(zip(values, setting, strict=True)) for setting in itertools.product(*values.values())]


GRID = {
    "gamma_beta": grid(gamma=[0.5, 1.0, 2.3, 4.0], beta=[-4.0, -0.7, 0.0, 2.0]),
    "neighbors": grid(n1=[True, False], n2=[True, False], n3=[True, False], n4=[True, False]),
    "circle": grid(angle=[0, 20, 133, 359], g1=[-1.5, 0.4], g2=[0.0, 1.3], g3=[-0.2, 1.5]),
    "momentum": grid(momentum=range(len(touch.MOMENTA))),
    "training": grid(look=range(4)),
}
CASES = [pytest.param(name, s, id=f"{name}-{i}") for name, g in GRID.items() for i, s in enumerate(g)]


# What bnlib says.


def says_gamma_beta(gamma, beta):
    # normal quantiles in the place of a batch: shares are right to one in ten thousand
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 20_000) for i in range(20_000)]
    x = 5 + 3 * np.array(quantiles)[:, None]
    y, _ = reference.batch_norm_forward(x, np.array([gamma]), np.array([beta]), eps=0.0)
    near = np.mean(np.abs(y) <= LIMIT)
    shares = np.histogram(1 / (1 + np.exp(-y)), bins=10, range=(0, 1))[0] / len(y)
    return {"outputs": shares, "answer": [gamma, beta, 100 * near]}, {"outputs": 2e-3, "answer": 0.6}


def says_neighbors(**settings):
    inputs, labels, norm, output = small_network()
    alone = output(torch.sigmoid(norm.eval()(inputs[:1]))).softmax(1)[0].detach()
    by_itself = [int(alone.argmax()), 100 * alone.max()]
    rows = chosen(settings)
    if not rows:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            norm.train()(inputs[:1])
        return {"bars": [], "answer": by_itself}, {"bars": 0, "answer": 0.6}
    p = output(torch.sigmoid(norm.train()(inputs[[0, *rows]]))).softmax(1)[0].detach()
    in_batch = [*(labels[i] for i in rows), labels[0], int(p.argmax()), 100 * p.max()]
    return {"bars": p.numpy(), "answer": [*in_batch, *by_itself]}, {"bars": 1e-3, "answer": 0.6}


def says_circle(angle, g1, g2, g3):
    turn, g = np.radians(angle), np.array([g1, g2, g3])
    right, up = np.array([1, -1, 0]) / np.sqrt(2), np.array([1, 1, -2]) / np.sqrt(6)
    x = 5 + 2 * (np.cos(turn) * right + np.sin(turn) * up)
    _, saved = reference.batch_norm_forward(x[:, None], np.ones(1), np.zeros(1), eps=0.0)
    dx = saved.std * reference.batch_norm_backward(g[:, None], saved).dx[:, 0]
    x_hat = saved.x_hat[:, 0]
    found = {"g_bars": g, "dx_bars": dx, "answer": [*x_hat, *g, *dx, 0, 0]}
    return found, {"g_bars": 1e-3, "dx_bars": 1e-3, "answer": 6e-3}


def says_momentum(momentum):
    a = touch.MOMENTA[momentum]
    running = [np.array([0.0, 1.0])]
    for batch in BATCHES:
        running.append(reference.update_running(running[-1], batch, a))
    running = np.array(running)
    off = np.sqrt(np.mean((running[[30, 40, 50, 60]] - POPULATION[3:]) ** 2, axis=0))
    half_life = next(k for k in itertools.count(step=1e-3) if (1 - a) ** k <= 0.5)
    found = {"mean": running[:, 0], "variance": running[:, 1]}
    return found | {"answer": [a, half_life, *off]}, {"mean": 1e-3, "variance": 1e-3, "answer": 0.06}


def says_training(look):
    found, answer = {}, [LOOKS[look]]
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    for k, name in enumerate(HISTOGRAMS):
        for layer, shares in enumerate(HISTOGRAMS[name][look]):
            found[f"layer_{k}_{layer}"] = (2 - layer) + 0.85 * shares / shares.max()
        spread = np.sqrt(np.cov(middle, aweights=shares, ddof=0))
        answer += [100 * ACCURACY[name][look], spread]
    return found | {"answer": answer}, dict.fromkeys(found, 2e-3) | {"answer": 0.6}


SAYS = {name: globals()[f"says_{name}"] for name in MAKE}


# What a reader sees.


def numbers(text):
    return [
        float(n.replace("−", "-").replace(",", "")) for n in re.findall(r"−?\d+(?:,\d{3})*(?:\.\d+)?", text)
    ]


def seen(html):
    """The parts of a figure: a path's lines as arrays (points, 2), the text of anything else."""
    html = unescape(html)
    paths = re.findall(r'data-part="(\w+)" d="([^"]*)"', html)
    lines = {
        name: [np.array([p.split(",") for p in line.split()], float) for line in d.split("M")[1:]]
        for name, d in paths
    }
    return lines | dict(re.findall(r'data-part="(\w+)">([^<]*)<', html))


def heights(name, lines):
    """What a part says: of bars their ends, of an outline its upper edge, of a curve its heights."""
    if name in ("outputs", "bars", "g_bars", "dx_bars"):
        return [line[1, 1] for line in lines]
    (line,) = lines
    return line[1:-1:2, 1] if name.startswith("layer") else line[:, 1]


def check(name, html, settings):
    parts = seen(html)
    expected, tolerance = SAYS[name](**settings)
    for part, values in expected.items():
        # a subscript or an x̂ has no digits; "of a batch of 1" would have
        found = numbers(parts[part]) if part == "answer" else heights(part, parts[part])
        np.testing.assert_allclose(found, np.array(values, float), rtol=0, atol=tolerance[part], err_msg=part)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_first_frame_shows_the_numbers_of_bnlib(name, settings):
    check(name, MAKE[name](settings)._repr_html_(), settings)


def test_the_bell_is_a_density_and_its_parts_meet_at_the_limit():
    parts = seen(touch.gamma_beta(LIMIT, 1.5, 0.5)._repr_html_())
    area = sum(np.trapezoid(line[:, 1], line[:, 0]) for line in (*parts["near"], *parts["far"]))
    assert area == pytest.approx(1, abs=1e-3)
    assert [line[0, 0] for line in parts["near"]] == [-LIMIT]


def test_the_arrows_on_the_circle_are_a_right_triangle_at_x_hat():
    parts = seen(touch.circle(20, (1.5, -0.5, 1.0))._repr_html_())
    (point, _) = parts["x_hat"][0]
    g, along, dx = (parts[name][0][1] - point for name in ("g", "along", "dx"))
    np.testing.assert_allclose(along + dx, g, atol=2e-3)
    assert abs(dx @ point) < 5e-3 and abs(point @ point - 3) < 2e-3


def test_a_color_on_the_circle_means_one_thing():
    # g with its mean, in the bars, once had the color of g without it, in the plane.
    html = touch.circle()._repr_html_()
    classes = re.findall(r'class="([^"]*)" data-part="(\w+)"', html)
    color = {part: names.split()[-1] for names, part in classes if names != "hold"}
    assert color["dx"] == color["dx_bars"]
    assert len({color[part] for part in ("x_hat", "g", "g_bars", "along", "dx")}) == 5


@pytest.mark.parametrize("name", MAKE)
def test_a_figure_is_the_same_every_time_small_and_in_one_piece(name):
    html, again = (MAKE[name](GRID[name][0])._repr_html_() for _ in range(2))
    assert html == again
    assert len(html) < 60_000
    assert not re.search(r"""(src|href)="(?!data:)|url\(|https?:|@import| id=""", html)
    assert html.count("<script>") == html.count("</script>") == 1


@pytest.mark.parametrize("name", MAKE)
def test_its_repr_says_what_it_shows(name):
    figure = MAKE[name](GRID[name][0])
    assert repr(figure) == f"{name}: {seen(figure._repr_html_())['answer']}"


def test_a_label_cannot_end_the_script():
    name = "</script><b>"
    figure = touch.training(LOOKS, EDGES, {name: HISTOGRAMS["plain"]}, {name: ACCURACY["plain"]})
    assert figure._repr_html_().count("</script>") == 1


def test_images_stand_on_the_buttons():
    html = touch.neighbors(*small_network(), images=rng.uniform(size=(5, 14, 14)))._repr_html_()
    assert re.findall(r'<img class="digit" alt="a (\d)"', html) == ["4", "9", "4", "7", "1"]
    assert len(set(re.findall(r"base64,([\w+/=]+)", html))) == 5


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: touch.circle(0, [1.0, 2.0]), r"g: expected shape \(3,\)"),
        (lambda: touch.neighbors(*small_network(), chosen=[0]), r"expected rows from 1 to 4 .*\(got \[0\]\)"),
        (lambda: touch.neighbors(np.ones((5, 2)), *small_network()[1:]), r"weight: expected shape"),
        (lambda: touch.momentum(BATCHES, STEPS + 1, POPULATION), r"from 0 to 60 \(got 1 to 61\)"),
        (lambda: touch.momentum(BATCHES, STEPS, POPULATION, 0.3), r"expected one of \(0.001.*\(got 0.3\)"),
        (lambda: touch.momentum(BATCHES, STEPS, POPULATION[1:]), r"population: expected shape"),
        (lambda: touch.training(LOOKS, EDGES, HISTOGRAMS, ACCURACY, look=4), r"from 0 to 3 \(got 4\)"),
        (lambda: touch.training(LOOKS[1:], EDGES, HISTOGRAMS, ACCURACY), r"plain: expected shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, error):
    with pytest.raises(ValueError, match=error):
        call()


# In a browser.


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser):
    """Shows figures on a page of some width; afterwards no request was made, and nothing went wrong."""
    trouble, contexts = [], []

    def show(*figures, width=1280, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: trouble.append(request.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text))
        body = "".join(figure._repr_html_() for figure in figures)
        page.set_content(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>{body}')
        return page

    yield show
    for context in contexts:
        context.close()
    assert [what for what in trouble if not what.startswith("data:")] == []


TOUCH = """([root, settings]) => {
  for (const [name, value] of Object.entries(settings)) {
    const input = root.querySelector(`input[name=${name}]`);
    input[input.type === "checkbox" ? "checked" : "value"] = value;
    input.dispatchEvent(new Event("input"));
  }
  return root.outerHTML;
}"""


VALUES = "() => Object.fromEntries([...document.querySelectorAll('input')].map(i => [i.name, i.value]))"


def touched(page, settings, which=0):
    return page.evaluate(TOUCH, [page.query_selector_all(".bn-touch")[which], settings])


@pytest.mark.parametrize("name", MAKE)
def test_the_page_computes_the_numbers_of_bnlib(show, name):
    page = show(MAKE[name](GRID[name][-1]))
    for settings in GRID[name]:
        check(name, touched(page, settings), settings)


@pytest.mark.parametrize("name", MAKE)
def test_the_page_draws_what_python_draws(show, name):
    page = show(MAKE[name](GRID[name][-1]))
    for settings in GRID[name]:
        ours, theirs = seen(touched(page, settings)), seen(MAKE[name](settings)._repr_html_())
        assert ours.keys() == theirs.keys()
        for part, value in theirs.items():
            if isinstance(value, str):
                assert ours[part] == value
                continue
            assert len(ours[part]) == len(value), part
            for line, other in zip(ours[part], value, strict=True):
                np.testing.assert_allclose(line, other, rtol=1e-3, atol=1e-3, err_msg=part)


def test_without_a_script_the_first_frame_stands_and_nothing_pretends_to_work(show):
    page = show(*(MAKE[name](GRID[name][-1]) for name in MAKE), java_script_enabled=False)
    for i, name in enumerate(MAKE):
        figure = page.locator(".bn-touch").nth(i)
        assert figure.locator(".answer").inner_text()
        assert not figure.locator(".controls").is_visible()
        assert all(not figure.locator("input").nth(j).is_enabled() for j in range(4)) or name != "neighbors"


def test_figures_on_one_page_do_not_meddle_with_one_another(show):
    settings = {"gamma": 4.0, "beta": 2.0}
    page = show(*(MAKE[name](GRID[name][-1]) for name in MAKE), MAKE["gamma_beta"](GRID["gamma_beta"][0]))
    before = [figure.inner_html() for figure in page.query_selector_all(".bn-touch")]
    check("gamma_beta", touched(page, settings, which=5), settings)
    after = [figure.inner_html() for figure in page.query_selector_all(".bn-touch")]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 5 + [False]


MIDDLE = {
    "gamma_beta": {"gamma": 1.0, "beta": 0.5},
    "circle": {"angle": 20, "g1": 0.5, "g2": -0.5, "g3": 0.0},
    "momentum": {"momentum": 6},
    "training": {"look": 2},
}


@pytest.mark.parametrize("name", MAKE)
def test_every_control_has_a_name_obeys_the_keyboard_and_is_announced(show, name):
    start = MIDDLE.get(name) or GRID[name][0]
    page = show(MAKE[name](start))
    assert page.locator(".answer").get_attribute("aria-live") == "polite"
    controls = page.get_by_role("checkbox" if name == "neighbors" else "slider")
    assert controls.count() == len(start)
    for i in range(controls.count()):
        control, before = controls.nth(i), page.locator(".answer").inner_text()
        assert control.evaluate("e => e.ariaLabel || e.closest('label').innerText").strip()
        control.focus()
        page.keyboard.press("Space" if name == "neighbors" else "ArrowRight")
        assert page.locator(".answer").inner_text() != before
        shown = seen(page.content()).get(control.get_attribute("name"))
        assert control.get_attribute("aria-valuetext") == shown  # a momentum is not read as "6"


def test_the_keys_that_move_a_slider_reach_no_one_else(show):
    # JupyterLab listens on the document, in the capturing phase, and would select another cell.
    page = show(touch.gamma_beta(LIMIT))
    page.evaluate("heard = []; document.addEventListener('keydown', e => heard.push(e.key), true)")
    page.locator("input[name=beta]").focus()
    for key in ("ArrowRight", "Home", "k"):
        page.keyboard.press(key)
    assert page.evaluate("heard") == ["k"]
    assert "β = −4.0" in page.locator(".answer").inner_text()


@pytest.mark.parametrize(("handle", "moves"), [("hold_g", {"g1", "g2", "g3"}), ("hold_x", {"angle"})])
@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_dragged_follows_the_finger(show, handle, moves, width):
    page = show(touch.circle(90, (0.5, -0.5, 0.0)), width=width)
    before = page.evaluate(VALUES)
    # x_hat is at the top of the circle, the tip of g to the right of it
    box = page.locator(f'[data-part="{handle}"]').evaluate(
        "e => { const at = new DOMPoint(...e.getAttribute('d').slice(1).split(' ')[0].split(','));"
        " const p = at.matrixTransform(e.getScreenCTM()); return [p.x, p.y, e.getScreenCTM().a] }"
    )
    x, y, scale = box
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 0.5 * scale, y + 0.25 * scale, steps=4)
    page.mouse.up()
    after = page.evaluate(VALUES)
    assert {name for name in before if before[name] != after[name]} <= moves
    (at, _) = seen(page.content())[handle][0]
    start = np.array([np.sqrt(0.5), np.sqrt(3)] if handle == "hold_g" else [0, np.sqrt(3)])
    target = start + np.array([0.5, -0.25])
    if handle == "hold_x":
        target *= np.sqrt(3) / np.linalg.norm(target)
    np.testing.assert_allclose(at, target, atol=0.1)  # the sliders' steps
    settings = {name: float(value) for name, value in after.items()}
    check("circle", page.content(), settings)


@pytest.mark.parametrize("width", [1280, 390])
def test_no_figure_is_wider_than_the_page_and_its_letters_can_be_read(show, width):
    page = show(*(MAKE[name](GRID[name][0]) for name in MAKE), width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    sizes = page.evaluate(
        """[...document.querySelectorAll('svg text')].map(
          t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
    )
    assert min(sizes) > 11
    outside = page.evaluate(
        """[...document.querySelectorAll('svg text')].filter(t => {
          const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
          return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1;
        }).map(t => t.textContent)"""
    )
    assert outside == []
