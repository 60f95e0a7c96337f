// The bell: notifications of the user, and how many of them are unread, on all of its devices alike.

const SHOWN = 20;
const $ = (id) => document.getElementById(id);

export class Bell {
  #connection;
  #listed = [];
  #unread = 0;

  constructor(connection) {
    this.#connection = connection;
    $("bell-button").addEventListener("click", () => this.#open($("bell-list").hidden));
    $("bell").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || $("bell-list").hidden) return;
      this.#open(false);
      $("bell-button").focus();
    });
    document.addEventListener("click", (event) => { if (!$("bell").contains(event.target)) this.#open(false); });
    $("read-all").addEventListener("click", () => {
      const ids = this.#listed.filter(({ read }) => !read).map(({ id }) => id);
      if (ids.length > 0) this.#connection.send({ type: "mark-read", notificationIds: ids, id: "bell:read" });
    });
  }

  connected() { this.#ask(); }

  disconnected() { $("bell").hidden = true; }

  receive(message) {
    switch (message.type) {
      case "notifications":
        $("bell").hidden = false;
        this.#listed = message.notifications;
        this.#count(message.unread);
        this.#draw();
        break;
      case "notification": {
        const { type, ...fields } = message;
        this.#listed = [fields, ...this.#listed.filter(({ id }) => id !== fields.id)].slice(0, SHOWN);
        this.#connection.send({ type: "ack-notification", notificationIds: [fields.id] });
        $("bell-status").textContent = `New notification: ${fields.title}`;
        this.#draw();
        break;
      }
      case "unread-count":
        // Somebody has read or got some, here or on another device: the list may have changed, too.
        if (message.unread !== this.#unread) this.#ask();
        this.#count(message.unread);
        break;
      case "marked-read":
        this.#ask();
        break;
    }
  }

  #ask() { this.#connection.send({ type: "get-notifications", limit: SHOWN, id: "bell:list" }); }

  #open(open) {
    $("bell-list").hidden = !open;
    $("bell-button").setAttribute("aria-expanded", String(open));
  }

  #count(unread) {
    this.#unread = unread;
    $("unread").hidden = unread === 0;
    $("unread").textContent = unread > 99 ? "99+" : String(unread);
    $("bell-button").setAttribute("aria-label", unread === 0 ? "Notifications" : `Notifications, ${unread} unread`);
    $("read-all").hidden = unread === 0;
  }

  #draw() {
    const item = (notification) => {
      const entry = document.createElement("li");
      entry.classList.toggle("new", !notification.read);
      const title = document.createElement("b");
      title.textContent = notification.title;
      const body = document.createElement("span");
      body.textContent = notification.body ?? "";
      const when = document.createElement("span");
      when.className = "quiet";
      when.textContent = ` ${new Date(notification.timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
      entry.append(title, body, when);
      return entry;
    };
    const nothing = document.createElement("li");
    nothing.className = "quiet";
    nothing.textContent = "Nothing yet. A program sends some by the library, or by HTTP at the admin port.";
    $("notifications").replaceChildren(...(this.#listed.length > 0 ? this.#listed.map(item) : [nothing]));
  }
}
