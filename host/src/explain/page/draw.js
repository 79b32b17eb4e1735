// Colours and canvases.
const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
const INFERNO = ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"];
const GRAY = ["000000", "ffffff"];

/** 256 colours between stops, as [r, g, b] in a row. */
function ramp(stops) {
  const colors = stops.map(s => [0, 2, 4].map(i => parseInt(s.slice(i, i + 2), 16))), table = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (colors.length - 1), k = Math.min(Math.floor(at), colors.length - 2), t = at - k;
    for (let j = 0; j < 3; j++) table[3 * i + j] = colors[k][j] + (colors[k + 1][j] - colors[k][j]) * t;
  }
  return table;
}
const RAMPS = { viridis: ramp(VIRIDIS), gray: ramp(GRAY), inferno: ramp(INFERNO) };

/** Paints w x h colours, `color(x, y)` giving [r, g, b] or [r, g, b, a]. */
function paint(canvas, w, h, color) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d"), picture = context.createImageData(w, h);
  for (let y = 0, i = 0; y < h; y++) for (let x = 0; x < w; x++, i += 4) {
    const [r, g, b, a = 255] = color(x, y);
    picture.data.set([r, g, b, a], i);
  }
  context.putImageData(picture, 0, 0);
}

/** Paints values by a ramp from low to high. */
function paintMap(canvas, w, h, value, low, high, name) {
  const table = RAMPS[name], scale = high > low ? 255 / (high - low) : 0;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d"), picture = context.createImageData(w, h), data = picture.data;
  for (let y = 0, i = 0; y < h; y++) for (let x = 0; x < w; x++, i += 4) {
    const at = 3 * Math.max(0, Math.min(255, Math.round((value(x, y) - low) * scale)));
    data[i] = table[at]; data[i + 1] = table[at + 1]; data[i + 2] = table[at + 2]; data[i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Blue below zero, white at it, orange above; `v` from -1 to 1. */
function diverging(v) {
  const t = Math.max(-1, Math.min(1, v)), to = t < 0 ? [37, 99, 168] : [194, 80, 20], a = Math.abs(t) ** 0.8;
  return to.map(c => 247 + (c - 247) * a);
}

/** How large a map of w x h cells is shown, in CSS pixels. */
function tileSize(w, h, target = 78) {
  const side = Math.max(w, h);
  if (side > target) return { width: Math.round(w * 96 / side), height: Math.max(1, Math.round(h * 96 / side)), smooth: true };
  const factor = Math.max(1, Math.floor(target / side));
  return { width: w * factor, height: h * factor, smooth: false };
}

/** A canvas in a box of that size. */
function tile(w, h, size, label) {
  const box = element("div", "tile"), canvas = element("canvas");
  Object.assign(canvas.style, { width: size.width + "px", height: size.height + "px" });
  if (size.smooth) canvas.style.imageRendering = "auto";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  box.append(canvas);
  return box;
}

/** An element with a class and text. */
function element(tag, className = "", text = null) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== null) made.textContent = text;
  return made;
}

/** A number for people: four digits that mean something, a true minus. */
function show(v, digits = 4) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (v === 0) return "0";
  const size = Math.abs(v);
  const text = size >= 1e5 || size < 1e-4 ? v.toExponential(2) : size >= 1000 ? v.toFixed(0) : v.toPrecision(digits);
  return text.replace("-", "−");
}

/** A whole number with thin gaps between thousands. */
const whole = v => String(v).replace(/\B(?=(\d{3})+$)/g, "\u2009").replace("-", "−");
/** A whole number, its sign always shown. */
const signed = v => (v < 0 ? "−" : "+") + whole(Math.abs(v));
