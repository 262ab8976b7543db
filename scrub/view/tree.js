// A tree of nodes, rendered as it is opened. `data` holds one entry a distinct node in each of its lists:
//   name (null: none), head (what to show without a name), kind, shape, params, digest, dtype, note, style,
//   children (numbers of nodes), bound (node -> names of the parameters its children are bound to, null: none),
//   parent, at (the first appearance of a node is child number `at` of `parent`), open (whether to start unfolded).
// A node unfolds where it appears first; everywhere else it is one line with a link to that place.

function makeModel(data) {
  const count = new Map();
  for (const name of data.name) if (name !== null) count.set(name, (count.get(name) || 0) + 1);
  const isUnique = (id) => data.name[id] !== null && count.get(data.name[id]) === 1;
  const quote = (name) => JSON.stringify(name);

  // how many distinct nodes of a name are at or below a node, counted no further than 2
  function countBelow(top, name) {
    const seen = new Set([top]), stack = [top];
    let found = 0;
    while (stack.length && found < 2) {
      const id = stack.pop();
      if (data.name[id] === name) found++;
      for (const child of data.children[id]) if (!seen.has(child)) { seen.add(child); stack.push(child); }
    }
    return found;
  }

  // Python text of a matcher that finds this node alone: by its name; by its name below an ancestor; by its position
  // below one; by its digest
  function matcher(id) {
    if (isUnique(id)) return `rc.IterativeMatcher(${quote(data.name[id])})`;
    const steps = [];
    let top = id;  // up to the nearest node that its name alone finds, or the root
    while (top !== 0 && !isUnique(top)) { steps.push(data.at[top]); top = data.parent[top]; }
    if (data.name[id] !== null && isUnique(top) && countBelow(top, data.name[id]) === 1)
      return `rc.IterativeMatcher(${quote(data.name[top])}).chain(${quote(data.name[id])})`;
    if (steps.length <= 12) {
      const start = isUnique(top) ? `rc.IterativeMatcher(${quote(data.name[top])})` : "rc.new_traversal(end_depth=1)";
      const path = steps.reverse().map((at) => `rc.children_matcher({${at}})`).join(", ");
      return path ? `${start}.chain(${path})` : start;
    }
    return `rc.IterativeMatcher(lambda node: node.digest == ${quote(data.digest[id])})`;
  }

  function search(text) {
    const wanted = text.toLowerCase(), hits = [];
    if (!wanted) return hits;
    for (let id = 0; id < data.name.length; id++)
      if ((data.name[id] ?? "").toLowerCase().includes(wanted)) hits.push(id);
    return hits;
  }

  function pathTo(id) {
    const path = [id];
    while (id !== 0) { id = data.parent[id]; path.push(id); }
    return path.reverse();
  }

  return { matcher, search, pathTo, isUnique };
}

function showTree(container, data) {
  const model = makeModel(data);
  const rows = container.querySelector(".rows"), status = container.querySelector(".status");
  const input = container.querySelector("input");
  const CHUNK = 200, DEEPEST = 60, SHOWN_HITS = 300;
  let places = new Map();  // node -> its row, where it appears first
  let kept = null;  // while searching: the nodes on the way to what was found
  let hits = [], at = -1;

  const span = (kind, text) => {
    const made = document.createElement("span");
    made.className = kind;
    made.textContent = text;
    return made;
  };
  const button = (kind, text, act) => {
    const made = document.createElement("button");
    made.className = kind;
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };
  const tell = (text) => { status.textContent = text; };

  function makeRow(id, depth, parent, position, times) {
    const row = document.createElement("div");
    const isFirst = parent === null || (data.parent[id] === parent && data.at[id] === position);
    const canOpen = isFirst && data.children[id].length > 0;
    row.className = "row";
    Object.assign(row, { node: id, depth, isOpen: false });
    row.style.paddingLeft = `${1.15 * Math.min(depth, DEEPEST)}rem`;
    row.title = [data.kind[id] + " " + data.shape[id], data.params[id], data.dtype[id], "digest " + data.digest[id]]
      .filter(Boolean).join("\n");
    row.append(canOpen ? button("twist", "▸", () => toggle(row)) : span("twist", ""));
    if (depth > DEEPEST) row.append(span("facts", `${depth} `));
    const style = data.style[id];
    row.append(button(`name ${style}${data.name[id] === null ? " derived" : ""}`,
      data.name[id] === null ? data.head[id] || data.kind[id] : `'${data.name[id]}'`, () => copy(id)));
    const facts = isFirst || !data.children[id].length ? ` ${data.shape[id]} ${data.kind[id]}` : "";
    row.append(span("facts", facts + (isFirst && data.brief[id] ? ` ${data.brief[id]}` : "")));
    const names = parent === null ? null : data.bound[parent];
    if (names && names[position] !== null) row.append(span("bound", ` ! '${names[position]}'`));
    if (times > 1) row.append(span("facts", ` × ${times}`));
    if (!isFirst && data.children[id].length) {
      row.append(" ", button("link", "↑ above", () => reveal(id)));
      row.lastChild.title = "show where it is written out";
    }
    if (isFirst && data.note[id]) row.append(span("facts", `  # ${data.note[id]}`));
    if (isFirst) places.set(id, row);
    if (kept && hits.includes(id)) row.classList.add("hit");
    return row;
  }

  // the rows of the children from number `start` on, equal neighbours as one
  function childRows(row, start, upTo) {
    const made = document.createDocumentFragment(), children = data.children[row.node];
    let shown = 0, position = start;
    while (position < children.length && (shown < CHUNK || position <= upTo)) {
      let times = 1;
      const isKept = !kept || hitsOnly(row.node) || (kept.has(children[position]) && data.parent[children[position]] === row.node
        && data.at[children[position]] === position);
      while (children[position + times] === children[position] && !data.bound[row.node]) times++;
      if (isKept) { made.append(makeRow(children[position], row.depth + 1, row.node, position, times)); shown++; }
      position += times;
    }
    if (position < children.length) {
      const next = position, more = document.createElement("div");
      more.className = "row";
      more.depth = row.depth + 1;
      more.style.paddingLeft = `${1.15 * Math.min(row.depth + 1, DEEPEST)}rem`;
      more.append(span("twist", ""), button("more", `… ${children.length - next} more`, () => {
        more.replaceWith(childRows(row, next, 0));
      }));
      more.rest = next;
      made.append(more);
    }
    return made;
  }

  function open(row, upTo = 0) {
    if (row.isOpen || !row.firstChild || row.firstChild.tagName !== "BUTTON") return;
    row.isOpen = true;
    row.firstChild.textContent = "▾";
    row.after(childRows(row, 0, upTo));
  }

  function close(row) {
    row.isOpen = false;
    row.firstChild.textContent = "▸";
    while (row.nextSibling && row.nextSibling.depth > row.depth) {
      if (places.get(row.nextSibling.node) === row.nextSibling) places.delete(row.nextSibling.node);
      row.nextSibling.remove();
    }
  }

  const toggle = (row) => (row.isOpen ? close(row) : open(row));

  function start() {
    places = new Map();
    rows.replaceChildren(makeRow(0, 0, null, 0, 1));
    const stack = [0];
    while (stack.length) {
      const id = stack.pop(), row = places.get(id);
      if (!row || !(kept ? kept.has(id) && !hitsOnly(id) : data.open[id])) continue;
      open(row);
      for (const child of data.children[id])
        if (data.parent[child] === id && places.has(child) && !places.get(child).isOpen) stack.push(child);
    }
  }
  const hitsOnly = (id) => !data.children[id].some((child) => kept.has(child) && data.parent[child] === id);

  function reveal(id) {
    if (kept) { kept = null; input.value = ""; hits = []; start(); }
    const path = model.pathTo(id);
    for (let i = 0; i + 1 < path.length; i++) {
      const row = places.get(path[i]);
      open(row, data.at[path[i + 1]]);
      let more = row.nextSibling;
      while (!places.has(path[i + 1]) && more && more.depth > row.depth) {
        if (more.rest !== undefined && more.depth === row.depth + 1) {
          more.replaceWith(childRows(row, more.rest, data.at[path[i + 1]]));
          break;
        }
        more = more.nextSibling;
      }
    }
    for (const other of rows.querySelectorAll(".here")) other.classList.remove("here");
    const row = places.get(id);
    row.classList.add("here");
    row.scrollIntoView({ block: "center" });
  }

  function copy(id) {
    const text = model.matcher(id);
    for (const other of rows.querySelectorAll(".here")) other.classList.remove("here");
    if (places.get(id)) places.get(id).classList.add("here");
    const byHand = () => {
      const area = document.createElement("textarea");
      area.value = text;
      container.append(area);
      area.select();
      const isCopied = document.execCommand("copy");
      area.remove();
      tell((isCopied ? "copied: " : "copy by hand: ") + text);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => tell(`copied: ${text}`), byHand);
    else byHand();
  }

  function find() {
    hits = model.search(input.value).slice(0, SHOWN_HITS);
    const total = model.search(input.value).length;
    at = -1;
    kept = input.value ? new Set([0]) : null;
    for (const id of hits) for (const above of model.pathTo(id)) kept.add(above);
    start();
    tell(!input.value ? "" : `${total} ${total === 1 ? "name" : "names"} found`
      + (total > SHOWN_HITS ? `, the first ${SHOWN_HITS} shown` : ""));
  }

  let waiting;
  input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, 120); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { input.value = ""; find(); }
    if (event.key === "Enter" && hits.length) {
      at = (at + 1) % hits.length;
      const row = places.get(hits[at]);
      for (const other of rows.querySelectorAll(".here")) other.classList.remove("here");
      if (row) { row.classList.add("here"); row.scrollIntoView({ block: "center" }); }
    }
  });
  container.querySelector(".fold").addEventListener("click", () => {
    input.value = ""; kept = null; hits = [];
    start();
  });
  start();
  tell(`${data.name.length} nodes; click a name to copy a matcher for it`);
  return { model, find, copy, reveal, places: () => places };
}
