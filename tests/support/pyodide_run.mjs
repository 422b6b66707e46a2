// Runs cells in JupyterLite's kernel in Pyodide, and prints what each of them has sent: one line of JSON for each.
//
//   node --experimental-wasm-stack-switching pyodide_run.mjs PYODIDE PACKAGES WORK <steps.json
//
// PYODIDE is the folder of the npm package, PACKAGES a site-packages folder for Pyodide, WORK the working directory.
// A step is {"cell": code}, or {"sockets": true}: from there on, Python's sockets are Node's. Beside "cell" there may be
// its "id", "interrupt_at", a text to interrupt it at, and "waits": false for a cell that cannot wait for a coroutine.
import { readFileSync, writeSync } from "node:fs";

const [folder, packages, work] = process.argv.slice(2);
const { variables, steps } = JSON.parse(readFileSync(0, "utf8"));
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const pyodide = await loadPyodide({ env: { HOME: "/work", PYTHONDONTWRITEBYTECODE: "1", ...variables } });
for (const [there, root] of Object.entries({ "/packages": packages, "/work": work })) {
  pyodide.FS.mkdirTree(there);
  pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root }, there);
}
const interrupts = new Uint8Array(1);
pyodide.setInterruptBuffer(interrupts);
const interrupt = () => {
  interrupts[0] = 2; // SIGINT
};
pyodide.runPython(readFileSync(new URL("pyodide_cells.py", import.meta.url), "utf8"));
const run = pyodide.globals.get("run");
const runWithoutWaiting = pyodide.globals.get("run_without_waiting");
for (const { cell, id = cell, interrupt_at = "", waits = true, sockets = false } of steps) {
  if (sockets) {
    await pyodide.useNodeSockFS();
  } else {
    const sent = waits ? await run(cell, id, interrupt_at, interrupt) : runWithoutWaiting(cell, id);
    writeSync(1, `${sent}\n`);
  }
}
// Connections that are still open would keep Node running.
process.exit(0);
