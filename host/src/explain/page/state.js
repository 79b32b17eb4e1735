// What is shown, and small things that all parts use.
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
