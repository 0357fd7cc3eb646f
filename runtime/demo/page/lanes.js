"use strict";
// A lane for each head of the bundle, under the map and on its time axis. What lane a kind of head gets is said by the
// demo's table (lanes.py); here is one entry for each way of drawing: how high it is, what it draws, and its newest words.

const KEPT_S = 20, MOST_SHIFT_S = 0.4, FONT = "system-ui, sans-serif";
const DRAWINGS = {
  bar: { height: () => 18, draw: drawBar, words: (lane) => lastAnswer(lane) },
  text: { height: (lane) => (lane.letters ? 24 : 62), draw: drawText, words: lastLabels },
  latest: { height: () => 0, draw: () => {}, words: (lane) => lastAnswer(lane) },
  ribbon: { height: () => 14, draw: drawRibbon, words: (lane) => lastAnswer(lane) },
  map: { height: () => 0, draw: () => {}, words: (lane) => lastAnswer(lane) },
};
let ink = {};

// Colours of the page, which change with the scheme.
function mixInk() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["card", "line", "ink", "soft", "good", "accent"])
    ink[name] = style.getPropertyValue(`--${name}`).trim();
}
matchMedia("(prefers-color-scheme: light)").addEventListener("change", mixInk);
mixInk();

function make(tag, more = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...inside);
  return made;
}

class Lane {
  constructor(about) {
    Object.assign(this, about, { drawing: DRAWINGS[about.draw], events: new Map(), latest: null });
    this.now = make("b", { textContent: "–" });
    const about_ = make("div", { className: "about" }, make("h2", { textContent: this.name }),
      make("p", { textContent: this.legend }), this.now);
    this.element = make("div", { className: "lane" }, about_);
    if (this.drawing.height(this)) {
      this.canvas = make("canvas");
      this.canvas.setAttribute("role", "img");
      this.canvas.setAttribute("aria-label", `${this.name}: ${this.legend}`);
      this.canvas.style.height = `${this.drawing.height(this)}px`;
      this.element.append(this.canvas);
    }
    this.reset();
  }

  reset() {
    this.events.clear();
    this.settled = new Map();
    this.ends = null;
  }

  // A new event, or a newer version of one that may have changed; the same rules as in lanes.py.
  add(event) {
    this.events.set(event.number, event);
    for (const [number, other] of this.events) {
      const gone = this.ordered && number > event.number && other.start_s < event.end_s && !other.final;
      const old = other.final && other.end_s < event.end_s - KEPT_S;
      if (gone || old) this.events.delete(number);
    }
    this.latest = event;
    this.now.textContent = this.drawing.words(this);
    this.now.className = event.final ? "" : "partial";
  }

  // view: seconds to pixels of the screen, from the map.
  paint(view) {
    if (!this.canvas) return;
    const pen = this.canvas.getContext("2d", { alpha: false }), height = Math.round(this.canvas.clientHeight * view.scale);
    if (this.canvas.width !== view.width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [view.width, height];
      [this.settled, this.ends] = [new Map(), null];
    }
    pen.fillStyle = ink.card;
    pen.fillRect(0, 0, view.width, height);
    this.drawing.draw(pen, this, { ...view, height });
  }
}

const lastAnswer = (lane) => lane.latest.answer;

function lastLabels(lane) {
  const labels = [...lane.events.values()].slice(lane.letters ? -24 : -8).map((event) => event.label);
  return labels.join(lane.letters ? "" : " ");
}

function drawBar(pen, lane, { x, width, height, scale }) {
  const tall = (height - 6 * scale) / lane.tracks;
  pen.fillStyle = ink.line;
  pen.fillRect(0, height / 2 - scale / 2, width, scale);
  for (const event of lane.events.values()) {
    const track = Math.max(0, lane.labels.indexOf(event.label)) % lane.tracks, left = x(event.start_s);
    // What goes on is told when it begins and again when it has ended.
    const right = event.final ? x(event.end_s) : width;
    pen.globalAlpha = event.final ? 1 : 0.45;
    pen.fillStyle = track ? ink.accent : ink.good;
    pen.fillRect(left, 2 * scale + track * (tall + scale), right - left, tall);
  }
  pen.globalAlpha = 1;
}

function drawText(pen, lane, { x, per_s, scale }) {
  const rows = lane.letters ? 1 : 3, fonts = [`italic 450 ${14 * scale}px ${FONT}`, `600 ${14 * scale}px ${FONT}`];
  pen.textAlign = "left";
  const said = [...lane.events.values()].filter((event) => event.label).sort((one, other) => one.number - other.number);
  const measured = said.map((event) => {
    pen.font = fonts[1];
    return { event, wide_s: (pen.measureText(event.label).width + (lane.letters ? 1 : 7) * scale) / per_s };
  });
  for (const { event, row, at_s } of places(lane, measured, rows)) {
    pen.font = fonts[event.final ? 1 : 0];
    pen.fillStyle = event.final ? ink.ink : ink.soft;
    pen.fillText(event.label, x(at_s), (18 + 19 * row) * scale);
  }
}

// Where labels stand, so that none overlaps another and none jumps: final ones that only follow final ones keep their
// place, the rest is placed anew; what would stand too late is left out.
function places(lane, measured, rows) {
  lane.ends ??= Array(rows).fill(-Infinity);
  let ends = [...lane.ends], settling = true;
  const found = [], numbers = new Set();
  for (const { event, wide_s } of measured) {
    numbers.add(event.number);
    let place = lane.settled.get(event.number);
    if (place === undefined) {
      settling = settling && event.final;
      const row = ends.reduce((best, end, i) => (Math.max(end, event.start_s) < Math.max(ends[best], event.start_s) ? i : best), 0);
      const at_s = Math.max(event.start_s, ends[row]);
      place = at_s - event.start_s > MOST_SHIFT_S ? null : { row, at_s };
      if (place) ends[row] = at_s + wide_s;
      if (settling) {
        lane.settled.set(event.number, place);
        lane.ends = [...ends];
      }
    }
    if (place) found.push({ event, ...place });
  }
  for (const number of lane.settled.keys()) if (!numbers.has(number)) lane.settled.delete(number);
  return found;
}

function drawRibbon(pen, lane, { x, height, scale }) {
  for (const { label, start_s, end_s, final } of lane.events.values()) {
    const number = /^\d+$/.test(label) ? Number(label) : [...label].reduce((sum, one) => sum + one.codePointAt(0), 0);
    pen.globalAlpha = final ? 1 : 0.5;
    // By the golden angle, so that neighbours in number are unlike.
    pen.fillStyle = `hsl(${(137.508 * number) % 360} 60% 55%)`;
    pen.fillRect(x(start_s), 0, x(end_s) - x(start_s) + 0.5, height - 3 * scale);
  }
  pen.globalAlpha = 1;
}
