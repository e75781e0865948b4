// Three arrays of numbers as pictures, in canvas pixels. Every number comes from Python; here it is looked up and drawn.
// Every text comes from data and is set with textContent or fillText.

const TITLE = 24, GAP = 16, BAR = 62, ROOM = 18;

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index++) found[index] = letters.charCodeAt(index);
  return found;
}

function paint(panel, data) {
  const scale = data.scales[panel.scale], colors = bytes(scale.colors);
  const canvas = document.createElement("canvas");
  canvas.width = data.width; canvas.height = data.height;
  const context = canvas.getContext("2d"), picture = context.createImageData(data.width, data.height);
  const span = scale.high - scale.low || 1;
  for (let index = 0; index < panel.numbers.length; index++) {
    const value = panel.numbers[index];
    if (Number.isNaN(value)) continue;
    const level = 3 * Math.min(255, Math.max(0, Math.round((255 * (value - scale.low)) / span)));
    picture.data[4 * index] = colors[level]; picture.data[4 * index + 1] = colors[level + 1];
    picture.data[4 * index + 2] = colors[level + 2]; picture.data[4 * index + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

function read(view) {
  view.panels = view.data.panels.map((panel) => {
    const found = { ...panel, numbers: new Float32Array(bytes(panel.values).buffer) };
    return { ...found, picture: paint(found, view.data) };
  });
}

function measured(view, width) {
  const { data } = view, context = view.canvas.getContext("2d");
  context.font = view.small;
  const named = data.blocks.filter((block) => block.stop - block.start > data.width / ROOM);
  const longest = Math.min(150, Math.max(0, ...named.map((block) => context.measureText(block.name).width)));
  const left = longest ? longest + 8 : 0, below = longest ? Math.ceil(0.58 * longest) + 16 : 4;
  const wide = Math.max(20, (width - left - BAR - 2 * GAP) / 3);
  const zoom = Math.min(wide / data.width, data.highest / data.height);
  const places = [0, 1, 2].map((index) => left + index * (wide + GAP));
  return { named, left, below, zoom, places, title: TITLE, across: zoom * data.width, down: zoom * data.height };
}

function draw(view) {
  const { data, canvas } = view, ratio = window.devicePixelRatio || 1, style = getComputedStyle(canvas);
  const width = canvas.clientWidth;
  if (!width || !view.panels) return;
  view.small = `12px ${style.fontFamily}`;
  const shape = (view.shape = canvas.shape = measured(view, width)), height = Math.ceil(TITLE + shape.down + shape.below);
  canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = style.getPropertyValue("--st-background-color"); context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  view.ink = style.color;
  view.panels.forEach((panel, index) => drawPanel(view, context, panel, shape.places[index]));
  drawNames(view, context);
  drawBars(view, context, shape.places[2] + shape.across + 14);
}

function drawPanel(view, context, panel, left) {
  const { data, shape } = view;
  context.fillStyle = view.ink; context.font = view.small.replace("12px", "600 13px"); context.textAlign = "left";
  context.fillText(panel.title, left, TITLE - 9);
  context.fillStyle = "rgba(127, 127, 127, 0.25)"; context.fillRect(left, TITLE, shape.across, shape.down);
  context.drawImage(panel.picture, left, TITLE, shape.across, shape.down);
  context.strokeStyle = "rgba(128, 128, 128, 0.9)"; context.lineWidth = 1; context.beginPath();
  for (const block of data.blocks.slice(1)) {
    const at = block.start * shape.zoom;
    context.moveTo(left, TITLE + at); context.lineTo(left + shape.across, TITLE + at);
    context.moveTo(left + at, TITLE); context.lineTo(left + at, TITLE + shape.down);
  }
  context.stroke();
  const marks = view.cursor ? [...data.marks, { row: view.cursor[0], column: view.cursor[1], label: "", thin: true }] : data.marks;
  for (const mark of marks) ring(view, context, mark, left);
}

function ring(view, context, mark, left) {
  const { data, shape } = view;
  const x = left + ((mark.column - data.left) / data.stride + 0.5) * shape.zoom;
  const y = TITLE + ((mark.row - data.top) / data.stride + 0.5) * shape.zoom;
  for (const [color, width] of [["rgba(0, 0, 0, 0.85)", 4], ["#ffffff", 2]]) {
    context.strokeStyle = color; context.lineWidth = mark.thin ? width / 2 : width;
    context.beginPath(); context.arc(x, y, mark.thin ? 5 : 7, 0, 2 * Math.PI); context.stroke();
  }
  if (!mark.label) return;
  const below = y - TITLE < 20;
  context.font = view.small.replace("12px", "600 13px"); context.textAlign = "left";
  context.lineWidth = 3; context.strokeStyle = "rgba(0, 0, 0, 0.85)";
  context.strokeText(mark.label, x + 9, below ? y + 16 : y - 6);
  context.fillStyle = "#ffffff"; context.fillText(mark.label, x + 9, below ? y + 16 : y - 6);
}

function drawNames(view, context) {
  const { shape } = view;
  context.fillStyle = view.ink; context.font = view.small;
  for (const block of shape.named) {
    const middle = (shape.zoom * (block.start + block.stop)) / 2;
    context.textAlign = "right"; context.fillText(block.name, shape.left - 6, TITLE + middle + 4, shape.left - 8);
    for (const left of shape.places) {
      context.save();
      context.translate(left + middle + 4, TITLE + shape.down + 12); context.rotate(-0.61);
      context.fillText(block.name, 0, 0, 150);
      context.restore();
    }
  }
}

function drawBars(view, context, left) {
  const scales = Object.values(view.data.scales), room = Math.max(view.shape.down, 90) / scales.length;
  context.font = view.small; context.textAlign = "left";
  scales.forEach((scale, number) => {
    const top = TITLE + number * room, long = Math.min(room - 14, 200), colors = bytes(scale.colors);
    for (let row = 0; row < long; row++) {
      const level = 3 * Math.round(255 * (1 - row / long));
      context.fillStyle = `rgb(${colors[level]}, ${colors[level + 1]}, ${colors[level + 2]})`;
      context.fillRect(left, top + row, 11, 1.5);
    }
    context.fillStyle = view.ink;
    for (const share of [0, 0.5, 1]) {
      const value = scale.low + share * (scale.high - scale.low);
      const text = `${scale.signed && value > 0 ? "+" : ""}${+value.toPrecision(2)}`.replace("-", "−");
      context.fillText(text, left + 16, top + (1 - share) * long + (share === 1 ? 9 : share ? 4 : 0));
    }
  });
}

function tell(view) {
  const { data, cursor } = view;
  if (!cursor) { view.cell.textContent = data.clickable ? "Point at a cell for its numbers, click it for its two pixels." : ""; return; }
  const [row, column] = [(cursor[0] - data.top) / data.stride, (cursor[1] - data.left) / data.stride];
  const where = data.of_matrix ? `pixel ${cursor[0]} with pixel ${cursor[1]}` : `row ${cursor[0]}, column ${cursor[1]}`;
  const numbers = view.panels.map((panel) => {
    const value = panel.numbers[row * data.width + column];
    return Number.isNaN(value) ? null : `${panel.symbol} = ${value.toFixed(4).replace(/^-(0\.0000)$/, "$1")}`;
  });
  view.cell.textContent = numbers.includes(null) ? `${where}: covered by a later box` : `${where}: ${numbers.join(" · ")}`;
}

function cellAt(view, event) {
  const { data, shape } = view, frame = view.canvas.getBoundingClientRect();
  const x = event.clientX - frame.left, y = event.clientY - frame.top - TITLE;
  const left = shape.places.find((place) => x >= place && x < place + shape.across);
  if (left === undefined || y < 0 || y >= shape.down) return null;
  const cells = [Math.floor(y / shape.zoom), Math.floor((x - left) / shape.zoom)];
  return [data.top + data.stride * Math.min(cells[0], data.height - 1), data.left + data.stride * Math.min(cells[1], data.width - 1)];
}

function move(view, place) {
  view.cursor = place; draw(view); tell(view);
}

function take(view, place) {
  if (!place || !view.data.clickable) return;
  view.count += 1;
  view.send("cell", { row: place[0], column: place[1], count: view.count });
}

function onKey(view, event) {
  const { data } = view, steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (event.key in steps) {
    const from = view.cursor || [data.top, data.left], ends = [[data.top, data.height], [data.left, data.width]];
    move(view, steps[event.key].map((step, axis) => {
      const [start, cells] = ends[axis], next = from[axis] + step * data.stride * (event.shiftKey ? 8 : 1);
      return Math.min(Math.max(next, start), start + (cells - 1) * data.stride);
    }));
  } else if (event.key === "Enter" || event.key === " ") {
    take(view, view.cursor);
  } else if (event.key === "Escape") {
    move(view, null);
  } else {
    return;
  }
  event.preventDefault();
}

function save(view) {
  move(view, null);
  const link = document.createElement("a");
  link.href = view.canvas.toDataURL("image/png"); link.download = `${view.data.label}.png`;
  link.click();
}

function createView(root) {
  const view = { canvas: root.querySelector("canvas"), cell: root.querySelector(".cell"), cursor: null, count: 0 };
  view.canvas.onpointermove = (event) => move(view, cellAt(view, event));
  view.canvas.onpointerleave = () => move(view, null);
  view.canvas.onclick = (event) => take(view, cellAt(view, event));
  view.canvas.onkeydown = (event) => onKey(view, event);
  view.canvas.ontransitionend = () => draw(view); // the theme's text colour changed
  root.querySelector(".save").onclick = () => save(view);
  let width = 0;
  view.observer = new ResizeObserver(() => {
    if (view.canvas.clientWidth !== width) { width = view.canvas.clientWidth; draw(view); }
  });
  view.observer.observe(view.canvas);
  return view;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const view = parentElement.sclPanels || (parentElement.sclPanels = createView(parentElement));
  view.data = data; view.send = setStateValue; view.cursor = null;
  view.canvas.setAttribute("aria-label", data.label);
  view.canvas.tabIndex = 0;
  view.canvas.classList.toggle("clickable", data.clickable);
  read(view); draw(view); tell(view);
  view.canvas.dataset.marks = data.marks.map((mark) => `${mark.row}-${mark.column}`).join(" ");
  return () => { view.observer.disconnect(); delete parentElement.sclPanels; };
}
