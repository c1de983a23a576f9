"use strict";
(() => {
  const map = document.querySelector(".map"), tip = document.querySelector(".tip");
  const says = document.getElementById("map-says");
  const { columns, texts, pixelated } = JSON.parse(document.getElementById("points").textContent);
  const circles = [...map.querySelectorAll("circle")];
  const places = circles.map(c => [c.cx.baseVal.value, c.cy.baseVal.value]);
  let current = -1;

  const visible = i => !map.classList.contains("some") || circles[i].classList.contains("on");
  const show = i => {
    if (current >= 0) circles[current].classList.remove("current");
    current = i;
    tip.hidden = i < 0;
    if (i < 0) return;
    circles[i].classList.add("current");
    const picture = document.createElement("span");
    picture.className = "thumb" + (pixelated ? " pixelated" : "");
    picture.style.setProperty("--x", i % columns);
    picture.style.setProperty("--y", Math.floor(i / columns));
    tip.replaceChildren(picture, texts[i]);
    const box = map.getBoundingClientRect(), scale = box.width / map.viewBox.baseVal.width;
    const x = places[i][0] * scale, y = places[i][1] * scale;
    tip.style.left = Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth)) + "px";
    tip.style.top = (y + 14 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 14 : y + 14) + "px";
  };
  const nearest = (x, y, reach) => {
    let best = -1, least = reach;
    places.forEach(([a, b], i) => {
      const distance = Math.hypot(a - x, b - y);
      if (distance < least && visible(i)) { least = distance; best = i; }
    });
    return best;
  };
  const at = event => {
    const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
    show(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 24 * Math.max(1, scale)));
  };
  map.addEventListener("pointermove", at);
  map.addEventListener("pointerdown", at);
  map.addEventListener("pointerleave", () => { if (document.activeElement !== map) show(-1); });
  map.addEventListener("blur", () => show(-1));
  map.addEventListener("keydown", event => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") return show(-1);
    if (!step) return;
    event.preventDefault();
    const [x, y] = current >= 0 ? places[current] : [map.viewBox.baseVal.width / 2, map.viewBox.baseVal.height / 2];
    let best = -1, least = Infinity;
    places.forEach(([a, b], i) => {
      const along = (a - x) * step[0] + (b - y) * step[1];
      const across = Math.abs((a - x) * step[1]) + Math.abs((b - y) * step[0]);
      const cost = along + 2 * across;
      if (i !== current && along > 0 && cost < least && visible(i)) { least = cost; best = i; }
    });
    if (best >= 0) { show(best); says.textContent = "Image " + best + ": " + texts[best]; }
  });
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of document.querySelectorAll(".legend button")) other.setAttribute("aria-pressed", other === button && on);
      map.classList.toggle("some", on);
      for (const circle of circles) circle.classList.toggle("on", circle.dataset.label === button.dataset.label);
      show(-1);
    });
  }
})();
