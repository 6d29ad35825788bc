"use strict";
// Sorting, filtering and printing; the page says everything without it.
(function () {
  function key(cell) {
    var text = cell ? cell.textContent.trim() : "";
    var value = parseFloat(text.replace(/[,<>\s]/g, ""));
    return { text: text, value: text === "–" || text === "" ? NaN : value };
  }
  function sort(table, place, head, numeric) {
    var up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    var body = table.tBodies[0];
    Array.from(body.rows).map(function (row) { return { row: row, key: key(row.cells[place]) }; }).sort(function (a, b) {
      var order;
      if (numeric) {
        if (isNaN(a.key.value) || isNaN(b.key.value)) { return isNaN(a.key.value) - isNaN(b.key.value); }
        order = a.key.value - b.key.value;
      } else {
        order = a.key.text.localeCompare(b.key.text, undefined, { numeric: true });
      }
      return up ? order : -order;
    }).forEach(function (item) { body.appendChild(item.row); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("tr.heads th").forEach(function (head, place) {
      var button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener("click", function () { sort(table, place, head, !head.classList.contains("text") && place > 0); });
    });
  });
  document.querySelectorAll("table.long").forEach(function (table) {
    var told = table.parentNode.previousElementSibling, input = told.previousElementSibling.querySelector("input");
    input.addEventListener("input", function () {
      var wanted = input.value.toLowerCase(), rows = Array.from(table.tBodies[0].rows), left = 0;
      rows.forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
        left += row.hidden ? 0 : 1;
      });
      told.textContent = wanted ? left + " of " + rows.length + " rows" : "";
    });
  });
  function open(target) {
    var node = target && document.getElementById(target);
    for (; node; node = node.parentElement) { if (node.tagName === "DETAILS") { node.open = true; } }
  }
  window.addEventListener("hashchange", function () { open(location.hash.slice(1)); });
  open(location.hash.slice(1));
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details.model:not([open])"));
    closed.forEach(function (item) { item.open = true; });
  });
  window.addEventListener("afterprint", function () { closed.forEach(function (item) { item.open = false; }); });
}());
