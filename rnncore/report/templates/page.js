// Tables that sort, one that filters and copies, folds that open, flame graphs that zoom, figures that answer the pointer.
// Without script all is read the same.
(() => {
  const text = (row, column) => row.cells[column].textContent.trim();
  const number = (cell) => {
    const found = cell.replaceAll(",", "").match(/^[-+]?\d*\.?\d+(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : null;
  };
  const compare = (one, other) => {
    const [a, b] = [number(one), number(other)];
    if (a !== null && b !== null) return a - b;
    if (a === null && b === null) return one.localeCompare(other, "en");
    return a === null ? 1 : -1;
  };

  const sort = (table, header) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => (down ? -1 : 1) * compare(text(one, header.cellIndex), text(other, header.cellIndex)));
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table")) {
    // Few rows, and lists of facts, are read at a glance; buttons there would only be in the way of the keyboard.
    const ranks = [...(table.tHead?.rows[0].cells ?? [])].some((header) => header.style.textAlign === "right");
    if (!ranks || !table.tBodies[0] || table.tBodies[0].rows.length < 5) continue;
    for (const header of table.tHead.rows[0].cells) {
      const words = header.textContent;
      if (!words) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", () => sort(table, header));
      header.replaceChildren(button);
    }
  }

  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const csv = (table) =>
    [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter((row) => !row.hidden)]
      .map((row) => [...row.cells].map((cell) => quoted(cell.textContent.trim())).join(","))
      .join("\n");

  const table = document.querySelector("#all-results ~ details table");
  if (table) {
    const frame = table.closest(".scroll");
    const fold = table.closest("details");
    frame.classList.add("tall");
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.innerHTML =
      '<label>Show rows that hold <input type="search" id="filter" placeholder="lstm b32"></label>' +
      '<button type="button" id="copy">Copy as CSV</button><span role="status" id="said"></span>';
    fold.before(tools);
    const said = tools.querySelector("#said");
    tools.querySelector("#filter").addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      fold.open = true;
      for (const row of table.tBodies[0].rows) {
        const content = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => content.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      said.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    });
    tools.querySelector("#copy").addEventListener("click", async () => {
      const content = csv(table);
      try {
        await navigator.clipboard.writeText(content);
      } catch {
        // A page from a file may not use the clipboard by itself everywhere; a selection always copies.
        const area = document.createElement("textarea");
        area.value = content;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      said.textContent = "Copied";
    });
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "tooltip");
  document.querySelector("main").append(tip);
  const tell = (mark, x, y) => {
    const words = mark.dataset?.tip;
    tip.hidden = !words || !mark.closest("figure");
    if (tip.hidden) return;
    tip.textContent = words.replaceAll("; ", "\n");
    tip.style.whiteSpace = "pre-line";
    tip.style.left = `${Math.min(x + 12, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(y + 12, window.innerHeight - tip.offsetHeight - 8)}px`;
  };
  document.addEventListener("pointermove", (event) => tell(event.target, event.clientX, event.clientY));

  // A box that is pressed fills the width; pressed again, or by Escape, the whole call does. The arrows go from box to box, of
  // which one alone is a stop of the Tab key. Boxes come as a tree is read: what a box is made of follows it.
  const STEPS = { ArrowUp: [-1, -1], ArrowDown: [1, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  // Percent of the width below which a box is what rounding left over.
  const NOTHING = 2e-4;
  const flames = [...document.querySelectorAll(".flame")].map((flame) => {
    const frames = [...flame.children];
    const places = frames.map(({ style }) => [style.left, style.width, style.top].map(Number.parseFloat));
    let zoomed = 0;

    const zoom = (to) => {
      const [left, width] = places[to];
      frames.forEach((frame, index) => {
        const start = Math.max(places[index][0], left);
        const end = Math.min(places[index][0] + places[index][1], left + width);
        frame.hidden = index !== to && end - start < NOTHING;
        frame.style.left = `${(100 * (start - left)) / width}%`;
        frame.style.width = `${(100 * Math.max(0, end - start)) / width}%`;
        frame.setAttribute("aria-pressed", String(index === to && to > 0));
      });
      zoomed = to;
    };
    const press = (index) => zoom(index === zoomed ? 0 : index);
    const focus = (index) => {
      for (const frame of frames) frame.tabIndex = -1;
      frames[index].tabIndex = 0;
      frames[index].focus({ preventScroll: true });
    };
    // The next box that is shown on the level above, on this or on the one below; the same where there is none.
    const beside = (index, step, deeper) => {
      const level = places[index][2];
      for (let at = index + step; at >= 0 && at < frames.length; at += step) {
        if (deeper > 0 && places[at][2] <= level) break;
        if (!frames[at].hidden && Math.sign(places[at][2] - level) === deeper) return at;
      }
      return index;
    };

    flame.setAttribute("role", "group");
    frames.forEach((frame, index) => {
      frame.setAttribute("role", "button");
      frame.setAttribute("aria-describedby", tip.id);
      frame.tabIndex = index ? -1 : 0;
    });
    zoom(0);
    flame.addEventListener("click", (event) => {
      const index = frames.indexOf(event.target);
      if (index < 0) return;
      press(index);
      focus(index);
    });
    flame.addEventListener("focusin", ({ target }) => {
      const { left, bottom } = target.getBoundingClientRect();
      if (target.matches(":focus-visible")) tell(target, left, bottom);
    });
    flame.addEventListener("focusout", () => (tip.hidden = true));
    flame.addEventListener("keydown", (event) => {
      const index = frames.indexOf(event.target);
      if (index < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
      if (STEPS[event.key]) focus(beside(index, ...STEPS[event.key]));
      else if (event.key === "Enter" || event.key === " ") press(index);
      else if (event.key === "Escape") zoom(0);
      else return;
      event.preventDefault();
    });
    flame.nextElementSibling.append(". A box that is pressed fills the width; Escape shows the whole call again.");
    return { zoom, zoomed: () => zoomed };
  });

  // On paper nothing can be opened, and the whole call is printed.
  const opened = [];
  let zooms = [];
  window.addEventListener("beforeprint", () => {
    zooms = flames.map((flame) => flame.zoomed());
    for (const flame of flames) flame.zoom(0);
    for (const fold of document.querySelectorAll("details:not([open])")) {
      fold.open = true;
      opened.push(fold);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const fold of opened.splice(0)) fold.open = false;
    flames.forEach((flame, index) => flame.zoom(zooms[index] ?? 0));
  });

  document.documentElement.dataset.ready = "yes";
})();
