// The page: a picture in, boxes over it, and everything about them adjustable afterwards.

import { colourOf, draw } from "./drawing.js";
import { asPng, detect, model } from "./server.js";

const LOWEST = 0.05; // the server is asked once; the slider works on what it gave
const STAGES = ["#8a8f9c", "#2f7fd1", "#7d58c6", "#d1692f", "#2f9e6b", "#b8476b", "#c9a227"];
const element = (id) => document.getElementById(id);

/** What is shown; `hidden` holds labels whose class is switched off. */
const state = { file: null, picture: null, found: null, stages: [], total: 0, hidden: new Set(), chosen: null, running: null };

const threshold = () => Number(element("threshold").value) / 100;
const shown = () => state.found.detections.filter((one) => one.score > threshold() && !state.hidden.has(one.label));

async function take(file) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  state.file = file;
  say("Looking …");
  element("error").hidden = true;
  try {
    const answered = detect(file, LOWEST, running.signal);
    answered.catch(() => {}); // it is awaited below, after the picture
    const preview = await createImageBitmap(file).catch(() => null);
    const { found, stages, total } = await answered;
    const picture = preview ?? (await createImageBitmap(await asPng(file, running.signal)));
    if (running !== state.running) return; // another picture came meanwhile
    Object.assign(state, { found, stages, total, picture, hidden: new Set(), chosen: null });
    say("");
    showAll();
  } catch (error) {
    if (error.name === "AbortError" || running !== state.running) return;
    complain(error);
  }
}

function say(text) {
  element("status").textContent = text;
}

function complain(error) {
  say("");
  if (error.code === "unauthorized") {
    guarded();
    element("model").textContent = sessionStorage.getItem("token") ? "This is not the server's token." : "";
    element("token-form").hidden = false;
    element("token").focus();
    return;
  }
  const wait = error.wait ? ` Room again in about ${error.wait} s.` : "";
  element("error-text").textContent = sentence(error.message) + wait;
  element("error").hidden = false;
}

/** The server wants a token: say it in the command, and offer no links, which could not carry it. */
function guarded() {
  element("links").hidden = true;
  showCommand(' -H "Authorization: Bearer $TOKEN"');
}

function showCommand(options = "") {
  element("curl").textContent = `curl${options} --data-binary @picture.jpg ${location.origin}/detect`;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function showAll() {
  document.querySelector("main").classList.add("found");
  element("canvas").hidden = false;
  element("results").hidden = false;
  showClasses();
  showStages();
  show();
}

function show() {
  const detections = shown();
  paint();
  element("rows").replaceChildren(...detections.map(row));
  const noun = detections.length === 1 ? "object" : "objects";
  element("count").textContent = `${detections.length} ${noun}`;
  const { width, height } = state.found;
  const name = state.file.name || "pasted picture";
  element("caption").textContent = `${name}, ${width} × ${height}`;
  element("canvas").setAttribute("aria-label", `${name} with ${summary(detections)}`);
  say(`${detections.length} ${noun} over ${threshold().toFixed(2)}`);
}

function paint() {
  const canvas = element("canvas");
  const width = Math.min(state.picture.width, Math.round(canvas.clientWidth * devicePixelRatio)) || 1;
  canvas.width = width;
  canvas.height = Math.max(1, Math.round((width * state.picture.height) / state.picture.width));
  draw(canvas, state.picture, shown(), state.chosen);
}

function summary(detections) {
  const counts = new Map();
  for (const one of detections) counts.set(one.label, (counts.get(one.label) ?? 0) + 1);
  const parts = [...counts].map(([label, count]) => `${count} ${label}`);
  return parts.length ? parts.join(", ") : "no objects";
}

function row(found) {
  const line = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.append(swatch(colourOf(found.index)), found.label);
  const score = cell(found.score.toFixed(2));
  const [left, top, right, bottom] = found.box.map(Math.round);
  line.append(name, score, cell(`${left}, ${top} – ${right}, ${bottom}`));
  line.addEventListener("pointerenter", () => choose(found));
  line.addEventListener("pointerleave", () => choose(null));
  return line;
}

function cell(text) {
  const made = document.createElement("td");
  made.className = "n";
  made.textContent = text;
  return made;
}

function swatch(colour) {
  const made = document.createElement("span");
  made.className = "swatch";
  made.style.background = colour;
  return made;
}

function choose(found) {
  state.chosen = found;
  paint();
}

function showClasses() {
  const counts = new Map();
  for (const one of state.found.detections) {
    const entry = counts.get(one.label) ?? { index: one.index, count: 0, best: 0 };
    counts.set(one.label, { ...entry, count: entry.count + 1, best: Math.max(entry.best, one.score) });
  }
  const ordered = [...counts].sort((a, b) => b[1].best - a[1].best);
  element("classes").hidden = ordered.length === 0;
  element("class-list").replaceChildren(
    ...ordered.map(([label, { index, count }]) => {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !state.hidden.has(label);
      box.addEventListener("change", () => {
        if (box.checked) state.hidden.delete(label);
        else state.hidden.add(label);
        show();
      });
      const made = document.createElement("label");
      const number = document.createElement("small");
      number.textContent = String(count);
      made.append(box, swatch(colourOf(index)), label, number);
      return made;
    }),
  );
}

function showStages() {
  const server = state.stages.reduce((sum, stage) => sum + stage.milliseconds, 0);
  const stages = [...state.stages, { name: "to the server and back", milliseconds: Math.max(0, state.total - server) }];
  element("bar").replaceChildren(
    ...stages.map(({ milliseconds }, number) => {
      const part = swatch(STAGES[number % STAGES.length]);
      part.className = "";
      part.style.flex = `${milliseconds} 0 0`;
      return part;
    }),
  );
  element("stages").replaceChildren(
    ...stages.map(({ name, milliseconds }, number) => term(name, milliseconds, STAGES[number % STAGES.length])),
    term("altogether", state.total, "transparent"),
  );
}

function term(name, milliseconds, colour) {
  const group = document.createElement("div");
  const title = document.createElement("dt");
  title.textContent = name;
  const value = document.createElement("dd");
  value.textContent = duration(milliseconds);
  group.append(swatch(colour), title, value);
  return group;
}

function duration(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

function filtered() {
  return JSON.stringify({ ...state.found, detections: shown() }, null, 2);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(filtered());
    say("Copied.");
  } catch { // not over HTTPS nor on this machine: the page may not write the clipboard
    const link = URL.createObjectURL(new Blob([filtered()], { type: "application/json" }));
    save(link, "detections.json");
    say("The browser forbids copying here; the JSON was downloaded instead.");
  }
}

function download() {
  const canvas = document.createElement("canvas");
  canvas.width = state.picture.width;
  canvas.height = state.picture.height;
  draw(canvas, state.picture, shown());
  canvas.toBlob((blob) => {
    if (blob === null) return complain(new Error("this picture is too large for the browser to write; use the command line"));
    save(URL.createObjectURL(blob), `${(state.file.name || "picture").replace(/\.[^.]*$/, "")}-objects.png`);
    say("Downloaded.");
  }, "image/png");
}

function save(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function sample() {
  const answer = await fetch("/static/sample.jpg");
  await take(new File([await answer.blob()], "sample.jpg", { type: "image/jpeg" }));
}

async function introduce() {
  try {
    const { platform } = await model();
    element("model").textContent = `SSD-ResNet34 1200×1200, running on ${platform.replace("_", " in ")}`;
  } catch (error) {
    if (error.code === "not_ready") return setTimeout(introduce, 1000);
    element("model").textContent = "";
    complain(error);
  }
}

element("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) take(file);
  event.target.value = ""; // the same file may be chosen again
});
element("sample").addEventListener("click", sample);
element("again").addEventListener("click", () => (state.file ? take(state.file) : introduce()));
element("threshold").addEventListener("input", () => {
  const text = threshold().toFixed(2);
  element("threshold-value").textContent = text;
  element("threshold").setAttribute("aria-valuetext", text);
  show();
});
for (const [id, hidden] of [["all", false], ["none", true]]) {
  element(id).addEventListener("click", () => {
    state.hidden = new Set(hidden ? state.found.detections.map((one) => one.label) : []);
    showClasses();
    show();
  });
}
element("copy").addEventListener("click", copy);
element("download").addEventListener("click", download);
element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", element("token").value);
  element("token-form").hidden = true;
  introduce();
  if (state.file) take(state.file);
});
document.addEventListener("paste", (event) => {
  const [file] = [...(event.clipboardData?.files ?? [])];
  if (file) take(file);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file) take(file);
});
let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width === width) return; // painting changes the height
  width = contentRect.width;
  if (state.picture) paint();
}).observe(element("figure"));
showCommand();
if (sessionStorage.getItem("token")) guarded();
introduce();
