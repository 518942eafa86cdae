// Asks the service that this page comes from; nothing else is asked for anything.
import { $ } from "./state.js";

let token = "";

// An error after which the same may be asked again, unless the photograph is at fault.
const failure = (words, isPassing = true) => Object.assign(new Error(words), { isPassing });

export const door = { isRefused: false }; // whether the token was not given: one refusal holds for all that wait

export async function ask(path, body) {
  for (let attempt = 0; ; attempt++) {
    const used = token, headers = used ? { Authorization: `Bearer ${used}` } : {};
    let answer;
    try {
      answer = await fetch(path, { method: "POST", body, headers });
    } catch {
      const isThere = await body.slice(0, 1).arrayBuffer().then(() => true, () => false);
      throw isThere ? failure("the service does not answer: is it still running?")
        : failure("it is a folder, or was moved or changed since: choose it again", false);
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({ detail: `the service answered ${answer.status}` }));
    if (answer.status === 401) {
      // Unless it was given while this request was on its way.
      if (used === token && !door.isRefused) await askForToken();
      if (door.isRefused) throw failure("the service needs its token");
    } else if ((answer.status === 429 || answer.status === 503) && attempt < 30 && answer.headers.has("Retry-After")) {
      await new Promise((done) => setTimeout(done, 1000 * Math.min(10, +answer.headers.get("Retry-After") || 1)));
    } else {
      throw failure(problem.detail, answer.status >= 500 || answer.status === 408 || answer.status === 429);
    }
  }
}

let asking = null;
function askForToken() {
  asking ??= new Promise((done) => {
    $("ask-why").textContent = token ? "This token is wrong. The service asks for its token" : "This service asks for its token";
    $("ask").returnValue = ""; // what Escape leaves
    $("ask").showModal();
    $("token").select();
    $("ask").onclose = () => {
      door.isRefused = $("ask").returnValue !== "given";
      if (!door.isRefused) token = $("token").value.trim();
      asking = null;
      done();
    };
  });
  return asking;
}
