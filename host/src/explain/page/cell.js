// The data of the page and the arithmetic of a cell. No document is needed here: tests run this part alone.
"use strict";

/** A page's data with its arrays unpacked when they are first asked for. */
class Network {
  constructor(data) {
    Object.assign(this, data);
    this.unpacked = new Map();
  }

  array(base64, Type) {
    let array = this.unpacked.get(base64);
    if (!array) {
      const text = atob(base64), bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      array = new Type(bytes.buffer);
      this.unpacked.set(base64, array);
    }
    return array;
  }

  /** int8 values of a tensor, [h, w, maps]. */
  int8(tensor) {
    return this.array(this.tensors[tensor].q, Int8Array);
  }

  /** Float values of a tensor, [h, w, maps], or null; of a tensor that is not whole only as good as a byte. */
  float(tensor) {
    const t = this.tensors[tensor];
    if (t.f) return this.array(t.f, Float32Array);
    if (!t.f8) return null;
    const key = "float of " + t.f8;
    if (!this.unpacked.has(key)) {
      const scale = (t.high - t.low) / 255;
      this.unpacked.set(key, Float32Array.from(this.array(t.f8, Uint8Array), v => t.low + v * scale));
    }
    return this.unpacked.get(key);
  }

  /** Place of a cell in a tensor's arrays; -1 outside the picture or where its map was left out. */
  place(tensor, y, x, c) {
    const { shape: [h, w], maps } = this.tensors[tensor];
    return y >= 0 && y < h && x >= 0 && x < w && c < maps ? (y * w + x) * maps + c : -1;
  }

  /** Which row of a layer's kept weights belongs to an output channel; -1 where it was left out. */
  row(layer, channel) {
    const weights = this.layers[layer].weights;
    return weights.kept.length ? weights.kept.indexOf(channel) : channel;
  }
}

/** round(a * b / 2^31) of int32 values, ties away from zero for positive products and towards it for negative ones. */
function highMul(a, b) {
  if (a === -2147483648 && b === -2147483648) return 2147483647;
  const product = BigInt(a) * BigInt(b);
  const nudge = product >= 0n ? 1n << 30n : 1n - (1n << 30n);
  return Number((product + nudge) / (1n << 31n)); // BigInt division drops the remainder, as it must
}

/** round(value / 2^bits), ties away from zero. */
function divideByPower(value, bits) {
  const rounded = Math.floor(Math.abs(value) / 2 ** bits + (bits > 0 ? 0.5 : 0));
  return value < 0 ? -rounded : rounded;
}

/** value * multiplier * 2^(shift - 31), rounded after the multiplication and after the shift; both results. */
function requantize(value, multiplier, shift) {
  const high = highMul(shift > 0 ? (value << shift) | 0 : value, multiplier);
  return { high, scaled: divideByPower(high, shift > 0 ? 0 : -shift) };
}

/** The same rounded once, half away from zero, saturated. */
function roundOnce(value, multiplier, shift) {
  const product = BigInt(value) * BigInt(multiplier), right = BigInt(31 - shift), half = 1n << (right - 1n);
  const rounded = product >= 0n ? (product + half) >> right : -((half - product) >> right);
  return Number(rounded > 2147483647n ? 2147483647n : rounded < -2147483648n ? -2147483648n : rounded);
}

const clampTo = (value, [low, high]) => Math.min(Math.max(value, low), high);

/** The part of a layer's input that output cell (y, x) sees, as [top, left, bottom, right], the last two not in it. */
function windowOf(net, layer, input, y, x) {
  const l = net.layers[layer], [h, w] = net.tensors[input].shape, code = l.code;
  if (code === 4 || code === 12 || code === 14 || code === 15) return [0, 0, h, w]; // dense, mean, global pools
  if (code === 1 || code === 2 || code === 3 || code === 7 || code === 16) {
    const top = y * l.stride[0] - l.pads[0], left = x * l.stride[1] - l.pads[1];
    return [top, left, top + (l.kernel[0] - 1) * l.dilation[0] + 1, left + (l.kernel[1] - 1) * l.dilation[1] + 1];
  }
  if (code === 5) return [0, 0, h, w]; // reshape
  if (code === 11) return [y - l.pads[0], x - l.pads[1], y - l.pads[0] + 1, x - l.pads[1] + 1]; // pad
  if (h === 1 && w === 1) return [0, 0, 1, 1]; // the second input of a sum may be one value a channel
  return [y, x, y + 1, x + 1];
}

/** The part of the picture that a window of a tensor sees at all. */
function seen(net, tensor, [top, left, bottom, right]) {
  const [h, w] = net.tensors[tensor].shape;
  let box = [Math.max(top, 0), Math.max(left, 0), Math.min(bottom, h), Math.min(right, w)];
  if (tensor === 0) return box;
  const layer = tensor - 1;
  let all = null;
  for (const input of net.layers[layer].inputs) {
    const first = windowOf(net, layer, input, box[0], box[1]);
    const last = windowOf(net, layer, input, Math.max(box[2] - 1, box[0]), Math.max(box[3] - 1, box[1]));
    const one = seen(net, input, [first[0], first[1], last[2], last[3]]);
    all = all ? [Math.min(all[0], one[0]), Math.min(all[1], one[1]), Math.max(all[2], one[2]), Math.max(all[3], one[3])] : one;
  }
  return all;
}

/** The products of a cell: for each {y, x, c, x8, w8, xf, wf}; x8 and w8 without their zero points. Null where data was left out. */
function products(net, layer, y, x, c) {
  const l = net.layers[layer], weights = l.weights, input = l.inputs[0], t = net.tensors[input];
  const row = net.row(layer, c);
  if (!t.whole || row < 0) return null;
  const q = net.int8(input), w8 = net.array(weights.q, Int8Array);
  const f = t.f ? net.float(input) : null, wf = weights.f ? net.array(weights.f, Float32Array) : null;
  const [, width, depth] = t.shape, c_out = net.tensors[layer + 1].shape[2], list = [];
  const first = l.code === 7 ? Math.floor(c / l.groups) : Math.floor(c / (c_out / l.groups)) * weights.depth;
  for (let tap = 0; tap < weights.taps; tap++) {
    const cell = Math.floor(tap / weights.depth), i = tap % weights.depth;
    let at;
    if (l.code === 4) {
      at = [Math.floor(i / depth / width), Math.floor(i / depth) % width, i % depth];
    } else {
      const ky = Math.floor(cell / l.kernel[1]), kx = cell % l.kernel[1];
      at = [y * l.stride[0] + ky * l.dilation[0] - l.pads[0], x * l.stride[1] + kx * l.dilation[1] - l.pads[1], first + i];
    }
    const place = net.place(input, ...at), weight = row * weights.taps + tap;
    list.push({
      y: at[0], x: at[1], c: at[2], inside: place >= 0, tap,
      x8: place < 0 ? 0 : q[place] - t.zero_point,
      w8: w8[weight] - weights.zero_point,
      xf: f ? (place < 0 ? 0 : f[place]) : null,
      wf: wf ? wf[weight] : null,
    });
  }
  return list;
}

/** How a cell of an operator with weights came to be; null where data was left out. */
function explainSum(net, layer, y, x, c) {
  const l = net.layers[layer], weights = l.weights, taps = products(net, layer, y, x, c);
  if (!taps) return null;
  const row = net.row(layer, c), out = net.tensors[layer + 1];
  const bias = net.array(weights.bias, Int32Array)[row];
  const multiplier = net.array(weights.multipliers, Int32Array)[row], shift = net.array(weights.shifts, Int32Array)[row];
  const sum = taps.reduce((sum, tap) => sum + tap.x8 * tap.w8, 0);
  const accumulator = sum + bias, once = l.round_once && l.code === 4;
  const { high, scaled } = once
    ? { high: null, scaled: roundOnce(accumulator, multiplier, shift) }
    : requantize(accumulator, multiplier, shift);
  const shifted = scaled + out.zero_point;
  const result = { taps, sum, bias, accumulator, multiplier, shift, high, scaled, shifted, byte: clampTo(shifted, l.clamp) };
  if (weights.f && taps[0] && taps[0].xf !== null) {
    const floatSum = taps.reduce((sum, tap) => sum + tap.xf * tap.wf, 0), floatBias = net.array(weights.f_bias, Float32Array)[row];
    const [low, high] = l.bounds, total = floatSum + floatBias;
    const activated = Math.min(Math.max(total, low === null ? -Infinity : low), high === null ? Infinity : high);
    result.float = { sum: floatSum, bias: floatBias, total, activated };
  }
  return result;
}

/** The values that a pool looks at, {y, x, c, q, f}. */
function pooled(net, layer, y, x, c) {
  const input = net.layers[layer].inputs[0], [top, left, bottom, right] = windowOf(net, layer, input, y, x), list = [];
  const q = net.int8(input), f = net.float(input);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const place = net.place(input, row, column, c);
      if (place >= 0) list.push({ y: row, x: column, c, q: q[place], f: f ? f[place] : null });
    }
  }
  return list;
}

/** The byte that an operator's rule makes of its inputs; null for a softmax and where data was left out. */
function byteOf(net, layer, y, x, c) {
  const l = net.layers[layer], out = net.tensors[layer + 1], [a, b] = l.inputs;
  const zero = input => net.tensors[input].zero_point;
  const value = (input, y, x, c) => {
    const place = net.place(input, y, x, c);
    return place < 0 ? null : net.int8(input)[place];
  };
  const pair = input => {
    const [h, w] = net.tensors[input].shape, v = h === 1 && w === 1 ? value(input, 0, 0, c) : value(input, y, x, c);
    return v === null ? null : v - zero(input);
  };
  const scaled = (v, factor) => requantize(v, l.multipliers[factor], l.shifts[factor]).scaled;
  if (l.weights) {
    const sum = explainSum(net, layer, y, x, c);
    return sum && sum.byte;
  }
  switch (l.code) {
    case 2: case 15: case 16: case 3: case 14: case 12: {
      const values = pooled(net, layer, y, x, c).map(v => v.q);
      if (!values.length) return null;
      if (l.code === 16) return clampTo(Math.min(...values), l.clamp);
      if (l.code === 2) return clampTo(Math.max(...values), l.clamp);
      if (l.code === 15) return clampTo(values.reduce((a, b) => Math.max(a, b)), l.clamp);
      const total = values.reduce((a, b) => a + b, 0);
      if (l.code === 12) return clampTo(scaled(total - values.length * zero(a), 0) + out.zero_point, l.clamp);
      const mean = total / values.length;
      const rounded = l.ties_up ? Math.floor(mean + 0.5) : Math.sign(mean) * Math.floor(Math.abs(mean) + 0.5);
      return clampTo(rounded, l.clamp);
    }
    case 8: {
      const [first, second] = [pair(a), pair(b)];
      if (first === null || second === null) return null;
      return clampTo(scaled(scaled(first * 1048576, 0) + scaled(second * 1048576, 1), 2) + out.zero_point, l.clamp);
    }
    case 9: {
      const [first, second] = [pair(a), pair(b)];
      return first === null || second === null ? null : clampTo(scaled(first * second, 0) + out.zero_point, l.clamp);
    }
    case 13: {
      const v = value(a, y, x, c);
      return v === null ? null : net.array(l.table, Int8Array)[v + 128];
    }
    case 10: {
      const first = net.tensors[a].shape[2];
      return c < first ? value(a, y, x, c) : value(b, y, x, c - first);
    }
    case 11: {
      const [h, w] = net.tensors[a].shape, row = y - l.pads[0], column = x - l.pads[1];
      return row >= 0 && row < h && column >= 0 && column < w ? value(a, row, column, c) : out.zero_point;
    }
    case 5: {
      if (!net.tensors[a].whole) return null;
      const [, w, depth] = out.shape;
      return net.int8(a)[(y * w + x) * depth + c];
    }
    default: return null;
  }
}

/** Holds every cell of the page to its rule: {layer, checked, wrong, skipped} for each layer. */
function verify(net) {
  return net.layers.map((l, layer) => {
    const out = net.tensors[layer + 1], [h, w] = out.shape, bytes = net.int8(layer + 1), result = { layer: l.name, checked: 0, wrong: 0, skipped: 0 };
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) for (let c = 0; c < out.maps; c++) {
      const byte = byteOf(net, layer, y, x, c);
      if (byte === null) result.skipped++;
      else if (byte === bytes[net.place(layer + 1, y, x, c)]) result.checked++;
      else result.wrong++;
    }
    return result;
  });
}
