'use strict';
// Filters and order of the gallery, and order of the tables. All data are in the attributes of the elements.

function sortTable(table, column, button) {
  const head = button.parentElement;
  const falls = head.getAttribute('aria-sort') !== 'descending';
  for (const each of table.querySelectorAll('th')) each.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', falls ? 'descending' : 'ascending');
  const body = table.tBodies[0];
  const valueOf = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [first, second] = [valueOf(a), valueOf(b)];
    if (first === undefined || second === undefined) {
      return b.cells[column].textContent.localeCompare(a.cells[column].textContent);
    }
    return Number(second) - Number(first);
  };
  const rows = Array.from(body.rows).sort((a, b) => (falls ? compare(a, b) : compare(b, a)));
  body.append(...rows);
}

for (const table of document.querySelectorAll('table.sortable')) {
  const sortable = Array.from(table.tHead.rows[0].cells).map(
    (_, column) => Array.from(table.tBodies[0].rows).some((row) => row.cells[column].dataset.value !== undefined));
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    if (!sortable[column] && column !== 0) return;
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => sortTable(table, column, button));
  });
}

const controls = document.querySelector('form.controls');
if (controls) {
  const box = document.querySelector('.cases');
  const cards = Array.from(box.children);
  const count = controls.querySelector('output');
  const empty = document.querySelector('.empty');
  const orders = {
    worst: (a, b) => Number(a.dataset.rank) - Number(b.dataset.rank),
    score: (a, b) => Number(b.dataset.score) - Number(a.dataset.score),
    oks: (a, b) => Number(a.dataset.oks) - Number(b.dataset.oks),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
  };
  const show = () => {
    const kind = controls.elements.kind.value;
    const keypoint = controls.elements.keypoint.value;
    const name = controls.elements.file.value.trim().toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const fits = (!kind || card.dataset.kind === kind)
        && (!keypoint || card.dataset.keypoints.split(' ').includes(keypoint))
        && (!name || card.dataset.name.includes(name));
      card.hidden = !fits;
      shown += fits;
    }
    for (const each of document.querySelectorAll('p.advice')) each.hidden = each.dataset.kind !== kind;
    const order = orders[controls.elements.order.value];
    box.append(...(order ? cards.slice().sort(order) : cards));
    count.value = `${shown} of ${cards.length} cases`;
    empty.hidden = shown > 0;
  };
  controls.addEventListener('input', show);
  controls.addEventListener('submit', (event) => event.preventDefault());
  controls.hidden = false;
  show();
}

// Everything that can be opened is open on paper.
window.addEventListener('beforeprint', () => {
  for (const each of document.querySelectorAll('details')) each.open = true;
});
