// Runs cells in an IPython in Pyodide, and prints what each of them has shown: one line of JSON for each.
//
//   node --experimental-wasm-stack-switching pyodide_run.mjs PYODIDE PACKAGES WORK <steps.json
//
// PYODIDE is the folder of the npm package, PACKAGES a site-packages folder for Pyodide, WORK the working directory.
// A step is {"cell": code}, or {"sockets": true}: from there on, Python's sockets are Node's. Beside "cell" there may be
// "interrupt_at", a text to interrupt the cell at, and "waits": false for a cell that cannot wait for a coroutine.
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
for (const { cell, interrupt_at = "", waits = true, sockets = false } of steps) {
  if (sockets) {
    await pyodide.useNodeSockFS();
  } else {
    const shown = waits ? await run.callPromising(cell, interrupt_at, interrupt) : run(cell, interrupt_at, interrupt);
    writeSync(1, `${shown}\n`);
  }
}
// Connections that are still open would keep Node running.
process.exit(0);
