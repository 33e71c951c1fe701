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

// Segmentation: one sequence at a time, whole or close up.

const element = (id) => document.getElementById(id);
const book = read("sequences");
const canvas = element("trace");
const pen = canvas.getContext("2d");
const choice = element("choice");
const cursor = element("cursor");
const said = element("said");
const visited = element("visited");
const UNDECIDED = 255;
const GAP = 255;
const GREY = "#dddddd";
const DIM = "#999999"; // the line of undecided observations
const SOFT = "#4a5a68";
const LEFT = 70;
const FEW = 6; // channels with a line of their own
const CLOSE = 150; // observations around a visit
const DOTS = 200; // observations up to which each has its dot
let shown = null;
let view = { begin: 0, end: 1 }; // the stretch of time in the picture
let band = null; // what is dragged over

function opened(index) {
  const raw = book.sequences[index];
  const one = { ...raw, times: numbers(raw.times), x: bytes(raw.x), p: bytes(raw.p), label: bytes(raw.label) };
  one.truth = raw.truth ? bytes(raw.truth) : null;
  const found = new Uint32Array(bytes(raw.visits).buffer);
  one.visits = Array.from({ length: found.length / 4 }, (_, v) => {
    const [state, begin, end, length] = found.subarray(4 * v, 4 * v + 4);
    return { state, begin, end, length };
  });
  one.ends = one.times.map((time, k) => {
    const next = one.times[k + 1];
    return next - time < raw.pause ? next : time + raw.interval;
  });
  one.begin = one.times[0];
  one.end = one.ends[one.ends.length - 1];
  return one;
}

const shade = (state, none = GREY) => (state === UNDECIDED ? none : book.colours[state % book.colours.length]);
const ink = (state) => (state === UNDECIDED ? "#1b2733" : book.inks[state % book.inks.length]);
const every = Array.from({ length: book.states }, (_, s) => s);
const rounded = (value, step) => Number(value.toFixed(Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(step)))))).toString();
const clock = (time) => rounded(time, shown.interval);
const short = (value) => Number(value.toPrecision(3)).toString();
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const runs = (labels, from, to) => {
  const found = [];
  for (let k = from; k < to; k += 1) {
    if (k > from && labels[k - 1] === labels[k]) found[found.length - 1].end = k + 1;
    else found.push({ state: labels[k], begin: k, end: k + 1 });
  }
  return found;
};

function first(sorted, beyond) {
  // The first place in a sorted list whose value is larger.
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > beyond) high = middle; else low = middle + 1;
  }
  return low;
}

function heat(level) {
  // From blue over white to orange by level within the channel's range, as the eye tells apart with every kind of vision.
  const side = (level - 127) / 127;
  const end = side < 0 ? [0, 90, 156] : [190, 85, 0];
  const share = Math.min(1, Math.abs(side));
  return `rgb(${end.map((part) => Math.round(255 + (part - 255) * share)).join(",")})`;
}

// A picture that has a pixel for every observation.

function drawEach(one, from, to, at, rows, level) {
  const whole = (x) => Math.round(x * rows.ratio) / rows.ratio; // on whole pixels, so that no seams show between neighbours
  const cell = (k) => {
    const x = whole(at(one.times[k]));
    return [x, Math.max(1 / rows.ratio, whole(at(one.ends[k])) - x)];
  };
  const line = (c) => {
    const place = (k) => [at(one.times[k]), rows.height(c, level(k, c))];
    const near = (k, other) => {
      const there = other >= 0 && other < one.times.length && level(other, c) !== GAP;
      if (!there || one.ends[Math.min(k, other)] < one.times[Math.max(k, other)]) return null;
      const [[x, y], [u, v]] = [place(k), place(other)];
      return [(x + u) / 2, (y + v) / 2];
    };
    pen.lineWidth = 1.2;
    for (let k = from; k < to; k += 1) {
      if (level(k, c) === GAP) continue;
      const [x, y] = place(k);
      const [before, behind] = [near(k, k - 1), near(k, k + 1)];
      pen.strokeStyle = shade(one.label[k], DIM);
      pen.beginPath();
      pen.moveTo(...(before || [x, y]));
      pen.lineTo(x, y);
      pen.lineTo(...(behind || [x + 0.5, y]));
      pen.stroke();
      pen.fillStyle = pen.strokeStyle;
      if (to - from <= DOTS) pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
  };
  const blocks = (c) => {
    for (let k = from; k < to; k += 1) {
      if (level(k, c) === GAP) continue;
      pen.fillStyle = heat(level(k, c));
      const [x, w] = cell(k);
      pen.fillRect(x, c * rows.row, w, rows.row);
    }
  };
  book.channels.forEach((_, c) => (rows.lines ? line(c) : blocks(c)));
  for (let k = from; k < to; k += 1) {
    const [x, w] = cell(k);
    let top = rows.base;
    every.forEach((s) => {
      const part = (90 * one.p[k * book.states + s]) / 250;
      pen.fillStyle = shade(s);
      pen.fillRect(x, top, w, part);
      top += part;
    });
  }
  rows.bars.forEach(([labels, y]) => runs(labels, from, to).forEach(({ state, begin, end }) => {
    for (let k = begin; k < end; k += 1) {
      const x = at(one.times[k]);
      let last = k;
      while (last + 1 < end && one.ends[last] >= one.times[last + 1]) last += 1;
      const w = at(one.ends[last]) - x;
      pen.fillStyle = shade(state);
      pen.fillRect(x, y, Math.max(w, 0.6), 24);
      if (w > 13 && state !== UNDECIDED) {
        pen.fillStyle = ink(state);
        pen.textAlign = "center";
        pen.fillText(String(state), x + w / 2, y + 13);
      }
      k = last;
    }
  }));
}

// A picture with more observations than pixels: in each column of pixels all that its observations show.

function drawColumns(one, from, to, at, rows, level, wide) {
  const column = (x) => Math.min(wide - 1, Math.max(0, x - LEFT));
  const begins = new Uint32Array(to - from);
  const ends = new Uint32Array(to - from);
  for (let k = from; k < to; k += 1) {
    begins[k - from] = column(Math.floor(at(one.times[k])));
    ends[k - from] = Math.max(begins[k - from], column(Math.ceil(at(one.ends[k])) - 1));
  }
  const each = (visit) => {
    for (let k = from; k < to; k += 1) for (let x = begins[k - from]; x <= ends[k - from]; x += 1) visit(k, x);
  };
  const slots = book.states + 1; // the last is for undecided observations
  const slot = (state) => (state === UNDECIDED ? book.states : state);
  const often = Array.from({ length: slots }, () => 0);
  for (let k = from; k < to; k += 1) often[slot(one.label[k])] += 1;
  const order = every.concat(book.states).sort((a, b) => (b === book.states) - (a === book.states) || often[b] - often[a]);
  const tint = (s, none) => shade(s === book.states ? UNDECIDED : s, none);
  const lines = (c) => {
    const low = new Uint8Array(wide * slots).fill(255);
    const high = new Uint8Array(wide * slots);
    for (let k = from; k < to; k += 1) {
      const value = level(k, c);
      if (value === GAP) continue;
      const place = slot(one.label[k]) * wide + begins[k - from];
      low[place] = Math.min(low[place], value);
      high[place] = Math.max(high[place], value);
    }
    order.forEach((s) => { // a state that is seen seldom is not covered
      pen.fillStyle = tint(s, DIM);
      for (let x = 0; x < wide; x += 1) {
        if (low[s * wide + x] > high[s * wide + x]) continue;
        const top = rows.height(c, high[s * wide + x]);
        pen.fillRect(LEFT + x, top - 0.75, 1, rows.height(c, low[s * wide + x]) - top + 1.5);
      }
    });
  };
  const blocks = (c) => {
    const [sum, count] = [new Float64Array(wide), new Float64Array(wide)];
    each((k, x) => {
      if (level(k, c) === GAP) return;
      sum[x] += level(k, c);
      count[x] += 1;
    });
    for (let x = 0; x < wide; x += 1) {
      if (!count[x]) continue;
      pen.fillStyle = heat(sum[x] / count[x]);
      pen.fillRect(LEFT + x, c * rows.row, 1, rows.row);
    }
  };
  book.channels.forEach((_, c) => (rows.lines ? lines(c) : blocks(c)));
  const sums = new Float64Array(wide * book.states);
  const count = new Float64Array(wide);
  each((k, x) => {
    count[x] += 1;
    every.forEach((s) => { sums[x * book.states + s] += one.p[k * book.states + s]; });
  });
  for (let x = 0; x < wide; x += 1) {
    let top = rows.base;
    every.forEach((s) => {
      const part = count[x] ? (90 * sums[x * book.states + s]) / (250 * count[x]) : 0;
      pen.fillStyle = shade(s);
      pen.fillRect(LEFT + x, top, 1, part);
      top += part;
    });
  }
  // A lane for each state, filled wherever a column has one observation of it; grey where none is decided.
  const lane = 24 / book.states;
  rows.bars.forEach(([labels, y]) => {
    const holds = new Uint8Array(wide * slots);
    each((k, x) => { holds[slot(labels[k]) * wide + x] = 1; });
    for (let x = 0; x < wide; x += 1) {
      const found = every.filter((s) => holds[s * wide + x]);
      found.forEach((s) => {
        pen.fillStyle = shade(s);
        pen.fillRect(LEFT + x, y + s * lane, 1, lane);
      });
      if (found.length || !holds[book.states * wide + x]) continue;
      pen.fillStyle = GREY;
      pen.fillRect(LEFT + x, y, 1, 24);
    }
  });
}

function draw() {
  const one = shown;
  const width = canvas.clientWidth || 320;
  const channels = book.channels.length;
  const lines = channels <= FEW;
  const top = lines ? 60 + 60 * channels : Math.max(90, Math.min(220, 13 * channels));
  const base = top + 14;
  const bars = [[one.label, base + 98], ...(one.truth ? [[one.truth, base + 130]] : [])];
  const height = base + 90 + bars.length * 32 + 34;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const wide = Math.floor(width - LEFT - 4);
  const at = (time) => LEFT + ((time - view.begin) / (view.end - view.begin)) * (width - LEFT - 4);
  const text = (words, x, y, align, size = 13) => {
    pen.font = `${size}px system-ui, sans-serif`;
    pen.fillStyle = SOFT;
    pen.textAlign = align;
    pen.fillText(words, x, y, align === "right" ? LEFT - 10 : width);
  };
  pen.textBaseline = "middle";
  const row = top / channels;
  const rows = { ratio, row, lines, base, bars, height: (c, level) => (c + 0.94 - 0.88 * (level / 254)) * row };
  book.channels.forEach((name, c) => {
    const [word, unit] = lines ? name.split(/ (?=\([^(]*\)$)/) : [name];
    if (lines || row > 10) text(word, LEFT - 8, (c + 0.5) * row - (unit ? 7 : 0), "right");
    if (unit) text(unit, LEFT - 8, (c + 0.5) * row + 8, "right");
    if (!lines) return;
    pen.fillStyle = GREY;
    if (c) pen.fillRect(LEFT, Math.round(c * row), width - LEFT - 4, 1);
    text(short(book.high[c]), LEFT - 8, rows.height(c, 254) + 2, "right", 11);
    text(short(book.low[c]), LEFT - 8, rows.height(c, 0) - 2, "right", 11);
  });
  if (!lines && row <= 10) text("channels", LEFT - 8, top / 2, "right");
  text("P(state)", LEFT - 8, base + 45, "right");
  bars.forEach(([, y], index) => text(index ? "truth" : "state", LEFT - 8, y + 12, "right"));

  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width - LEFT - 4, height - 24);
  pen.clip();
  pen.font = "13px system-ui, sans-serif";
  const [from, to] = [first(one.ends, view.begin), first(one.times, view.end)];
  const level = (k, c) => one.x[k * channels + c];
  if (to - from > wide) drawColumns(one, from, to, at, rows, level, wide);
  else drawEach(one, from, to, at, rows, level);
  pen.strokeStyle = "#000000";
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(at(one.times[cursor.value]), 0);
  pen.lineTo(at(one.times[cursor.value]), height - 24);
  pen.stroke();
  if (band) {
    pen.fillStyle = "rgba(0, 90, 140, 0.2)";
    pen.fillRect(Math.min(band.from, band.to), 0, Math.abs(band.to - band.from), height);
  }
  pen.restore();
  const span = view.end - view.begin;
  text(rounded(view.begin, span), LEFT, height - 12, "left");
  text(book.time, (LEFT + width) / 2, height - 12, "center");
  pen.textAlign = "right";
  pen.fillText(rounded(view.end, span), width - 4, height - 12);
}

// Where one looks.

function look(begin, end) {
  const span = Math.min(shown.end - shown.begin, Math.max(end - begin, 8 * shown.interval));
  const start = Math.max(shown.begin, Math.min((begin + end - span) / 2, shown.end - span));
  view = { begin: start, end: start + span };
  const all = span >= (shown.end - shown.begin) * (1 - 1e-9);
  element("closer").disabled = span <= 8 * shown.interval * (1 + 1e-9);
  element("wider").disabled = all;
  element("whole").disabled = all;
  element("extent").textContent = `Shown: ${book.time} ${clock(view.begin)} to ${clock(view.end)}${all ? ", the whole sequence" : ""}.`;
  draw();
}

function zoom(factor) {
  const time = shown.times[cursor.value];
  const inside = time >= view.begin && time < view.end;
  const centre = inside ? time : (view.begin + view.end) / 2;
  const half = (factor * (view.end - view.begin)) / 2;
  look(centre - half, centre + half);
}

const nextVisit = (k) => shown.visits.find((one) => one.state === Number(visited.value) && one.begin > k);
const lastVisit = (k) => shown.visits.findLast((one) => one.state === Number(visited.value) && one.begin < k);

function visit(one) {
  const around = Math.max(CLOSE - (one.end - one.begin), one.end - one.begin) >> 1;
  const last = Math.min(shown.times.length, one.end + around) - 1;
  cursor.value = String(one.begin);
  look(shown.times[Math.max(0, one.begin - around)], shown.ends[last]);
  point();
}

function point() {
  const k = Number(cursor.value);
  const shares = every.map((s) => shown.p[k * book.states + s] / 2.5);
  const best = shares.indexOf(Math.max(...shares));
  const truth = shown.truth && shown.truth[k] !== UNDECIDED ? `; in truth state ${shown.truth[k]}` : "";
  const word = shown.label[k] === UNDECIDED ? "undecided" : `state ${shown.label[k]}`;
  const here = shown.visits.find((one) => one.begin <= k && k < one.end);
  const alike = here ? shown.visits.filter((one) => one.state === here.state) : [];
  const which = here
    ? `; visit ${alike.indexOf(here) + 1} of ${alike.length} to state ${here.state}, ${plural(here.length, "observation")}` : "";
  said.textContent =
    `time ${clock(shown.times[k])}: ${word} (state ${best} with ${Math.round(shares[best])} %${truth})${which}`;
  cursor.setAttribute("aria-valuetext", said.textContent);
  element("visit-before").disabled = !lastVisit(k);
  element("visit-after").disabled = !nextVisit(k);
  const time = shown.times[k];
  const half = (view.end - view.begin) / 2;
  if (time < view.begin || time >= view.end) look(time - half, time + half); else draw();
}

function choose(index) {
  shown = opened(index);
  choice.value = String(index);
  element("before").disabled = index === 0;
  element("after").disabled = index === book.sequences.length - 1;
  cursor.max = String(shown.times.length - 1);
  cursor.value = "0";
  const times = every.map((s) => shown.visits.filter((one) => one.state === s).length);
  const parts = every.map((s) => `state ${s} for ${Math.round(100 * shown.share[s])} % of it in ${plural(times[s], "visit")}`);
  const words = `Sequence ${shown.name}, ${plural(shown.observations, "observation")}: ${parts.join(", ")}.`;
  element("about").textContent = words;
  canvas.setAttribute("aria-label", `Observations, state probabilities and labels over time. ${words}`);
  const rare = every.filter((s) => times[s]).sort((a, b) => shown.share[a] - shown.share[b])[0];
  const asked = visited.value === "" ? rare : Number(visited.value);
  visited.replaceChildren(...every.map((s) => new Option(`state ${s} (${plural(times[s], "visit")})`, String(s))));
  visited.value = String(asked === undefined ? 0 : asked);
  look(shown.begin, shown.end);
  point();
}

book.sequences.forEach((one, index) => choice.add(new Option(one.name, String(index))));
choice.addEventListener("change", () => choose(Number(choice.value)));
element("before").addEventListener("click", () => choose(Number(choice.value) - 1));
element("after").addEventListener("click", () => choose(Number(choice.value) + 1));
element("closer").addEventListener("click", () => zoom(0.5));
element("wider").addEventListener("click", () => zoom(2));
element("whole").addEventListener("click", () => look(shown.begin, shown.end));
element("visit-before").addEventListener("click", () => visit(lastVisit(Number(cursor.value))));
element("visit-after").addEventListener("click", () => visit(nextVisit(Number(cursor.value))));
visited.addEventListener("change", point);
cursor.addEventListener("input", point);

// A click sets the cursor, a drag looks closer at what it goes over.

const timeAt = (x) => view.begin + ((x - LEFT) / (canvas.clientWidth - LEFT - 4)) * (view.end - view.begin);
const under = (event) => event.clientX - canvas.getBoundingClientRect().left;
canvas.addEventListener("pointerdown", (event) => {
  band = { from: under(event), to: under(event) };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!band) return;
  band.to = under(event);
  draw();
});
canvas.addEventListener("pointercancel", () => { band = null; draw(); });
canvas.addEventListener("pointerup", () => {
  if (!band) return;
  const [begin, end] = [timeAt(Math.min(band.from, band.to)), timeAt(Math.max(band.from, band.to))];
  const dragged = Math.abs(band.to - band.from) > 5;
  band = null;
  cursor.value = String(Math.max(0, first(shown.times, dragged ? (begin + end) / 2 : begin) - 1));
  if (dragged) look(begin, end);
  point();
});
new ResizeObserver(draw).observe(canvas.parentElement);
choose(0);
