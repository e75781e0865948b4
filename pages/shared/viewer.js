// The picture is drawn here, in canvas pixels; Python is told about a picked pixel and nothing else.
// Every text comes from data and is set with textContent.

const NO_REGION = 255;

function loadImage(uri) {
  return new Promise((resolve) => {
    if (!uri) { resolve(null); return; }
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = uri;
  });
}

function readRegions(image, width, height) {
  if (!image) return null;
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return Uint8Array.from({ length: width * height }, (_, index) => pixels[4 * index]);
}

function shade(view) {
  const { data, regions } = view;
  if (!regions || data.chosen === null) return null;
  const canvas = document.createElement("canvas");
  canvas.width = data.width; canvas.height = data.height;
  const context = canvas.getContext("2d");
  const mask = context.createImageData(data.width, data.height);
  for (let index = 0; index < regions.length; index++) {
    mask.data[4 * index + 3] = regions[index] === data.chosen ? 0 : 125;
  }
  context.putImageData(mask, 0, 0);
  return canvas;
}

function strokeBox(context, box, scale, chosen) {
  const line = Math.max(1.5, scale * 0.28) * (chosen ? 1.6 : 1);
  const edges = [box.left * scale, box.top * scale, box.width * scale, box.height * scale];
  context.setLineDash(box.solid ? [] : [line * 3, line * 2.2]);
  context.strokeStyle = "rgba(0, 0, 0, 0.55)"; context.lineWidth = line + 2;
  context.strokeRect(...edges);
  context.strokeStyle = chosen ? "#ffffff" : box.color; context.lineWidth = line;
  context.strokeRect(...edges);
  context.setLineDash([]);
}

function ring(context, place, scale, radius, label) {
  const x = (place[1] + 0.5) * scale, y = (place[0] + 0.5) * scale;
  for (const [color, width] of [["rgba(0, 0, 0, 0.85)", 5], ["#ffffff", 2.2]]) {
    context.strokeStyle = color; context.lineWidth = width;
    context.beginPath(); context.arc(x, y, radius, 0, 2 * Math.PI); context.stroke();
  }
  if (!label) return;
  const left = x + radius + 3, top = y - radius - 3;
  context.font = `600 ${Math.round(radius * 1.5)}px sans-serif`;
  context.lineWidth = 4; context.strokeStyle = "rgba(0, 0, 0, 0.85)"; context.strokeText(label, left, top + radius);
  context.fillStyle = "#ffffff"; context.fillText(label, left, top + radius);
}

function draw(view) {
  const { canvas, data } = view;
  if (!view.picture) return;
  const ratio = window.devicePixelRatio || 1;
  const shown = Math.max(canvas.clientWidth, 1) * ratio;
  const scale = Math.max(1, Math.round(shown / data.width));
  canvas.width = data.width * scale; canvas.height = data.height * scale;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(view.picture, 0, 0, canvas.width, canvas.height);
  const overlay = view.overlays[view.layer];
  if (overlay) {
    context.globalAlpha = view.opacity; context.drawImage(overlay, 0, 0, canvas.width, canvas.height); context.globalAlpha = 1;
  }
  if (view.spotlight && view.shade) context.drawImage(view.shade, 0, 0, canvas.width, canvas.height);
  if (view.outlines) for (const box of data.boxes) if (box.number !== data.chosen) strokeBox(context, box, scale, false);
  for (const box of data.boxes) if (box.number === data.chosen) strokeBox(context, box, scale, true);
  const radius = Math.max(6, 0.011 * canvas.width);
  if (data.second) ring(context, data.second, scale, radius, "2");
  if (data.first) ring(context, data.first, scale, radius, "1");
  if (view.cursor) ring(context, view.cursor, scale, radius * 0.6, "");
}

function tell(view) {
  const place = view.cursor || view.data.first;
  if (!place) { view.place.textContent = ""; return; }
  const region = view.regions ? view.regions[place[0] * view.data.width + place[1]] : NO_REGION;
  const name = region === NO_REGION ? view.data.outside : view.data.names[region];
  view.place.textContent = `row ${place[0]}, column ${place[1]}` + (name ? ` · ${name}` : "");
}

function placeOf(view, event) {
  const frame = view.canvas.getBoundingClientRect();
  const row = Math.floor(((event.clientY - frame.top) / frame.height) * view.data.height);
  const column = Math.floor(((event.clientX - frame.left) / frame.width) * view.data.width);
  return [Math.min(Math.max(row, 0), view.data.height - 1), Math.min(Math.max(column, 0), view.data.width - 1)];
}

function pick(view, place, second) {
  view.count += 1;
  view.send("pick", { row: place[0], column: place[1], second, count: view.count });
}

function onKey(view, event) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const start = view.cursor || view.data.first || [Math.floor(view.data.height / 2), Math.floor(view.data.width / 2)];
  if (event.key in steps) {
    const [down, right] = steps[event.key].map((step) => step * (event.shiftKey ? 8 : 1));
    view.cursor = [
      Math.min(Math.max(start[0] + down, 0), view.data.height - 1),
      Math.min(Math.max(start[1] + right, 0), view.data.width - 1),
    ];
    draw(view); tell(view);
  } else if (event.key === "Enter" || event.key === " ") {
    pick(view, start, event.shiftKey);
  } else if (event.key === "Escape") {
    view.cursor = null; draw(view); tell(view);
  } else {
    return;
  }
  event.preventDefault();
}

function showLayers(view) {
  view.layers.replaceChildren();
  [null, ...view.data.overlays].forEach((overlay, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = overlay || view.data.title;
    button.setAttribute("aria-pressed", String(view.layer === index - 1));
    button.onclick = () => { view.layer = index - 1; showLayers(view); draw(view); };
    view.layers.appendChild(button);
  });
  view.opacityLabel.style.visibility = view.layer < 0 ? "hidden" : "visible";
  view.layers.style.display = view.data.overlays.length ? "" : "none";
}

function connect(view, root) {
  const toggle = (name) => {
    const button = root.querySelector(`.${name}`);
    button.onclick = () => {
      view[name] = !view[name];
      button.setAttribute("aria-pressed", String(view[name]));
      draw(view);
    };
  };
  toggle("outlines"); toggle("spotlight");
  view.opacityLabel.querySelector("input").oninput = (event) => { view.opacity = event.target.value / 100; draw(view); };
  view.canvas.onpointermove = (event) => { view.cursor = placeOf(view, event); draw(view); tell(view); };
  view.canvas.onpointerleave = () => { view.cursor = null; draw(view); tell(view); };
  view.canvas.onclick = (event) => pick(view, placeOf(view, event), event.shiftKey);
  view.canvas.onkeydown = (event) => onKey(view, event);
}

function createView(root) {
  const view = {
    canvas: root.querySelector("canvas"), layers: root.querySelector(".layers"), place: root.querySelector(".place"),
    hint: root.querySelector(".hint"), opacityLabel: root.querySelector(".opacity"),
    layer: -1, opacity: 0.65, outlines: true, spotlight: true, cursor: null, count: 0, version: null, overlays: {}, picture: null,
  };
  connect(view, root);
  view.observer = new ResizeObserver(() => draw(view));
  view.observer.observe(view.canvas);
  return view;
}

function sent(version) {
  return new Promise((resolve) => {
    const look = () => {
      const found = globalThis.sclLayers?.get(version);
      if (!found) return;
      removeEventListener("scl-layers", look); resolve(found);
    };
    addEventListener("scl-layers", look); look();
  });
}

async function load(view) {
  const { data } = view;
  const version = data.version;
  view.version = version;
  const layers = await sent(version);
  const [picture, regions, ...overlays] = await Promise.all(
    [layers.picture, layers.regions, ...layers.overlays].map(loadImage));
  if (view.version !== version) return;
  view.picture = picture;
  view.regions = readRegions(regions, data.width, data.height);
  view.overlays = overlays;
  if (view.layer >= overlays.length) view.layer = -1;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const view = parentElement.sclView || (parentElement.sclView = createView(parentElement));
  view.data = data; view.send = setStateValue;
  view.canvas.setAttribute("aria-label", data.label);
  view.canvas.style.aspectRatio = `${data.width} / ${data.height}`;
  view.hint.textContent = data.hint;
  parentElement.querySelector(".outlines").style.display = data.boxes.length ? "" : "none";
  parentElement.querySelector(".spotlight").style.display = data.chosen === null ? "none" : "";
  const ready = view.version === data.version ? Promise.resolve() : load(view);
  ready.then(() => {
    const shown = `${view.version} ${view.data.chosen}`;
    if (view.shaded !== shown) { view.shade = shade(view); view.shaded = shown; showLayers(view); }
    draw(view); tell(view);
  });
  return () => { view.observer.disconnect(); delete parentElement.sclView; };
}
