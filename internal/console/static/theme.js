// @ts-check
// Runs before the first paint, so that a chosen theme does not flash in; and before the modules, of which
// one may not come: then none of them runs, and there is nobody else to say so.
(() => {
  let theme = null;
  try { theme = localStorage.getItem('runledger.theme'); } catch { /* storage may be off */ }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;

  window.addEventListener('error', (event) => {
    if (!(event.target instanceof HTMLScriptElement)) return; // a module that fails by itself tells its own fault
    const boot = document.querySelector('.boot');
    if (boot) boot.textContent = 'The console could not be loaded. Check the connection and load the page again.';
  }, true);
})();
