"use strict";
// The form of the page: one image is sent to this service, and its answer shown.
const part = (id) => document.getElementById(id);
let sent = 0;

async function ask(file) {
  const number = ++sent;
  part("trouble").hidden = true;
  URL.revokeObjectURL(part("preview").src);
  part("preview").src = URL.createObjectURL(file);
  const began = performance.now();
  try {
    const answer = await fetch("predict", { method: "POST", body: file });
    const found = await answer.json();
    if (number !== sent) return; // another image was chosen meanwhile
    if (found.error) throw new Error(`${found.error.status}: ${found.error.reason}; ${found.error.fix}`);
    const rows = found.predictions.map((one) => {
      const row = document.createElement("tr");
      for (const text of [one.class, one.probability.toFixed(4)]) row.appendChild(document.createElement("td")).textContent = text;
      return row;
    });
    part("answers").replaceChildren(...rows);
    part("took").textContent = `${file.name}, ${Math.round(performance.now() - began)} ms`;
    part("shown").hidden = false;
    part("trouble").textContent = found.warning ?? "";
    part("trouble").hidden = !found.warning;
  } catch (error) {
    if (number !== sent) return;
    part("shown").hidden = true;
    part("trouble").textContent = error instanceof TypeError ? "The service cannot be reached." : error.message;
    part("trouble").hidden = false;
  }
}

part("preview").addEventListener("load", (event) => event.target.classList.toggle("tiny", event.target.naturalWidth < 80));
part("file").addEventListener("change", (event) => {
  if (event.target.files.length) ask(event.target.files[0]);
});
const form = part("form");
form.hidden = false;
for (const kind of ["dragover", "dragleave", "drop"]) {
  form.addEventListener(kind, (event) => {
    event.preventDefault();
    form.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
}
