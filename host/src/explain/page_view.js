// The page itself: pictures of every layer, and the panel that explains a cell.
const net = new Network(JSON.parse(document.getElementById("data").textContent));
const $ = id => document.getElementById(id);
const hasFloat = net.tensors.some(t => t.f || t.f8);
const choice = { side: hasFloat ? "both" : "int8", color: "viridis", range: "layer" };
const shown = [];
let selected = null;

const real = (tensor, q) => net.tensors[tensor].scale * (q - net.tensors[tensor].zero_point);
const labelOf = c => net.labels[c] ?? String(c);
const isFlat = tensor => net.tensors[tensor].shape[0] * net.tensors[tensor].shape[1] === 1;
const shapeText = tensor => net.tensors[tensor].shape.join(" × ");

/** Buttons of which one is pressed. */
function group(place, entries, current, choose) {
  const buttons = entries.map(([key, text]) => {
    const button = element("button", "", text);
    button.type = "button";
    button.setAttribute("aria-pressed", key === current);
    button.onclick = () => {
      buttons.forEach(b => b.setAttribute("aria-pressed", b === button));
      choose(key);
    };
    return button;
  });
  place.replaceChildren(...buttons);
}

function header() {
  $("title").textContent = `${net.model} on ${net.picture}`;
  document.title = `Inside ${net.model}: ${net.picture}`;
  const [h, w, c] = net.tensors[0].shape, layers = net.layers.length;
  $("lead").textContent = `The picture as the network sees it (${w} × ${h}, ${c === 1 ? "gray" : net.color}), what each of its ${layers} ` +
    `operators makes of it${hasFloat ? " in float and in int8" : " in int8"}, and the sum behind every value: choose any cell.`;
  const photo = $("photo-canvas"), image = new Image();
  image.onload = () => {
    photo.width = w; photo.height = h;
    photo.getContext("2d").drawImage(image, 0, 0);
  };
  image.src = "data:image/png;base64," + net.png;
  const [low, high] = [real(0, -128), real(0, 127)];
  $("photo-note").textContent = `A pixel becomes a number from ${show(low, 3)} to ${show(high, 3)}.`;
}

function guesses() {
  const order = net.scores.map((_, c) => c).sort((a, b) => net.scores[b] - net.scores[a]).slice(0, 5);
  const best = net.float_scores ? net.float_scores.indexOf(Math.max(...net.float_scores)) : order[0];
  if (!order.includes(best)) order.push(best);
  const percent = p => (100 * p).toFixed(1) + " %";
  const row = c => {
    const line = element("div", "guess"), bars = element("div", "bars"), numbers = element("div", "numbers");
    const sides = net.float_scores ? [["is-float", net.float_scores[c]], ["is-int8", net.scores[c]]] : [["is-int8", net.scores[c]]];
    for (const [side, p] of sides) {
      const bar = element("div", "bar " + side), fill = element("i");
      fill.style.width = 100 * p + "%";
      bar.append(fill);
      bars.append(bar);
      numbers.append(element("span", side, percent(p)));
    }
    const name = element("span", "name", labelOf(c));
    name.title = labelOf(c);
    line.append(name, bars, numbers);
    return line;
  };
  const legend = element("p", "legend");
  if (net.float_scores) legend.append(element("b", "is-float", "float"), " as trained, ");
  legend.append(element("b", "is-int8", "int8"), " as it runs on the chip, in steps of 1/256");
  $("guesses").replaceChildren(...order.map(row), legend);
}

function cams() {
  const place = $("cam-controls");
  if (!net.cams.length) {
    $("cam-canvas").hidden = true;
    return;
  }
  const title = element("h2", "", "What speaks for a class");
  const what = element("p", "quiet", "Grad-CAM: the bright parts of a layer's maps raise the score of the class.");
  const select = (text, entries, current) => {
    const field = element("label", "field", text), list = element("select");
    for (const [value, name] of entries) list.append(new Option(name, value, false, value === current));
    field.append(list);
    return [field, list];
  };
  const first = Math.max(0, net.cams.findIndex(cam => cam.layer === net.cam_layer));
  const [classField, classes] = select("class", net.cam_classes.map((c, i) => [i, labelOf(c)]), 0);
  const [layerField, layers] = select("at layer", net.cams.map((cam, i) => [i, `${cam.layer} (${cam.size.join(" × ")})`]), first);
  const opacityField = element("label", "field", "over the picture"), opacity = element("input");
  Object.assign(opacity, { type: "range", min: 0, max: 100, value: 60 });
  opacityField.append(opacity);
  const strength = element("p", "quiet");
  const draw = () => {
    const cam = net.cams[layers.value], [h, w] = cam.size;
    const map = net.array(cam.maps, Float32Array).subarray(h * w * classes.value, h * w * (+classes.value + 1));
    const largest = map.reduce((a, b) => Math.max(a, b), 0), small = element("canvas");
    paint(small, w, h, (x, y) => {
      const v = largest > 0 ? map[y * w + x] / largest : 0, at = 3 * Math.round(255 * v);
      return [RAMPS.inferno[at], RAMPS.inferno[at + 1], RAMPS.inferno[at + 2], 255];
    });
    const canvas = $("cam-canvas"), [height, width] = net.tensors[0].shape, scale = Math.max(1, Math.round(512 / Math.max(width, height)));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    canvas.style.opacity = opacity.value / 100;
    strength.textContent = largest > 0
      ? `The brightest cell counts ${show(largest, 3)} in the score.`
      : "No cell of this layer raises the score of this class.";
  };
  [classes, layers, opacity].forEach(control => control.oninput = draw);
  place.replaceChildren(title, what, classField, layerField, opacityField, strength);
  draw();
}

function tools() {
  const redraw = () => shown.forEach(section => section.drawn && section.draw());
  if (hasFloat) {
    const sides = [["both", "float | int8"], ["float", "float"], ["int8", "int8"], ["difference", "difference"]];
    group($("side-choice"), sides, choice.side, key => { choice.side = key; redraw(); });
  }
  group($("color-choice"), [["viridis", "viridis"], ["gray", "gray"]], choice.color, key => { choice.color = key; redraw(); });
  const ranges = [["layer", "one scale a layer"], ["map", "one a map"]];
  group($("range-choice"), ranges, choice.range, key => { choice.range = key; redraw(); });
}

/** What a layer does, in a few words. */
function says(layer) {
  const l = net.layers[layer], parts = [], size = l.kernel.join(" × ");
  const input = l.inputs.map(i => i === 0 ? "the picture" : net.tensors[i].name).join(" and ");
  if (l.weights) {
    const count = l.weights.taps * net.tensors[layer + 1].shape[2];
    parts.push(l.code === 4 ? `${whole(l.weights.taps)} inputs to each output` : `windows of ${size}`, `${whole(count)} weights`);
  } else if (l.code === 2 || l.code === 3 || l.code === 16) parts.push(`windows of ${size}`);
  if (l.stride[0] > 1 || l.stride[1] > 1) parts.push(`stride ${l.stride[0] === l.stride[1] ? l.stride[0] : l.stride.join(" × ")}`);
  if (l.dilation[0] > 1 || l.dilation[1] > 1) parts.push(`dilation ${l.dilation.join(" × ")}`);
  if (l.pads.some(p => p > 0) && l.code !== 11) parts.push(`padding ${[...new Set(l.pads)].length === 1 ? l.pads[0] : l.pads.join(", ")}`);
  if (l.activation) parts.push(l.activation);
  return `reads ${input}${parts.length ? ": " + parts.join(", ") : ""}`;
}

const differenceText = t => t.steps === null || t.steps === undefined ? "" :
  ` · float and int8 differ by ${show(t.steps, 2)} steps at most (${show(t.steps * t.scale, 2)}), ${show(t.mean_steps, 2)} on average`;

function buildLayers() {
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (entry.isIntersecting && !entry.target.drawn) {
        entry.target.drawn = true;
        entry.target.draw();
      }
    }
  }, { rootMargin: "900px" });
  for (let tensor = 0; tensor < net.tensors.length; tensor++) {
    const t = net.tensors[tensor], layer = tensor - 1, section = element("section", "layer");
    section.tensor = tensor;
    section.id = "layer-" + tensor;
    section.tab = "maps";
    const head = element("div", "head"), title = element("h2"), body = element("div", "body");
    title.append(element("span", "number", String(tensor)), tensor ? t.name : "input");
    const kind = tensor ? net.layers[layer].kind : "the picture, quantized";
    const kindText = kind === t.name ? "" : kind + " · ";
    head.append(title, element("span", "shape", `${kindText}${shapeText(tensor)} · one step is ${show(t.scale, 3)}, zero is ${show(t.zero_point)}`));
    if (layer >= 0 && net.layers[layer].weights) {
      const tabs = element("span", "tabs");
      group(tabs, [["maps", "outputs"], ["filters", net.layers[layer].code === 4 ? "weights" : "filters"]], "maps", key => {
        section.tab = key;
        section.all = false;
        section.draw();
      });
      head.append(tabs);
    }
    section.append(head, element("p", "says", (layer >= 0 ? says(layer) : "") + differenceText(t)), body);
    section.body = body;
    section.draw = () => section.tab === "maps" ? drawMaps(section) : drawFilters(section);
    shown.push(section);
    $("layers").append(section);
    seen.observe(section);
  }
}

/** Range of colours for a map of a tensor, or of all its maps. */
function rangeOf(tensor, map) {
  const t = net.tensors[tensor], q = net.int8(tensor), f = net.float(tensor);
  let low = Infinity, high = -Infinity;
  for (let at = map < 0 ? 0 : map, step = map < 0 ? 1 : t.maps; at < q.length; at += step) {
    const v = real(tensor, q[at]);
    low = Math.min(low, v); high = Math.max(high, v);
    if (f) { low = Math.min(low, f[at]); high = Math.max(high, f[at]); }
  }
  return [low, high];
}

/** The value of a cell on one side: float, int8 as a real number, or their distance in steps. */
function valueOf(tensor, side) {
  const t = net.tensors[tensor], q = net.int8(tensor), f = net.float(tensor);
  if (side === "float" && f) return at => f[at];
  if (side === "difference" && f) return at => Math.abs(f[at] / t.scale + t.zero_point - q[at]);
  return at => real(tensor, q[at]);
}

const sidesOf = tensor => !net.float(tensor) ? ["int8"] : choice.side === "both" ? ["float", "int8"] : [choice.side];

function drawMaps(section) {
  const tensor = section.tensor, t = net.tensors[tensor], [h, w, c] = t.shape;
  if (isFlat(tensor)) return drawFlat(section);
  const few = section.all ? t.maps : Math.min(t.maps, 64), maps = element("div", "maps"), size = tileSize(w, h);
  const layerRange = rangeOf(tensor, -1);
  for (let map = 0; map < few; map++) {
    const figure = element("figure", "map"), pair = element("div", "pair");
    figure.map = map;
    const [low, high] = choice.range === "layer" ? layerRange : rangeOf(tensor, map);
    for (const side of sidesOf(tensor)) {
      const box = tile(w, h, size, `${t.name}, channel ${map}, ${side}`), value = valueOf(tensor, side);
      const range = side === "difference" ? [0, Math.max(1, t.steps ?? 1)] : [low, high];
      paintMap(box.firstChild, w, h, (x, y) => value((y * w + x) * t.maps + map), ...range, side === "difference" ? "inferno" : choice.color);
      box.onclick = event => {
        const frame = box.firstChild.getBoundingClientRect(), at = (v, size, n) => Math.max(0, Math.min(n - 1, Math.floor(v / size * n)));
        choose(tensor, at(event.clientY - frame.top, frame.height, h), at(event.clientX - frame.left, frame.width, w), map);
      };
      pair.append(box);
    }
    const caption = element("figcaption"), steps = t.map_steps[map];
    const name = tensor === 0 && c === 3 ? net.color[map] : String(map);
    caption.append(element("span", "", name), element("span", "", steps === undefined ? "" : "± " + show(steps, 2)));
    caption.title = steps === undefined ? "" : `largest difference of float and int8: ${show(steps, 3)} steps`;
    figure.append(pair, caption);
    maps.append(figure);
  }
  section.body.replaceChildren(maps);
  more(section, few, t.maps, c, "maps");
  mark();
}

/** The button for the rest, and what is not on the page. */
function more(section, few, kept, all, what) {
  if (few < kept) {
    const button = element("button", "more", `show all ${kept} ${what}`);
    button.onclick = () => { section.all = true; section.draw(); };
    section.body.append(button);
  } else if (kept < all) section.body.append(element("p", "says more", `${kept} of ${all} ${what}: the others are not on this page`));
}

function drawFlat(section) {
  const tensor = section.tensor, t = net.tensors[tensor], n = t.maps, q = net.int8(tensor), f = net.float(tensor), box = element("div", "flat");
  const canvas = element("canvas"), labelled = n === net.labels.length && n <= 20, width = Math.max(1, Math.min(44, Math.floor(880 / n))), height = 96;
  const step = labelled ? Math.max(width, 44) : width, ratio = window.devicePixelRatio || 1, foot = labelled ? 18 : 0;
  canvas.width = step * n * ratio;
  canvas.height = (height + foot) * ratio;
  canvas.style.width = step * n + "px";
  canvas.style.height = height + foot + "px";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${t.name}: ${n} values`);
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), color = name => style.getPropertyValue(name);
  context.scale(ratio, ratio);
  let [low, high] = rangeOf(tensor, -1);
  low = Math.min(low, 0); high = Math.max(high, 0);
  const place = v => high > low ? (high - v) / (high - low) * (height - 4) + 2 : height - 2;
  const bar = (x, w, v, fill) => {
    context.fillStyle = fill;
    context.fillRect(x, Math.min(place(v), place(0)), w, Math.max(1, Math.abs(place(v) - place(0))));
  };
  const gap = step >= 6 ? Math.ceil(step / 8) : 0, inner = step - gap;
  for (let i = 0; i < n; i++) {
    if (selected && selected.tensor === tensor && selected.c === i) {
      context.fillStyle = color("--line");
      context.fillRect(step * i - gap / 2, 0, step, height + foot);
    }
    const both = f && choice.side !== "int8" && choice.side !== "float", first = both ? inner / 2 : inner;
    if (f && choice.side !== "int8") bar(step * i, first, f[i], color("--float"));
    if (!f || choice.side !== "float") bar(step * i + (both ? first : 0), first, real(tensor, q[i]), color("--int8"));
    if (labelled) {
      context.fillStyle = color("--quiet");
      context.font = "11px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText(labelOf(i).slice(0, 7), step * i + inner / 2, height + 13);
    }
  }
  context.fillStyle = color("--quiet");
  context.fillRect(0, place(0), step * n, 0.5);
  canvas.onclick = event => choose(tensor, 0, 0, Math.max(0, Math.min(n - 1, Math.floor((event.clientX - canvas.getBoundingClientRect().left) / step))));
  box.append(canvas);
  section.body.replaceChildren(box);
  more(section, n, n, t.shape[2], "values");
}

/** Weights of a layer's kept row as real numbers: float, or int8 relative to their own largest. */
function weightOf(layer, side) {
  const w = net.layers[layer].weights;
  if (side === "float" && w.f) {
    const f = net.array(w.f, Float32Array);
    return (row, tap) => f[row * w.taps + tap];
  }
  const q = net.array(w.q, Int8Array), m = net.array(w.multipliers, Int32Array), s = net.array(w.shifts, Int32Array);
  const l = net.layers[layer], scale = row => m[row] * 2 ** (s[row] - 31) * net.tensors[layer + 1].scale / net.tensors[l.inputs[0]].scale;
  return (row, tap) => (q[row * w.taps + tap] - w.zero_point) * scale(row);
}

function drawFilters(section) {
  const layer = section.tensor - 1, l = net.layers[layer], w = l.weights, outs = w.kept.length || net.tensors[section.tensor].shape[2];
  const kept = w.q.length ? outs : 0, all = net.tensors[section.tensor].shape[2], box = element("div", "filters"), [kh, kw] = l.kernel;
  const sides = !w.f ? ["int8"] : choice.side === "both" || choice.side === "difference" ? ["float", "int8"] : [choice.side];
  const channel = row => w.kept.length ? w.kept[row] : row;
  const few = section.all ? kept : Math.min(kept, 64);
  const colour = l.code === 1 && w.depth === 3 && l.inputs[0] === 0 && (net.color === "rgb" || net.color === "bgr");
  if (!kept) box.append(element("p", "says", "The weights of this layer are not on this page."));
  else if (colour || l.code === 7 || (l.code === 1 && w.depth === 1)) {
    const maps = element("div", "maps"), size = tileSize(kw, kh, 42);
    for (let row = 0; row < few; row++) {
      const figure = element("figure", "map"), pair = element("div", "pair");
      for (const side of sides) {
        const weight = weightOf(layer, side), canvas = tile(kw, kh, size, `filter ${channel(row)}, ${side}`);
        let largest = 1e-12;
        for (let tap = 0; tap < w.taps; tap++) largest = Math.max(largest, Math.abs(weight(row, tap)));
        const at = (x, y, c) => weight(row, (y * kw + x) * w.depth + c) / largest;
        paint(canvas.firstChild, kw, kh, (x, y) => colour
          ? (net.color === "rgb" ? [0, 1, 2] : [2, 1, 0]).map(c => 127.5 + 127.5 * at(x, y, c))
          : diverging(at(x, y, 0)));
        pair.append(canvas);
      }
      figure.append(pair, element("figcaption", "", String(channel(row))));
      maps.append(figure);
    }
    box.append(element("p", "says", colour
      ? "Each filter as a picture: gray is zero, a colour is where the filter wants it. Each filter has its own scale."
      : "Each filter: orange above zero, blue below, each on its own scale."), maps);
  } else {
    const ins = Math.min(w.depth, section.all ? 512 : 128), cells = l.code === 4 ? 1 : kh * kw, [fh, fw] = l.code === 4 ? [1, 1] : [kh, kw];
    const gap = cells > 1 ? 1 : 0, step = [fh + gap, fw + gap];
    for (const side of sides) {
      const weight = weightOf(layer, side), canvas = element("canvas"), norms = element("canvas");
      let largest = 1e-12, longest = 1e-12;
      const norm = (row, i) => {
        let sum = 0;
        for (let cell = 0; cell < cells; cell++) sum += weight(row, cell * w.depth + i) ** 2;
        return Math.sqrt(sum);
      };
      for (let row = 0; row < few; row++) for (let i = 0; i < ins; i++) {
        longest = Math.max(longest, norm(row, i));
        for (let cell = 0; cell < cells; cell++) largest = Math.max(largest, Math.abs(weight(row, cell * w.depth + i)));
      }
      paint(canvas, ins * step[1], few * step[0], (x, y) => {
        const [i, kx, row, ky] = [Math.floor(x / step[1]), x % step[1], Math.floor(y / step[0]), y % step[0]];
        return kx >= fw || ky >= fh ? [0, 0, 0, 0] : diverging(weight(row, (ky * kw + kx) * w.depth + i) / largest);
      });
      const zoom = Math.max(1, Math.min(cells > 1 ? 3 : 8, Math.floor(880 / canvas.width)));
      canvas.style.width = canvas.width * zoom + "px";
      const name = w.f && sides.length > 1 ? `, ${side}` : "";
      box.append(element("p", "says", `A row is an output channel (${few}), a column an input ${l.code === 4 ? "value" : "channel"} (${ins} of ${w.depth})` +
        `: orange above zero, blue below${name}.`), scrolling(canvas));
      if (cells > 1 && side === sides[0]) {
        paintMap(norms, ins, few, (x, y) => norm(y, x), 0, longest, choice.color);
        norms.style.width = ins * Math.max(1, Math.min(8, Math.floor(500 / ins))) + "px";
        box.append(element("p", "says", "The same as one number a pair, the length of its filter: which input channel an output listens to."), scrolling(norms));
      }
    }
  }
  section.body.replaceChildren(box);
  more(section, few, kept, all, "filters");
}

function scrolling(canvas) {
  const box = element("div", "scroll");
  canvas.style.maxWidth = "none";
  box.append(canvas);
  return box;
}

/** Chooses a cell and says so in the address. */
function choose(tensor, y, x, c) {
  const hash = "#" + [encodeURIComponent(tensor ? net.tensors[tensor].name : "input"), y, x, c].join(",");
  if (location.hash === hash) select(tensor, y, x, c);
  else location.hash = hash;
}

function select(tensor, y, x, c) {
  const before = selected;
  selected = { tensor, y, x, c };
  explain();
  for (const t of new Set([tensor, before?.tensor])) {
    if (t !== undefined && isFlat(t) && shown[t].drawn && shown[t].tab === "maps") shown[t].draw();
  }
  mark();
}

/** Shows where the chosen cell is, and what it sees of the picture. */
function mark() {
  document.querySelectorAll(".map.chosen").forEach(figure => figure.classList.remove("chosen"));
  document.querySelectorAll(".map .mark").forEach(node => node.remove());
  const box = $("photo-box");
  box.hidden = !selected;
  if (!selected) return;
  const { tensor, y, x, c } = selected, [h, w] = net.tensors[tensor].shape;
  for (const figure of shown[tensor].querySelectorAll("figure.map")) {
    if (figure.map !== c) continue;
    figure.classList.add("chosen");
    for (const holder of figure.querySelectorAll(".tile")) holder.append(frame([y, x, y + 1, x + 1], h, w));
  }
  const [height, width] = net.tensors[0].shape, part = seen(net, tensor, [y, x, y + 1, x + 1]);
  Object.assign(box.style, percent(part, height, width));
}

const percent = ([top, left, bottom, right], h, w) => ({
  top: 100 * top / h + "%", left: 100 * left / w + "%", height: 100 * (bottom - top) / h + "%", width: 100 * (right - left) / w + "%",
});

function frame(part, h, w) {
  const node = element("span", "mark");
  Object.assign(node.style, percent(part, h, w));
  return node;
}

function close() {
  selected = null;
  $("panel").hidden = true;
  document.body.classList.remove("open");
  history.replaceState(null, "", location.pathname + location.search);
  shown.filter(section => section.drawn && isFlat(section.tensor) && section.tab === "maps").forEach(section => section.draw());
  mark();
}

/** A table of steps: [what, small print, value, class]. */
function steps(rows) {
  const table = element("table", "steps");
  for (const [what, small, value, name] of rows) {
    const row = table.insertRow(), cell = row.insertCell();
    row.className = name || "";
    cell.append(what);
    if (small) cell.append(element("br"), element("small", "", small));
    row.insertCell().textContent = value;
  }
  return table;
}

function explain() {
  const { tensor, y, x, c } = selected, t = net.tensors[tensor], place = net.place(tensor, y, x, c), panel = $("panel");
  const shut = element("button", "close", "✕");
  shut.setAttribute("aria-label", "close");
  shut.onclick = close;
  const where = isFlat(tensor) ? `value ${c}` : `row ${y}, column ${x}, channel ${c}`;
  const title = element("h2", "", tensor ? t.name : "input"), sub = element("p", "quiet", where);
  if (isFlat(tensor) && t.shape[2] === net.labels.length) sub.textContent += `: ${labelOf(c)}`;
  const parts = [shut, title, sub, values(tensor, place)];
  if (tensor > 0) parts.push(...context(tensor, y, x, c), ...reasons(tensor - 1, y, x, c, net.int8(tensor)[place]));
  else parts.push(element("p", "quiet", "A pixel of the picture: normalized, then rounded to a step. It comes from a table of 256 entries in the model file."));
  const hint = element("p", "quiet", "Arrow keys move the cell, + and − change the channel.");
  hint.style.marginTop = "22px";
  parts.push(hint);
  panel.replaceChildren(...parts);
  panel.hidden = false;
  panel.scrollTop = 0;
  document.body.classList.add("open");
}

/** The value in int8 and in float. */
function values(tensor, place) {
  const t = net.tensors[tensor], q = net.int8(tensor)[place], f = net.float(tensor), box = element("div", "two");
  const cell = (name, big, small) => {
    const part = element("div");
    part.append(element("small", name, name === "is-float" ? "float" : "int8"), element("div", "big", big), element("small", "", small));
    return part;
  };
  if (f) box.append(cell("is-float", show(f[place]), t.f ? "as trained" : "to a byte: the exact one is not on this page"));
  const apart = f ? `, ${show(Math.abs(f[place] / t.scale + t.zero_point - q), 2)} steps away` : "";
  box.append(cell("is-int8", String(q).replace("-", "−"), `stands for ${show(real(tensor, q))}${apart}`));
  return box;
}

/** A small picture of the input with the window that the cell sees. */
function context(tensor, y, x, c) {
  const layer = tensor - 1, l = net.layers[layer], [height, width] = net.tensors[0].shape;
  const [top, left, bottom, right] = seen(net, tensor, [y, x, y + 1, x + 1]);
  const box = element("div", "context"), text = element("p", "quiet"), input = l.inputs[0], source = net.tensors[input];
  const covers = top === 0 && left === 0 && bottom === height && right === width;
  text.textContent = `Of the picture it sees ${covers ? "everything" : `rows ${top}–${bottom - 1} and columns ${left}–${right - 1}`}.`;
  if (!isFlat(input)) {
    const [h, w] = source.shape, size = tileSize(w, h, 104), part = windowOf(net, layer, input, y, x), value = valueOf(input, "int8");
    const channel = strongestInput(layer, y, x, c), holder = tile(w, h, size, "the input of this cell");
    paintMap(holder.firstChild, w, h, (i, j) => value((j * w + i) * source.maps + channel), ...rangeOf(input, channel), choice.color);
    const inner = [Math.max(0, part[0]), Math.max(0, part[1]), Math.min(h, part[2]), Math.min(w, part[3])];
    holder.append(frame(inner, h, w));
    box.append(holder);
    const name = input ? source.name : "the input";
    text.append(element("br"), `The window lies on ${name}, rows ${part[0]} to ${part[2] - 1}, columns ${part[1]} to ${part[3] - 1}`.replaceAll("-", "−") +
      `; shown is its channel ${channel}.`);
  }
  box.append(text);
  return [box];
}

/** The input channel whose products are largest. */
function strongestInput(layer, y, x, c) {
  const l = net.layers[layer], maps = net.tensors[l.inputs[0]].maps;
  const taps = l.weights && products(net, layer, y, x, c);
  if (!taps) return Math.min(l.code === 10 ? c : c, maps - 1);
  const sums = new Map();
  for (const tap of taps) sums.set(tap.c, (sums.get(tap.c) || 0) + Math.abs(tap.x8 * tap.w8));
  return [...sums].reduce((a, b) => b[1] > a[1] ? b : a)[0];
}

function verdict(byte, actual) {
  if (byte === null) return ["", "", "", ""];
  return byte === actual
    ? ["the byte", "the same that the runtime made", String(byte).replace("-", "−"), "total good"]
    : ["the byte", `the runtime made ${actual}`, String(byte).replace("-", "−"), "total bad"];
}

/** Why a cell is what it is, by the kind of its layer. */
function reasons(layer, y, x, c, actual) {
  const l = net.layers[layer], heading = text => element("h3", "", text);
  if (l.weights) {
    const sum = explainSum(net, layer, y, x, c);
    if (!sum) return [heading("The sum"), element("p", "quiet", "The inputs or weights of this cell are not on this page, to keep it small.")];
    return [heading("The sum"), sumTable(layer, sum, c), heading("From the sum to the byte"), byteTable(layer, sum, actual), ...window2(layer, sum)];
  }
  const out = net.tensors[layer + 1], byte = byteOf(net, layer, y, x, c), rows = [];
  const input = i => net.tensors[l.inputs[i]], value = i => {
    const place = net.place(l.inputs[i], ...(input(i).shape[0] * input(i).shape[1] === 1 ? [0, 0] : [y, x]), c);
    return place < 0 ? null : net.int8(l.inputs[i])[place];
  };
  const minus = v => String(v).replace("-", "−");
  if ([2, 3, 12, 14, 15, 16].includes(l.code)) {
    const list = pooled(net, layer, y, x, c), mean = l.code === 3 || l.code === 12 || l.code === 14;
    if (!list.length) return [element("p", "quiet", "The inputs of this cell are not on this page.")];
    const total = list.reduce((a, v) => a + v.q, 0);
    if (mean) {
      rows.push(["sum of the window", `${list.length} values`, whole(total)]);
      if (l.code === 12) rows.push(["less the zero points, times the factor", `it holds both scales and 1/${list.length}: ${whole(l.multipliers[0])} × 2^(${l.shifts[0]} − 31)`,
        whole(byte - out.zero_point)], ["+ zero point", "", signed(out.zero_point)]);
      else rows.push(["÷ " + list.length, "rounded, ties " + (l.ties_up ? "up" : "away from zero"), minus(byte)]);
    } else rows.push([l.code === 16 ? "the smallest of the window" : "the largest of the window", `${list.length} values`, minus(byte)]);
    rows.push(verdict(byte, actual));
    const small = list.length <= 49 ? [heading("The window, int8"), valueGrid(list)] : [];
    return [heading("The rule"), steps(rows), ...small];
  }
  if (l.code === 8 || l.code === 9) {
    const [a, b] = [value(0), value(1)];
    if (a === null || b === null) return [element("p", "quiet", "The inputs of this cell are not on this page.")];
    for (const i of [0, 1]) {
      rows.push([input(i).name || "the picture", `${minus(value(i))} less its zero point ${minus(input(i).zero_point)}; stands for ${show(real(l.inputs[i], value(i)))}`,
        signed(value(i) - input(i).zero_point)]);
    }
    if (l.code === 8) {
      const parts = [0, 1].map(i => requantize((value(i) - input(i).zero_point) * 1048576, l.multipliers[i], l.shifts[i]).scaled);
      rows.push(["both at one scale", "20 more bits, times a factor each", `${whole(parts[0])} ${signed(parts[1])}`],
        ["their sum at the output's scale", "rounded twice", whole(requantize(parts[0] + parts[1], l.multipliers[2], l.shifts[2]).scaled)]);
    } else {
      const product = (a - input(0).zero_point) * (b - input(1).zero_point);
      rows.push(["their product", "", whole(product)], ["at the output's scale", "rounded twice", whole(requantize(product, l.multipliers[0], l.shifts[0]).scaled)]);
    }
    rows.push(["+ zero point", "", signed(out.zero_point)], [`clamp to ${minus(l.clamp[0])} … ${minus(l.clamp[1])}`, l.activation || "", ""], verdict(byte, actual));
    return [heading("The rule"), steps(rows)];
  }
  if (l.code === 13) {
    const v = value(0);
    rows.push(["the input", `stands for ${show(real(l.inputs[0], v))}`, minus(v)], ["its entry in a table of 256", l.activation || "", minus(byte)], verdict(byte, actual));
    return [heading("The rule"), steps(rows)];
  }
  if (l.code === 6) {
    const n = out.shape[2], list = [];
    for (let i = 0; i < n; i++) list.push(real(l.inputs[0], net.int8(l.inputs[0])[net.place(l.inputs[0], y, x, i)]));
    const most = Math.max(...list), total = list.reduce((a, v) => a + Math.exp(v - most), 0), p = Math.exp(list[c] - most) / total;
    rows.push(["its logit", "as a real number", show(list[c])], ["exp(logit − largest)", `largest ${show(most)}`, show(Math.exp(list[c] - most))],
      ["÷ the sum of all", show(total), show(p)], ["in steps of 1/256 from −128", "the chip does this in fixed point", minus(Math.min(127, Math.round(p * 256) - 128))],
      ["the byte", "as the runtime made it", minus(actual), "total"]);
    return [heading("The rule"), steps(rows)];
  }
  const moved = { 5: "The same value under another shape.", 10: "The value of one of the inputs, side by side along the channels.", 11: "The value below, or zero in the border." };
  rows.push(verdict(byte, actual));
  return [element("p", "quiet", moved[l.code] || ""), byte === null ? "" : steps(rows)];
}

function sumTable(layer, sum, c) {
  const l = net.layers[layer], table = element("table", "list"), rows = [];
  const f = sum.float, n = whole(sum.taps.length);
  const head = table.insertRow();
  for (const text of f ? ["", "float", "int8"] : ["", "int8"]) head.append(element("th", "", text));
  const int8Scale = sum.multiplier * 2 ** (sum.shift - 31) * net.tensors[layer + 1].scale;
  rows.push([`${n} products of input and weight`, f && show(f.sum), whole(sum.sum)]);
  rows.push([`bias of channel ${c}`, f && show(f.bias), signed(sum.bias)]);
  rows.push(["sum", f && show(f.total), whole(sum.accumulator)]);
  rows.push(["as a real number", f && show(f.total), show(sum.accumulator * int8Scale)]);
  if (f) rows.push([l.activation ? `after ${l.activation}` : "output", show(f.activated), show(real(layer + 1, sum.byte))]);
  for (const [what, float, int8] of rows) {
    const row = table.insertRow();
    row.insertCell().textContent = what;
    if (f) row.insertCell().textContent = float;
    row.insertCell().textContent = int8;
  }
  return table;
}

function byteTable(layer, sum, actual) {
  const l = net.layers[layer], out = net.tensors[layer + 1], rows = [["accumulator", "products and bias, in 32 bits", whole(sum.accumulator)]];
  const real = sum.multiplier * 2 ** (sum.shift - 31), factor = `the factor ${show(real)} of the scales`;
  if (sum.high === null) rows.push([`× ${whole(sum.multiplier)} ÷ 2^${31 - sum.shift}`, `${factor}, rounded once`, whole(sum.scaled)]);
  else {
    const left = sum.shift > 0 ? `shifted left by ${sum.shift} first, ` : "";
    rows.push([`× ${whole(sum.multiplier)} ÷ 2^31`, `${left}rounded: the upper half of the doubled product`, whole(sum.high)]);
    rows.push([sum.shift < 0 ? `÷ 2^${-sum.shift}` : "no shift to the right", sum.shift < 0 ? `rounded, ties away from zero; both make ${factor}` : factor, whole(sum.scaled)]);
  }
  rows.push(["+ zero point of the output", "", signed(out.zero_point)], ["", "", whole(sum.shifted)]);
  rows.push([`clamp to ${l.clamp[0]} … ${l.clamp[1]}`.replaceAll("-", "−"), l.activation ? `${l.activation}, as bytes` : "what a byte holds", whole(sum.byte)], verdict(sum.byte, actual));
  return steps(rows.filter(row => row[0] || row[2]));
}

/** The window: a grid for each input channel, or a list where a cell has one weight a channel. */
function window2(layer, sum) {
  const l = net.layers[layer], grids = l.code !== 4 && l.kernel[0] * l.kernel[1] > 1 && l.kernel[0] <= 7 && l.kernel[1] <= 7;
  const parts = [element("h3", "", "What went into it")], place = element("div");
  let side = "int8", all = false;
  const draw = () => place.replaceChildren(grids ? channelGrids(l, sum, side, all) : tapList(l, sum, side, all), ...rest());
  const count = grids ? new Set(sum.taps.map(tap => tap.c)).size : sum.taps.length, few = grids ? 6 : 20;
  const rest = () => {
    if (all || count <= few) return [];
    const button = element("button", "more", `show all ${whole(count)}`);
    button.onclick = () => { all = true; draw(); };
    return [button];
  };
  if (sum.float) {
    const sides = element("span", "group");
    group(sides, [["int8", "int8"], ["float", "float"]], side, key => { side = key; draw(); });
    parts.push(sides);
  }
  if (l.code === 4 && !isFlat(l.inputs[0])) parts.push(...where(layer, sum));
  draw();
  return [...parts, place];
}

const product = (tap, side) => side === "int8" ? tap.x8 * tap.w8 : tap.xf * tap.wf;

function channelGrids(l, sum, side, all) {
  const [kh, kw] = l.kernel, channels = new Map(), box = element("div"), text = v => side === "int8" ? String(v).replace("-", "−") : show(v, 2);
  for (const tap of sum.taps) channels.set(tap.c, [...channels.get(tap.c) || [], tap]);
  const weight = taps => taps.reduce((a, tap) => a + product(tap, side), 0);
  const order = [...channels].map(([c, taps]) => ({ c, taps, sum: weight(taps), size: taps.reduce((a, t) => a + Math.abs(product(t, side)), 0) }))
    .sort((a, b) => b.size - a.size);
  const most = f => sum.taps.reduce((a, tap) => Math.max(a, Math.abs(f(tap))), 1e-12);
  const columns = side === "int8"
    ? [[t => t.x8, most(t => t.x8)], [t => t.w8, most(t => t.w8)], [t => t.x8 * t.w8, most(t => t.x8 * t.w8)]]
    : [[t => t.xf, most(t => t.xf)], [t => t.wf, most(t => t.wf)], [t => t.xf * t.wf, most(t => t.xf * t.wf)]];
  for (const { c, taps, sum: part } of all ? order : order.slice(0, 6)) {
    const one = element("div", "channel"), cap = element("div", "cap"), grids = element("div", "grids");
    cap.append(element("span", "", `input channel ${c}`), element("span", "", "adds " + (side === "int8" ? signed(part) : show(part))));
    columns.forEach(([value, largest], i) => {
      if (i) grids.append(element("span", "op", i === 1 ? "×" : "="));
      const table = element("table", "grid");
      for (let ky = 0; ky < kh; ky++) {
        const row = table.insertRow();
        for (let kx = 0; kx < kw; kx++) {
          const tap = taps[ky * kw + kx], cell = row.insertCell(), v = value(tap);
          if (!tap.inside && i !== 1) { cell.className = "outside"; cell.title = "outside the picture"; }
          else cell.style.background = tint(v / largest);
          cell.textContent = text(v);
        }
      }
      grids.append(table);
    });
    one.append(cap, grids);
    box.append(one);
  }
  if (side === "int8") box.prepend(element("p", "quiet", "Input less its zero point, weight, product; the strongest input channels first."));
  else box.prepend(element("p", "quiet", "Input, weight, product; the strongest input channels first."));
  return box;
}

function tint(v) {
  const name = v < 0 ? "--minus" : "--plus";
  return `rgba(var(${name}), ${(0.65 * Math.min(1, Math.abs(v)) ** 0.8).toFixed(3)})`;
}

function tapList(l, sum, side, all) {
  const table = element("table", "list"), head = table.insertRow(), input = l.inputs[0], flat = isFlat(input);
  for (const text of [flat ? "input" : "row, column, channel", side === "int8" ? "value − zero" : "value", "weight", "product"]) head.append(element("th", "", text));
  const order = [...sum.taps].sort((a, b) => Math.abs(product(b, side)) - Math.abs(product(a, side))), few = all ? order : order.slice(0, 20);
  const text = v => side === "int8" ? whole(v) : show(v, 3);
  for (const tap of few) {
    const row = table.insertRow();
    row.insertCell().textContent = flat ? tap.c : `${tap.y}, ${tap.x}, ${tap.c}`.replaceAll("-", "−");
    row.insertCell().textContent = text(side === "int8" ? tap.x8 : tap.xf);
    row.insertCell().textContent = text(side === "int8" ? tap.w8 : tap.wf);
    const cell = row.insertCell();
    cell.textContent = text(product(tap, side));
    cell.style.background = tint(product(tap, side) / (Math.abs(product(order[0], side)) || 1));
  }
  if (few.length < order.length) {
    const rest = order.slice(few.length).reduce((a, tap) => a + product(tap, side), 0), row = table.insertRow();
    row.insertCell().textContent = `the other ${whole(order.length - few.length)}`;
    row.insertCell(); row.insertCell();
    row.insertCell().textContent = text(rest);
  }
  return table;
}

/** Of a dense layer over a picture: where on it the products lie that count. */
function where(layer, sum) {
  const input = net.layers[layer].inputs[0], [h, w] = net.tensors[input].shape, totals = new Float64Array(h * w);
  for (const tap of sum.taps) totals[tap.y * w + tap.x] += tap.x8 * tap.w8;
  const largest = totals.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-12), holder = tile(w, h, tileSize(w, h, 120), "where the products lie");
  paint(holder.firstChild, w, h, (x, y) => diverging(totals[y * w + x] / largest));
  const box = element("div", "context"), text = element("p", "quiet", "Where on the map they lie, all channels together: orange adds, blue takes away.");
  box.append(holder, text);
  return [box];
}

function valueGrid(list) {
  const table = element("table", "grid"), rows = new Map();
  for (const v of list) rows.set(v.y, [...rows.get(v.y) || [], v]);
  const most = Math.max(...list.map(v => Math.abs(v.q)), 1);
  for (const [, values] of rows) {
    const row = table.insertRow();
    for (const v of values) {
      const cell = row.insertCell();
      cell.textContent = String(v.q).replace("-", "−");
      cell.style.background = tint(v.q / most);
    }
  }
  return table;
}

/** The address names a cell, as in #conv2d,3,5,7: layer, row, column, channel. */
function fromAddress(scroll) {
  const parts = location.hash.slice(1).split(","), numbers = parts.slice(-3).map(Number);
  if (location.hash === "#verify") return showVerified();
  if (parts.length < 4 || numbers.some(n => !Number.isInteger(n))) return;
  const name = decodeURIComponent(parts.slice(0, -3).join(",")), tensor = name === "input" ? 0 : net.tensors.findIndex((t, i) => i && t.name === name);
  if (tensor < 0 || net.place(tensor, ...numbers) < 0) return;
  if (scroll) shown[tensor].scrollIntoView();
  select(tensor, ...numbers);
}

/** Holds every cell of the page to its rule, here in the browser. */
function showVerified() {
  const list = verify(net), sum = key => list.reduce((a, entry) => a + entry[key], 0);
  const text = `${whole(sum("checked"))} cells computed again: ${whole(sum("wrong"))} differ from the runtime's; ${whole(sum("skipped"))} have no sum on this page.`;
  const line = element("p", sum("wrong") ? "bad" : "good", text);
  line.id = "verified";
  $("footer").prepend(line);
}

function footer() {
  const place = $("footer");
  for (const note of net.notes) place.append(element("p", "", note));
  const button = element("button", "", "compute every cell again");
  button.onclick = () => { button.remove(); showVerified(); };
  place.append(element("p", "", "Real value = scale × (byte − zero point). int8 is TensorFlow Lite's scheme, as the runtime on the chip computes it."), button);
}

addEventListener("hashchange", () => fromAddress(false));
addEventListener("keydown", event => {
  const moves = { ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0], ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], "+": [0, 0, 1], "-": [0, 0, -1] };
  if (!selected || event.target.matches("select, input")) return;
  if (event.key === "Escape") return close();
  const move = moves[event.key], { tensor, y, x, c } = selected;
  if (!move) return;
  const flat = isFlat(tensor), next = flat ? [0, 0, c + move[1] + move[2]] : [y + move[0], x + move[1], c + move[2]];
  if (net.place(tensor, ...next) >= 0 && next[2] >= 0) choose(tensor, ...next);
  event.preventDefault();
});

header();
guesses();
cams();
tools();
buildLayers();
footer();
fromAddress(true);
