// What the figures of this folder do once they are touched. A frame is a function of the settings: it names parts of the
// figure, and says of each its text, or its lines, each a list of [x, y] in the panel's own units. The first frame was
// drawn by its twin in Python, and a test holds the two together.

const fixed = (value, digits) => (Number(value.toFixed(digits)) || 0).toFixed(digits).replace("-", "−");
const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;
const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const sum = (values) => values.reduce((a, b) => a + b, 0);
const mean = (values) => sum(values) / values.length;
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
const bar = (x, height, width) => [[x - width / 2, 0], [x - width / 2, height], [x + width / 2, height], [x + width / 2, 0]];

const density = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

// The share of a standard normal variable between two limits, by Simpson's rule.
function between(low, high) {
  const [a, b] = [low, high].map((z) => Math.min(9, Math.max(-9, z)));
  const n = 200, step = (b - a) / n;
  return (step / 3) * sum(range(n + 1, (i) => (i % n ? 4 - 2 * ((i + 1) % 2) : 1) * density(a + i * step)));
}

const frames = {
  gamma_beta({ gamma, beta }, { limit }) {
    const bell = (low, high) => {
      const top = range(81, (i) => low + ((high - low) * i) / 80);
      return [[low, 0], ...top.map((x) => [x, density((x - beta) / gamma) / gamma]), [high, 0]];
    };
    const at = (x) => (x - beta) / gamma;
    const edge = (k) => (k === 0 ? -Infinity : k === 10 ? Infinity : Math.log(k / (10 - k)));
    const near = between(at(-limit), at(limit));
    return {
      gamma: fixed(gamma, 1),
      beta: fixed(beta, 1),
      near: [bell(-limit, limit)],
      far: [bell(-8, -limit), bell(limit, 8)],
      outputs: range(10, (k) => bar((k + 0.5) / 10, between(at(edge(k)), at(edge(k + 1))), 0.085)),
      answer: `With γ = ${fixed(gamma, 1)} and β = ${fixed(beta, 1)}, ${percent(near)} of the inputs lie in the near-linear part.`,
    };
  },

  neighbors(chosen, { inputs, labels, gamma, beta, eps, weight, bias, alone }) {
    const batch = inputs.filter((_, i) => i === 0 || chosen[`n${i}`]);
    const best = (p) => p.indexOf(Math.max(...p));
    const fate = `By itself, with fixed statistics, it is read as ${best(alone)} (${percent(Math.max(...alone))}).`;
    if (batch.length < 2) return { bars: [], answer: `One value is its own mean: choose a neighbor. ${fate}` };
    const activations = range(gamma.length, (c) => {
      const x = batch.map((row) => row[c]);
      const variance = mean(x.map((value) => (value - mean(x)) ** 2));
      const y = (gamma[c] * (x[0] - mean(x))) / Math.sqrt(variance + eps) + beta[c];
      return 1 / (1 + Math.exp(-y));
    });
    const scores = weight.map((row, k) => Math.exp(dot(row, activations) + bias[k]));
    const p = scores.map((score) => score / sum(scores));
    const beside = labels.filter((_, i) => i > 0 && chosen[`n${i}`]).join(", ");
    const answer = `Beside ${beside} the ${labels[0]} is read as ${best(p)} (${percent(Math.max(...p))}). ${fate}`;
    return { bars: p.map((share, k) => bar(k, share, 0.7)), answer };
  },

  circle({ angle, g1, g2, g3 }, { plane }) {
    const g = [g1, g2, g3], turn = (angle * Math.PI) / 180;
    const point = [Math.sqrt(3) * Math.cos(turn), Math.sqrt(3) * Math.sin(turn)];
    const xHat = range(3, (i) => plane[0][i] * point[0] + plane[1][i] * point[1]);
    const centered = g.map((value) => value - mean(g));
    const along = xHat.map((value) => value * mean(g.map((other, i) => other * xHat[i])));
    const dx = centered.map((value, i) => value - along[i]);
    const tip = (v) => plane.map((row, k) => point[k] + dot(row, v));
    const numbers = (v) => v.map((value) => fixed(value, 2)).join(", ");
    return {
      angle: `${angle}°`,
      ...Object.fromEntries(g.map((value, i) => [`g${i + 1}`, fixed(value, 1)])),
      ray: [[[0, 0], point]],
      x_hat: [[point, point]],
      g: arrow(point, tip(centered)),
      along: arrow(point, tip(along)),
      dx: arrow(point, tip(dx)),
      sides: [[tip(along), tip(centered), tip(dx)]],
      hold_g: [[tip(centered), tip(centered)]],
      hold_x: [[point, point]],
      g_bars: g.map((value, i) => bar(i + 0.82, value, 0.3)),
      dx_bars: dx.map((value, i) => bar(i + 1.18, value, 0.3)),
      answer: `x̂ = (${numbers(xHat)}). Of g = (${numbers(g)}) there is left dx = (${numbers(dx)}). Its sum is ${fixed(sum(dx), 2)}, its product with x̂ is ${fixed(dot(dx, xHat), 2)}.`,
    };
  },

  momentum({ momentum }, { momenta, batches, steps, population }) {
    const a = momenta[momentum];
    const running = [0, 1].map((k) => {
      let value = k;
      return [[0, k], ...batches.map((batch, i) => [i + 1, (value = (1 - a) * value + a * batch[k])])];
    });
    const late = steps.map((_, i) => i).filter((i) => steps[i] >= batches.length / 2);
    const off = [0, 1].map((k) => Math.sqrt(mean(late.map((i) => (running[k][steps[i]][1] - population[i][k]) ** 2))));
    return {
      momentum: `${a}`,
      mean: [running[0]],
      variance: [running[1]],
      answer: `Momentum ${a}: the weight of a batch halves in ${fixed(Math.log(0.5) / Math.log(1 - a), 1)} steps. In the second half the running mean is off by ${fixed(off[0], 3)}, the variance by ${fixed(off[1], 3)}.`,
    };
  },

  training({ look }, { names, steps, edges, histograms, accuracy }) {
    const found = { look: `step ${steps[look].toLocaleString("en")}`, cursor: [[[look, 0], [look, 1]]] };
    const spread = names.map((_, k) => {
      const layers = histograms[k][look];
      layers.forEach((shares, layer) => {
        const base = layers.length - 1 - layer, top = Math.max(...shares);
        const steps = shares.flatMap((share, i) => [[edges[i], base + (0.85 * share) / top], [edges[i + 1], base + (0.85 * share) / top]]);
        found[`layer_${k}_${layer}`] = [[[edges[0], base], ...steps, [edges.at(-1), base]]];
      });
      const last = layers.at(-1), middle = last.map((_, i) => (edges[i] + edges[i + 1]) / 2);
      const center = dot(last, middle) / sum(last);
      return Math.sqrt(dot(last, middle.map((x) => (x - center) ** 2)) / sum(last));
    });
    const say = (name, k) => `${name}: ${percent(accuracy[k][look])} of the test images right, last layer's inputs spread by ${fixed(spread[k], 1)}`;
    found.answer = `Step ${steps[look].toLocaleString("en")}. ${names.map(say).join("; ")}.`;
    return found;
  },
};

// A line with a head of two strokes, unless it is too short for one.
function arrow([x, y], [u, v]) {
  const length = Math.hypot(u - x, v - y), size = Math.min(0.28, length / 2);
  if (length < 0.02) return [];
  const [a, b] = [(size * (u - x)) / length, (size * (v - y)) / length];
  return [[[x, y], [u, v]], [[u - a - b / 2, v - b + a / 2], [u, v], [u - a + b / 2, v - b - a / 2]]];
}

// What dragging a part to a point of its panel sets.
const drags = {
  hold_x: ([x, y]) => ({ angle: (Math.round((Math.atan2(y, x) * 180) / Math.PI) + 360) % 360 }),
  hold_g: ([x, y], { angle, g1, g2, g3 }, { plane }) => {
    const turn = (angle * Math.PI) / 180, level = mean([g1, g2, g3]);
    const at = [x - Math.sqrt(3) * Math.cos(turn), y - Math.sqrt(3) * Math.sin(turn)];
    return Object.fromEntries(range(3, (i) => [`g${i + 1}`, level + plane[0][i] * at[0] + plane[1][i] * at[1]]));
  },
};

function touch(root, name, data) {
  const inputs = [...root.querySelectorAll("input")];
  const settings = () => Object.fromEntries(inputs.map((i) => [i.name, i.type === "checkbox" ? i.checked : Number(i.value)]));
  const point = ([x, y]) => `${Number(x.toPrecision(4))},${Number(y.toPrecision(4))}`;
  const draw = () => {
    const found = frames[name](settings(), data);
    for (const part of root.querySelectorAll("[data-part]")) {
      const value = found[part.dataset.part];
      if (part.tagName === "path") part.setAttribute("d", value.map((line) => `M${line.map(point).join(" ")}`).join(""));
      else if (part.textContent !== value) part.textContent = value;
    }
    for (const input of inputs) if (input.name in found) input.setAttribute("aria-valuetext", found[input.name]);
  };
  for (const handle of root.querySelectorAll("path.hold")) {
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(handle.getScreenCTM().inverse());
      const moved = drags[handle.dataset.part]([at.x, at.y], settings(), data);
      for (const input of inputs) if (input.name in moved) input.value = moved[input.name];
      draw();
    });
  }
  for (const input of inputs) input.addEventListener("input", draw);
  // JupyterLab takes these keys for itself, at the document; the window comes before it.
  const first = (event) => {
    if (inputs.includes(event.target) && /^(Arrow|Page|Home|End| )/.test(event.key)) event.stopPropagation();
  };
  window.addEventListener("keydown", first, true);
  for (const controls of root.querySelectorAll(".controls, fieldset")) controls.hidden = controls.disabled = false;
  draw();
}
