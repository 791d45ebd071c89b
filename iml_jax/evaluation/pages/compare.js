"use strict";
(() => {
  const form = document.querySelector(".filter");
  const [level, category, task] = ["level", "category", "task"].map((id) => document.getElementById(id));
  const places = document.querySelectorAll("[data-level]");
  const fits = (place) =>
    (!level.value || place.dataset.level === level.value) &&
    (!category.value || !("category" in place.dataset) || place.dataset.category === category.value) &&
    (!task.value || !place.dataset.task || place.dataset.task.toLowerCase().includes(task.value.toLowerCase()));
  const apply = () => places.forEach((place) => { place.hidden = !fits(place); });
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply(); // a reloaded page keeps what was typed
})();
