// The panel that explains a cell.

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
  if (isFlat(tensor) && t.shape[2] === net.labels.length) sub.textContent += `, the class “${labelOf(c)}”`;
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
  const apart = f ? `, ${stepsText(Math.abs(f[place] / t.scale + t.zero_point - q))} steps away` : "";
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
      rows.push(["the first at the common scale", "with 20 more bits, times a factor", whole(parts[0])], ["the second", "the same, with a factor of its own", whole(parts[1])],
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

/** How the chip comes to the same accumulator from bytes as they are. */
function accumulatorText(layer, sum) {
  const l = net.layers[layer], zero = net.tensors[l.inputs[0]].zero_point, weights = sum.taps.reduce((a, tap) => a + tap.w8, 0);
  if (zero === 0) return "products and bias, in 32 bits";
  return `products and bias, in 32 bits; in the model file the bias is ${whole(sum.bias - zero * weights)}, which holds the input's zero point ` +
    `of ${minus(zero)} times the weights' sum already, and the bytes are multiplied as they are`;
}

function byteTable(layer, sum, actual) {
  const l = net.layers[layer], out = net.tensors[layer + 1], rows = [["accumulator", accumulatorText(layer, sum), whole(sum.accumulator)]];
  const real = sum.multiplier * 2 ** (sum.shift - 31), factor = `the factor ${show(real)} of the scales`;
  if (sum.high === null) rows.push([`× ${whole(sum.multiplier)} ÷ 2^${31 - sum.shift}`, `${factor}, rounded once`, whole(sum.scaled)]);
  else {
    const left = sum.shift > 0 ? `shifted left by ${sum.shift} first, ` : "";
    rows.push([`× ${whole(sum.multiplier)} ÷ 2^31`, `${left}rounded: the upper half of the doubled product`, whole(sum.high)]);
    rows.push([sum.shift < 0 ? `÷ 2^${-sum.shift}` : "no shift to the right", sum.shift < 0 ? `rounded, ties away from zero; both make ${factor}` : factor, whole(sum.scaled)]);
  }
  rows.push(["+ zero point of the output", "", signed(out.zero_point)], ["makes", "", whole(sum.shifted)]);
  rows.push([`clamp to ${l.clamp[0]} … ${l.clamp[1]}`.replaceAll("-", "−"), l.activation ? `${l.activation}, as bytes` : "what a byte holds", whole(sum.byte)], verdict(sum.byte, actual));
  return steps(rows);
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
  const zero = minus(net.tensors[l.inputs[0]].zero_point), weightZero = l.weights.zero_point ? ` less its zero point (${minus(l.weights.zero_point)})` : "";
  if (side === "int8") box.prepend(element("p", "quiet", `Input less its zero point (${zero}), weight${weightZero}, product; the strongest input channels first.`));
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
