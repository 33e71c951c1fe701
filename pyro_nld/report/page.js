"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const numbers = (text) => new Float64Array(bytes(text).buffer);

// The landscape: plotly is unpacked when its place comes into view. Without WebGL or with an old browser the picture stays.

async function unpack(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

const VIEWS = {
  above: { eye: { x: 0, y: -0.01, z: 1.9 } },
  side: { eye: { x: 0, y: -1.7, z: 0.5 } },
  start: { eye: { x: 0.95, y: -1.15, z: 1.15 }, center: { x: 0, y: 0, z: -0.15 } },
};

async function showLandscape() {
  const box = document.getElementById("turnable");
  const place = box.querySelector(".plot");
  const scene = read("scene");
  const space = "scene" in scene.layout;
  try {
    await unpack(document.getElementById("plotly").textContent);
    box.classList.add("live");
    await Plotly.newPlot(place, scene.data, scene.layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (space && !place.querySelector("canvas")) throw new Error("no WebGL");
  } catch (error) {
    box.classList.remove("live");
    box.dataset.failed = error.message;
    return;
  }
  box.querySelector(".turn").hidden = !space;
  const turn = (angle) => {
    const { x, y, z } = place._fullLayout.scene.camera.eye;
    const eye = { x: x * Math.cos(angle) - y * Math.sin(angle), y: x * Math.sin(angle) + y * Math.cos(angle), z };
    return Plotly.relayout(place, { "scene.camera.eye": eye });
  };
  box.querySelectorAll("[data-turn]").forEach((button) => {
    button.addEventListener("click", () => turn(Number(button.dataset.turn)));
  });
  box.querySelectorAll("[data-view]").forEach((button) => {
    button.addEventListener("click", () => Plotly.relayout(place, { "scene.camera": VIEWS[button.dataset.view] }));
  });
  box.dataset.ready = "yes";
}

new IntersectionObserver((entries, watcher) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  watcher.disconnect();
  showLandscape();
}, { rootMargin: "400px" }).observe(document.getElementById("turnable"));

// Segmentation: one sequence at a time.

const book = read("sequences");
const canvas = document.getElementById("trace");
const pen = canvas.getContext("2d");
const choice = document.getElementById("choice");
const cursor = document.getElementById("cursor");
const said = document.getElementById("said");
const UNDECIDED = 255;
const GAP = 255;
const GREY = "#dddddd";
const LEFT = 70;
const FEW = 4;
let shown = null;

function opened(index) {
  const raw = book.sequences[index];
  const one = { name: raw.name, times: numbers(raw.times), x: bytes(raw.x), p: bytes(raw.p), label: bytes(raw.label) };
  one.truth = raw.truth ? bytes(raw.truth) : null;
  const last = one.times.length - 1;
  one.edges = Array.from(one.times).concat(last > 0 ? 2 * one.times[last] - one.times[last - 1] : one.times[0] + 1);
  return one;
}

const shade = (state) => (state === UNDECIDED ? GREY : book.colours[state % book.colours.length]);
const ink = (state) => (state === UNDECIDED ? "#1b2733" : book.inks[state % book.inks.length]);
const short = (value) => Number(value.toPrecision(4)).toString();
const runs = (labels) => {
  const found = [];
  labels.forEach((state, k) => {
    if (k && labels[k - 1] === state) found[found.length - 1].end = k + 1;
    else found.push({ state, begin: k, end: k + 1 });
  });
  return found;
};

function heat(level) {
  // From blue over white to orange by level within the channel's range, as the eye tells apart with every kind of vision.
  const side = (level - 127) / 127;
  const end = side < 0 ? [0, 90, 156] : [190, 85, 0];
  const share = Math.min(1, Math.abs(side));
  return `rgb(${end.map((part) => Math.round(255 + (part - 255) * share)).join(",")})`;
}

function draw() {
  const one = shown;
  const width = canvas.clientWidth || 320;
  const channels = book.channels.length;
  const top = channels > FEW ? Math.max(90, Math.min(220, 13 * channels)) : 60 + 60 * channels;
  const bars = one.truth ? 2 : 1;
  const height = top + 14 + 90 + bars * 32 + 34;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const begin = one.edges[0];
  const span = one.edges[one.edges.length - 1] - begin;
  const at = (time) => LEFT + ((time - begin) / span) * (width - LEFT - 4);
  const whole = (x) => Math.round(x * ratio) / ratio; // on whole pixels, so that no seams show between neighbours
  const cell = (k) => {
    const x = whole(at(one.edges[k]));
    return [x, Math.max(1 / ratio, whole(at(one.edges[k + 1])) - x)];
  };
  pen.font = "13px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const name = (text, y) => { pen.fillStyle = "#4a5a68"; pen.textAlign = "right"; pen.fillText(text, LEFT - 8, y, LEFT - 10); };

  const row = top / channels;
  for (let c = 0; c < channels; c += 1) {
    const level = (k) => one.x[k * channels + c];
    if (channels <= FEW || row > 10) name(book.channels[c], (c + 0.5) * row);
    if (channels > FEW) {
      one.times.forEach((_, k) => {
        if (level(k) === GAP) return;
        pen.fillStyle = heat(level(k));
        const [x, w] = cell(k);
        pen.fillRect(x, c * row, w, row);
      });
    } else {
      pen.strokeStyle = "#2b3d4d";
      pen.lineWidth = 1;
      pen.beginPath();
      let down = false;
      one.times.forEach((time, k) => {
        if (level(k) === GAP) { down = false; return; }
        const y = (c + 0.94 - 0.88 * (level(k) / 254)) * row;
        if (down) pen.lineTo(at(time), y); else pen.moveTo(at(time), y);
        if (!down) pen.lineTo(at(time) + 0.5, y);
        down = true;
      });
      pen.stroke();
    }
  }
  if (channels > FEW && row <= 10) name("channels", top / 2);

  const base = top + 14;
  name("P(state)", base + 45);
  one.times.forEach((_, k) => {
    const [x, w] = cell(k);
    let from = base;
    for (let s = 0; s < book.states; s += 1) {
      const part = (90 * one.p[k * book.states + s]) / 250;
      pen.fillStyle = shade(s);
      pen.fillRect(x, from, w, part);
      from += part;
    }
  });
  const bar = (labels, title, y) => {
    name(title, y + 12);
    runs(labels).forEach(({ state, begin: first, end }) => {
      const x = at(one.edges[first]);
      const w = at(one.edges[end]) - x;
      pen.fillStyle = shade(state);
      pen.fillRect(x, y, Math.max(w, 0.6), 24);
      if (w > 13 && state !== UNDECIDED) {
        pen.fillStyle = ink(state);
        pen.textAlign = "center";
        pen.fillText(String(state), x + w / 2, y + 13);
      }
    });
  };
  bar(one.label, "state", base + 98);
  if (one.truth) bar(one.truth, "truth", base + 130);
  pen.fillStyle = "#4a5a68";
  const floor = height - 12;
  pen.textAlign = "left";
  pen.fillText(short(begin), LEFT, floor);
  pen.textAlign = "center";
  pen.fillText("time", (LEFT + width) / 2, floor);
  pen.textAlign = "right";
  pen.fillText(short(begin + span), width - 4, floor);
  const here = at(one.times[cursor.value]);
  pen.strokeStyle = "#000000";
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(here, 0);
  pen.lineTo(here, height - 24);
  pen.stroke();
}

function point() {
  const k = Number(cursor.value);
  const shares = Array.from({ length: book.states }, (_, s) => shown.p[k * book.states + s] / 2.5);
  const best = shares.indexOf(Math.max(...shares));
  const truth = shown.truth && shown.truth[k] !== UNDECIDED ? `; in truth state ${shown.truth[k]}` : "";
  const word = shown.label[k] === UNDECIDED ? "undecided" : `state ${shown.label[k]}`;
  said.textContent = `time ${short(shown.times[k])}: ${word} (state ${best} with ${Math.round(shares[best])} %${truth})`;
  cursor.setAttribute("aria-valuetext", said.textContent);
  draw();
}

function choose(index) {
  shown = opened(index);
  choice.value = String(index);
  document.getElementById("before").disabled = index === 0;
  document.getElementById("after").disabled = index === book.sequences.length - 1;
  cursor.max = String(shown.times.length - 1);
  cursor.value = "0";
  const visits = runs(shown.label).filter((visit) => visit.state !== UNDECIDED);
  const length = shown.label.length;
  const parts = Array.from({ length: book.states }, (_, s) => {
    const share = (100 * shown.label.filter((state) => state === s).length) / length;
    const times = visits.filter((visit) => visit.state === s).length;
    return `state ${s} for ${Math.round(share)} % of it in ${times} visit${times === 1 ? "" : "s"}`;
  });
  const text = `Sequence ${shown.name}, ${length} observations: ${parts.join(", ")}.`;
  document.getElementById("about").textContent = text;
  canvas.setAttribute("aria-label", `Observations, state probabilities and labels over time. ${text}`);
  point();
}

book.sequences.forEach((one, index) => choice.add(new Option(one.name, String(index))));
choice.addEventListener("change", () => choose(Number(choice.value)));
document.getElementById("before").addEventListener("click", () => choose(Number(choice.value) - 1));
document.getElementById("after").addEventListener("click", () => choose(Number(choice.value) + 1));
cursor.addEventListener("input", point);
canvas.addEventListener("pointerdown", (event) => {
  const box = canvas.getBoundingClientRect();
  const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 4);
  const time = shown.edges[0] + share * (shown.edges[shown.edges.length - 1] - shown.edges[0]);
  const next = shown.times.findIndex((one) => one > time);
  cursor.value = String(Math.max(0, (next < 0 ? shown.times.length : next) - 1));
  point();
});
new ResizeObserver(draw).observe(canvas.parentElement);
choose(0);
