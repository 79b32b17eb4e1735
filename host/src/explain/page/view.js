// The page itself: its head, what is chosen, and the address.

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
  const shownGuesses = order.filter((c, i) => i < 2 || net.scores[c] > 0 || (net.float_scores && net.float_scores[c] > 0.0005));
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
  $("guesses").replaceChildren(...shownGuesses.map(row), legend);
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
  Object.assign(opacity, { type: "range", min: 0, max: 100, value: 65 });
  opacityField.append(opacity);
  const strength = element("p", "quiet");
  const draw = () => {
    const cam = net.cams[layers.value], [h, w] = cam.size;
    const map = net.array(cam.maps, Float32Array).subarray(h * w * classes.value, h * w * (+classes.value + 1));
    const largest = map.reduce((a, b) => Math.max(a, b), 0), small = element("canvas");
    paint(small, w, h, (x, y) => {
      const v = largest > 0 ? map[y * w + x] / largest : 0, at = 3 * Math.round(255 * v);
      return [RAMPS.inferno[at], RAMPS.inferno[at + 1], RAMPS.inferno[at + 2], 60 + 195 * Math.sqrt(v)];
    });
    const canvas = $("cam-canvas"), [height, width] = net.tensors[0].shape, scale = Math.max(1, Math.round(512 / Math.max(width, height)));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    canvas.style.opacity = opacity.value / 100;
    strength.textContent = largest > 0
      ? `The brightest cell is ${show(largest, 3)}: its maps' values times their mean gradients. Each class has its own scale.`
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
  if (hasFloat) $("tools").append(element("span", "legend", "± is the largest difference of float and int8 in steps"));
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

/** The address names a cell, as in #conv2d,3,5,7: layer, row, column, channel. */
function fromAddress(scroll) {
  const parts = location.hash.slice(1).split(","), numbers = parts.slice(-3).map(Number);
  if (location.hash === "#verify") return showVerified();
  if (parts.length < 4 || numbers.some(n => !Number.isInteger(n))) return;
  const name = decodeURIComponent(parts.slice(0, -3).join(",")), tensor = name === "input" ? 0 : net.tensors.findIndex((t, i) => i && t.name === name);
  if (tensor < 0 || net.place(tensor, ...numbers) < 0) return;
  if (scroll) {
    // what lies above must have its height before
    for (const section of shown.slice(0, tensor + 1)) {
      if (!section.drawn) {
        section.drawn = true;
        section.draw();
      }
    }
    shown[tensor].scrollIntoView();
  }
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
