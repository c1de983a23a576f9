"use strict";
// What the page holds, pictures, and marks. The other scripts build on these names.
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const bytes = text => {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
};
const numbers = (Type, text) => new Type(bytes(text).buffer);
const ids = data.ids, count = data.count;
const places = numbers(Uint16Array, data.places);
const groupOf = numbers(Uint16Array, data.group), rankOf = numbers(Int32Array, data.rank);
const outlierRank = numbers(Int32Array, data.outlier), copiesOf = numbers(Int32Array, data.copies);
const labelOf = data.label === null ? null : numbers(Int32Array, data.label);
const near = numbers(Int32Array, data.near), similar = numbers(Int8Array, data.similar);
document.body.classList.toggle("pixelated", data.pixelated);

const make = (kind, attributes = {}, ...children) => {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
// Control characters and marks that turn the direction of reading would show another name.
const plain = text => text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
const names = i => plain(ids[i]);

// Pictures: every sheet becomes one address, which elements and the map share.
const opened = pictures => {
  const addresses = pictures.sheets.map(text => URL.createObjectURL(new Blob([bytes(text)], { type: "image/jpeg" })));
  pictures.sheets = null;
  return { ...pictures, addresses, slot: numbers(Int32Array, pictures.slot), each: pictures.columns ** 2 };
};
const small = opened(data.small), large = opened(data.large);
const spot = (pictures, i) => {
  const slot = pictures.slot[i];
  if (slot < 0) return null;
  const inside = slot % pictures.each, sheet = (slot - inside) / pictures.each;
  return { sheet, column: inside % pictures.columns, row: Math.floor(inside / pictures.columns) };
};
const thumb = i => {
  const pictures = large.slot[i] >= 0 ? large : small, at = spot(pictures, i);
  if (!at) return make("span", { class: "thumb none" }, "no picture");
  const rows = pictures.rows[at.sheet], columns = pictures.columns, element = make("span", { class: "thumb" });
  element.style.backgroundImage = `url(${pictures.addresses[at.sheet]})`;
  element.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  const share = (place, of) => of > 1 ? 100 * place / (of - 1) : 0;
  element.style.backgroundPosition = `${share(at.column, columns)}% ${share(at.row, rows)}%`;
  return element;
};

// Marks: what is kept and dropped, names of images and of groups, as the browser remembers them.
const storeKey = `simclr_tf.explore.${data.key}`;
let remembered = true;
const marks = (() => {
  const nothing = { mark: {}, name: {}, group: {} };
  try {
    const kept = JSON.parse(localStorage.getItem(storeKey) || "{}");
    return { mark: { ...kept.mark }, name: { ...kept.name }, group: { ...kept.group } };
  } catch { remembered = false; return nothing; }
})();
const markOf = i => marks.mark[i] || "", nameOf = i => marks.name[i] || marks.group[groupOf[i]] || "";
const heard = [];  // called with the images whose marks have changed, null for all
const changed = which => {
  try { localStorage.setItem(storeKey, JSON.stringify(marks)); } catch { remembered = false; }
  for (const listener of heard) listener(which);
};
const setMarks = (images, mark) => {
  for (const i of images) { if (mark) marks.mark[i] = mark; else delete marks.mark[i]; }
  changed(images.length < 50 ? images : null);
};
const setName = (kind, key, text) => {
  text = text.trim();
  if (text) marks[kind][key] = text; else delete marks[kind][key];
  changed(kind === "name" ? [key] : null);
};
const marked = () => Array.from({ length: count }, (_, i) => i).filter(i => markOf(i) || nameOf(i));
const cell = text => {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const markTable = () => ["id,mark,group", ...marked().map(i => [ids[i], markOf(i), nameOf(i)].map(cell).join(","))].join("\n") + "\n";
const sayMarks = () => {
  const values = Object.values(marks.mark), of = mark => values.filter(one => one === mark).length;
  const named = marked().filter(nameOf).length, parts = [];
  if (of("keep")) parts.push(`${of("keep").toLocaleString("en")} kept`);
  if (of("drop")) parts.push(`${of("drop").toLocaleString("en")} dropped`);
  if (named) parts.push(`${named.toLocaleString("en")} with a group name`);
  $("marks-say").textContent = (parts.join(", ") || "Nothing is marked") + (remembered ? "." : "; this browser forgets it with the page.");
  $("download").disabled = $("clear").disabled = !parts.length;
};
heard.push(sayMarks);
$("download").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([markTable()], { type: "text/csv" }));
  make("a", { href: address, download: `${document.title.split(" – ")[0]}.marks.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
});
$("clear").addEventListener("click", () => {
  if (!confirm("Forget all marks and names?")) return;
  marks.mark = {}; marks.name = {}; marks.group = {};
  for (const input of document.querySelectorAll(".group header input")) input.value = "";
  changed(null);
});
