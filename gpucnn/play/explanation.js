"use strict";
/* How one number of a map comes about, written out as the chapter does it by hand: window, filter, products, sum.

     explanationOf(numbers, place, chosen, onChoose)    elements for the page; `numbers` is what Network.explain gives

   A filter sees all maps of the layer before. One of them is shown, the `chosen` one or that which counts most; what the
   others add is written below. Numbers of one line have equally many digits; where what is then to be read does not add up, it is
   said that it is rounded.
*/

const MOST_TERMS = 8;
const WIDEST_WRITTEN = 8;

function explanationOf(numbers, where, chosen, onChoose) {
  const write = WRITERS[numbers.rows && numbers.kind === "mean" ? "mean of a window" : numbers.kind] ?? (() => []);
  return [make("p", { className: "where" }, where), ...write(numbers, chosen, onChoose), ...activated(numbers)];
}

const WRITERS = {
  convolution({ channels, bias, sum }, chosen, onChoose) {
    const strongest = channels.reduce((best, one) => (Math.abs(one.sum) > Math.abs(best.sum) ? one : best));
    const shown = channels.find((one) => one.channel === chosen) ?? strongest, parts = [];
    if (channels.length > 1) {
      const options = channels.map(({ channel }) => make("option", { value: channel, selected: channel === shown.channel }, String(channel)));
      parts.push(make("label", { className: "small" }, "On map ", make("select", { onchange: ({ target }) => onChoose(Number(target.value)) }, ...options), ` of ${channels.length} before:`));
    }
    const most = largest(shown.values), mostWeight = largest(channels.flatMap(({ filter }) => filter)), mostProduct = largest(shown.products);
    parts.push(
      make("div", { className: "product three" },
        numberGrid("window", shown.values, most), make("span", { className: "sign" }, "×"),
        numberGrid("filter", shown.filter, mostWeight), make("span", { className: "sign" }, "="),
        numberGrid(shown.products.flat().every(Number.isInteger) ? "products" : "products, rounded", shown.products, mostProduct)),
      added(shown.products.flat(), shown.sum),
    );
    if (channels.length > 1) {
      const sorted = [...channels].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)), others = sorted.slice(MOST_TERMS);
      const terms = sorted.slice(0, MOST_TERMS), names = terms.map((one) => `map ${one.channel}`);
      parts.push(added(...named(terms.map((one) => one.sum), names, others.map((one) => one.sum), bias, sum), "All maps: "));
    } else if (bias !== null) parts.push(added([shown.sum, bias], sum, ["", "bias"]));
    return parts;
  },

  maximum({ values, rows, columns, winner, value }) {
    const isWinner = (i, j) => winner && rows[i] === winner.y && columns[j] === winner.x;
    return [
      make("div", { className: "product" }, numberGrid("window", values, largest(values), isWinner)),
      line(values.flat(), value, (all) => `max(${all.join(", ")})`, (all) => Math.max(...all)),
    ];
  },

  "mean of a window"({ values, sum, count: number, value }) {
    const written = values.flat().length <= 16 ? values.flat() : [sum];
    return [
      make("div", { className: "product" }, numberGrid("window", values, largest(values))),
      line(written, value, (all) => `(${inBrackets(all).join(" + ")}) / ${number}`, (all) => total(all) / number),
    ];
  },

  linear({ values, weights, products, bias, sum }) {
    const order = [...products.keys()].sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])), top = order.slice(0, MOST_TERMS);
    const rest = order.slice(MOST_TERMS).map((place) => products[place]);
    const rows = top.map((place) => make("tr", {}, ...[place, numberText(values[place]), numberText(weights[place]), numberText(products[place])].map((text) => make("td", {}, String(text)))));
    const head = make("tr", {}, ...["input", "value", "weight", "product"].map((text) => make("th", { scope: "col" }, text)));
    return [make("table", {}, make("caption", {}, `What counts most${products.every(Number.isInteger) ? "" : ", rounded"}`), head, ...rows), added(...named(top.map((place) => products[place]), [], rest, bias, sum))];
  },

  normalisation({ x, mean, variance, eps, weight, bias, residual, sum }) {
    return [line([x, mean, variance, weight, bias, ...(residual === null ? [] : [residual])], sum,
      ([a, ...more]) => {
        const [b, c, d, e, f] = inBrackets(more);
        return `(${a} - ${b}) / √(${c} + ${eps}) × ${d} + ${e}${f === undefined ? "" : ` + ${f} (from before)`}`;
      },
      ([a, b, c, d, e, f = 0]) => ((a - b) / Math.sqrt(c + eps)) * d + e + f)];
  },

  function({ function: name, x, value }) {
    return [line([x], value, ([text]) => `${name}(${text})`)];
  },

  arithmetic({ operator, terms, sum }) {
    const compute = { "+": ([a, b]) => a + b, "-": ([a, b]) => a - b, "*": ([a, b]) => a * b, "/": ([a, b]) => a / b }[operator];
    return [line(terms, sum, (all) => inBrackets(all).join(` ${operator} `), compute)];
  },

  mean({ values, sum, count: number, value }) {
    return [line([sum], value, ([text]) => `the mean of ${values.length} numbers: ${text} / ${number}`, ([all]) => all / number)];
  },

  sum({ values, value }) {
    return [line([], value, () => `the sum of ${values.length} numbers`)];
  },

  moved({ x }) {
    return [make("p", { className: "sum" }, "taken over from the layer before: ", make("b", {}, numberText(x)))];
  },

  "transposed convolution"({ terms, bias, sum }) {
    const shown = terms.slice(0, 2 * MOST_TERMS), others = terms.slice(shown.length).map(({ value, weight }) => value * weight);
    const factors = shown.flatMap(({ value, weight }) => [value, weight]), more = named([], [], others, bias, sum);
    const pairs = (all) => shown.map((_, at) => [all[2 * at], all[2 * at + 1]]), rest = (all) => all.slice(factors.length);
    return [line([...factors, ...more[0]], sum,
      (all) => [...pairs(inBrackets(all)).map((two) => two.join(" × ")), ...inBrackets(rest(all)).map((text, at) => `${text} (${more[2][at]})`)].join(" + "),
      (all) => total(pairs(all).map(([a, b]) => a * b)) + total(rest(all)))];
  },
};

function activated({ activation, sum, value }) {
  return activation ? [line([sum], value, ([text]) => `${WORDS[activation] ?? activation}(${text})`)] : [];
}

/** The terms of a sum as `added` takes them: those that are shown, what the others come to, and the bias, if there is one. */
function named(terms, names, others, bias, sum) {
  const more = [...(others.length ? [[total(others), `${others.length} others`]] : []), ...(bias === null ? [] : [[bias, "bias"]])];
  return [[...terms, ...more.map(([value]) => value)], sum, [...terms.map((_, place) => names[place] ?? ""), ...more.map(([, name]) => name)]];
}

/** "0 + (-2) + 0 = -2": all terms and their sum, as the chapter writes them, each with its name if it has one. */
function added(terms, sum, names = [], start = "") {
  const write = (all) => start + inBrackets(all).map((text, place) => (names[place] ? `${text} (${names[place]})` : text)).join(" + ");
  return line(terms, sum, write, total);
}

/** `write(texts of the numbers)` = `value`; "rounded", if `compute` makes something else of the numbers as they are to be read. */
function line(numbers, value, write, compute = null) {
  const digits = digitsFor([...numbers, value]), texts = numbers.map((one) => numberText(one, digits)), result = numberText(value, digits);
  const isRounded = compute !== null && numberText(compute(texts.map(Number)), digits) !== result;
  return make("p", { className: "sum" }, `${write(texts)} = `, make("b", {}, result), isRounded ? make("span", { className: "rounded" }, " (rounded)") : "");
}

/** A small table of numbers in their colours; `isMarked(row, column)` frames some. */
function numberGrid(title, rows, most, isMarked = () => false) {
  const isWritten = rows[0].length <= WIDEST_WRITTEN, grid = make("table", { className: `numbers size-${Math.min(rows[0].length, 8)}` }, make("caption", {}, title));
  rows.forEach((row, i) => grid.append(make("tr", {}, ...row.map((value, j) => {
    const colour = colourOf((value / (most || 1)) * 0.85), cell = make("td", { title: numberText(value) }, isWritten ? cellText(value) : "");
    Object.assign(cell.style, { backgroundColor: css(colour), color: textOn(colour) });
    cell.classList.toggle("marked", Boolean(isMarked(i, j)));
    return cell;
  }))));
  return grid;
}

function largest(rows) {
  return rows.flat().reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function total(numbers) {
  return numbers.reduce((all, one) => all + one, 0);
}

/** A number as people write it: whole, or with two digits after the point, more for small ones. */
function numberText(value, digits = digitsFor([value])) {
  if (!Number.isFinite(value)) return String(value);
  const text = Number.isInteger(value) ? String(value) : value.toFixed(digits);
  return Number(text) === 0 ? "0" : text;
}

/** How many digits after the point some numbers need, of which the largest is to have three that count. */
function digitsFor(numbers) {
  const size = largest(numbers.filter(Number.isFinite));
  return size >= 100 ? 1 : size >= 1 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(size || 1)));
}

/** A number in a cell, where there is room for two digits after the point. */
function cellText(value) {
  return Number.isInteger(value) ? numberText(value) : value.toFixed(Math.abs(value) >= 100 ? 0 : 2).replace(/^-(0\.00)$/, "$1");
}

/** Numbers within a sum: negative ones in brackets. */
function inBrackets(texts) {
  return texts.map((text) => (text.startsWith("-") ? `(${text})` : text));
}
