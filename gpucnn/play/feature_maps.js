"use strict";
/* What every layer gives, as pictures: a LayerView for each function call of the network, a MapView for each of its maps.

     new LayerView(model, number, events)    .element, .wanted, .show(planes), .mark(...)
     new MapView(size, events)               .element, .paint(...), .mark(rows, columns)

   `events.onPoint({node, channel, y, x}, byKeyboard)` is called when a pixel is pointed at. In a layer the arrow keys move from
   pixel to pixel, and Page Up and Page Down from map to map: it is one stop of the Tab key. Maps, rows, columns and numbers count
   from 0, as in arrays; a number of the output goes by its class.
*/

const AT_A_TIME = 16;
const BIG_CELL = 44;
/** Pixels of one that its number is written into. */

const WORDS = {
  conv2d: "convolution", conv_transpose2d: "transposed convolution", max_pool2d: "max pooling", avg_pool2d: "average pooling",
  adaptive_avg_pool2d: "average pooling", adaptive_max_pool2d: "max pooling", linear: "fully connected", batch_norm: "batch norm",
  layer_norm: "layer norm", relu: "ReLU", concatenate: "joined", add: "sum", multiply: "product",
};

/** Those that only move numbers: the same picture twice tells nothing. */
const MOVES = ["flatten", "reshape", "squeeze", "expand_dims", "dropout", "dropout2d", "stochastic_depth", "transpose", "getitem"];

/** The nodes of a model that are worth a picture. */
function nodesToShow(model) {
  return [...model.nodes.keys()].filter((node) => {
    const { is_map: isMap, shape, function: name } = model.nodes[node];
    return !MOVES.includes(name) && (isMap || shape.length === 2);
  });
}

/** What a layer is, in words: "convolution 5x5, ReLU". */
function describe(model, { function: name, arguments: given }) {
  const window = given.weight && model.arrays[given.weight.array].shape.length === 4 ? model.arrays[given.weight.array].shape.slice(2) : given.kernel_size;
  const parts = [`${WORDS[name] ?? name.replaceAll("_", " ")}${window ? ` ${window.join("×")}` : ""}`];
  if (given.stride && given.stride[0] > 1 && name === "conv2d") parts.push(`stride ${given.stride[0]}`);
  if (given.activation) parts.push(WORDS[given.activation] ?? given.activation);
  return parts.join(", ");
}

class LayerView {
  constructor(model, node, events, hasNumbers = false) {
    const { path, shape, is_map: isMap } = model.nodes[node];
    Object.assign(this, { node, isMap, events, hasNumbers, first: 0, views: [], isOpen: true });
    [, this.channels, this.height = 1, this.width = 1] = shape;
    if (!isMap) [this.width, this.height] = [this.channels, 1];
    this.isOutput = node === model.nodes.length - 1;
    this.name = path || (this.isOutput ? "output" : WORDS[model.nodes[node].function] ?? model.nodes[node].function);
    this.count = isMap ? Math.min(AT_A_TIME, this.channels) : this.channels;
    const size = isMap ? `${this.channels} ${this.channels === 1 ? "map" : "maps"} of ${this.height}×${this.width}` : `${this.channels} numbers`;
    this.maps = make("div", { className: "maps" });
    const what = make("span", { className: "what" }, `${describe(model, model.nodes[node])} → ${size}`);
    this.element = make("details", { className: "layer" }, make("summary", {}, make("b", {}, this.name), " ", what), this.#selector(), this.maps);
    this.element.addEventListener("toggle", () => {
      this.isOpen = this.element.open;
      if (this.isOpen) events.onWish();
    });
    this.maps.addEventListener("keydown", (event) => this.#key(event));
    this.#build();
  }

  /** What must be asked of the network to show this. */
  get wanted() {
    return { node: this.node, first: this.isMap ? this.first : 0, count: this.count };
  }

  show({ first, most, data, kept }, onlyKept) {
    if (this.isMap && first !== this.first) return; // of the maps that were chosen before
    const size = this.isMap ? this.width * this.height : data.length;
    this.views.forEach((view, place) => {
      const part = (array) => array.subarray(place * size, (place + 1) * size);
      view.paint(part(data), most, kept && onlyKept ? part(kept) : null);
    });
  }

  /** Show a window on this layer's maps, or on that of one channel alone. */
  mark(rows, columns, channel = null) {
    this.views.forEach((view, place) => {
      if (channel === null || this.first + place === channel) view.mark(rows, columns);
    });
  }

  /** What a number of this layer is called. */
  nameOf({ channel, y, x }, classNames) {
    if (!this.isMap) return this.isOutput && classNames.length === this.channels ? `${this.name}, class ${classNames[channel]}` : `${this.name}, number ${channel}`;
    return `${this.name}${this.channels > 1 ? `, map ${channel}` : ""}, row ${y}, column ${x}`;
  }

  point({ channel, y, x }) {
    if (this.isMap) this.views[channel - this.first]?.point(y, x);
    else this.views[0].point(0, channel);
  }

  unmark() {
    for (const view of this.views) view.unmark();
  }

  #selector() {
    if (!this.isMap || this.channels <= AT_A_TIME) return "";
    const starts = Array.from({ length: Math.ceil(this.channels / AT_A_TIME) }, (_, page) => page * AT_A_TIME);
    const names = starts.map((start) => make("option", { value: start }, `${start} to ${Math.min(start + AT_A_TIME, this.channels) - 1}`));
    const select = make("select", { onchange: () => {
      this.first = Number(select.value);
      this.count = Math.min(AT_A_TIME, this.channels - this.first);
      this.#build();
      this.events.onWish();
    } }, ...names);
    return make("label", { className: "which" }, "maps ", select, ` of ${this.channels}`);
  }

  #build() {
    const css = this.hasNumbers ? BIG_CELL * this.width : cssSize(this.width, this.isMap ? this.count : 0);
    const size = { width: this.width, height: this.height, css, numbers: this.hasNumbers };
    this.views = Array.from({ length: this.isMap ? this.count : 1 }, (_, place) => {
      const channel = this.first + place, label = this.isMap ? `${this.name}, map ${channel} (of ${this.channels})` : this.name;
      const pointOf = (y, x) => ({ node: this.node, ...(this.isMap ? { channel, y, x } : { channel: x, y: 0, x: 0 }) });
      const caption = this.isMap && this.channels > 1 ? String(channel) : "";
      return new MapView({ ...size, label, caption, isStop: place === 0 }, {
        onPoint: (y, x, byKeyboard) => this.events.onPoint(pointOf(y, x), byKeyboard),
      });
    });
    this.maps.replaceChildren(...this.views.map((view) => view.element));
    this.maps.classList.toggle("vector", !this.isMap);
  }

  #key(event) {
    const step = { PageDown: 1, PageUp: -1 }[event.key], at = this.views.findIndex((view) => view.canvas === document.activeElement);
    const next = this.views[at + step];
    if (!step || !next) return;
    event.preventDefault();
    this.views[at].canvas.tabIndex = -1;
    next.canvas.tabIndex = 0;
    next.at = this.views[at].at;
    next.canvas.focus();
  }
}

/** How wide a map is shown: whole pixels where there is room. */
function cssSize(width, count) {
  const room = count <= 8 ? 112 : 88;
  return count === 0 ? null : width > room ? room : width * Math.min(14, Math.floor(room / width));
}

class MapView {
  constructor({ width, height, css: cssWidth, label, caption = "", isStop = true, numbers = false }, { onPoint }) {
    Object.assign(this, { width, height, onPoint, at: { y: 0, x: 0 } });
    this.cell = numbers ? 2 * BIG_CELL : 1;
    this.canvas = make("canvas", { width: width * this.cell, height: height * this.cell, tabIndex: isStop ? 0 : -1 });
    if (isStop === null) this.canvas.removeAttribute("tabindex");
    this.canvas.setAttribute("role", isStop === null ? "img" : "application");
    this.canvas.setAttribute("aria-label", label);
    this.context = this.canvas.getContext("2d");
    this.window = make("div", { className: "window", hidden: true });
    this.pixel = make("div", { className: "pixel", hidden: true });
    const frame = make("div", { className: "frame" }, this.canvas, this.window, this.pixel);
    if (cssWidth) frame.style.setProperty("--width", `${cssWidth}px`);
    this.element = make("figure", { className: "map" }, frame, caption ? make("figcaption", {}, caption) : "");
    this.canvas.addEventListener("pointermove", (event) => this.#pointer(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#pointer(event));
    this.canvas.addEventListener("focus", () => this.canvas.matches(":focus-visible") && this.onPoint(this.at.y, this.at.x, true));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show a plane of numbers; `kept` has which of its pixels go on, the others are dimmed. */
  paint(plane, most, kept = null) {
    if (this.cell > 1) this.#paintNumbers(plane, most);
    else paintMap(this.context, kept ? plane.map((value, place) => (kept[place] ? value : value * 0.15)) : plane, this.width, this.height, most);
  }

  #paintNumbers(plane, most) {
    const { context, cell } = this;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = `600 ${cell * 0.34}px system-ui, sans-serif`;
    plane.forEach((value, place) => {
      const [x, y] = [(place % this.width) * cell, Math.floor(place / this.width) * cell], colour = colourOf((value / (most || 1)) * 0.8);
      context.fillStyle = css(colour);
      context.fillRect(x, y, cell, cell);
      context.fillStyle = textOn(colour);
      context.fillText(numberText(value), x + cell / 2, y + cell / 2, cell * 0.92);
    });
  }

  mark(rows, columns) {
    layFrame(this.window, rows, columns, this);
  }

  point(y, x) {
    this.at = { y, x };
    layFrame(this.pixel, [y], [x], this);
  }

  unmark() {
    this.window.hidden = this.pixel.hidden = true;
  }

  #pointer({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const cut = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value * size)));
    this.onPoint(cut((clientY - top) / height, this.height), cut((clientX - left) / width, this.width), false);
  }

  #key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const within = (value, size) => Math.min(size - 1, Math.max(0, value));
    this.at = { y: within(this.at.y + step[0], this.height), x: within(this.at.x + step[1], this.width) };
    this.onPoint(this.at.y, this.at.x, true);
  }
}

/** Lay a frame over some rows and columns of a map; those outside it, in the padding, too. */
function layFrame(frame, rows, columns, { width, height }) {
  const [top, bottom] = [Math.min(...rows), Math.max(...rows) + 1], [left, right] = [Math.min(...columns), Math.max(...columns) + 1];
  Object.assign(frame.style, {
    top: `${(100 * top) / height}%`, height: `${(100 * (bottom - top)) / height}%`,
    left: `${(100 * left) / width}%`, width: `${(100 * (right - left)) / width}%`,
  });
  frame.hidden = false;
}

/** An element with its properties and what is in it; texts stay texts, whatever is written in them. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== ""));
  return element;
}
