// Tables that sort, one that filters and copies, folds that open, figures that answer the pointer. Without script all is read the same.
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

  // On paper nothing can be opened.
  const opened = [];
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details:not([open])")) {
      fold.open = true;
      opened.push(fold);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const fold of opened.splice(0)) fold.open = false;
  });

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const words = event.target.dataset?.tip;
    tip.hidden = !words || !event.target.closest("figure");
    if (tip.hidden) return;
    tip.textContent = words.replaceAll("; ", "\n");
    tip.style.whiteSpace = "pre-line";
    tip.style.left = `${Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 12, window.innerHeight - tip.offsetHeight - 8)}px`;
  });
  document.documentElement.dataset.ready = "yes";
})();
