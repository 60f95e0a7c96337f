// How people are shown: by a colour that follows from their name, and in lists.

/** A hue, the same on every page for the same user. */
export function hueOf(user) {
  let hash = 2166136261;
  for (const character of user) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) >>> 0) % 360;
}

export const paint = (element, user) => element.style.setProperty("--hue", hueOf(user));

/** Fills the list at the side and the line above what they do. `people`: from user to name. */
export function showPeople(people, own, typing = new Set()) {
  const list = document.getElementById("people");
  list.replaceChildren(...[...people].map(([user, name]) => {
    const item = document.createElement("li");
    const shown = user === own ? `${name} (you)` : name;
    item.textContent = shown;
    item.dataset.initial = ([...name][0] ?? "?").toUpperCase();
    item.classList.toggle("typing", typing.has(user));
    paint(item, user);
    return item;
  }));
}

export function inOneLine(people, own) {
  const names = [...people].map(([user, name]) => user === own ? "you" : name);
  return names.length === 0 ? "" : `${names.length} here: ${names.join(", ")}`;
}
