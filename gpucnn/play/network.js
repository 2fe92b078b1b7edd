"use strict";
/* A trained network, run in plain JavaScript: no library, no page, so that it also runs in a Worker.

     const network = new Network(MODEL)    MODEL is what gpucnn/play/browser_graph.py makes of a model
     network.forward(input)                what every node gives: [{shape, data}, ...]; the last one has the logits
     network.backward(label, node)         the gradient of the class's logit with respect to what a node gave
     network.gradCam(label, node)          which places of a node's maps speak for the class, from 0 to 1
     network.lastMap()                     the last node with maps larger than 1x1, where Grad-CAM is taken
     network.explain(node, channel, y, x)  the numbers of which one value was made

   A node is one call of a function, such as conv2d, for a batch of one image. FUNCTIONS, at the end, has an entry for each
   function that is known. Numbers are kept as float32, as gpucnn keeps them, and added up in float64, JavaScript's own.
*/

class Network {
  /** Take over the model: its weights become arrays, and each node finds its own. */
  constructor(model) {
    this.model = model;
    this.arrays = {};
    for (const [name, { shape, base64 }] of Object.entries(model.arrays)) {
      this.arrays[name] = { shape, data: decodeFloats(base64) };
    }
    this.nodes = model.nodes.map((node) => ({ ...node, known: FUNCTIONS[node.function] }));
    this.outputs = [];
  }

  /** Run the network on an image, (channels, height, width) as numbers in a row: the outputs of all nodes. */
  forward(input) {
    const size = product(this.model.input_shape);
    if (input.length !== size) {
      throw new Error(`the network takes ${this.model.input_shape.join(" x ")} numbers, ${size}, and got ${input.length}`);
    }
    this.image = { shape: this.model.input_shape, data: Float32Array.from(input), node: -1 };
    this.outputs = [];
    for (const [number, node] of this.nodes.entries()) {
      const output = { shape: node.shape, node: number, ...node.known.forward(this.call(node), node.shape) };
      if (node.arguments.activation === "relu") rectify(output.data);
      this.outputs.push(output);
    }
    return this.outputs;
  }

  /**
   * How much the logit of a class grows with each value that a node gave in the last forward pass; node -1 is the image.
   *
   * The chain rule, from the logits backwards, through those nodes alone that come after `node`. Where the network gives a
   * class for every pixel, it is the sum of the class's logits over all pixels.
   */
  backward(label, node) {
    const last = this.nodes.length - 1;
    const after = this.nodesAfter(node);
    const gradients = { [last]: oneClass(label, this.outputs[last]) };
    for (let number = last; number > node; number--) {
      const gradient = gradients[number];
      if (!after[number] || gradient === undefined) continue;
      const current = this.nodes[number], output = this.outputs[number], call = this.call(current);
      if (current.arguments.activation === "relu") pass(gradient, (place) => output.data[place] !== 0);
      const wanted = (tensor) => tensor && (tensor.node === node || after[tensor.node]);
      for (const [tensor, part] of current.known.backward(call, output, gradient, wanted)) {
        if (wanted(tensor)) gradients[tensor.node] = added(gradients[tensor.node], part);
      }
      delete gradients[number];
    }
    return Float32Array.from(gradients[node] || new Float64Array((this.outputs[node] || this.image).data.length));
  }

  /**
   * Which places of a node's maps speak for a class: (height, width) numbers from 0 to 1.
   *
   * Each map weighs as much as the mean of its gradient; what the weighted sum has above zero is scaled to 1.
   * Source: Selvaraju et al., "Grad-CAM", ICCV 2017.
   */
  gradCam(label, node) {
    const { shape, data } = this.outputs[node], gradient = this.backward(label, node);
    const size = shape[2] * shape[3], heat = new Float64Array(size);
    for (let channel = 0; channel < shape[1]; channel++) {
      const from = channel * size;
      let weight = 0;
      for (let place = 0; place < size; place++) weight += gradient[from + place] / size;
      for (let place = 0; place < size; place++) heat[place] += weight * data[from + place];
    }
    const highest = heat.reduce((a, b) => Math.max(a, b), 0);
    return Float32Array.from(heat, (value) => (highest > 0 ? Math.max(value, 0) / highest : 0));
  }

  /**
   * The last node with maps larger than 1x1, of which Grad-CAM tells most; -1 where there is none, as in a perceptron.
   *
   * A map of logits is the answer itself, and maps that a pooling has only enlarged know no more than before.
   */
  lastMap() {
    const area = (shape) => shape[2] * shape[3];
    return this.nodes.slice(0, -1).findLastIndex(({ is_map, shape, inputs, function: name }) => (
      is_map && area(shape) > 1 && !(name.startsWith("adaptive_") && area(shape) > area(this.shapeOf(inputs[0])))
    ));
  }

  shapeOf(node) {
    return node < 0 ? this.model.input_shape : this.nodes[node].shape;
  }

  /**
   * The numbers of which a node made its value at (channel, y, x); of a vector, `channel` is the place in it.
   *
   * It has `function`, `path`, `activation`, `value` and `kind`; `input` is the node that it was computed from, and `sum` the
   * value before the activation. By kind it has
   *
   * - convolution: `rows` and `columns` that the window covers, `bias`, and of each channel `values`, `filter`, `products`, `sum`;
   *   transposed convolution: `terms` {channel, y, x, value, weight, product}, `bias`;
   * - maximum, and mean of a window: `channel`, `rows`, `columns`, `values`; the place of the `winner` {y, x}, or the `count`;
   * - linear: `values`, `weights`, `products`, `bias`; mean and sum over axes: `values`, `count`;
   * - normalisation: `x`, `mean`, `variance`, `eps`, `weight`, `bias`, `residual`; softmax: `x`, and the `sum` of all exp(x);
   * - arithmetic: `operator`, its two `terms` and `inputs`; function: `x`; moved: `x`, and its `index` in the input.
   */
  explain(node, channel, y = 0, x = 0) {
    const current = this.nodes[node], output = this.outputs[node], call = this.call(current);
    const place = placeOf(output.shape, channel, y, x);
    const numbers = current.known.explain(call, output, { channel, y, x, place });
    const activation = current.arguments.activation || null;
    return { function: current.function, path: current.path, activation, value: output.data[place], ...numbers };
  }

  /** A node's arguments, with arrays in the place of their names, and outputs in the place of their nodes' numbers. */
  call(node) {
    const found = {};
    for (const [name, value] of Object.entries(node.arguments)) found[name] = this.argument(value);
    return found;
  }

  argument(value) {
    if (Array.isArray(value)) return value.map((part) => this.argument(part));
    if (value === null || typeof value !== "object") return value;
    if ("array" in value) return this.arrays[value.array];
    if ("input" in value) return value.input < 0 ? this.image : this.outputs[value.input];
    return value;
  }

  /** For each node, whether it is computed from what `node` gave. */
  nodesAfter(node) {
    const after = [];
    for (const { inputs } of this.nodes) after.push(inputs.some((input) => input === node || after[input]));
    return after;
  }
}

/* Arrays */

function product(sizes) {
  return sizes.reduce((a, b) => a * b, 1);
}

/** The float32 numbers that Python has written, lowest byte first, as browsers' machines have them, too. */
function decodeFloats(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return new Float32Array(bytes.buffer);
}

/** Where a value stands in an array of maps (1, C, H, W), or in a vector (1, C) or (C,). */
function placeOf(shape, channel, y, x) {
  return shape.length === 4 ? (channel * shape[2] + y) * shape[3] + x : channel;
}

function rectify(data) {
  for (let place = 0; place < data.length; place++) if (data[place] < 0) data[place] = 0;
}

/** Keep a gradient where `passes`, and make it 0 elsewhere. */
function pass(gradient, passes) {
  for (let place = 0; place < gradient.length; place++) if (!passes(place)) gradient[place] = 0;
}

function added(sum, part) {
  if (sum === undefined) return Float64Array.from(part);
  for (let place = 0; place < sum.length; place++) sum[place] += part[place];
  return sum;
}

/** 1 for the logits of a class, 0 for those of all others. */
function oneClass(label, { shape, data }) {
  const gradient = new Float64Array(data.length), size = data.length / shape[1];
  return gradient.fill(1, label * size, (label + 1) * size);
}

/**
 * For every element of an array of `axes.length` axes, the place where another array has it: the sum of what each axis says.
 *
 * axes[i][j] is the part that index j of axis i has in the place; null says that the other array has nothing there: place -1.
 */
function placesOf(axes) {
  let places = [0];
  for (const parts of axes) {
    const next = new Int32Array(places.length * parts.length);
    let at = 0;
    for (const place of places) for (const part of parts) next[at++] = place < 0 || part === null ? -1 : place + part;
    places = next;
  }
  return places;
}

/** How far apart neighbours along each axis are, in an array of this shape. */
function strides(shape) {
  return shape.map((_, axis) => product(shape.slice(axis + 1)));
}

function range(size, step = 1) {
  return Array.from({ length: size }, (_, index) => index * step);
}

/** For every element of `shape`, its place in an array of `own` shape that is repeated along the axes where it has size 1. */
function broadcastPlaces(shape, own) {
  const steps = strides(own), missing = shape.length - own.length;
  return placesOf(shape.map((size, axis) => {
    const along = axis - missing;
    return range(size, along < 0 || own[along] === 1 ? 0 : steps[along]);
  }));
}

/** For every element of `shape`, its place in what is left when the axes `gone` have shrunk to size 1. */
function reducedPlaces(shape, gone) {
  const steps = strides(shape.map((size, axis) => (gone.includes(axis) ? 1 : size)));
  return placesOf(shape.map((size, axis) => range(size, gone.includes(axis) ? 0 : steps[axis])));
}

/* Windows that slide over an image */

/** The rows (axis 0) or columns (axis 1) of the image that a window looks at, one a tap; some may lie in the padding. */
function reach({ stride, padding, dilation = [1, 1] }, kernel, axis, position) {
  const first = position * stride[axis] - padding[axis][0];
  return Array.from({ length: kernel[axis] }, (_, tap) => first + tap * dilation[axis]);
}

/** What the window with these rows and columns sees of a channel; zeros in the padding. */
function seen({ shape, data }, channel, rows, columns) {
  return rows.map((y) => columns.map((x) => (
    y >= 0 && y < shape[2] && x >= 0 && x < shape[3] ? data[(channel * shape[2] + y) * shape[3] + x] : 0
  )));
}

/** How many positions of a window are worked on together: so many fit into a processor's cache. */
const TOGETHER = 64;

/**
 * Where the taps of a window are in one plane of an image, for every position of the window, row by row: -1 in the padding.
 */
function tapPlaces([, , height, width], [, , ...kernel], call, [, , outHeight, outWidth]) {
  const places = new Int32Array(outHeight * outWidth * kernel[0] * kernel[1]);
  let at = 0;
  for (let y = 0; y < outHeight; y++) {
    const rows = reach(call, kernel, 0, y);
    for (let x = 0; x < outWidth; x++) {
      const columns = reach(call, kernel, 1, x);
      for (const row of rows) {
        for (const column of columns) {
          places[at++] = row >= 0 && row < height && column >= 0 && column < width ? row * width + column : -1;
        }
      }
    }
  }
  return places;
}

/** Call `visit` for each group of filters, and some positions of their windows at a time: from `start` to below `stop`. */
function eachStretch(filters, groups, positions, visit) {
  for (let group = 0; group < groups; group++) {
    const ofGroup = { first: (group * filters) / groups, last: ((group + 1) * filters) / groups };
    for (let start = 0; start < positions; start += TOGETHER) {
      visit(group, ofGroup, start, Math.min(start + TOGETHER, positions));
    }
  }
}

/**
 * Slide filters over an image, for all places at once: the plain loops would be
 *
 *   for each filter, for each position of the window:
 *     output[filter, position] = bias[filter] + the sum of window[tap] * filter[tap] over all channels and taps
 *
 * Here the windows are written one below another, as rows of numbers, and each filter is a row, too; what is left to do is
 * to multiply rows. With groups, each group of filters slides over channels of its own.
 */
function slide(image, weight, bias, call, shape) {
  const [filters, channels] = weight.shape, positions = shape[2] * shape[3], plane = image.shape[2] * image.shape[3];
  const places = tapPlaces(image.shape, weight.shape, call, shape), taps = places.length / positions, length = channels * taps;
  const rows = new Float64Array(TOGETHER * length), output = new Float32Array(filters * positions);
  eachStretch(filters, call.groups, positions, (group, ofGroup, start, stop) => {
    let at = 0;
    for (let position = start; position < stop; position++) {
      for (let channel = group * channels; channel < (group + 1) * channels; channel++) {
        for (let tap = position * taps; tap < (position + 1) * taps; tap++) {
          rows[at++] = places[tap] < 0 ? 0 : image.data[channel * plane + places[tap]];
        }
      }
    }
    const windows = { rows, count: stop - start, length };
    rowProducts(windows, weight.data, bias, ofGroup, output, (filter, row) => filter * positions + start + row);
  });
  return output;
}

/**
 * The other way round: share out each value to all places that a window there looks at, times the filter, and add up.
 *
 *   for each filter, for each position of the window, for each tap of it:
 *     sums[the place under the tap] += values[filter, position] * filter[tap]
 *
 * This is the gradient of `slide` with respect to its image, and what a transposed convolution does to its input. Here, too,
 * rows are multiplied: the values of all filters at a position, and what all filters have at a tap.
 */
function shareOut(values, weight, call, shape) {
  const [filters, channels] = weight.shape, positions = values.shape[2] * values.shape[3], plane = shape[2] * shape[3];
  const places = tapPlaces(shape, weight.shape, call, values.shape), taps = places.length / positions, length = channels * taps;
  const sums = new Float64Array(product(shape)), shares = new Float64Array(TOGETHER * length);
  eachStretch(filters, call.groups, positions, (group, { first, last }, start, stop) => {
    const rows = turned(values.data, first, last, positions, start, stop);
    const tapRows = turned(weight.data, first, last, length, 0, length);
    const all = { first: 0, last: length };
    rowProducts({ rows, count: stop - start, length: last - first }, tapRows, null, all, shares, (tap, row) => row * length + tap);
    let at = 0;
    for (let position = start; position < stop; position++) {
      for (let channel = group * channels; channel < (group + 1) * channels; channel++) {
        for (let tap = position * taps; tap < (position + 1) * taps; tap++, at++) {
          if (places[tap] >= 0) sums[channel * plane + places[tap]] += shares[at];
        }
      }
    }
  });
  return sums;
}

/** Columns `start` to below `stop` of a matrix of rows with `length` numbers, of which rows `first` to below `last`: as rows. */
function turned(data, first, last, length, start, stop) {
  const rows = new Float64Array((last - first) * (stop - start));
  let at = 0;
  for (let column = start; column < stop; column++) {
    for (let row = first; row < last; row++) rows[at++] = data[row * length + column];
  }
  return rows;
}

/**
 * output[place(filter, row)] = bias[filter] + the sum of the products of that row and that filter, all `length` long.
 *
 * Two rows and four filters at a time, as a number that was read then serves several products: three times as fast as one
 * by one. Where their number is odd, the last one is computed twice, to the same result.
 */
function rowProducts({ rows, count, length }, weights, bias, { first, last }, output, place) {
  for (let filter = first; filter < last; filter += 4) {
    const f = [0, 1, 2, 3].map((more) => Math.min(filter + more, last - 1));
    const [w0, w1, w2, w3] = f.map((one) => one * length);
    for (let row = 0; row < count; row += 2) {
      const other = Math.min(row + 1, count - 1), r0 = row * length, r1 = other * length;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let tap = 0; tap < length; tap++) {
        const a = rows[r0 + tap], b = rows[r1 + tap];
        const c0 = weights[w0 + tap], c1 = weights[w1 + tap], c2 = weights[w2 + tap], c3 = weights[w3 + tap];
        a0 += a * c0; a1 += a * c1; a2 += a * c2; a3 += a * c3;
        b0 += b * c0; b1 += b * c1; b2 += b * c2; b3 += b * c3;
      }
      const sums = [[a0, b0], [a1, b1], [a2, b2], [a3, b3]];
      for (let one = 0; one < 4; one++) {
        const more = bias ? bias.data[f[one]] : 0;
        output[place(f[one], row)] = sums[one][0] + more;
        output[place(f[one], other)] = sums[one][1] + more;
      }
    }
  }
}

/** What the windows of a pooling look at: the rows for each row of the output, the columns for each column; no padding. */
function pooled(call, { shape: [, , height, width] }, [, , outHeight, outWidth]) {
  const inside = (positions, size) => positions.filter((one) => one >= 0 && one < size);
  return {
    rows: range(outHeight).map((y) => inside(reach(call, call.kernel_size, 0, y), height)),
    columns: range(outWidth).map((x) => inside(reach(call, call.kernel_size, 1, x), width)),
  };
}

/** What the cells of adaptive pooling look at, which cover an image evenly: cell i from i * size / count on, rounded. */
function cells({ shape: [, , height, width] }, [, , outHeight, outWidth]) {
  const along = (size, count) => range(count).map((i) => {
    const first = Math.floor((i * size) / count), last = Math.ceil(((i + 1) * size) / count);
    return range(last - first).map((more) => first + more);
  });
  return { rows: along(height, outHeight), columns: along(width, outWidth) };
}

/** Call `visit(place in the output, places in the image)` for each window, channel by channel. */
function eachWindow({ rows, columns }, { shape: [, channels, height, width] }, visit) {
  let place = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (const ys of rows) {
      for (const xs of columns) {
        const places = [];
        for (const y of ys) for (const x of xs) places.push((channel * height + y) * width + x);
        visit(place++, places);
      }
    }
  }
}

/* What is known of each function: how it computes (`forward` gives its data), how gradients go back (`backward` gives pairs of
   an input and its gradient), and the numbers behind one value (`explain`). The arguments are gpucnn's, under their names. */

const FUNCTIONS = {};

FUNCTIONS.conv2d = {
  forward: (call, shape) => ({ data: slide(call.x, call.weight, call.bias, call, shape) }),

  backward: (call, { shape }, gradient) => [[call.x, shareOut({ shape, data: gradient }, call.weight, call, call.x.shape)]],

  /** For each channel that the filter sees: the window, the filter, their products and the sum of these. */
  explain({ x, weight, bias, groups, ...call }, output, at) {
    const [filters, per, ...kernel] = weight.shape, first = Math.floor(at.channel / (filters / groups)) * per;
    const rows = reach(call, kernel, 0, at.y), columns = reach(call, kernel, 1, at.x);
    const channels = range(per).map((channel) => {
      const values = seen(x, first + channel, rows, columns);
      const filter = seen(weight, at.channel * per + channel, range(kernel[0]), range(kernel[1]));
      const products = values.map((row, i) => row.map((value, j) => value * filter[i][j]));
      return { channel: first + channel, values, filter, products, sum: total(products.flat()) };
    });
    const offset = bias ? bias.data[at.channel] : 0;
    const sum = total(channels.map((channel) => channel.sum)) + offset;
    return { kind: "convolution", input: x.node, rows, columns, channels, bias: bias ? offset : null, sum };
  },
};

FUNCTIONS.conv_transpose2d = {
  forward(call, shape) {
    const sums = shareOut(call.x, call.weight, call, shape), size = shape[2] * shape[3];
    return { data: Float32Array.from(sums, (sum, place) => sum + (call.bias ? call.bias.data[Math.floor(place / size)] : 0)) };
  },

  backward: (call, output, gradient) => [
    [call.x, slide({ shape: output.shape, data: gradient }, call.weight, null, call, call.x.shape)],
  ],

  /** Each value of the input that was shared out to this place: what it was, and its share. */
  explain({ x, weight, bias, groups, ...call }, output, at) {
    const [inputs, per, ...kernel] = weight.shape, [, , height, width] = x.shape, terms = [];
    const group = Math.floor(at.channel / per), ofGroup = inputs / groups;
    for (let channel = group * ofGroup; channel < (group + 1) * ofGroup; channel++) {
      for (let y = 0; y < height; y++) {
        const i = reach(call, kernel, 0, y).indexOf(at.y);
        for (let column = 0; i >= 0 && column < width; column++) {
          const j = reach(call, kernel, 1, column).indexOf(at.x);
          if (j < 0) continue;
          const value = x.data[(channel * height + y) * width + column];
          const factor = weight.data[((channel * per + at.channel - group * per) * kernel[0] + i) * kernel[1] + j];
          terms.push({ channel, y, x: column, value, weight: factor, product: value * factor });
        }
      }
    }
    const offset = bias ? bias.data[at.channel] : 0, sum = total(terms.map((term) => term.product)) + offset;
    return { kind: "transposed convolution", input: x.node, terms, bias: bias ? offset : null, sum };
  },
};

/** Pooling that takes the largest of each window; `windowsOf(call, image, shape)` tells what the windows look at. */
function largestOf(windowsOf) {
  return {
    /** `winners` has the places in the input that were the largest: the first of equal ones, and NaN before all others. */
    forward(call, shape) {
      const data = new Float32Array(product(shape)).fill(-Infinity), winners = new Int32Array(data.length).fill(-1);
      eachWindow(windowsOf(call, call.x, shape), call.x, (place, places) => {
        for (const candidate of places) {
          const value = call.x.data[candidate];
          if (winners[place] >= 0 && !(value > data[place] || (value !== value && data[place] === data[place]))) continue;
          data[place] = value;
          winners[place] = candidate;
        }
      });
      return { data, winners };
    },

    backward({ x }, { winners }, gradient) {
      const sums = new Float64Array(x.data.length);
      for (let place = 0; place < winners.length; place++) if (winners[place] >= 0) sums[winners[place]] += gradient[place];
      return [[x, sums]];
    },

    /** The window, and where in the input's map its winner is. */
    explain(call, { shape, winners }, at) {
      const { rows, columns } = windowsOf(call, call.x, shape), [, , height, width] = call.x.shape, winner = winners[at.place];
      const ys = rows[at.y], xs = columns[at.x];
      return {
        kind: "maximum", input: call.x.node, channel: at.channel, rows: ys, columns: xs,
        values: seen(call.x, at.channel, ys, xs),
        winner: winner < 0 ? null : { y: Math.floor(winner / width) % height, x: winner % width },
      };
    },
  };
}

/** Pooling that takes the mean of each window; `countsOf(call, windows, image)` tells by how much its sum is divided. */
function meanOf(windowsOf, countsOf) {
  const prepared = (call, shape) => {
    const windows = windowsOf(call, call.x, shape), counts = countsOf(call, windows, call.x);
    return { windows, countAt: (place) => counts[place % counts.length] };
  };
  return {
    forward(call, shape) {
      const data = new Float32Array(product(shape)), { windows, countAt } = prepared(call, shape);
      eachWindow(windows, call.x, (place, places) => {
        let sum = 0;
        for (const one of places) sum += call.x.data[one];
        data[place] = sum / countAt(place);
      });
      return { data };
    },

    backward(call, { shape }, gradient) {
      const sums = new Float64Array(call.x.data.length), { windows, countAt } = prepared(call, shape);
      eachWindow(windows, call.x, (place, places) => {
        for (const one of places) sums[one] += gradient[place] / countAt(place);
      });
      return [[call.x, sums]];
    },

    explain(call, { shape }, at) {
      const { windows, countAt } = prepared(call, shape), rows = windows.rows[at.y], columns = windows.columns[at.x];
      const values = seen(call.x, at.channel, rows, columns);
      return {
        kind: "mean", input: call.x.node, channel: at.channel, rows, columns, values,
        sum: total(values.flat()), count: countAt(at.place),
      };
    },
  };
}

/** How many elements each window of an average pooling counts; the padding, too, unless the call says otherwise. */
function averaged(call, windows, { shape: [, , height, width] }) {
  const counted = (axis, own, size) => own.map((positions, position) => {
    if (!call.count_include_pad) return positions.length;
    const [before, after] = call.padding[axis];
    return reach(call, call.kernel_size, axis, position).filter((one) => one >= -before && one < size + after).length;
  });
  const rows = counted(0, windows.rows, height), columns = counted(1, windows.columns, width);
  return rows.flatMap((y) => columns.map((x) => call.divisor_override ?? Math.max(y * x, 1)));
}

FUNCTIONS.max_pool2d = largestOf(pooled);
FUNCTIONS.adaptive_max_pool2d = largestOf((call, image, shape) => cells(image, shape));
FUNCTIONS.avg_pool2d = meanOf(pooled, averaged);
FUNCTIONS.adaptive_avg_pool2d = meanOf(
  (call, image, shape) => cells(image, shape),
  (call, { rows, columns }) => rows.flatMap((ys) => columns.map((xs) => ys.length * xs.length)),
);

FUNCTIONS.linear = {
  forward({ x, weight, bias }, shape) {
    const [filters, length] = weight.shape, count = x.data.length / length, data = new Float32Array(product(shape));
    const all = { first: 0, last: filters };
    rowProducts({ rows: x.data, count, length }, weight.data, bias, all, data, (filter, row) => row * filters + filter);
    return { data };
  },

  backward({ x, weight }, output, gradient) {
    const [filters, length] = weight.shape, sums = new Float64Array(x.data.length);
    for (let place = 0; place < gradient.length; place++) {
      const filter = place % filters, row = Math.floor(place / filters);
      if (gradient[place] === 0) continue;
      for (let k = 0; k < length; k++) sums[row * length + k] += gradient[place] * weight.data[filter * length + k];
    }
    return [[x, sums]];
  },

  explain({ x, weight, bias }, output, at) {
    const [filters, length] = weight.shape, filter = at.place % filters, row = Math.floor(at.place / filters);
    const values = Array.from(x.data.subarray(row * length, (row + 1) * length));
    const weights = Array.from(weight.data.subarray(filter * length, (filter + 1) * length));
    const products = values.map((value, k) => value * weights[k]), offset = bias ? bias.data[filter] : 0;
    return { kind: "linear", input: x.node, values, weights, products, bias: bias ? offset : null, sum: total(products) + offset };
  },
};

/** Batch norm with the statistics of training: (x - mean) / sqrt(variance + eps) * weight + bias, and a residual. */
FUNCTIONS.batch_norm = {
  forward(call, shape) {
    const { x, residual } = call, data = new Float32Array(x.data.length), size = data.length / shape[1];
    for (let channel = 0; channel < shape[1]; channel++) {
      const { mean, scale, bias } = statisticsOf(call, channel), last = (channel + 1) * size;
      for (let place = channel * size; place < last; place++) {
        data[place] = (x.data[place] - mean) * scale + bias + (residual ? residual.data[place] : 0);
      }
    }
    return { data };
  },

  backward(call, { shape }, gradient) {
    const size = gradient.length / shape[1];
    const scales = range(shape[1]).map((channel) => statisticsOf(call, channel).scale);
    return [
      [call.x, Float64Array.from(gradient, (value, place) => value * scales[Math.floor(place / size)])],
      [call.residual, gradient],
    ];
  },

  explain(call, { shape }, at) {
    const channel = Math.floor(at.place / (product(shape) / shape[1]));
    const { mean, variance, weight, scale, bias } = statisticsOf(call, channel);
    const x = call.x.data[at.place], residual = call.residual ? call.residual.data[at.place] : null;
    const sum = (x - mean) * scale + bias + (residual ?? 0);
    return { kind: "normalisation", input: call.x.node, x, mean, variance, eps: call.eps, weight, bias, residual, sum };
  },
};

function statisticsOf({ running_mean, running_var, weight, bias, eps }, channel) {
  const mean = running_mean.data[channel], variance = running_var.data[channel], factor = weight ? weight.data[channel] : 1;
  return { mean, variance, weight: factor, scale: factor / Math.sqrt(variance + eps), bias: bias ? bias.data[channel] : 0 };
}

/** Layer norm: each stretch of the last axes gets mean 0 and variance 1, and then a weight and a bias for each element. */
FUNCTIONS.layer_norm = {
  forward(call) {
    const { x, weight, bias } = call, data = new Float32Array(x.data.length), size = product(call.normalized_shape);
    for (let start = 0; start < data.length; start += size) {
      const { mean, scale } = stretchOf(call, start, size);
      for (let k = 0; k < size; k++) {
        data[start + k] = (x.data[start + k] - mean) * scale * (weight ? weight.data[k] : 1) + (bias ? bias.data[k] : 0);
      }
    }
    return { data };
  },

  /** A value also moves the mean and the variance of its stretch: what goes through these is taken off. */
  backward(call, output, gradient) {
    const { x, weight } = call, sums = new Float64Array(x.data.length), size = product(call.normalized_shape);
    for (let start = 0; start < sums.length; start += size) {
      const { mean, scale } = stretchOf(call, start, size);
      const slopeAt = (k) => gradient[start + k] * (weight ? weight.data[k] : 1);
      const normalAt = (k) => (x.data[start + k] - mean) * scale;
      let throughMean = 0, throughVariance = 0;
      for (let k = 0; k < size; k++) {
        throughMean += slopeAt(k) / size;
        throughVariance += (slopeAt(k) * normalAt(k)) / size;
      }
      for (let k = 0; k < size; k++) sums[start + k] = scale * (slopeAt(k) - throughMean - normalAt(k) * throughVariance);
    }
    return [[x, sums]];
  },

  explain(call, output, at) {
    const size = product(call.normalized_shape), k = at.place % size;
    const { mean, variance, scale } = stretchOf(call, at.place - k, size);
    const x = call.x.data[at.place], weight = call.weight ? call.weight.data[k] : 1, bias = call.bias ? call.bias.data[k] : 0;
    const sum = (x - mean) * scale * weight + bias;
    return { kind: "normalisation", input: call.x.node, x, mean, variance, eps: call.eps, weight, bias, residual: null, sum };
  },
};

function stretchOf({ x, eps }, start, size) {
  let mean = 0, variance = 0;
  for (let k = start; k < start + size; k++) mean += x.data[k] / size;
  for (let k = start; k < start + size; k++) variance += (x.data[k] - mean) ** 2 / size;
  return { mean, variance, scale: 1 / Math.sqrt(variance + eps) };
}

/** A function of one number: `f(x, call)`, and `slope(x, call)`, its derivative. */
function ofNumber(f, slope) {
  return {
    forward: (call) => ({ data: call.x.data.map((x) => f(x, call)) }),
    backward: (call, output, gradient) => [[call.x, gradient.map((value, place) => value * slope(call.x.data[place], call))]],
    explain: (call, output, at) => ({ kind: "function", input: call.x.node, x: call.x.data[at.place] }),
  };
}

const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const clip = (x, low, high) => Math.min(Math.max(x, low), high);

FUNCTIONS.relu = ofNumber((x) => (x < 0 ? 0 : x), (x) => (x <= 0 ? 0 : 1));
FUNCTIONS.relu6 = ofNumber((x) => clip(x, 0, 6), (x) => (x <= 0 || x >= 6 ? 0 : 1));
FUNCTIONS.leaky_relu = ofNumber((x, call) => (x > 0 ? x : call.negative_slope * x), (x, call) => (x > 0 ? 1 : call.negative_slope));
FUNCTIONS.hardsigmoid = ofNumber((x) => clip(x + 3, 0, 6) / 6, (x) => (x <= -3 || x >= 3 ? 0 : 1 / 6));
FUNCTIONS.hardswish = ofNumber(
  (x) => (x <= -3 ? 0 : (x * Math.min(x + 3, 6)) / 6),
  (x) => (x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5),
);
FUNCTIONS.elu = ofNumber(
  (x, call) => (x > 0 ? x : call.alpha * Math.expm1(x)),
  (x, call) => (x > 0 ? 1 : call.alpha * Math.exp(x)),
);
FUNCTIONS.sigmoid = ofNumber(sigmoid, (x) => sigmoid(x) * (1 - sigmoid(x)));
FUNCTIONS.tanh = ofNumber(Math.tanh, (x) => 1 - Math.tanh(x) ** 2);
FUNCTIONS.silu = ofNumber((x) => x * sigmoid(x), (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))));

/** x times the share of the normal distribution below x, or the curve that stands for it with approximate="tanh". */
const below = (x, { approximate }) => (
  approximate === "tanh" ? 0.5 * (1 + Math.tanh(tanhArgument(x))) : 0.5 * (1 + erf(x * Math.SQRT1_2))
);
const density = (x, call) => (
  call.approximate === "tanh"
    ? 2 * below(x, call) * (1 - below(x, call)) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)
    : Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)
);
const tanhArgument = (x) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
FUNCTIONS.gelu = ofNumber((x, call) => x * below(x, call), (x, call) => below(x, call) + x * density(x, call));

/** The error function, by its series 2 / sqrt(pi) * exp(-x^2) * (x + 2 x^3 / 3 + 4 x^5 / 15 + ...); from 6 on it is 1. */
function erf(x) {
  if (Math.abs(x) >= 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 3; Math.abs(term) > 1e-17 * Math.abs(sum); n += 2) {
    term *= (2 * x * x) / n;
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** A function of two numbers, broadcast: `f(a, b)`, and its derivatives with respect to each. */
function ofTwo(operator, f, slopeOfA, slopeOfB) {
  const values = ({ a, b }, shape) => [a, b].map((operand) => {
    if (typeof operand === "number") return () => operand;
    if (operand.data.length === product(shape)) return (place) => operand.data[place];
    const places = broadcastPlaces(shape, operand.shape);
    return (place) => operand.data[places[place]];
  });
  return {
    forward(call, shape) {
      const [a, b] = values(call, shape), data = new Float32Array(product(shape));
      for (let place = 0; place < data.length; place++) data[place] = f(a(place), b(place));
      return { data };
    },

    backward(call, { shape }, gradient, wanted) {
      const [a, b] = values(call, shape), pairs = [];
      for (const [operand, slope] of [[call.a, slopeOfA], [call.b, slopeOfB]]) {
        if (!wanted(operand)) continue;
        const sums = new Float64Array(operand.data.length), places = broadcastPlaces(shape, operand.shape);
        for (let place = 0; place < gradient.length; place++) {
          sums[places[place]] += gradient[place] * slope(a(place), b(place));
        }
        pairs.push([operand, sums]);
      }
      return pairs;
    },

    explain(call, { shape }, at) {
      const terms = values(call, shape).map((valueAt) => valueAt(at.place));
      return { kind: "arithmetic", operator, inputs: [call.a.node, call.b.node], terms, sum: f(...terms) };
    },
  };
}

FUNCTIONS.add = ofTwo("+", (a, b) => a + b, () => 1, () => 1);
FUNCTIONS.subtract = ofTwo("-", (a, b) => a - b, () => 1, () => -1);
FUNCTIONS.multiply = ofTwo("*", (a, b) => a * b, (a, b) => b, (a) => a);
FUNCTIONS.divide = ofTwo("/", (a, b) => a / b, (a, b) => 1 / b, (a, b) => -a / (b * b));

/** The sum over some axes, or with `divides` the mean. */
function over(kind, divides) {
  const countOf = (call, output) => (divides ? call.x.data.length / output.length : 1);
  return {
    forward(call, shape) {
      const places = reducedPlaces(call.x.shape, call.axis), sums = new Float64Array(product(shape));
      for (let place = 0; place < places.length; place++) sums[places[place]] += call.x.data[place];
      return { data: Float32Array.from(sums, (sum) => sum / countOf(call, sums)) };
    },

    backward(call, output, gradient) {
      const places = reducedPlaces(call.x.shape, call.axis), count = countOf(call, gradient);
      return [[call.x, Float64Array.from(places, (place) => gradient[place] / count)]];
    },

    explain(call, output, at) {
      const places = reducedPlaces(call.x.shape, call.axis);
      const values = Array.from(call.x.data.filter((x, place) => places[place] === at.place));
      return { kind, input: call.x.node, values, sum: total(values), count: countOf(call, output.data) };
    },
  };
}

FUNCTIONS.mean = over("mean", true);
FUNCTIONS.sum = over("sum", false);

/** exp(x) / the sum of exp(x) along an axis: logits to probabilities. */
FUNCTIONS.softmax = {
  forward({ x, axis }) {
    const places = reducedPlaces(x.shape, axis), highest = [], sums = [];
    x.data.forEach((value, place) => { highest[places[place]] = Math.max(highest[places[place]] ?? -Infinity, value); });
    const powers = Float64Array.from(x.data, (value, place) => Math.exp(value - highest[places[place]]));
    powers.forEach((power, place) => { sums[places[place]] = (sums[places[place]] ?? 0) + power; });
    return { data: Float32Array.from(powers, (power, place) => power / sums[places[place]]) };
  },

  backward({ x, axis }, { data }, gradient) {
    const places = reducedPlaces(x.shape, axis), sums = [];
    data.forEach((value, place) => { sums[places[place]] = (sums[places[place]] ?? 0) + value * gradient[place]; });
    return [[x, gradient.map((value, place) => data[place] * (value - sums[places[place]]))]];
  },

  explain({ x, axis }, output, at) {
    const places = reducedPlaces(x.shape, axis), own = places[at.place];
    const powers = Array.from(x.data.filter((value, place) => places[place] === own), Math.exp);
    return { kind: "softmax", input: x.node, x: x.data[at.place], sum: total(powers) };
  },
};

/**
 * A function that moves numbers and computes none: `placesFor(call, shape)` has, for each place of the output, the one of
 * the input where its number comes from, -1 for none, where `value` stands; null says that all stay in their order.
 */
function moving(placesFor) {
  const filled = ({ value }) => value ?? 0;
  return {
    forward(call, shape) {
      const places = placesFor(call, shape);
      if (places === null) return { data: call.x.data };
      return { data: Float32Array.from(places, (place) => (place < 0 ? filled(call) : call.x.data[place])) };
    },

    backward(call, { shape }, gradient) {
      const places = placesFor(call, shape);
      if (places === null) return [[call.x, gradient]];
      const sums = new Float64Array(call.x.data.length);
      places.forEach((place, to) => { if (place >= 0) sums[place] += gradient[to]; });
      return [[call.x, sums]];
    },

    explain(call, { shape }, at) {
      const places = placesFor(call, shape), from = places === null ? at.place : places[at.place];
      const index = from < 0 ? null : strides(call.x.shape).map((step, axis) => Math.floor(from / step) % call.x.shape[axis]);
      return { kind: "moved", input: call.x.node, index, x: from < 0 ? filled(call) : call.x.data[from] };
    },
  };
}

for (const name of ["reshape", "flatten", "squeeze", "expand_dims", "dropout", "dropout2d", "stochastic_depth"]) {
  FUNCTIONS[name] = moving(() => null);
}

FUNCTIONS.transpose = moving(({ x, axes }, shape) => {
  const steps = strides(x.shape);
  return placesOf(shape.map((size, axis) => range(size, steps[axes[axis]])));
});

/** A part of an array: browser_graph.py says where its first element is, and how far apart neighbours along each axis. */
FUNCTIONS.getitem = moving(({ start, steps }, shape) => (
  placesOf([[start], ...shape.map((size, axis) => range(size, steps[axis]))])
));

/** Borders; a negative one cuts off. */
FUNCTIONS.pad = moving(({ x, padding, mode }, shape) => {
  const steps = strides(x.shape);
  const source = {
    constant: (index) => index,
    replicate: (index, size) => clip(index, 0, size - 1),
    reflect: (index, size) => (index < 0 ? -index : index >= size ? 2 * (size - 1) - index : index),
    circular: (index, size) => (index + size) % size,
  }[mode];
  return placesOf(shape.map((size, axis) => range(size).map((index) => {
    const from = source(index - padding[axis][0], x.shape[axis]);
    return from < 0 || from >= x.shape[axis] ? null : from * steps[axis];
  })));
});

/** Arrays one after another along an axis: a stretch of each in turn, as often as the axes before it say. */
FUNCTIONS.concatenate = {
  forward({ tensors, axis }, shape) {
    const data = new Float32Array(product(shape)), times = product(shape.slice(0, axis));
    let at = 0;
    for (let time = 0; time < times; time++) {
      for (const part of tensors) {
        const size = part.data.length / times;
        data.set(part.data.subarray(time * size, (time + 1) * size), at);
        at += size;
      }
    }
    return { data };
  },

  backward({ tensors, axis }, { shape }, gradient) {
    const times = product(shape.slice(0, axis)), pairs = tensors.map((part) => [part, new Float64Array(part.data.length)]);
    let at = 0;
    for (let time = 0; time < times; time++) {
      for (const [part, sums] of pairs) {
        const size = part.data.length / times;
        sums.set(gradient.subarray(at, at + size), time * size);
        at += size;
      }
    }
    return pairs;
  },

  explain({ tensors, axis }, { shape }, at) {
    const steps = strides(shape), index = steps.map((step, one) => Math.floor(at.place / step) % shape[one]);
    const part = tensors.find((one) => index[axis] < one.shape[axis] || (index[axis] -= one.shape[axis], false));
    const x = part.data[total(strides(part.shape).map((step, one) => step * index[one]))];
    return { kind: "moved", input: part.node, index, x };
  },
};

function total(values) {
  return values.reduce((a, b) => a + b, 0);
}
