"use strict";
/* Brings everything together: an image goes in, by drawing, file or sample; maps, answers and explanations come out.

   MODELS, in models.js, has the networks to choose among: first the run, then the chapter's examples. The network computes in
   a Worker (runner.js); whatever changes wishes for an update, and there is at most one a frame.
*/

const $ = (id) => document.getElementById(id);
const runner = new Runner(WORKER_SOURCE);
const reader = new Runner(WORKER_SOURCE); // of large files, so that the network need not wait

const LARGEST = 999;
/** What the chapter's numbers may be changed to, and its negative. */

let entry = null;      // of MODELS, the one that is shown
let layers = [];       // its LayerViews
let shownView = null;  // the MapView of what the network is shown
let raw = null;        // the image: bytes (channels, native_size, native_size)
let picture = null;    // where that came from a file or a sample: {name, raw as it was}
let point = null;      // the pixel that is explained
let chosenBefore = null; // the map before it that was chosen
let camLabel = null;   // the class that Grad-CAM is for; null for the answer
let given = 0;         // counts what was given, drawings, images and networks: a file that was slow to read comes too late
let loaded = 0;        // counts the networks that the Worker was given
let answered = 0;      // the last of them whose answer is shown

const look = { ink: "#ffffff", paper: "#000000", width: 0.07 };
const drawing = new Drawing($("pad"), look, (what) => {
  if (drawing.strokes.length || what) {
    given++;
    picture = drawing.backdrop = null;
  }
  if (what) speak(what);
  notice("");
  useDrawing();
});

/* Choosing a network */

function showModel(next) {
  entry = next;
  given++;
  const { model } = entry, isRun = !entry.image;
  [point, chosenBefore, camLabel, picture, drawing.backdrop] = [null, null, null, null, null];
  for (const button of $("models").children) button.setAttribute("aria-pressed", String(button.entry === entry));
  $("facts").textContent = isRun ? factsOf(model) : "";
  for (const id of ["input", "answers", "cam", "how-shown"]) $(id).hidden = !isRun;
  $("example").hidden = isRun;
  document.body.classList.toggle("by-hand", !isRun);
  const [, , height, width] = model.input_shape;
  shownView = new MapView({ width, height, css: isRun ? null : BIG_CELL * width, label: "What the network sees", isStop: null, numbers: !isRun }, { onPoint: () => {} });
  $("shown-map").replaceChildren(shownView.element);
  layers = nodesToShow(model).map((node) => new LayerView(model, node, { onPoint: showPoint, onWish: update }, !isRun));
  openSome();
  $("layers").replaceChildren(...layers.map((layer) => layer.element));
  stopExplaining();
  loadNetwork();
  if (isRun) prepareRun();
  else prepareExample();
}

function loadNetwork() {
  loaded++;
  runner.ask("load", { model: entry.model }).catch(trouble);
}

function factsOf({ name, parameters, facts, class_names: names }) {
  const trained = `trained on ${facts.data}${facts.epochs ? `, ${facts.epochs} ${facts.epochs === 1 ? "epoch" : "epochs"}` : ""}`;
  const accuracy = facts.accuracy === null ? "" : `; ${facts.accuracy_of} accuracy ${(100 * facts.accuracy).toFixed(1)} %`;
  return `${name}, ${count(parameters)} parameters, ${names.length} classes, ${trained}${accuracy}`;
}

/** How what was given, a drawing, a file or a test image, comes to the size of the network's input. */
function howShown({ native_size: native, image_size: size, fit }, drawn) {
  const pixels = `${native}×${native} pixels`;
  const how = !picture ? drawn ? `The drawing is scaled, centred and counted into ${pixels}, as the data set was made` : `The drawing is brought to ${pixels}`
    : picture.isFile ? `The file is brought to ${pixels} as gpucnn predict does it, whole and not centred as drawings are` : `A test image of ${pixels}, as it is in the data set`;
  return `${how}${size === native ? "" : fit === "resize" ? `; resized to ${size}×${size} for the network` : `; with a dark margin to ${size}×${size} for the network`}.`;
}

/** Of many layers only some are open at first, from the first to the last. */
function openSome() {
  const most = 8, step = Math.max(1, (layers.length - 1) / (most - 1));
  const open = new Set(Array.from({ length: Math.min(most, layers.length) }, (_, place) => Math.round(place * step)));
  layers.forEach((layer, place) => { layer.element.open = layer.isOpen = open.has(place); });
}

function prepareRun() {
  const { model, samples, drawn } = entry, isDark = Boolean(drawn) || model.is_light_on_dark, isColour = model.preprocess.channels === 3;
  Object.assign(look, isDark ? { ink: "#ffffff", paper: "#000000" } : { ink: $("ink").value, paper: $("paper").value }, { width: drawn ? 0.085 : 0.03 });
  $("ink-choice").hidden = $("paper-choice").hidden = !isColour;
  $("cam-class").replaceChildren(make("option", { value: "" }, "the answer"), ...model.class_names.map((name, label) => make("option", { value: label }, name)));
  const maps = [...model.nodes.keys()].filter((node) => model.nodes[node].is_map && model.nodes[node].shape[2] * model.nodes[node].shape[3] > 1 && !MOVES.includes(model.nodes[node].function));
  $("cam").hidden = maps.length === 0;
  $("cam-layer").replaceChildren(...maps.map((node) => make("option", { value: node, selected: node === maps.at(-1) }, nameOf(node))));
  $("samples").replaceChildren(...samples.map(sampleButton));
  $("samples-box").hidden = samples.length === 0;
  notice(samples.length ? "" : "No test images to choose from: the data of the run were not there.");
  drawing.strokes = [];
  drawing.paint();
  if (samples.length) $("samples").children[Math.min(7, samples.length - 1)].click();
  else useDrawing();
}

function nameOf(node) {
  return entry.model.nodes[node].path || entry.model.nodes[node].function;
}

/** The chapter's numbers, which can be changed: those of the image, and of the filter. */
function prepareExample() {
  const { model, image, about } = entry, [, , height, width] = model.input_shape, editors = [];
  $("example-title").textContent = model.name;
  $("about").textContent = about;
  const filter = Object.values(model.arrays)[0];
  if (filter) {
    const values = new Float32Array(bytesOf(filter.base64).buffer), [, , rows, columns] = filter.shape;
    editors.push(numberEditor("The filter, to be changed", values, rows, columns, () => {
      filter.base64 = btoa(String.fromCharCode(...new Uint8Array(values.buffer)));
      loadNetwork();
      update();
    }));
  }
  editors.push(numberEditor("The image, to be changed", image, height, width, update));
  $("editors").replaceChildren(...editors);
  update();
}

function numberEditor(title, values, rows, columns, onChange) {
  const refusal = make("p", { className: "small refused" });
  refusal.setAttribute("role", "status");
  const cells = Array.from(values, (value, at) => {
    const place = `row ${Math.floor(at / columns)}, column ${at % columns}`;
    let last = String(value); // the last good number
    const cell = make("input", { type: "number", step: "any", min: -LARGEST, max: LARGEST, value: last, oninput: () => {
      const isGood = cell.value !== "" && Math.abs(Number(cell.value)) <= LARGEST;
      cell.setAttribute("aria-invalid", String(!isGood));
      refusal.textContent = isGood ? "" : `Numbers from -${LARGEST} to ${LARGEST} are taken: ${place} stays ${last}.`;
      if (!isGood) return;
      last = cell.value;
      values[at] = Number(last);
      onChange();
    }, onblur: () => {
      cell.value = last;
      cell.setAttribute("aria-invalid", "false");
    } });
    cell.setAttribute("aria-label", place);
    return cell;
  });
  const grid = make("div", { className: "editor" }, ...cells);
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 3.2rem))`;
  return make("fieldset", {}, make("legend", {}, title), grid, refusal);
}

/* The image */

/** What was drawn as raw bytes: as the data set has its digits, or else as a picture that was taken of the drawing. */
function rawOfDrawing({ model, drawn }) {
  if (drawn) return rawOfStrokes(drawing.strokes, model.preprocess, drawn);
  const size = 224, context = make("canvas", { width: size, height: size }).getContext("2d", { willReadFrequently: true });
  drawing.paintStrokes(context, size);
  return rawOf(context.getImageData(0, 0, size, size), model.preprocess);
}

function useDrawing() {
  if (!picture) {
    $("pad-hint").hidden = drawing.strokes.length > 0;
    $("invert-choice").hidden = true;
    for (const button of $("samples").children) button.setAttribute("aria-pressed", "false");
  }
  update();
}

/** Show the network raw bytes of an image; an image of ink on paper is turned round for a network of light on dark. */
function usePicture(bytes, name, isFile = false) {
  const { model } = entry;
  given++;
  picture = { raw: bytes, name, isFile };
  drawing.strokes = [];
  $("pad-hint").hidden = true;
  const isInk = isFile && model.is_light_on_dark && isDarkOnLight(bytes, model.preprocess);
  $("invert-choice").hidden = !(isFile && model.is_light_on_dark);
  $("invert").checked = isInk;
  for (const button of $("samples").children) button.setAttribute("aria-pressed", String(button.bytes === bytes));
  notice(isInk ? `${name} is dark on light, and ${model.facts.data} is light on dark: turned round.` : isFile ? `${name}, as gpucnn predict sees it.` : "");
  invert();
}

function invert() {
  if (!picture) return;
  raw = $("invert").checked ? inverted(picture.raw, entry.model.preprocess) : picture.raw;
  drawing.backdrop = paintPicture;
  drawing.paint();
  update();
}

/** The picture in the place of a drawing. */
function paintPicture(context, side) {
  const { channels, native_size: size, full_scale: scale } = entry.model.preprocess, small = make("canvas", { width: size, height: size });
  paintBytes(small.getContext("2d"), rgbOf(raw, channels, size, 255 / scale), size);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, side, side);
}

function sampleButton({ raw: base64, label, name }) {
  const { channels, native_size: size, full_scale: scale } = entry.model.preprocess, bytes = bytesOf(base64);
  const canvas = make("canvas", { width: size, height: size });
  paintBytes(canvas.getContext("2d"), rgbOf(bytes, channels, size, 255 / scale), size);
  const button = make("button", { type: "button", title: name, onclick: () => usePicture(bytes, name) }, canvas, make("span", {}, label));
  button.bytes = bytes; // what it is known by: two classes may have files of the same name
  button.setAttribute("aria-label", `${name}, labelled ${label}`);
  button.setAttribute("aria-pressed", "false");
  return button;
}

async function useFile(file) {
  if (entry.image) showModel(MODELS[0]); // the chapter's examples take numbers
  const { model, background } = entry, turn = ++given;
  try {
    notice("Reading the image …");
    const bitmap = await bitmapOf(file);
    if (turn !== given) return;
    const bytes = await reader.ask("prepare", { bitmap, how: model.preprocess, background }, [bitmap]);
    if (turn === given) usePicture(bytes, file.name || "the image", true);
  } catch (error) {
    if (turn === given) notice(error.message, true);
  }
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/* What the network makes of it */

const update = newestOnly(async () => {
  const current = entry, turn = loaded, { model } = current, cam = !current.image && !$("cam").hidden ? { label: camLabel, node: Number($("cam-layer").value) } : null;
  if (!current.image && !picture) raw = rawOfDrawing(current);
  const input = current.image ? Float32Array.from(current.image) : inputOf(raw, model.preprocess);
  const isBlank = !current.image && !picture && drawing.strokes.length === 0;
  const slow = setTimeout(() => { $("busy").hidden = false; }, 400);
  let found;
  try {
    found = await runner.ask("run", { input, wanted: layers.filter((layer) => layer.isOpen).map((layer) => layer.wanted), cam });
  } finally {
    clearTimeout(slow);
    $("busy").hidden = true;
  }
  if (turn !== loaded) return; // of a network that was there before: the next answer is on its way
  answered = turn;
  $("trouble").hidden = true;
  if (!current.image) $("how-shown").textContent = howShown(model.preprocess, current.drawn);
  for (const planes of found.maps) layers.find((layer) => layer.node === planes.node).show(planes, $("winners").checked);
  if (current.image) shownView.paint(input, Math.max(...input.map(Math.abs)));
  else showAnswers(input, found, isBlank);
  if (point) explain();
}, trouble);

function showAnswers(input, { logits, cam }, isBlank) {
  const { channels, image_size: size, mean, std } = entry.model.preprocess, area = size * size, names = entry.model.class_names;
  const pixels = mean ? input.map((value, place) => value * std[Math.floor(place / area)] + mean[Math.floor(place / area)]) : input;
  const rgb = rgbOf(pixels, channels, size, 255);
  paintBytes(shownView.context, rgb, size);
  if (!$("cam").hidden) {
    paintHeat($("cam-canvas"), { size, rgb }, isBlank ? null : cam);
    $("cam-canvas").setAttribute("aria-label", `Grad-CAM for ${cam ? names[cam.label] : "the answer"}`);
  }
  const probabilities = probabilitiesOf(logits), best = probabilities.indexOf(Math.max(...probabilities));
  $("answers").classList.toggle("blank", isBlank);
  showBars($("bars"), isBlank ? probabilities.map(() => 0) : probabilities, names, chooseClass);
  $("answer").classList.toggle("long", names[best].length > 3);
  $("bars").style.setProperty("--names", `${Math.min(14, Math.max(...names.slice(0, 1000).map((name) => name.length)) * 0.62 + 0.4)}em`);
  $("answer").replaceChildren(...(isBlank ? ["Nothing drawn yet"] : [make("b", {}, names[best]), ` ${percent(probabilities[best])}`]));
  if (!isBlank) speakSoon(`${names[best]}, ${percent(probabilities[best])}`);
}

function chooseClass(label) {
  camLabel = label;
  $("cam-class").value = label === null ? "" : String(label);
  update();
}

/* One number of a map */

function showPoint(next, byKeyboard) {
  if (point && point.node !== next.node) chosenBefore = null;
  point = { ...next, byKeyboard };
  explain();
}

function stopExplaining() {
  point = null;
  for (const one of [...layers, shownView]) one.unmark();
  $("working").replaceChildren(make("p", { className: "small" }, "Point at a pixel of a map, or go there with the Tab and arrow keys."));
  document.body.classList.remove("pointing");
}

const explain = newestOnly(async () => {
  const turn = loaded;
  if (!point || turn !== answered) return; // a network that has computed nothing yet explains nothing: update() comes back
  const { byKeyboard, ...where } = point;
  const numbers = await runner.ask("explain", where);
  if (turn !== loaded || !point) return;
  const layer = layers.find((one) => one.node === where.node), before = layers.find((one) => one.node === numbers.input);
  const text = layer.nameOf(where, entry.model.class_names);
  $("working").replaceChildren(...explanationOf(numbers, text, chosenBefore, (channel) => {
    chosenBefore = channel;
    explain();
  }));
  document.body.classList.add("pointing");
  for (const one of [...layers, shownView]) one.unmark();
  layer.point(where);
  if (numbers.rows) {
    if (before) before.mark(numbers.rows, numbers.columns, numbers.channel ?? null);
    else if (numbers.input === -1) shownView.mark(numbers.rows, numbers.columns);
  }
  if (byKeyboard) speakSoon(`${text}: ${numberText(numbers.value)}`);
}, trouble);

/* What is said */

function notice(text, isTrouble = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("refused", isTrouble);
}

/** Until the network runs again the first error stays: those that follow from it tell less. */
function trouble(error) {
  if (!$("trouble").hidden) return;
  $("trouble").hidden = false;
  $("trouble").textContent = `The network cannot be run here: ${error.message}`;
}

function speak(text) {
  $("spoken").textContent = text;
}

/** Said once it has stayed the same for a moment: a screen reader is not to be flooded while a line is drawn. */
let speaking = 0;
function speakSoon(text) {
  clearTimeout(speaking);
  speaking = setTimeout(() => $("spoken").textContent !== text && speak(text), 500);
}

/* The page's own controls */

function paintScale() {
  const context = $("scale").getContext("2d"), { width, height } = $("scale");
  paintMap(context, Float32Array.from({ length: width * height }, (_, at) => ((at % width) / (width - 1)) * 2 - 1), width, height, 1);
}

function start() {
  for (const one of MODELS) {
    const button = make("button", { type: "button", onclick: () => showModel(one) }, one.image ? one.model.name : one.model.facts.run);
    button.entry = one;
    $("models").append(button);
  }
  $("undo").onclick = () => drawing.undo();
  $("clear").onclick = () => drawing.clear();
  $("choose").onclick = () => $("file").click();
  $("file").onchange = () => {
    if ($("file").files[0]) useFile($("file").files[0]);
    $("file").value = "";
  };
  $("ink").oninput = () => { look.ink = $("ink").value; };
  $("paper").oninput = () => {
    look.paper = $("paper").value;
    if (picture) return;
    drawing.paint();
    useDrawing();
  };
  $("invert").onchange = invert;
  $("winners").onchange = update;
  $("close").onclick = stopExplaining;
  $("cam-class").onchange = ({ target }) => chooseClass(target.value === "" ? null : Number(target.value));
  $("cam-layer").onchange = update;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    if (event.dataTransfer.files[0]) useFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => event.clipboardData.files[0] && useFile(event.clipboardData.files[0]));
  isDark.addEventListener("change", () => {
    paintScale();
    update();
  });
  paintScale();
  showModel(MODELS[0]);
}

start();
