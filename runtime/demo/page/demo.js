"use strict";
// Chunks come in over a WebSocket, a few frames at a time. The picture moves with the screen's own clock, so that it
// glides although frames come in bursts; every frame is drawn where it belongs in time as soon as it is there.

const MOST_SHOWN_S = 8, FLOOR_DB = -62, TOP_DB = -8, DIM = 0.2;
const $ = (id) => document.getElementById(id);
const canvas = $("map"), pen = canvas.getContext("2d", { alpha: false });
const stream = new WebSocket(`ws://${location.host}/stream${location.search}`);
const still = matchMedia("(prefers-reduced-motion: reduce)");
let facts = { frame_s: 0.02, chunk_ms: 80 }, frames = [], words = [], lanes = new Map(), lag = null, newest = 0, level = -100;
// For whoever measures: chunks, frames and drawings so far, and when the newest frame was drawn (Unix time, ms).
const seen = (window.speechpress = { chunks: 0, frames: 0, drawn: 0, shown: [] });
let undrawn = [];

// Only what changed: a screen reader reads it each time.
const say = (id, text) => $(id).textContent === text || ($(id).textContent = text);
stream.onopen = () => say("state", "");
stream.onclose = () => {
  say("state", "the demo has ended; restart it with: compress demo --web");
  say("empty", "The demo has ended.");
};
stream.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if (message.refused) $("note").textContent = message.refused;
  else message.facts ? introduce(message.facts) : take(message);
};
const tell = (order) => stream.readyState === 1 && stream.send(JSON.stringify(order));

function introduce(given) {
  facts = given;
  $("model").textContent = facts.model;
  document.title = `${facts.model} · live · speechpress`;
  $("frame").textContent = Math.round(1000 * facts.frame_s);
  $("latency").textContent = `${facts.latency_ms.toFixed(0)} ms`;
  $("teach").hidden = $("hint-teach").hidden = !facts.teaching;
  lanes = new Map(facts.heads.map((head) => [head.head, new Lane(head)]));
  // Words have no lane of their own: they are drawn over the map.
  const own = [...lanes.values()].filter((lane) => lane.draw !== "map");
  $("lanes").replaceChildren(...own.map((lane) => lane.element));
  $("lanes").hidden = !own.length;
  $("legend-dim").hidden = $("answering").hidden = !lanes.size;
  $("headless").hidden = lanes.size > 0;
}

function take(chunk) {
  const now = performance.now() / 1000, first = chunk.t_s - (chunk.frames - 1) * facts.frame_s;
  if (chunk.t_s < newest - 1) {
    [frames, words, lag] = [[], [], null];
    lanes.forEach((lane) => lane.reset());
  }
  $("empty").hidden = true;
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
  for (const event of chunk.events) lanes.get(event.head).add(event);
  frames = frames.filter((frame) => frame.t > newest - MOST_SHOWN_S - 1);
  words = words.filter((word) => word.end_s > newest - MOST_SHOWN_S - 1);
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
  $("budget").setAttribute("aria-valuenow", Math.round(Math.min(100, (100 * stats.p50_ms) / stats.budget_ms)));
  mark.style.left = share(stats.p99_ms);
  const tone = stats.p99_ms < stats.budget_ms / 2 ? "good" : stats.p99_ms < stats.budget_ms ? "warn" : "bad";
  fill.style.background = `var(--${tone})`;
  $("rtf").textContent = stats.rtf.toFixed(3);
  $("late").textContent = stats.answer_ms === null ? "–" : `${stats.answer_ms.toFixed(0)} ms`;
  $("dropped").textContent = dropped;
  $("dropped").style.color = dropped ? "var(--bad)" : "";
  $("level").firstElementChild.style.width = `${Math.max(0, ((level - FLOOR_DB) / -FLOOR_DB) * 100)}%`;
  $("level").firstElementChild.style.background = level > -3 ? "var(--bad)" : "var(--good)";
  $("level").setAttribute("aria-valuenow", Math.round(level));
  say("state", source);
  if (lesson) teach(lesson, taught, said);
}

function teach(lesson, taught, said) {
  $("word").textContent = lesson.against ? `not “${lesson.word}”` : `“${lesson.word}”`;
  $("dots").textContent = "●".repeat(lesson.said) + "○".repeat(facts.examples - lesson.said);
  say("note", lesson.note);
  const list = $("taught"), known = [...list.children].map((item) => item.textContent);
  if (!taught.length && !known.length) say("taught", "no word is taught yet");
  if (known.join("\n") !== taught.join("\n"))
    list.replaceChildren(...taught.map((word) => Object.assign(document.createElement("span"), { textContent: word })));
  for (const item of list.children)
    if (said.some(({ word }) => word === item.textContent)) {
      item.classList.add("said");
      setTimeout(() => item.classList.remove("said"), 400);
    }
}

// Words of heads that are drawn over the map.
function found() {
  const events = [...lanes.values()].filter((lane) => lane.draw === "map").flatMap((lane) => [...lane.events.values()]);
  return events.map(({ label, ...times }) => ({ word: label, ...times }));
}

function draw() {
  requestAnimationFrame(draw);
  const scale = devicePixelRatio || 1, width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.fillStyle = "#07090c";
  pen.fillRect(0, 0, width, height);
  if (lag === null) return;
  // Fewer seconds where there is less room, so that labels do not crowd; whole chunks where nothing shall glide.
  const shown_s = Math.min(MOST_SHOWN_S, Math.max(2, canvas.clientWidth / 160));
  const edge_s = still.matches ? newest : performance.now() / 1000 - lag, per_s = width / shown_s, foot = 40 * scale;
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
  for (const { word, start_s, end_s, final } of [...words, ...found()]) {
    const left = x(start_s), right = x(end_s);
    pen.strokeStyle = pen.fillStyle = final === false ? "#9aa3af" : "#ffffff";
    pen.lineWidth = 2 * scale;
    pen.beginPath();
    pen.roundRect(left, 2 * scale, right - left, 2 * middle - 4 * scale, 6 * scale);
    pen.stroke();
    pen.fillText(word, (left + right) / 2, height - foot / 2 + 5 * scale);
  }
  for (const lane of lanes.values()) lane.paint({ x, per_s, width, scale });
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
  $("hold").focus();
});

// Buttons that are held by a pointer are held by the keys that press a button as well.
const byKey = (event, kind) => {
  if (!event.target.matches?.("#hold, #not") || !["Space", "Enter"].includes(event.code)) return;
  event.preventDefault();
  if (!event.repeat) event.target.dispatchEvent(new PointerEvent(kind, { bubbles: true }));
};
addEventListener("keydown", (event) => byKey(event, "pointerdown"));
addEventListener("keyup", (event) => byKey(event, "pointerup"));

// Where pages may keep nothing, the hint is there each time.
const remembered = (deed) => {
  try {
    return deed(localStorage);
  } catch {
    return null;
  }
};
$("hint").hidden = remembered((kept) => kept.getItem("speechpress-known")) === "yes";
$("known").addEventListener("click", () => {
  $("hint").hidden = true;
  remembered((kept) => kept.setItem("speechpress-known", "yes"));
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
      $("note").textContent = $("state").textContent = $("empty").textContent = `the browser gives no microphone: ${error.message}`;
    }
  }
  $("microphone").classList.toggle("on", open !== null);
  $("microphone").setAttribute("aria-pressed", String(open !== null));
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
