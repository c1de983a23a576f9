// A picture with what is said of it and its two marks, wherever images are listed.
const markButtons = i => {
  const button = (mark, text) => make("button", {
    type: "button", class: mark, "aria-pressed": markOf(i) === mark, "aria-label": `${text} ${names(i)}`,
    onclick: () => setMarks([i], markOf(i) === mark ? "" : mark),
  }, text);
  return make("span", { class: "mark", role: "group" }, button("keep", "Keep"), button("drop", "Drop"));
};
const showMark = element => {
  const mark = markOf(element.dataset.image);
  for (const one of ["keep", "drop"]) {
    element.classList.toggle(one, mark === one);
    element.querySelector(`.mark .${one}`)?.setAttribute("aria-pressed", mark === one);
  }
};
// Names differ at their ends.
const short = name => {
  const tail = name.split("/").slice(-2).join("/");
  return tail.length > 16 ? `${tail.slice(0, 3)}…${tail.slice(-11)}` : tail;
};
const tile = (i, ...notes) => {
  const said = notes.filter(Boolean).join(", ");
  const element = make("li", { class: "tile", "data-image": i },
    make("button", { type: "button", class: "pick", "aria-label": `${names(i)}${said ? `, ${said}` : ""}: show the nearest images`, onclick: event => select(i, event.currentTarget) }, thumb(i)),
    ...notes.filter(Boolean).map(note => make("span", { class: "note" }, note)),
    make("span", { class: "name", title: names(i) }, short(names(i))), markButtons(i));
  showMark(element);
  return element;
};
heard.push(which => {
  const chosen = which && new Set(which.map(String));
  for (const element of document.querySelectorAll("[data-image]")) if (!chosen || chosen.has(element.dataset.image)) showMark(element);
});

// The selected image, with its nearest ones.
let selected = -1, cameFrom = null;
const onSelect = [];
const neighborsOf = i => Array.from(near.subarray(i * data.k, (i + 1) * data.k), (j, place) => [j, similar[i * data.k + place]]).filter(([j]) => j >= 0);
const address = i => !data.folder || ids[i].split("/").includes("..") ? null : `${data.folder}/${ids[i].split("/").map(encodeURIComponent).join("/")}`;
const facts = i => {
  const rows = [["Group", `${groupOf[i] + 1}${marks.group[groupOf[i]] ? ` (${marks.group[groupOf[i]]})` : ""}, ${rankOf[i].toLocaleString("en")} in typicality`]];
  if (labelOf) rows.push(["Label", labelOf[i] < 0 ? "none" : plain(data.classes[labelOf[i]])]);
  if (copiesOf[i] >= 0) rows.push(["Near-duplicates", `group ${copiesOf[i] + 1}`]);
  rows.push(["Outlier", `${outlierRank[i].toLocaleString("en")} of ${data.total.toLocaleString("en")}`]);
  return make("dl", { class: "facts" }, ...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
};
const select = (i, from = null) => {
  selected = i;
  if (from) cameFrom = from;
  const box = $("chosen"), title = make("h3", { id: "chosen-title", tabindex: -1 }, i < 0 ? "No image is selected" : names(i));
  if (i < 0) { box.replaceChildren(title); delete box.dataset.image; for (const listener of onSelect) listener(i); return; }
  const found = neighborsOf(i), open = address(i);
  const actions = make("div", { class: "actions" });
  if (open) actions.append(make("a", { href: open, target: "_blank", rel: "noreferrer" }, "Open the file"));
  if (from && !from.closest("#chosen") && from !== $("map")) actions.append(make("button", { type: "button", onclick: () => { from.scrollIntoView({ block: "center" }); from.focus(); } }, "Back to the list"));
  box.dataset.image = i;
  box.replaceChildren(title,
    make("div", { class: "top" }, thumb(i), make("div", {}, facts(i), markButtons(i))), actions,
    make("label", {}, "Group name of this image ", make("input", { type: "text", value: marks.name[i] || "", placeholder: marks.group[groupOf[i]] || "", onchange: event => setName("name", i, event.target.value) })),
    make("h4", {}, found.length ? "Nearest images" : "There are no other images"),
    make("ul", { class: "tiles" }, ...found.map(([j, value]) => tile(j, (value / 100).toFixed(2)))));
  for (const listener of onSelect) listener(i);
  if (from && from !== $("map")) {
    $("map-title").scrollIntoView({ block: "start" });
    if (box.getBoundingClientRect().top > innerHeight * 0.7) box.scrollIntoView({ block: "center" });
    title.focus({ preventScroll: true });
  }
};
