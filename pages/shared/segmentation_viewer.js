// Picture, truth, predictions and errors under one cursor. Everything is drawn here; Python is told of a picked pixel alone.
// Every text comes from data and is set with textContent.

const IGNORED = 255;
const MODES = { grid: "Side by side", slider: "A | B", blink: "Blink" };
const LAYERS = { fill: "Classes", contours: "Contours", confidence: "Confidence", entropy: "Entropy" };
const MEASURES = ["confidence", "entropy"];
const BLINK_MILLISECONDS = 700;
// Who is wrong, with a hatching of its own beside the colour: columns and rows are those of the picture.
const ERRORS = {
  1: { color: [230, 159, 0], hatched: (row, column) => (row + column) % 4 < 2 },
  2: { color: [86, 180, 233], hatched: (row, column) => (row - column + 4096) % 4 < 2 },
  3: { color: [213, 94, 0], hatched: () => true },
};

function loadPixels(uri, width, height) {
  return new Promise((resolve) => {
    if (!uri) { resolve(null); return; }
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = width; canvas.height = height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, width, height).data;
      resolve({ image, values: Uint8Array.from({ length: width * height }, (_, index) => pixels[4 * index]) });
    };
    image.onerror = () => resolve(null);
    image.src = uri;
  });
}

function painted(view, paint) {
  const { width, height } = view.data;
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let index = 0; index < width * height; index++) {
    const color = paint(index);
    if (color) picture.data.set(color, 4 * index);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

function isContour(values, index, width, height) {
  const row = Math.floor(index / width), column = index % width, own = values[index];
  return (column > 0 && values[index - 1] !== own) || (column < width - 1 && values[index + 1] !== own)
    || (row > 0 && values[index - width] !== own) || (row < height - 1 && values[index + width] !== own);
}

function classOverlay(view, values) {
  const { palette, width, height } = view.data;
  const contours = view.layer === "contours";
  return painted(view, (index) => {
    const own = values[index];
    if (own === IGNORED || view.hidden.has(own)) return null;
    if (contours && !isContour(values, index, width, height)) return null;
    return [...palette[own], 255];
  });
}

// From dark blue to yellow, as Cividis: readable without red and green.
function ramp(value) {
  const share = value / 255;
  return [Math.round(255 * share), Math.round(32 + 200 * share), Math.round(78 + 60 * Math.sin(Math.PI * share) - 30 * share), 255];
}

function wrongness(view, index) {
  const truth = view.maps.truth.values[index];
  if (truth === IGNORED) return 0;
  const wrong = (side) => (view.maps[side] && view.maps[side].values[index] !== truth ? 1 : 0);
  return view.maps.b ? wrong("a") + 2 * wrong("b") : 3 * wrong("a");
}

function errorOverlay(view) {
  const { width } = view.data;
  return painted(view, (index) => {
    const error = ERRORS[wrongness(view, index)];
    const row = Math.floor(index / width), column = index % width;
    return error && error.hatched(row, column) ? [...error.color, 255] : null;
  });
}

function overlayOf(view, side) {
  if (side === "picture") return null;
  if (side === "error") return errorOverlay(view);
  const values = view[view.layer] && view[view.layer][side];
  if (values) {
    const least = Math.ceil(255 * view.least);
    return painted(view, (index) => (values.values[index] < least ? null : ramp(values.values[index])));
  }
  return view.maps[side] ? classOverlay(view, view.maps[side].values) : null;
}

function remake(view) {
  view.overlays = {};
  for (const side of ["truth", "a", "b", "error"]) {
    const there = side === "error" ? view.maps.truth && view.maps.a : view.maps[side];
    if (there) view.overlays[side] = overlayOf(view, side);
  }
}

function sidesShown(view) {
  if (view.mode === "grid") return ["picture", ...["truth", "a", "b", "error"].filter((side) => view.overlays[side])];
  return view.mode === "slider" ? ["split"] : [view.blinked ? "b" : "a"];
}

function captionOf(view, side) {
  if (side === "picture") return ["Picture", ""];
  if (side === "split") return [`${view.data.titles.a} | ${view.data.titles.b}`, ""];
  if (side === "error") return ["Wrong", view.maps.b ? "/ A alone, \\ B alone, full: both" : "pixels that A misses"];
  return [view.data.titles[side], ""];
}

function layOut(view) {
  const sides = sidesShown(view);
  view.grid.classList.toggle("single", sides.length === 1);
  view.grid.classList.toggle("even", sides.length === 2 || sides.length === 4);
  view.grid.replaceChildren();
  view.panels = sides.map((side) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const [title, remark] = captionOf(view, side);
    caption.textContent = title + " ";
    const small = document.createElement("small");
    small.textContent = remark; caption.appendChild(small);
    const canvas = document.createElement("canvas");
    canvas.style.aspectRatio = `${view.data.width} / ${view.data.height}`;
    canvas.onpointermove = (event) => { view.cursor = placeOf(view, canvas, event); draw(view); tell(view); };
    canvas.onpointerleave = () => { view.cursor = null; draw(view); tell(view); };
    canvas.onclick = (event) => pick(view, placeOf(view, canvas, event));
    figure.append(caption, canvas); view.grid.appendChild(figure);
    return { side, canvas, caption };
  });
  draw(view);
}

function ring(context, place, scale, radius) {
  const x = (place[1] + 0.5) * scale, y = (place[0] + 0.5) * scale;
  for (const [color, width] of [["rgba(0, 0, 0, 0.85)", 5], ["#ffffff", 2.2]]) {
    context.strokeStyle = color; context.lineWidth = width;
    context.beginPath(); context.arc(x, y, radius, 0, 2 * Math.PI); context.stroke();
  }
}

function drawOverlay(view, context, canvas, side, from, to) {
  const overlay = view.overlays[side];
  if (!overlay) return;
  context.save();
  context.beginPath(); context.rect(from * canvas.width, 0, (to - from) * canvas.width, canvas.height); context.clip();
  context.globalAlpha = side === "error" ? Math.max(view.opacity, 0.5) : view.opacity;
  context.drawImage(overlay, 0, 0, canvas.width, canvas.height);
  context.restore();
}

function drawPanel(view, { side, canvas }) {
  const { data } = view;
  const shown = Math.max(canvas.clientWidth, 1) * (window.devicePixelRatio || 1);
  const scale = Math.max(1, Math.round(shown / data.width));
  if (canvas.width !== data.width * scale) { canvas.width = data.width * scale; canvas.height = data.height * scale; }
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  context.drawImage(view.picture.image, 0, 0, canvas.width, canvas.height);
  if (side === "error") { context.fillStyle = "rgba(0, 0, 0, 0.45)"; context.fillRect(0, 0, canvas.width, canvas.height); }
  if (side === "split") {
    drawOverlay(view, context, canvas, "a", 0, view.divide);
    drawOverlay(view, context, canvas, "b", view.divide, 1);
    const x = view.divide * canvas.width;
    context.fillStyle = "rgba(0, 0, 0, 0.85)"; context.fillRect(x - 2.5, 0, 5, canvas.height);
    context.fillStyle = "#ffffff"; context.fillRect(x - 1, 0, 2, canvas.height);
  } else {
    drawOverlay(view, context, canvas, side, 0, 1);
  }
  const radius = Math.max(6, 0.014 * canvas.width);
  if (view.data.pixel) ring(context, view.data.pixel, scale, radius);
  if (view.cursor) ring(context, view.cursor, scale, radius * 0.6);
}

function draw(view) {
  if (view.picture) for (const panel of view.panels) drawPanel(view, panel);
}

function nameAt(view, side, index) {
  const own = view.maps[side].values[index];
  if (own === IGNORED) return "ignored";
  const sure = side !== "truth" && view.confidence[side];
  return view.data.names[own] + (sure ? ` ${Math.round(sure.values[index] / 2.55)} %` : "");
}

function tell(view) {
  const place = view.cursor || view.data.pixel;
  if (!place || !view.picture) { view.place.textContent = ""; return; }
  const index = place[0] * view.data.width + place[1];
  const words = ["truth", "a", "b"].filter((side) => view.maps[side])
    .map((side) => `${side === "truth" ? "truth" : side.toUpperCase()}: ${nameAt(view, side, index)}`);
  view.place.textContent = [`row ${place[0]}, column ${place[1]}`, ...words].join(" · ");
}

function placeOf(view, canvas, event) {
  const frame = canvas.getBoundingClientRect();
  return inside(view, [
    Math.floor(((event.clientY - frame.top) / frame.height) * view.data.height),
    Math.floor(((event.clientX - frame.left) / frame.width) * view.data.width),
  ]);
}

function inside(view, [row, column]) {
  const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
  return [within(row, view.data.height), within(column, view.data.width)];
}

function pick(view, place) {
  view.count += 1;
  view.send("pick", { row: place[0], column: place[1], count: view.count });
}

function onKey(view, event) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const start = view.cursor || view.data.pixel || [Math.floor(view.data.height / 2), Math.floor(view.data.width / 2)];
  if (event.key in steps) {
    const [down, right] = steps[event.key].map((step) => step * (event.shiftKey ? 8 : 1));
    view.cursor = inside(view, [start[0] + down, start[1] + right]);
    draw(view); tell(view);
  } else if (event.key === "Enter" || event.key === " ") {
    pick(view, start);
  } else if (event.key === "Escape") {
    view.cursor = null; draw(view); tell(view);
  } else {
    return;
  }
  event.preventDefault();
}

function choices(place, names, chosen, choose) {
  place.replaceChildren();
  for (const [name, text] of Object.entries(names)) {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = text;
    button.setAttribute("aria-pressed", String(name === chosen));
    button.onclick = () => choose(name);
    place.appendChild(button);
  }
}

function only(names, keep) {
  return Object.fromEntries(Object.entries(names).filter(([name]) => keep(name)));
}

function showControls(view) {
  const two = Boolean(view.maps.b);
  const modes = two ? MODES : {};
  choices(view.modes, modes, view.mode, (mode) => { view.mode = mode; blink(view); refresh(view); });
  const layers = only(LAYERS, (name) => !MEASURES.includes(name) || view[name].a);
  choices(view.layers, layers, view.layer, (layer) => { view.layer = layer; remake(view); refresh(view); });
  view.divideLabel.style.display = view.mode === "slider" ? "" : "none";
  view.leastLabel.style.display = MEASURES.includes(view.layer) ? "" : "none";
  showNote(view);
  showClasses(view);
}

function showNote(view) {
  view.note.textContent = "";
  if (!MEASURES.includes(view.layer)) return;
  const least = Math.ceil(255 * view.least);
  const share = (values) => `${((100 * values.filter((value) => value >= least).length) / values.length).toFixed(1)} %`;
  const shares = ["a", "b"].filter((side) => view[view.layer][side])
    .map((side) => `${side.toUpperCase()} ${share(view[view.layer][side].values)}`);
  const above = view.least ? `at least ${view.least.toFixed(2)}: ${shares.join(", ")} of the pixels; ` : "";
  view.note.textContent = `${above}view only, no score uses it; dark is low, bright is high`;
}

function showClasses(view) {
  const present = new Set();
  for (const side of ["truth", "a", "b"]) if (view.maps[side]) for (const own of view.maps[side].values) present.add(own);
  view.classes.replaceChildren();
  view.data.names.forEach((name, own) => {
    if (!present.has(own)) return;
    const button = document.createElement("button"), swatch = document.createElement("span");
    swatch.className = "swatch"; swatch.style.background = `rgb(${view.data.palette[own].join(",")})`;
    button.type = "button";
    button.setAttribute("aria-pressed", String(!view.hidden.has(own)));
    button.append(swatch, document.createTextNode(name));
    button.onclick = () => {
      if (view.hidden.has(own)) view.hidden.delete(own); else view.hidden.add(own);
      remake(view); showClasses(view); draw(view);
    };
    view.classes.appendChild(button);
  });
}

function blink(view) {
  clearInterval(view.timer); view.timer = null; view.blinked = false;
  if (view.mode !== "blink") return;
  view.timer = setInterval(() => {
    view.blinked = !view.blinked;
    const [panel] = view.panels;
    panel.side = view.blinked ? "b" : "a";
    panel.caption.textContent = view.data.titles[panel.side];
    draw(view);
  }, BLINK_MILLISECONDS);
}

function refresh(view) {
  showControls(view); layOut(view); tell(view);
}

function createView(root) {
  const find = (name) => root.querySelector(`.${name}`);
  const view = {
    grid: find("grid"), modes: find("modes"), layers: find("layers"), classes: find("classes"), place: find("place"),
    hint: find("hint"), note: find("note"), divideLabel: find("divide"), leastLabel: find("least"), least: 0, panels: [], overlays: {}, maps: {}, confidence: {},
    entropy: {}, picture: null, mode: "grid", layer: "fill", opacity: 0.7, divide: 0.5, hidden: new Set(), cursor: null,
    count: 0, version: null, timer: null, blinked: false,
  };
  find("opacity").querySelector("input").oninput = (event) => { view.opacity = event.target.value / 100; draw(view); };
  view.leastLabel.querySelector("input").oninput = (event) => {
    view.least = event.target.value / 100; remake(view); showNote(view); draw(view);
  };
  view.divideLabel.querySelector("input").oninput = (event) => { view.divide = event.target.value / 100; draw(view); };
  view.grid.onkeydown = (event) => onKey(view, event);
  view.observer = new ResizeObserver(() => draw(view));
  view.observer.observe(view.grid);
  return view;
}

async function load(view) {
  const { data } = view;
  view.version = data.version;
  const read = async (uris) => {
    const entries = await Promise.all(
      Object.entries(uris).map(async ([side, uri]) => [side, await loadPixels(uri, data.width, data.height)]));
    return Object.fromEntries(entries.filter(([, pixels]) => pixels));
  };
  const [picture, maps, confidence, entropy] = await Promise.all([
    loadPixels(data.picture, data.width, data.height), read(data.maps), read(data.confidence), read(data.entropy)]);
  if (view.version !== data.version) return;
  Object.assign(view, { picture, maps, confidence, entropy });
  if (!maps.b && view.mode !== "grid") { view.mode = "grid"; blink(view); }
  if (!confidence.a && MEASURES.includes(view.layer)) view.layer = "fill";
  remake(view);
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const view = parentElement.sclSegmentation || (parentElement.sclSegmentation = createView(parentElement));
  const fresh = view.version !== data.version;
  view.data = data; view.send = setStateValue;
  view.grid.setAttribute("aria-label", data.label);
  view.hint.textContent = data.hint;
  if (fresh) load(view).then(() => refresh(view)); else { draw(view); tell(view); }
  return () => { clearInterval(view.timer); view.observer.disconnect(); delete parentElement.sclSegmentation; };
}
