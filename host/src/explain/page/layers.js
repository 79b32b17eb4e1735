// The pictures of every layer: feature maps, filters, flat outputs.

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

/** A distance in steps; float32's own noise counts for nothing. */
const stepsText = steps => steps < 0.005 ? "0" : show(steps, 2);
const minus = v => String(v).replaceAll("-", "−");

const differenceText = t => t.steps === null || t.steps === undefined ? "" :
  `float and int8 differ by ${stepsText(t.steps)} steps at most` +
  (t.steps < 0.005 ? "" : ` (${show(t.steps * t.scale, 2)}), ${stepsText(t.mean_steps)} on average`);

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
    head.append(title, element("span", "shape", `${kindText}${shapeText(tensor)} · one step is ${show(t.scale, 3)}, zero is ${minus(t.zero_point)}`));
    if (layer >= 0 && net.layers[layer].weights) {
      const tabs = element("span", "tabs");
      group(tabs, [["maps", "outputs"], ["filters", net.layers[layer].code === 4 ? "weights" : "filters"]], "maps", key => {
        section.tab = key;
        section.all = false;
        section.draw();
      });
      head.append(tabs);
    }
    section.append(head, element("p", "says", [layer >= 0 ? says(layer) : "", differenceText(t)].filter(text => text).join(" · ")), body);
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
    caption.append(element("span", "", name), element("span", "", steps === undefined ? "" : "± " + stepsText(steps)));
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
    const ins = Math.min(w.depth, section.all ? 512 : 128), cells = l.code === 4 ? 1 : kh * kw, matrices = element("div", "matrices");
    for (const side of sides) {
      matrices.append(weightMatrix(layer, side, few, ins));
      if (cells > 1 && side === sides[sides.length - 1]) matrices.append(normMatrix(layer, side, few, ins));
    }
    const columns = ins < w.depth ? `${ins} of ${w.depth}` : ins;
    box.append(element("p", "says", `A row is an output channel (${few}), a column an input ${l.code === 4 ? "value" : "channel"} (${columns}): ` +
      `orange is above zero, blue below.`), matrices);
  }
  section.body.replaceChildren(box);
  more(section, few, kept, all, "filters");
}

/** Every kernel of a layer, an output channel a row. */
function weightMatrix(layer, side, rows, ins) {
  const l = net.layers[layer], { depth } = l.weights, weight = weightOf(layer, side), [kh, kw] = l.code === 4 ? [1, 1] : l.kernel;
  const gap = kh * kw > 1 ? 1 : 0, step = [kh + gap, kw + gap], canvas = element("canvas");
  let largest = 1e-12;
  for (let row = 0; row < rows; row++) for (let i = 0; i < ins; i++) {
    for (let cell = 0; cell < kh * kw; cell++) largest = Math.max(largest, Math.abs(weight(row, cell * depth + i)));
  }
  paint(canvas, ins * step[1], rows * step[0], (x, y) => {
    const [i, kx, row, ky] = [Math.floor(x / step[1]), x % step[1], Math.floor(y / step[0]), y % step[0]];
    return kx >= kw || ky >= kh ? [0, 0, 0, 0] : diverging(weight(row, (ky * kw + kx) * depth + i) / largest);
  });
  return matrix(canvas, `${side}, largest ${show(largest, 3)}`, kh * kw > 1 ? 3 : 10);
}

/** The length of every kernel. */
function normMatrix(layer, side, rows, ins) {
  const l = net.layers[layer], { depth } = l.weights, weight = weightOf(layer, side), canvas = element("canvas");
  const norms = [];
  for (let row = 0; row < rows; row++) for (let i = 0; i < ins; i++) {
    let sum = 0;
    for (let cell = 0; cell < l.kernel[0] * l.kernel[1]; cell++) sum += weight(row, cell * depth + i) ** 2;
    norms.push(Math.sqrt(sum));
  }
  paintMap(canvas, ins, rows, (x, y) => norms[y * ins + x], 0, norms.reduce((a, b) => Math.max(a, b), 0), choice.color);
  return matrix(canvas, "the length of each: which input an output listens to", 10);
}

function matrix(canvas, caption, most) {
  const figure = element("figure", "matrix"), box = element("div", "scroll");
  canvas.style.width = canvas.width * Math.max(1, Math.min(most, Math.floor(380 / canvas.width))) + "px";
  box.append(canvas);
  figure.append(element("figcaption", "says", caption), box);
  return figure;
}
