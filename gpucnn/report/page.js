"use strict";
// What a click does: a number of the confusion matrix shows its images, a column's name sorts, a command is copied.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("cell");
  const [LABEL, ANSWER, PROBABILITY, LOSS, NAME] = [0, 1, 2, 3, 4];

  const cells = new Map();
  data.images.forEach((image, place) => {
    const key = `${image[LABEL]},${image[ANSWER]}`;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(place);
  });

  const loaded = new Map();
  function sheet(uri) {
    if (!loaded.has(uri)) {
      const image = new Image();
      image.src = uri;
      loaded.set(uri, image.decode().then(() => image));
    }
    return loaded.get(uri);
  }

  function thumbnail(sheets, place, words) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = sheets.width;
    canvas.className = "thumbnail";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    const number = place % data.per_sheet;
    sheet(sheets.uris[Math.floor(place / data.per_sheet)]).then((image) => {
      const x = (number % data.columns) * sheets.width;
      const y = Math.floor(number / data.columns) * sheets.width;
      canvas.getContext("2d").drawImage(image, x, y, sheets.width, sheets.width, 0, 0, sheets.width, sheets.width);
    });
    return canvas;
  }

  function element(tag, text, kind) {
    const found = document.createElement(tag);
    found.textContent = text;
    if (kind) found.className = kind;
    return found;
  }

  function percent(share) {
    return share === null ? "no number" : `${(100 * share).toFixed(0)}\u00a0%`;
  }

  function card(place) {
    const image = data.images[place];
    const item = element("li", "", "card");
    const pair = element("div", "", "pair");
    pair.append(thumbnail(data.sheets, place, data.names[image[LABEL]]));
    const look = data.looks.places.indexOf(place);
    if (look >= 0) {
      pair.append(thumbnail(data.looks, look, `the same, with where the model looked for ${data.names[image[ANSWER]]}`));
    }
    const loss = image[LOSS] === null ? "no number" : image[LOSS].toFixed(2);
    item.append(pair, element("p", percent(image[PROBABILITY])));
    const rest = element("p", `loss ${loss} \u00b7 `, "small");
    rest.append(clipped(image[NAME], "name"));
    item.append(rest);
    return item;
  }

  function clipped(text, kind = "clipped") {
    const found = element("span", text, kind);
    found.title = text;
    return found;
  }

  let pressed = null;
  function show(button, key, count) {
    const [label, answer] = key.split(",").map((text) => data.names[Number(text)]);
    const places = cells.get(key) ?? [];
    const what = count === 1 ? "1 image" : `${count.toLocaleString("en")} images`;
    const words = label === answer ? [", answered right"] : [", answered ", clipped(answer)];
    const [heading, list, rest] = panel.children;
    heading.replaceChildren(`${what} of `, clipped(label), ...words);
    list.replaceChildren(...places.map(card));
    const left = count - places.length;
    rest.textContent = left > 0 ? `${left.toLocaleString("en")} more ${left === 1 ? "is" : "are"} not in this file.` : "";
    panel.hidden = false;
    pressed?.setAttribute("aria-pressed", "false");
    pressed = button;
    button.setAttribute("aria-pressed", "true");
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    panel.hidden = true;
    pressed.setAttribute("aria-pressed", "false");
    pressed.focus();
  });

  const counted = (button) => Number(button.textContent.replaceAll(",", ""));
  for (const button of document.querySelectorAll("[data-cell]")) {
    button.addEventListener("click", () => show(button, button.dataset.cell, counted(button)));
  }

  const matrix = document.querySelector(".confusion tbody");
  if (matrix) {
    const at = (row, column) => matrix.rows[row]?.cells[column]?.querySelector("button");
    const buttons = matrix.querySelectorAll("button");
    buttons.forEach((button, place) => { button.tabIndex = place ? -1 : 0; });  // one stop for Tab, arrows do the rest
    matrix.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const cell = button.parentElement;
      show(button, `${cell.parentElement.sectionRowIndex},${cell.cellIndex - 1}`, counted(button));
    });
    const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    matrix.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const cell = event.target.parentElement;
      let [row, column] = [cell.parentElement.sectionRowIndex + step[0], cell.cellIndex + step[1]];
      while (row >= 0 && row < matrix.rows.length && column > 0 && column < matrix.rows[row].cells.length) {
        const next = at(row, column);
        if (next) {
          event.target.tabIndex = -1;
          next.tabIndex = 0;
          next.focus();
          return;
        }
        row += step[0];
        column += step[1];
      }
    });
  }

  const value = (cell) => {
    const found = cell.querySelector("data");
    return found ? (found.value === "" ? -Infinity : Number(found.value)) : cell.textContent;
  };
  const order = (one, other) => (typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true }));
  for (const table of document.querySelectorAll(".sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = element("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = column ? "descending" : "ascending";
        const second = column ? "ascending" : "descending";
        const wanted = head.getAttribute("aria-sort") === first ? second : first;
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", wanted);
        const sign = wanted === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows];
        rows.sort((one, other) => sign * order(value(one.cells[column]), value(other.cells[column])));
        table.tBodies[0].append(...rows);
      });
    });
  }

  if (navigator.clipboard) {
    for (const command of document.querySelectorAll(".command")) {
      const button = element("button", "copy");
      button.type = "button";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 2000);
      });
      command.append(button);
    }
  }
})();
