"use strict";
// Interactive maps. Their data is in the page as JSON; brainmap.py says how it is packed.

const NO_VALUE = -32768, OUTSIDE = 0xffffff;

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function view(base64, size, read) {
  const data = new DataView(bytes(base64).buffer);
  return Array.from({ length: data.byteLength / size }, (_, k) => data[read](k * size, true));
}

// Pixel -> voxel + 1; 0: cortex without a voxel; OUTSIDE: no brain.
function unpackPixels(base64, n) {
  const pixels = new Uint32Array(n);
  let at = 0;
  for (const run of view(base64, 4, "getUint32")) {
    pixels.fill(run >>> 8, at, at + (run & 255));
    at += run & 255;
  }
  return pixels;
}

// Steps of a map: one model's, or one's minus another's.
function shownValues(scores, minus) {
  if (!minus) return scores;
  return scores.map((value, k) => (value === NO_VALUE || minus[k] === NO_VALUE ? NO_VALUE : value - minus[k]));
}

function picture(source) {
  return new Promise((resolve) => {
    if (!source) return resolve(null);
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = source;
  });
}

async function brainMap(root) {
  const data = JSON.parse(document.getElementById(root.dataset.source).textContent);
  const { width, height } = data;
  const canvas = root.querySelector("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
  const select = root.querySelector("select");
  const [filter, level] = root.querySelectorAll("input");
  const readout = root.querySelector(".readout");
  const pixels = unpackPixels(data.pixels, width * height);
  const labels = view(data.label, 2, "getUint16");
  const scores = data.scores.map((packed) => view(packed, 2, "getInt16"));
  const pretrained = scores[data.pretrained];
  const maps = data.maps.map((map) => ({ ...map, values: shownValues(scores[map.scores], scores[map.minus]) }));
  const colors = Object.fromEntries(Object.entries(data.colors).map(([name, packed]) => [name, bytes(packed)]));
  const [base, lines] = await Promise.all([picture(data.base), picture(data.lines)]);
  const cross = { x: Math.floor(width / 4), y: Math.floor(height / 2), shown: false };
  let painted = null;

  const map = () => maps[Number(select.value)];
  const hidden = (voxel) => filter.checked && !(pretrained[voxel] !== NO_VALUE && pretrained[voxel] * data.step > Number(level.value));

  function paint() {
    const { values, low, high, colors: name } = map(), table = colors[name];
    context.drawImage(base, 0, 0);
    const image = context.getImageData(0, 0, width, height);
    for (let k = 0; k < pixels.length; k++) {
      const voxel = pixels[k] - 1;
      if (pixels[k] === 0 || pixels[k] === OUTSIDE || values[voxel] === NO_VALUE || hidden(voxel)) continue;
      const share = (values[voxel] * data.step - low) / (high - low);
      const color = 3 * Math.min(255, Math.max(0, Math.floor(256 * share)));
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = table[color + c];
    }
    context.putImageData(image, 0, 0);
    if (lines) context.drawImage(lines, 0, 0);
    painted = context.getImageData(0, 0, width, height);
    drawCross();
    drawScale();
  }

  function drawCross() {
    context.putImageData(painted, 0, 0);
    if (!cross.shown) return;
    for (const [color, thick] of [["#fff", 5], ["#000", 2]]) {
      context.strokeStyle = color;
      context.lineWidth = thick;
      context.beginPath();
      context.moveTo(cross.x - 12, cross.y + 0.5);
      context.lineTo(cross.x + 12, cross.y + 0.5);
      context.moveTo(cross.x + 0.5, cross.y - 12);
      context.lineTo(cross.x + 0.5, cross.y + 12);
      context.stroke();
    }
  }

  function drawScale() {
    const { low, high, unit, colors: name } = map();
    const bar = root.querySelector(".bar").getContext("2d"), image = bar.createImageData(256, 1);
    for (let k = 0; k < 256; k++) image.data.set([...colors[name].subarray(3 * k, 3 * k + 3), 255], 4 * k);
    bar.putImageData(image, 0, 0);
    root.querySelector(".low").textContent = low.toFixed(2);
    root.querySelector(".high").textContent = high.toFixed(2);
    root.querySelector(".unit").textContent = unit;
    const [dark, light] = data.grays, meanings = data.legend[filter.checked ? "filtered" : "unfiltered"];
    root.querySelector(".gray .swatch").style.background = `linear-gradient(90deg, ${dark} 50%, ${light} 50%)`;
    root.querySelector(".white").hidden = !map().centered;
    for (const [color, meaning] of Object.entries(meanings)) {
      root.querySelector(`.${color} .meaning`).textContent = `${color}: ${meaning.replace("LEVEL", level.value)}`;
    }
  }

  function say(x, y) {
    const code = pixels[y * width + x];
    if (code === OUTSIDE) return (readout.textContent = "Not on the brain.");
    if (code === 0) return (readout.textContent = "Cortex without a measured voxel.");
    const voxel = code - 1, value = map().values[voxel], place = data.labels[labels[voxel]];
    const shown = (steps) => (steps === NO_VALUE ? "no value" : (steps * data.step).toFixed(3));
    readout.textContent = `Voxel ${voxel}${place ? ` (${place})` : ""}: ${shown(value)}` +
      `; pre-trained r ${shown(pretrained[voxel])}${hidden(voxel) ? ", below the threshold" : ""}.`;
  }

  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  function point(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    if (x >= 0 && y >= 0 && x < width && y < height) say(x, y);
  }

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in arrows)) return;
    event.preventDefault();
    const [dx, dy] = arrows[event.key], far = event.shiftKey ? 20 : 2;
    cross.x = Math.min(width - 1, Math.max(0, cross.x + dx * far));
    cross.y = Math.min(height - 1, Math.max(0, cross.y + dy * far));
    cross.shown = true;
    drawCross();
    say(cross.x, cross.y);
  });
  canvas.addEventListener("blur", () => { cross.shown = false; drawCross(); });
  for (const control of [select, filter, level]) control.addEventListener("input", paint);
  paint();
  root.dataset.ready = "yes";
}

for (const root of document.querySelectorAll(".brainmap")) brainMap(root);
