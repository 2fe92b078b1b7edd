"use strict";
/* Strokes drawn with a mouse, a finger, a pen, or the keyboard, and the image that the network is shown of them.

     new Drawing(canvas, look, onChange)    a canvas that is drawn on; `look` is {ink, paper, width}, read at every stroke;
                                            `backdrop(context, size)`, if it is there, paints what is to be seen before the first
     rawOfStrokes(strokes, how, drawn)      light ink on dark as a data set of digits has it: scaled, centred, counted

   A stroke is {colour, points: [{x, y}, ...]}, from 0 to 1 across the canvas, so that its size does not matter.
*/

class Drawing {
  constructor(canvas, look, onChange) {
    Object.assign(this, { canvas, look, onChange, strokes: [], cursor: { x: 0.5, y: 0.5 }, isDown: false, hasCursor: false, backdrop: null });
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, () => (this.pointer = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#showCursor(false));
  }

  clear() {
    this.strokes = [];
    this.#changed("Cleared.");
  }

  undo() {
    this.strokes.pop();
    this.isDown = false;
    this.#changed("The last stroke is gone.");
  }

  #press(event) {
    if (event.button !== 0 || this.pointer !== null) return;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.#showCursor(false);
    this.#begin(this.#placeOf(event));
  }

  #move(event) {
    if (event.pointerId !== this.pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) this.#extend(this.#placeOf(one));
    this.#changed();
  }

  /** Arrow keys move the pen, the space bar lowers and lifts it. */
  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey ? event.key !== "z" : event.altKey) return;
    if (step) {
      const far = event.shiftKey ? 0.15 : 0.05, limit = (value) => Math.min(0.98, Math.max(0.02, value));
      this.cursor = { x: limit(this.cursor.x + far * step[0]), y: limit(this.cursor.y + far * step[1]) };
      this.#showCursor(true);
      if (this.isDown) this.#extend(this.cursor);
      this.#changed();
    } else if (event.key === " ") {
      this.isDown = !this.isDown;
      this.#showCursor(true);
      if (this.isDown) this.#begin(this.cursor);
      else this.#changed("Pen up.");
    } else if (event.key === "Backspace" || event.key === "z") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
  }

  #begin(place) {
    this.strokes.push({ colour: this.look.ink, points: [place] });
    this.#changed();
  }

  #extend(place) {
    const points = this.strokes[this.strokes.length - 1].points, last = points[points.length - 1];
    if (Math.hypot(place.x - last.x, place.y - last.y) > 0.004) points.push(place);
  }

  #placeOf({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return { x: (clientX - left) / width, y: (clientY - top) / height };
  }

  #showCursor(isThere) {
    if (this.hasCursor === isThere) return;
    this.hasCursor = isThere;
    if (!isThere) this.isDown = false;
    this.paint();
  }

  #changed(what = "") {
    this.onChange(what);
    this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d"), size = this.canvas.width;
    if (this.backdrop && !this.strokes.length) this.backdrop(context, size);
    else this.paintStrokes(context, size);
    if (!this.hasCursor) return;
    const { x, y } = this.cursor, radius = (this.look.width * size) / 2;
    context.lineWidth = Math.max(2, size / 160);
    context.setLineDash(this.isDown ? [] : [6, 4]);
    for (const [colour, more] of [["#000", 0], ["#ffb454", context.lineWidth]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x * size, y * size, radius + more, 0, 2 * Math.PI);
      context.stroke();
    }
    context.setLineDash([]);
  }

  /** The strokes alone, on any context. */
  paintStrokes(context, size) {
    context.fillStyle = this.look.paper;
    context.fillRect(0, 0, size, size);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.look.width * size;
    for (const { colour, points } of this.strokes) {
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(points[0].x * size, points[0].y * size);
      for (const { x, y } of points.length > 1 ? points.slice(1) : points) context.lineTo(x * size, y * size);
      context.stroke();
    }
  }
}

/** How many dots of a fine bitmap make one pixel, across: the digits were counted in blocks of 4x4 dots. */
const DOTS = 4;

/**
 * Strokes as an image of a data set of digits, light on dark, bytes (native_size, native_size) from 0 to full scale.
 *
 * They are scaled until they fill the share `fill` of the image, drawn with a pen as wide as `pen` of that on a bitmap four
 * times as fine, and the dots of each pixel are counted: Alpaydin and Kaynak made the digits this way. `by_mass`: what is in
 * the middle is the centre of mass, as in MNIST, not of the box around the strokes.
 */
function rawOfStrokes(strokes, { native_size: native, full_scale: scale }, { fill, pen, by_mass: byMass }) {
  const raw = new Uint8Array(native * native), size = native * DOTS, points = strokes.flatMap((stroke) => stroke.points);
  if (!points.length) return raw;
  const ends = (axis) => points.reduce(([low, high], point) => [Math.min(low, point[axis]), Math.max(high, point[axis])], [1e9, -1e9]);
  const [left, right] = ends("x"), [top, bottom] = ends("y"), width = pen * fill * size;
  const zoom = (fill * size - width) / Math.max(right - left, bottom - top, 1e-6);
  const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
  const lines = strokes.map((stroke) => stroke.points.map(({ x, y }) => ({ x: (x - middle.x) * zoom + size / 2, y: (y - middle.y) * zoom + size / 2 })));
  let bitmap = inked(lines, size, width / 2);
  if (byMass) {
    const all = bitmap.reduce((sum, dot) => sum + dot, 0);
    const mass = (coordinate) => bitmap.reduce((sum, dot, place) => sum + dot * (coordinate(place) + 0.5), 0) / all - size / 2;
    const [dx, dy] = [mass((place) => place % size), mass((place) => Math.floor(place / size))];
    bitmap = inked(lines.map((line) => line.map(({ x, y }) => ({ x: x - dx, y: y - dy }))), size, width / 2);
  }
  bitmap.forEach((dot, place) => {
    raw[Math.floor(place / size / DOTS) * native + Math.floor((place % size) / DOTS)] += dot;
  });
  return raw.map((dots) => Math.round((dots / DOTS ** 2) * scale));
}

/** The dots of a bitmap that lines of this half width touch: 1 or 0. */
function inked(lines, size, half) {
  const bitmap = new Uint8Array(size * size);
  for (const line of lines) {
    line.forEach((from, at) => {
      const to = line[at + 1] ?? (at === 0 ? from : null);
      if (to) inkLine(bitmap, size, from, to, half);
    });
  }
  return bitmap;
}

function inkLine(bitmap, size, from, to, half) {
  const dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy || 1;
  const within = (value) => Math.min(size - 1, Math.max(0, value));
  for (let y = within(Math.floor(Math.min(from.y, to.y) - half)); y <= within(Math.ceil(Math.max(from.y, to.y) + half)); y++) {
    for (let x = within(Math.floor(Math.min(from.x, to.x) - half)); x <= within(Math.ceil(Math.max(from.x, to.x) + half)); x++) {
      const px = x + 0.5 - from.x, py = y + 0.5 - from.y, along = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= half * half) bitmap[y * size + x] = 1;
    }
  }
}
