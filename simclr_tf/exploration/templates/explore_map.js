// The map: dots, and pictures where there is room for them.
(() => {
  const canvas = $("map"), pen = canvas.getContext("2d"), tip = document.querySelector(".tip"), says = $("map-says");
  const MOST_PICTURES = 500, CLICK = 5, SHARE = 0.9;
  const images = small.addresses.map(source => { const image = new Image(); image.onload = () => redraw(); image.src = source; return image; });
  let width = 0, height = 0, dense = 1, current = -1, only = null, coloring = "group", waiting = false, moved = false;
  const view = { x: 0, y: 0, scale: 1 };
  const extent = [0, 1].map(axis => { let most = 1; for (let i = axis; i < 2 * count; i += 2) most = Math.max(most, places[i]); return most; });
  const least = () => SHARE * Math.min(width / extent[0], height / extent[1]);
  const across = i => (places[2 * i] - view.x) * view.scale, down = i => (places[2 * i + 1] - view.y) * view.scale;
  const zoomed = () => view.scale > 1.02 * least();

  const showAll = () => {
    view.scale = least();
    view.x = (extent[0] - width / view.scale) / 2;
    view.y = (extent[1] - height / view.scale) / 2;
    redraw();
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const scale = Math.max(least(), Math.min(view.scale * factor, 400 * least()));
    if (scale === least()) return showAll();
    view.x += x / view.scale - x / scale;
    view.y += y / view.scale - y / scale;
    view.scale = scale;
    redraw();
  };
  const pan = (x, y) => { view.x -= x / view.scale; view.y -= y / view.scale; redraw(); };
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };

  const styles = getComputedStyle(document.documentElement), color = name => styles.getPropertyValue(name).trim();
  const colorOf = i => {
    if (coloring === "mark") return markOf(i) === "keep" ? color("--good") : markOf(i) === "drop" ? color("--bad") : color("--muted");
    if (coloring === "label" && labelOf) return labelOf[i] < 0 ? color("--muted") : data.class_colors[labelOf[i]];
    return data.colors[groupOf[i]];
  };
  const isOn = i => only === null || (coloring === "group" ? groupOf[i] : coloring === "label" ? labelOf[i] : markOf(i)) === only;
  const visible = () => {
    const found = [], edge = 30;
    for (let i = 0; i < count; i++) {
      const x = across(i), y = down(i);
      if (x > -edge && y > -edge && x < width + edge && y < height + edge) found.push(i);
    }
    return found;
  };
  const draw = () => {
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, width, height);
    canvas.style.touchAction = zoomed() ? "none" : "pan-y";
    const seen = visible(), bright = seen.filter(isOn), pictures = bright.length <= MOST_PICTURES && images.length > 0;
    if (only !== null) dots(seen.filter(i => !isOn(i)), 0.12);
    if (pictures) paint(bright); else dots(bright, 0.85);
    rings(bright, pictures);
    if (selected >= 0) lines();
    if (current >= 0) ring(current, color("--text"), 9);
  };
  const radius = () => (count > 30000 ? 1.6 : count > 5000 ? 2.2 : count > 1000 ? 3 : 4.5) * Math.min(2.5, (view.scale / least()) ** 0.35);
  const dots = (seen, alpha) => {
    const r = radius(), byColor = new Map();
    for (const i of seen) { const of = colorOf(i); (byColor.get(of) || byColor.set(of, []).get(of)).push(i); }
    pen.globalAlpha = alpha;
    for (const [of, some] of byColor) {
      pen.fillStyle = of;
      pen.beginPath();
      for (const i of some) {
        const x = across(i), y = down(i);
        if (some.length > 3000) pen.rect(x - r, y - r, 2 * r, 2 * r); else { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 7); }
      }
      pen.fill();
    }
    pen.globalAlpha = 1;
  };
  const side = seen => Math.max(18, Math.min(84, 0.75 * Math.sqrt(width * height / Math.max(seen.length, 1))));
  let pictureSide = 0;
  const paint = seen => {
    pictureSide = side(seen);
    const half = pictureSide / 2;
    pen.imageSmoothingEnabled = !data.pixelated;
    dots(seen.filter(i => small.slot[i] < 0), 0.85);
    for (const i of seen) {
      const at = spot(small, i), image = at && images[at.sheet];
      if (!image || !image.complete) continue;
      const x = across(i) - half, y = down(i) - half;
      pen.globalAlpha = markOf(i) === "drop" ? 0.4 : 1;
      pen.fillStyle = colorOf(i);
      pen.fillRect(x - 2, y - 2, pictureSide + 4, pictureSide + 4);
      pen.drawImage(image, at.column * small.side, at.row * small.side, small.side, small.side, x, y, pictureSide, pictureSide);
    }
    pen.globalAlpha = 1;
  };
  const ring = (i, of, r) => { pen.strokeStyle = of; pen.lineWidth = 3; pen.beginPath(); pen.arc(across(i), down(i), r, 0, 7); pen.stroke(); };
  const rings = (seen, pictures) => {
    for (const i of seen) if (markOf(i)) ring(i, color(markOf(i) === "keep" ? "--good" : "--bad"), pictures ? 5 : radius() + 2);
  };
  const lines = () => {
    pen.strokeStyle = color("--text"); pen.lineWidth = 1; pen.globalAlpha = 0.5;
    pen.beginPath();
    for (const [j] of neighborsOf(selected)) { pen.moveTo(across(selected), down(selected)); pen.lineTo(across(j), down(j)); }
    pen.stroke();
    pen.globalAlpha = 1;
    ring(selected, color("--text"), 11);
  };

  const show = i => {
    current = i;
    tip.hidden = i < 0;
    if (i >= 0) {
      tip.replaceChildren(thumb(i), names(i));
      const x = across(i), y = down(i), shift = Math.max(16, pictureSide / 2 + 6);
      tip.style.left = Math.max(0, Math.min(x + shift, width - tip.offsetWidth)) + "px";
      tip.style.top = Math.max(0, y + shift + tip.offsetHeight > height ? y - shift - tip.offsetHeight : y + shift) + "px";
    }
    redraw();
  };
  const nearest = (x, y, reach) => {
    let best = -1, least = reach;
    for (let i = 0; i < count; i++) {
      const distance = Math.hypot(across(i) - x, down(i) - y);
      if (distance < least && isOn(i)) { least = distance; best = i; }
    }
    return best;
  };
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const reach = event => Math.max(event.pointerType === "touch" ? 24 : 14, pictureSide / 2);

  const fingers = new Map();
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { start: at(event), last: at(event) });
    moved = fingers.size > 1;
  });
  canvas.addEventListener("pointermove", event => {
    const finger = fingers.get(event.pointerId), place = at(event);
    if (!finger) return event.pointerType === "touch" ? undefined : show(nearest(...place, reach(event)));
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1].last, gap = point => Math.hypot(point[0] - other[0], point[1] - other[1]);
      zoom(gap(place) / Math.max(gap(finger.last), 1), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
      moved = true;
    } else {
      if (Math.hypot(place[0] - finger.start[0], place[1] - finger.start[1]) > CLICK) moved = true;
      if (moved) { pan(place[0] - finger.last[0], place[1] - finger.last[1]); canvas.classList.add("moving"); show(-1); }
    }
    finger.last = place;
  });
  const lift = event => {
    const finger = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    canvas.classList.remove("moving");
    if (!finger || moved || event.type === "pointercancel") return;
    const found = nearest(...at(event), reach(event));
    show(found);
    if (found >= 0) select(found, canvas);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", event => { if (event.pointerType !== "touch" && document.activeElement !== canvas) show(-1); });
  canvas.addEventListener("blur", () => show(-1));
  canvas.addEventListener("wheel", event => {
    if (event.deltaY > 0 && !zoomed()) return;  // the page scrolls on
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), ...at(event));
    show(-1);
  }, { passive: false });
  canvas.addEventListener("dblclick", event => zoom(2.5, ...at(event)));
  const say = i => { says.textContent = [names(i), `group ${groupOf[i] + 1}`, labelOf && labelOf[i] >= 0 ? plain(data.classes[labelOf[i]]) : "", markOf(i)].filter(Boolean).join(", "); };
  const go = step => {
    const [x, y] = current >= 0 ? [across(current), down(current)] : [width / 2, height / 2];
    let best = -1, least = Infinity;
    for (let i = 0; i < count; i++) {
      const a = across(i) - x, b = down(i) - y, along = a * step[0] + b * step[1], cost = along + 2 * (Math.abs(a * step[1]) + Math.abs(b * step[0]));
      if (i !== current && along > 0 && cost < least && isOn(i)) { least = cost; best = i; }
    }
    if (best < 0) return;
    const left = across(best), top = down(best), margin = 40;
    if (left < margin || top < margin || left > width - margin || top > height - margin) pan(width / 2 - left, height / 2 - top);
    show(best);
    say(best);
  };
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const [x, y] = current >= 0 ? [across(current), down(current)] : [width / 2, height / 2];
    const mark = { k: "keep", d: "drop" }[event.key];
    if (step) go(step);
    else if (event.key === "+" || event.key === "=") { zoom(1.5, x, y); show(current); }
    else if (event.key === "-") { zoom(1 / 1.5, x, y); show(current); }
    else if (event.key === "0") { showAll(); show(-1); }
    else if (event.key === "Escape") { show(-1); select(-1); }
    else if (event.key === "Enter" && current >= 0) { select(current, canvas); say(current); }
    else if (mark && current >= 0) { setMarks([current], markOf(current) === mark ? "" : mark); say(current); }
    else return;
    event.preventDefault();
  });
  $("in").addEventListener("click", () => zoom(1.6));
  $("out").addEventListener("click", () => zoom(1 / 1.6));
  $("all").addEventListener("click", showAll);

  const legend = () => {
    const entry = (value, text, of) => make("li", {}, make("button", { type: "button", "aria-pressed": only === value, onclick: () => { only = only === value ? null : value; legend(); redraw(); } },
      make("i", { class: "dot", style: `background:${of}` }), text));
    const entries = coloring === "group" ? data.groups.map((group, g) => entry(g, marks.group[g] || `${g + 1}`, data.colors[g]))
      : coloring === "mark" ? [entry("keep", "kept", color("--good")), entry("drop", "dropped", color("--bad")), entry("", "not marked", color("--muted"))]
      : data.classes.slice(0, 60).map((name, place) => entry(place, plain(name), data.class_colors[place]));
    $("legend").replaceChildren(...entries);
  };
  $("colors").addEventListener("change", event => { coloring = event.target.value; only = null; legend(); redraw(); });
  heard.push(() => { legend(); redraw(); });
  onSelect.push(i => {
    if (i >= 0 && (across(i) < 0 || down(i) < 0 || across(i) > width || down(i) > height)) pan(width / 2 - across(i), height / 2 - down(i));
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { legend(); redraw(); });
  new ResizeObserver(() => {
    const box = canvas.getBoundingClientRect(), whole = !width || !zoomed();
    dense = Math.min(devicePixelRatio || 1, 2);
    width = box.width; height = box.height;
    canvas.width = Math.round(width * dense); canvas.height = Math.round(height * dense);
    if (whole) showAll(); else redraw();
  }).observe(canvas);
  legend();
})();
