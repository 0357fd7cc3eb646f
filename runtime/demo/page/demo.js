"use strict";
// Chunks come in over a WebSocket, a few frames at a time. The picture moves with the screen's own clock, so that it
// glides although frames come in bursts; every frame is drawn where it belongs in time as soon as it is there.

const SHOWN_S = 8, FLOOR_DB = -62, TOP_DB = -8, DIM = 0.2;
const $ = (id) => document.getElementById(id);
const canvas = $("map"), pen = canvas.getContext("2d", { alpha: false });
const stream = new WebSocket(`ws://${location.host}/stream${location.search}`);
let facts = { frame_s: 0.02, chunk_ms: 80 }, frames = [], words = [], lag = null, newest = 0, level = -100;
// For whoever measures: chunks, frames and drawings so far, and when the newest frame was drawn (Unix time, ms).
const seen = (window.speechpress = { chunks: 0, frames: 0, drawn: 0, shown: [] });
let undrawn = [];

stream.onopen = () => ($("state").textContent = "");
stream.onclose = () => ($("state").textContent = "the demo has ended; start it again with: compress demo --web");
stream.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if (message.refused) $("note").textContent = message.refused;
  else message.facts ? introduce(message.facts) : take(message);
};
const tell = (order) => stream.readyState === 1 && stream.send(JSON.stringify(order));

function introduce(given) {
  facts = given;
  $("model").textContent = facts.model;
  $("latency").textContent = `${facts.latency_ms.toFixed(0)} ms`;
  $("teach").hidden = !facts.teaching;
}

function take(chunk) {
  const now = performance.now() / 1000, first = chunk.t_s - (chunk.frames - 1) * facts.frame_s;
  if (chunk.t_s < newest - 1) [frames, words, lag] = [[], [], null];
  newest = chunk.t_s;
  chunk.colours.forEach(([red, green, blue], i) => {
    const height = Math.min(1, Math.max(0.03, (chunk.levels_db[i] - FLOOR_DB) / (TOP_DB - FLOOR_DB)));
    const dim = `rgb(${red * DIM} ${green * DIM} ${blue * DIM})`;
    frames.push({ t: first + i * facts.frame_s, colour: `rgb(${red} ${green} ${blue})`, dim, height });
  });
  // The smallest lag seen is the stream's own; it may creep up by 0.2 % where the two clocks do not agree.
  const found = now - chunk.t_s;
  lag = lag === null || found > lag + 1.5 ? found : Math.min(found, lag + 0.002 * facts.chunk_ms / 1000);
  words.push(...chunk.words);
  frames = frames.filter((frame) => frame.t > newest - SHOWN_S - 1);
  words = words.filter((word) => word.end_s > newest - SHOWN_S - 1);
  level = Math.max(chunk.level_db, level - 0.03 * facts.chunk_ms);
  seen.chunks += 1;
  seen.frames += chunk.frames;
  undrawn.push({ t_s: chunk.t_s, level_db: chunk.level_db });
  figures(chunk);
}

function figures({ stats, lesson, taught, source, words: said, dropped }) {
  const share = (ms) => `${Math.min(100, (100 * ms) / stats.budget_ms)}%`;
  $("times").textContent =
    `p50 ${stats.p50_ms.toFixed(1)} ms · p99 ${stats.p99_ms.toFixed(1)} ms of ${stats.budget_ms} ms`;
  const [fill, mark] = $("budget").children;
  fill.style.width = share(stats.p50_ms);
  mark.style.left = share(stats.p99_ms);
  const tone = stats.p99_ms < stats.budget_ms / 2 ? "good" : stats.p99_ms < stats.budget_ms ? "warn" : "bad";
  fill.style.background = `var(--${tone})`;
  $("rtf").textContent = stats.rtf.toFixed(3);
  $("dropped").textContent = dropped;
  $("dropped").style.color = dropped ? "var(--bad)" : "";
  $("level").firstElementChild.style.width = `${Math.max(0, ((level - FLOOR_DB) / -FLOOR_DB) * 100)}%`;
  $("level").firstElementChild.style.background = level > -3 ? "var(--bad)" : "var(--good)";
  $("state").textContent = source;
  if (lesson) teach(lesson, taught, said);
}

function teach(lesson, taught, said) {
  $("word").textContent = lesson.against ? `not “${lesson.word}”` : `“${lesson.word}”`;
  $("dots").textContent = "●".repeat(lesson.said) + "○".repeat(facts.examples - lesson.said);
  $("note").textContent = lesson.note;
  const list = $("taught"), known = [...list.children].map((item) => item.textContent);
  if (known.join("\n") !== taught.join("\n"))
    list.replaceChildren(...taught.map((word) => Object.assign(document.createElement("span"), { textContent: word })));
  for (const item of list.children)
    if (said.some(({ word }) => word === item.textContent)) {
      item.classList.add("said");
      setTimeout(() => item.classList.remove("said"), 400);
    }
}

function draw() {
  requestAnimationFrame(draw);
  const scale = devicePixelRatio || 1, width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.fillStyle = "#07090c";
  pen.fillRect(0, 0, width, height);
  if (lag === null) return;
  const edge_s = performance.now() / 1000 - lag, per_s = width / SHOWN_S, foot = 40 * scale;
  const x = (t) => width + (t - edge_s) * per_s, middle = (height - foot) / 2;
  const wide = per_s * facts.frame_s + 0.8;
  for (const frame of frames) {
    const left = x(frame.t - facts.frame_s), tall = frame.height * middle;
    pen.fillStyle = frame.dim;
    pen.fillRect(left, 0, wide, 2 * middle);
    pen.fillStyle = frame.colour;
    pen.fillRect(left, middle - tall, wide, 2 * tall);
  }
  pen.font = `600 ${15 * scale}px system-ui, sans-serif`;
  pen.textAlign = "center";
  for (const { word, start_s, end_s } of words) {
    const left = x(start_s), right = x(end_s);
    pen.strokeStyle = pen.fillStyle = "#ffffff";
    pen.lineWidth = 2 * scale;
    pen.beginPath();
    pen.roundRect(left, 2 * scale, right - left, 2 * middle - 4 * scale, 6 * scale);
    pen.stroke();
    pen.fillText(word, (left + right) / 2, height - foot / 2 + 5 * scale);
  }
  seen.drawn += 1;
  const at = performance.timeOrigin + performance.now();
  for (const chunk of undrawn) seen.shown.push({ ...chunk, at });
  seen.shown = seen.shown.slice(-500);
  undrawn = [];
}
requestAnimationFrame(draw);

const ORDERS = { hold: "begin", not: "begin_not" };  // buttons that are held while something is said
const KEYS = { Space: "hold", KeyN: "not" };
let held = "";
const press = (button) => {
  if (held) return;
  held = button;
  $(button).classList.add("on");
  tell({ do: ORDERS[button] });
};
const release = () => {
  if (!held) return;
  $(held).classList.remove("on");
  held = "";
  tell({ do: "end" });
};
for (const button in ORDERS) $(button).addEventListener("pointerdown", () => press(button));
addEventListener("pointerup", release);
addEventListener("blur", release);
const meant = (event) => !["INPUT", "BUTTON"].includes(event.target.tagName) && KEYS[event.code];
addEventListener("keydown", (event) => meant(event) && (event.preventDefault(), press(meant(event))));
addEventListener("keyup", (event) => KEYS[event.code] === held && release());
$("forget").addEventListener("click", () => tell({ do: "forget" }));
$("naming").addEventListener("submit", (event) => {
  event.preventDefault();
  tell({ do: "name", word: $("name").value });
  $("name").value = "";
  $("name").blur();
});

let open = null;
$("microphone").addEventListener("click", async () => {
  if (open) {
    tell({ do: "microphone", rate: null });
    open.tracks.forEach((track) => track.stop());
    await open.context.close();
    open = null;
  } else {
    try {
      open = await listen();
    } catch (error) {
      $("note").textContent = $("state").textContent = `the browser gives no microphone: ${error.message}`;
    }
  }
  $("microphone").classList.toggle("on", open !== null);
  $("microphone").textContent = open ? "Stop this browser's microphone" : "Use this browser's microphone";
});

async function listen() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext();
  await context.audioWorklet.addModule("worklet.js");
  const node = new AudioWorkletNode(context, "microphone");
  tell({ do: "microphone", rate: context.sampleRate });
  node.port.onmessage = ({ data }) => stream.readyState === 1 && stream.send(data);
  context.createMediaStreamSource(media).connect(node);
  return { context, tracks: media.getTracks() };
}
