// Follows what the daemon tells, and says when it tells nothing.

const SILENCE_MS = 12_000; // the daemon sends something every 4 seconds
const RETRY_MS = 2_000;

// Calls received(data) for each event of that name, and lost() whenever the daemon can't be
// heard. It never gives up, which EventSource by itself does on an error status.
export function follow(path, event, received, lost) {
  let source;
  let silence;

  function listen() {
    clearTimeout(silence);
    silence = setTimeout(again, SILENCE_MS);
  }

  function again() {
    source.close();
    clearTimeout(silence);
    lost();
    setTimeout(connect, RETRY_MS);
  }

  function connect() {
    source = new EventSource(path);
    source.addEventListener("error", again);
    source.addEventListener(event, (message) => {
      received(JSON.parse(message.data));
      listen(); // last, so that a page that can't show what it gets counts as lost
    });
    listen();
  }

  connect();
}
