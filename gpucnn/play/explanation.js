"use strict";
/* How one number of a map comes about, written out as the chapter does it by hand: window, filter, products, sum.

     explanationOf(numbers, place, chosen, onChoose)    elements for the page; `numbers` is what Network.explain gives

   A filter sees all maps of the layer before. One of them is shown, the `chosen` one or that which counts most; what the
   others add is written below.
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
      const options = channels.map(({ channel }) => make("option", { value: channel, selected: channel === shown.channel }, String(channel + 1)));
      parts.push(make("label", { className: "small" }, "On map ", make("select", { onchange: ({ target }) => onChoose(Number(target.value)) }, ...options), ` of ${channels.length} before:`));
    }
    const most = largest(shown.values), mostWeight = largest(channels.flatMap(({ filter }) => filter)), mostProduct = largest(shown.products);
    parts.push(
      make("div", { className: "product three" },
        numberGrid("window", shown.values, most), make("span", { className: "sign" }, "×"),
        numberGrid("filter", shown.filter, mostWeight), make("span", { className: "sign" }, "="),
        numberGrid("products", shown.products, mostProduct)),
      equation(shown.products.flat(), shown.sum),
    );
    if (channels.length > 1) {
      const sorted = [...channels].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)), others = sorted.slice(MOST_TERMS);
      const terms = sorted.slice(0, MOST_TERMS).map((one) => `${term(one.sum)} (map ${one.channel + 1})`);
      if (others.length) terms.push(`${term(others.reduce((all, one) => all + one.sum, 0))} (${others.length} others)`);
      if (bias !== null) terms.push(`${term(bias)} (bias)`);
      parts.push(make("p", { className: "sum" }, "All maps: ", terms.join(" + "), " = ", make("b", {}, numberText(sum))));
    } else if (bias !== null) parts.push(line(`${numberText(shown.sum)} + ${term(bias)} (bias) =`, sum));
    return parts;
  },

  maximum({ values, rows, columns, winner, value }) {
    const isWinner = (i, j) => winner && rows[i] === winner.y && columns[j] === winner.x;
    return [
      make("div", { className: "product" }, numberGrid("window", values, largest(values), isWinner)),
      line(`max(${values.flat().map(numberText).join(", ")}) =`, value),
    ];
  },

  "mean of a window"({ values, sum, count: number, value }) {
    const written = values.flat().length <= 16 ? values.flat().map(term).join(" + ") : numberText(sum);
    return [make("div", { className: "product" }, numberGrid("window", values, largest(values))), line(`(${written}) / ${number} =`, value)];
  },

  linear({ values, weights, products, bias, sum }) {
    const order = [...products.keys()].sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])), top = order.slice(0, MOST_TERMS);
    const rest = order.slice(MOST_TERMS).reduce((all, place) => all + products[place], 0);
    const rows = top.map((place) => make("tr", {}, ...[place + 1, numberText(values[place]), numberText(weights[place]), numberText(products[place])].map((text) => make("td", {}, String(text)))));
    const head = make("tr", {}, ...["input", "value", "weight", "product"].map((text) => make("th", { scope: "col" }, text)));
    const terms = [...top.map((place) => term(products[place])), ...(order.length > top.length ? [`${term(rest)} (${order.length - top.length} others)`] : []), ...(bias === null ? [] : [`${term(bias)} (bias)`])];
    return [make("table", {}, make("caption", {}, "What counts most"), head, ...rows), line(`${terms.join(" + ")} =`, sum)];
  },

  normalisation({ x, mean, variance, eps, weight, bias, residual, sum }) {
    const added = residual === null ? "" : ` + ${term(residual)} (from before)`;
    return [line(`(${numberText(x)} - ${term(mean)}) / √(${numberText(variance)} + ${eps}) × ${term(weight)} + ${term(bias)}${added} =`, sum)];
  },

  function({ function: name, x, value }) {
    return [line(`${name}(${numberText(x)}) =`, value)];
  },

  arithmetic({ operator, terms, sum }) {
    return [line(`${terms.map(term).join(` ${operator} `)} =`, sum)];
  },

  mean({ values, sum, count: number, value }) {
    return [line(`the mean of ${values.length} numbers: ${numberText(sum)} / ${number} =`, value)];
  },

  sum({ values, value }) {
    return [line(`the sum of ${values.length} numbers =`, value)];
  },

  moved({ x }) {
    return [line("taken over from the layer before:", x)];
  },

  "transposed convolution"({ terms, bias, sum }) {
    const shown = terms.slice(0, 2 * MOST_TERMS).map(({ value, weight }) => `${term(value)} × ${term(weight)}`);
    return [line(`${shown.join(" + ")}${terms.length > shown.length ? ` + ${terms.length - shown.length} others` : ""}${bias === null ? "" : ` + ${term(bias)} (bias)`} =`, sum)];
  },
};

function activated({ activation, sum, value }) {
  return activation ? [line(`${WORDS[activation] ?? activation}(${numberText(sum)}) =`, value)] : [];
}

/** "0 + (-2) + 0 = -2": all products and their sum, as the chapter writes them. */
function equation(products, sum) {
  return line(`${products.map(term).join(" + ")} =`, sum);
}

function line(left, value) {
  return make("p", { className: "sum" }, `${left} `, make("b", {}, numberText(value)));
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

/** A number as people write it: whole, or with two digits after the point, more for small ones. */
function numberText(value) {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return String(value === 0 ? 0 : value);
  const size = Math.abs(value);
  if (size < 0.0005) return "0";
  return value.toFixed(size >= 100 ? 0 : size >= 0.005 ? 2 : 3);
}

/** A number in a cell, where there is room for two digits after the point. */
function cellText(value) {
  return Number.isInteger(value) ? numberText(value) : value.toFixed(Math.abs(value) >= 100 ? 0 : 2).replace(/^-(0\.00)$/, "$1");
}

/** A number within a sum: a negative one in brackets. */
function term(value) {
  const text = numberText(value);
  return text.startsWith("-") ? `(${text})` : text;
}
