// The page's own code: buttons in, bubbles out. All of the sound is done by the module that the server brings along.
const { Voice } = await import(document.body.dataset.module);

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const language = navigator.language.slice(0, 2);
const voice = new Voice(document.body.dataset.socket, { options: { language } });
window.voice = voice; // to play with in the browser's console

// What goes in

/** Start, with or without the microphone; what goes wrong comes as an "error" event. */
async function start(what) {
  $("problem").hidden = true;
  await voice.start(what).catch(() => {});
  return voice.state === "open";
}

/** Do something that may be refused with a sentence for the person. */
function attempt(action) {
  Promise.resolve().then(action).catch((error) => complain(error));
}

$("start").onclick = () => start();
$("end").onclick = () => voice.stop();
$("interrupt").onclick = () => voice.interrupt();
$("mute").onclick = () => {
  voice.mute(!voice.muted);
  pressed("mute", voice.muted, "Muted", "Mute");
};
$("camera").onclick = () => attempt(() => ($("preview").hidden ? voice.cameraOn() : voice.cameraOff()));
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") voice.interrupt();
});
$("write").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  attempt(async () => {
    if (voice.state === "idle" || voice.state === "closed") {
      if (!(await start({ microphone: false }))) return; // who writes need not be asked for the microphone
    }
    voice.sendText(text);
    $("text").value = "";
    show(bubble(`text-${performance.now()}`, "you"), { text, final: true });
  });
};

for (const button of document.querySelectorAll("button:disabled")) button.disabled = false; // now that they do something

// What comes out

const STATES = {
  idle: "Not connected",
  connecting: "Connecting …",
  reconnecting: "Reconnecting …",
  closed: "Ended",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking …",
  speaking: "Speaking",
};

let opened = false;

voice.addEventListener("state", ({ detail: { state, phase } }) => {
  if (state === "open") opened = true;
  const over = state === "idle" || state === "closed";
  const shown = state === "open" ? phase : over && !opened ? "idle" : state;
  $("state").textContent = shown === "listening" && !voice.listens ? "Ready" : STATES[shown];
  $("state").dataset.state = shown;
  $("hint").textContent = over ? "Press Start talking, or just write." : "Say something, or write. You may speak into the answer: it stops.";
  $("start").hidden = !over;
  for (const id of ["camera", "interrupt", "end", "levels"]) $(id).hidden = over;
  $("mute").hidden = over || !voice.listens;
  $("camera").disabled = state !== "open";
  $("interrupt").disabled = phase !== "speaking" && phase !== "thinking"; // what has come still sounds while it reconnects
  if (over) {
    pressed("mute", false, "Muted", "Mute");
    meter(0, 0);
    for (const open of $("log").querySelectorAll("[aria-busy=true]")) open.setAttribute("aria-busy", "false");
  }
});

voice.addEventListener("input_transcript", ({ detail }) => show(bubble(`item-${detail.item}`, "you"), detail));
voice.addEventListener("response_started", ({ detail }) => bubble(`turn-${detail.turn}`, "model"));
voice.addEventListener("transcript", ({ detail }) => show(bubble(`turn-${detail.turn}`, "model"), detail));

voice.addEventListener("latency", ({ detail: { turn, first_audio_ms, first_sound_ms } }) => {
  const parts = [];
  if (first_sound_ms !== null) parts.push(`answered after ${duration(first_sound_ms)}`);
  if (first_audio_ms !== null) parts.push(`at the server ${duration(first_audio_ms)}`);
  note(turn, "latency", parts.join(", "));
});

voice.addEventListener("played", ({ detail: { turn, ms, finished, flushed } }) => {
  if (finished && flushed) note(turn, "cut", `stopped after ${duration(ms)}`);
});

voice.addEventListener("response_done", ({ detail: { turn, status, text } }) => {
  const item = bubble(`turn-${turn}`, "model");
  const said = text || item.querySelector(".text").textContent;
  show(item, { text: said, final: true });
  if (status === "failed") note(turn, "cut", "the model failed");
  if (!said && status !== "completed") item.remove(); // nothing had come of it
});

voice.addEventListener("function_call", ({ detail }) => note(detail.turn, "call", `used ${detail.name}`));
voice.addEventListener("level", ({ detail }) => meter(detail.input, detail.output));
voice.addEventListener("error", ({ detail }) => complain(detail));

voice.addEventListener("camera", ({ detail: { on, stream } }) => {
  pressed("camera", on, "Camera on", "Camera");
  $("preview").hidden = !on;
  $("preview").srcObject = stream;
  if (on) void $("preview").play();
});

/** The bubble with this key; made when it is the first of it. A bubble that is still growing is not read aloud yet. */
function bubble(key, who) {
  const known = document.getElementById(key);
  if (known) return known;
  const item = document.createElement("li");
  item.id = key;
  item.className = who;
  item.setAttribute("aria-busy", "true");
  item.innerHTML = `<b class="unseen">${who === "you" ? "You:" : "Model:"}</b><span class="text"></span><span class="stash"></span><small></small>`;
  // What you said may be transcribed only after the answer has begun: it belongs before it.
  const last = $("log").lastElementChild;
  const growing = who === "you" && last?.className === "model" && last.getAttribute("aria-busy") === "true";
  $("log").insertBefore(item, growing && key.startsWith("item-") ? last : null);
  $("hint").hidden = true;
  follow();
  return item;
}

function show(item, { text, stash = "", final }) {
  item.querySelector(".text").textContent = text;
  item.querySelector(".stash").textContent = final ? "" : stash;
  item.setAttribute("aria-busy", String(!final));
  follow();
}

/** A small remark below an answer; each kind once. */
function note(turn, kind, words) {
  const place = document.getElementById(`turn-${turn}`)?.querySelector("small");
  if (!place || !words) return;
  place.dataset[kind] = words;
  place.textContent = Object.values(place.dataset).join(" · ");
  follow();
}

/** Stay at the newest, unless somebody has scrolled up to read. */
function follow() {
  const main = document.querySelector("main");
  if (main.scrollHeight - main.scrollTop - main.clientHeight < 160) main.scrollTop = main.scrollHeight;
}

function complain(error) {
  $("problem").querySelector("span").textContent = error.message;
  $("problem").hidden = false;
}
$("problem").querySelector("button").onclick = () => ($("problem").hidden = true);

function pressed(id, on, yes, no) {
  $(id).setAttribute("aria-pressed", String(on));
  $(id).textContent = on ? yes : no;
}

/** From -60 dB to 0 dB, because that is how loudness is felt. */
function meter(input, output) {
  const shown = (rms) => Math.max(0, Math.min(1, 1 + Math.log10(rms + 1e-9) / 3));
  $("input").style.setProperty("--level", shown(input));
  $("output").style.setProperty("--level", shown(output));
}

const duration = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
