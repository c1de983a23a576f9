// The lists below the map.
(() => {
  const whole = (text, ...buttons) => make("header", {}, make("h3", {}, ...text), ...buttons);
  const all = (text, label, act) => make("button", { type: "button", "aria-label": label, onclick: act }, text);
  const membersOf = g => { const found = []; for (let i = 0; i < count; i++) if (groupOf[i] === g) found.push(i); return found; };
  const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  $("groups").append(...data.groups.map((group, g) => {
    const box = make("div", { class: "group" });
    box.append(
      whole([make("i", { class: "dot", style: `background:${data.colors[g]}` }), `Group ${g + 1}, ${plural(group.size, "image")}`],
        make("input", { type: "text", "aria-label": `Name of group ${g + 1}`, placeholder: "name", value: marks.group[g] || "", onchange: event => setName("group", g, event.target.value) }),
        all("Keep all", `Keep all of group ${g + 1}`, () => setMarks(membersOf(g), "keep")),
        all("Drop all", `Drop all of group ${g + 1}`, () => setMarks(membersOf(g), "drop")),
        all("Unmark", `Unmark all of group ${g + 1}`, () => setMarks(membersOf(g), ""))),
      make("ul", { class: "tiles" }, ...group.typical.map(i => tile(i))));
    return box;
  }));

  const copies = new Map();
  for (let i = 0; i < count; i++) if (copiesOf[i] >= 0) (copies.get(copiesOf[i]) || copies.set(copiesOf[i], []).get(copiesOf[i])).push(i);
  const kept = new Set(data.kept);
  const keepOne = images => {
    for (const i of images) marks.mark[i] = kept.has(i) ? "keep" : "drop";
    changed(null);
  };
  $("drop-copies")?.addEventListener("click", () => keepOne([...copies.values()].flat()));
  $("duplicates").append(...data.duplicates.map((group, g) => {
    const more = group.size - group.rows.length, box = make("div", { class: "group" });
    box.append(
      whole([`${plural(group.size, "image")}`],
        all("Keep the first, drop the others", `Keep the first of duplicate group ${g + 1}, drop the others`, () => keepOne(copies.get(g) || [])),
        all("Unmark", `Unmark duplicate group ${g + 1}`, () => setMarks(copies.get(g) || [], ""))),
      make("ul", { class: "tiles" }, ...group.rows.map((i, place) => tile(i, group.similar[place].toFixed(3)))));
    if (more > 0) box.append(make("p", { class: "muted" }, `and ${more.toLocaleString("en")} more`));
    return box;
  }));

  const given = i => labelOf && labelOf[i] >= 0 ? plain(data.classes[labelOf[i]]) : "";
  $("outliers").append(...data.outliers.map(([i, score], place) => tile(i, score.toFixed(3) + (place < data.num_outliers ? "" : ", no outlier"))));
  $("suspects")?.append(...data.suspects.map(([i, suggested, score]) => tile(i, `given: ${given(i)}`, `suggested: ${plain(suggested)}`, `doubt ${score.toFixed(2)}`)));
  $("next")?.append(...data.to_label.map((i, place) => tile(i, `${place + 1}`)));

  const MOST_FOUND = 24;
  $("find").addEventListener("change", event => {
    const wanted = event.target.value.trim().toLowerCase(), found = [];
    if (!wanted) return;
    for (let i = 0; i < count && found.length < MOST_FOUND; i++) if (ids[i].toLowerCase().includes(wanted)) found.push(i);
    selected = -1;
    const title = make("h3", { id: "chosen-title", tabindex: -1 }, found.length ? `Names with ${event.target.value.trim()}${found.length === MOST_FOUND ? ", the first" : ""}` : `No name has ${event.target.value.trim()}`);
    delete $("chosen").dataset.image;
    $("chosen").replaceChildren(title, make("ul", { class: "tiles" }, ...found.map(i => tile(i))));
    for (const listener of onSelect) listener(-1);
  });
  select(-1);
  $("chosen").append(make("p", { class: "muted" }, "Select one on the map or in a list: its nearest images appear here."));
  sayMarks();
})();
